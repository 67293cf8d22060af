//go:build linux

package pgstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/durable-go/durable/checkpoint/pgstore/internal/lan"
	"github.com/durable-go/durable/checkpoint/pgstore/pgtest"
	"github.com/durable-go/durable/internal/soak"
)

var (
	machineFaults = flag.Int("machines.faults", 0, "how many faults TestMachines makes; 0: each kind once")
	machineRound  = flag.Int("machines.round", 50, "how many of them on one fleet")
	machineFleets = flag.Int("machines.fleets", 1, "how many fleets at once")
	machineSeed   = flag.Uint64("machines.seed", 0, "what all choices of TestMachines are made from; 0: one is drawn")
	machineLease  = flag.Duration("machines.lease", 2*time.Second, "the lease of its processes")
	machineKinds  = flag.String("machines.kinds", "", "faults of these kinds only, with commas between")
)

// machines are three hosts with a process each, one of which comes through PgBouncer on
// a host of its own, and two with a server each: a primary and its standby.
type machines struct {
	net     *lan.Network
	dir     string
	workers [3]*lan.Host
	pooler  *pooler // nil: it is not installed
	primary *site
	standby *site
}

// newMachines starts the servers.
func newMachines() (*machines, error) {
	m := &machines{net: lan.New()}
	if err := m.make(); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *machines) make() (err error) {
	if m.dir, err = machinesDir(); err != nil {
		return err
	}
	for i := range m.workers {
		if m.workers[i], err = m.net.Host(fmt.Sprint("worker", i)); err != nil {
			return err
		}
	}
	if m.primary, err = newSite(m.net, "one", m.dir); err != nil {
		return err
	}
	if m.standby, err = newSite(m.net, "two", m.dir); err != nil {
		return err
	}
	if err = m.primary.fill(); err != nil {
		return err
	}
	if err = m.primary.start(); err != nil {
		return err
	}
	if err = m.follow(); err != nil {
		return err
	}
	if m.pooler, err = newPooler(m.net, m.dir); err == nil && m.pooler != nil {
		err = m.pooler.leadTo(m.primary)
	}
	return err
}

const machinesDirs = "durable-machines-"

// machinesDir is a folder that everybody may look into. It is named after this process:
// what those left that were killed is removed.
func machinesDir() (string, error) {
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), machinesDirs+"*"))
	for _, dir := range left {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(dir), machinesDirs+"%d-", &pid); err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			os.RemoveAll(dir)
		}
	}
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", machinesDirs, os.Getpid()))
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	return dir, err
}

// follow makes the other site the standby of the primary, which waits for it from then on.
func (m *machines) follow() error {
	err := m.standby.follow(m.primary)
	for try := 1; err != nil && try < 5; try++ { // the server may crash in the middle, see site.do
		if err = m.primary.exec(`SELECT 1`); err == nil {
			err = m.standby.follow(m.primary)
		}
	}
	if err != nil {
		return err
	}
	if err := m.standby.start(); err != nil {
		return err
	}
	if err := m.primary.until(`SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming')`); err != nil {
		return err
	}
	return m.primary.synchronous(true)
}

func (m *machines) close() {
	m.net.Close() // what runs on the hosts is killed
	for _, s := range []*site{m.primary, m.standby} {
		if s != nil && s.cmd != nil {
			s.kill()
		}
	}
	os.RemoveAll(m.dir)
}

// url is how a worker reaches the server.
func (m *machines) url(worker int) (url string, noListen bool) {
	const all = "/postgres?sslmode=disable&application_name=worker"
	if worker == 2 && m.pooler != nil {
		return "postgres://tests@" + m.pooler.host.Address.String() + ":6432" + all + "&default_query_exec_mode=exec", true
	}
	hosts := []string{"192.0.2.4:5432", "192.0.2.5:5432"}
	if worker == 1 {
		hosts[0], hosts[1] = hosts[1], hosts[0]
	}
	return "postgres://tests@" + strings.Join(hosts, ",") + all, false
}

const machinesSchema = "machines"

// fleet is the processes on the hosts, and what can be done to all of it.
func (m *machines) fleet(t *testing.T, builds [2]string, lease time.Duration) *soak.Fleet {
	return &soak.Fleet{
		Workers: len(m.workers), Lease: lease, Builds: builds,
		Store: func(worker int) string {
			url, noListen := m.url(worker)
			b, err := json.Marshal(map[string]any{"URL": url, "Schema": machinesSchema, "Lease": lease, "NoListen": noListen})
			require.NoError(t, err)
			return string(b)
		},
		Open: func() (checkpoint.Store, error) {
			return m.primary.open(t, &pgstore.Options{Schema: machinesSchema})
		},
		Start: func(worker int, cmd *exec.Cmd) error { return m.workers[worker].Start(cmd) },
		Cut:   func(worker int) { m.net.Around(m.workers[worker], lan.Cut, lan.Cut) },
		Heal:  func(int) { m.net.Mend() },
		Drop:  func(worker int) { m.net.Tear(m.primary.host, m.reached(worker)) },
		Terminate: func() error {
			return m.primary.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`)
		},
		Restart: func() error {
			m.primary.crash()
			return m.primary.start()
		},
		Harms: m.harms(),
	}
}

// open opens a store on the server, from its own host.
func (s *site) open(t *testing.T, opts *pgstore.Options) (*pgstore.Store, error) {
	config, err := pgxpool.ParseConfig("")
	if err != nil {
		return nil, err
	}
	if config.ConnConfig, err = s.config(); err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		return nil, err
	}
	t.Cleanup(pool.Close)
	return pgstore.New(t.Context(), pool, opts)
}

// reached is the host to which the server's answers for a worker go.
func (m *machines) reached(worker int) *lan.Host {
	if worker == 2 && m.pooler != nil {
		return m.pooler.host
	}
	return m.workers[worker]
}

// harms are what happens to many machines, and not to many processes on one.
func (m *machines) harms() []soak.Harm {
	// anywhere is the line of a worker, of the server, or of PgBouncer.
	anywhere := func(c *soak.Case) *lan.Host {
		hosts := append(m.workers[:], m.primary.host)
		if m.pooler != nil {
			hosts = append(hosts, m.pooler.host)
		}
		return hosts[c.IntN(len(hosts))]
	}
	// weather is what is done to lines for a while.
	weather := func(name string, bad func(c *soak.Case) (to, from lan.Line), low, high float64) soak.Harm {
		return soak.Harm{Name: name, Do: func(c *soak.Case) error {
			to, from := bad(c)
			m.net.Around(anywhere(c), to, from)
			time.Sleep(c.Leases(low, high))
			m.net.Mend()
			return nil
		}}
	}
	list := []soak.Harm{
		weather("line cut one way", func(c *soak.Case) (to, from lan.Line) {
			if c.IntN(2) == 0 {
				return lan.Cut, lan.Line{}
			}
			return lan.Line{}, lan.Cut
		}, 0.1, 1.4),
		weather("line slow", func(c *soak.Case) (to, from lan.Line) {
			l := lan.Line{Delay: time.Duration(5+c.IntN(100)) * time.Millisecond, Jitter: time.Duration(c.IntN(30)) * time.Millisecond}
			return l, l
		}, 0.3, 1.2),
		weather("line lossy", func(c *soak.Case) (to, from lan.Line) {
			l := lan.Line{Loss: 0.02 + 0.2*c.Float64()}
			return l, l
		}, 0.3, 1.2),
		{Name: "server SIGSTOP", Do: func(c *soak.Case) error {
			m.primary.signal(syscall.SIGSTOP)
			time.Sleep(c.Leases(0.1, 1.5))
			m.primary.signal(syscall.SIGCONT)
			return nil
		}},
		{Name: "synchronous failover", Do: func(c *soak.Case) error {
			m.lose(c)
			return m.failOver(nil)
		}},
		{Name: "asynchronous failover", Do: m.failOverWithoutTheEnd},
		{Name: "failover beside the old primary", Do: func(c *soak.Case) error {
			m.net.Set(m.primary.host, m.standby.host, lan.Cut)
			m.net.Set(m.standby.host, m.primary.host, lan.Cut)
			return c.Behind(func() error { // who is connected to the old one still reads there
				return m.failOver(func(old *site) {
					time.Sleep(c.Leases(0.2, 1.5))
					old.kill()
					m.net.Replace(old.host)
				})
			})
		}},
	}
	if m.primary.faketime != "" {
		list = append(list, soak.Harm{Name: "server's clock set", Do: m.setClock})
	}
	if m.pooler != nil {
		list = append(list, soak.Harm{Name: "PgBouncer", Do: func(c *soak.Case) error {
			if c.IntN(2) == 0 {
				m.pooler.cmd.Process.Signal(syscall.SIGSTOP)
				time.Sleep(c.Leases(0.1, 1.4))
				return m.pooler.cmd.Process.Signal(syscall.SIGCONT)
			}
			m.pooler.stop()
			time.Sleep(c.Leases(0, 0.3))
			return m.pooler.leadTo(m.primary)
		}})
	}
	return list
}

// lose ends the primary: the server, or its machine.
func (m *machines) lose(c *soak.Case) {
	if c.IntN(2) == 0 { // nobody is told
		m.net.Around(m.primary.host, lan.Cut, lan.Cut)
	}
	m.primary.kill()
	m.net.Replace(m.primary.host)
}

// failOver makes the standby the primary, and the other one its standby. meanwhile gets the
// old primary, which is ended by it; nil: it has ended.
func (m *machines) failOver(meanwhile func(old *site)) error {
	old := m.primary
	if err := m.standby.promote(); err != nil {
		return err
	}
	m.primary, m.standby = m.standby, old
	if m.pooler != nil {
		if err := m.pooler.leadTo(m.primary); err != nil {
			return err
		}
	}
	if meanwhile != nil {
		meanwhile(old)
	}
	time.Sleep(500 * time.Millisecond) // a while without a standby; an old primary is not seen any more
	m.net.Mend()
	return m.follow()
}

func (s *site) promote() error {
	// There is nobody that it could wait for.
	if err := s.exec(`ALTER SYSTEM SET synchronous_standby_names = ''`, `SELECT pg_reload_conf()`); err != nil {
		return err
	}
	if err := s.until(`SELECT current_setting('synchronous_standby_names') = ''`); err != nil {
		return err
	}
	return s.until(`SELECT pg_promote(true, 60)`)
}

// failOverWithoutTheEnd goes over to a standby that lacks the last of what the primary has
// acknowledged.
func (m *machines) failOverWithoutTheEnd(c *soak.Case) error {
	if err := m.primary.synchronous(false); err != nil {
		return err
	}
	err := c.InDoubt(func() error {
		if err := m.primary.isFollowedBy(m.standby); err != nil {
			return err
		}
		m.net.Set(m.primary.host, m.standby.host, lan.Cut)
		time.Sleep(time.Duration(50+c.IntN(800)) * time.Millisecond)
		m.lose(c)
		old := m.primary
		if err := m.standby.promote(); err != nil {
			return err
		}
		m.primary, m.standby = m.standby, old
		if m.pooler != nil {
			if err := m.pooler.leadTo(m.primary); err != nil {
				return err
			}
		}
		time.Sleep(c.Leases(0.4, 0.5)) // what had come from the old one is told by then
		return nil
	})
	if err != nil {
		return err
	}
	m.net.Mend()
	return m.follow()
}

// isFollowedBy waits until a standby has all that is there now.
func (s *site) isFollowedBy(standby *site) error {
	var end string
	err := s.do(func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT pg_current_wal_insert_lsn()::text`).Scan(&end)
	})
	if err != nil {
		return err
	}
	return standby.until(`SELECT pg_last_wal_receive_lsn() >= $1::pg_lsn`, end)
}

// setClock sets the server's clock forth or back, and after a while right again.
func (m *machines) setClock(c *soak.Case) error {
	ahead := time.Duration((0.1 + 30*c.Float64()*c.Float64()) * float64(time.Second))
	if c.IntN(2) == 0 {
		ahead = -ahead
	}
	c.Jump()
	defer c.Jump()
	if err := m.primary.setClock(ahead); err != nil {
		return err
	}
	time.Sleep(c.Leases(0.2, 1.6))
	return m.primary.setClock(0)
}

// pooler is a host with PgBouncer.
type pooler struct {
	host    *lan.Host
	program string
	dir     string
	cmd     *exec.Cmd
}

// newPooler is nil if PgBouncer is not installed.
func newPooler(n *lan.Network, dir string) (p *pooler, err error) {
	p = &pooler{program: findBouncer(), dir: filepath.Join(dir, "pooler")}
	if p.program == "" {
		return nil, nil
	}
	if err := os.Mkdir(p.dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(p.dir, "users"), []byte("\"tests\" \"\"\n"), 0o644); err != nil {
		return nil, err
	}
	p.host, err = n.Host("pooler")
	return p, err
}

const poolerConfig = `[databases]
postgres = host=%s port=5432 dbname=postgres
[pgbouncer]
listen_addr = *
listen_port = 6432
unix_socket_dir =
auth_type = trust
auth_file = %s
pool_mode = transaction
default_pool_size = 20
max_client_conn = 500
server_login_retry = 0.2
server_connect_timeout = 2
`

// leadTo has connections lead to a server.
func (p *pooler) leadTo(s *site) error {
	config := filepath.Join(p.dir, "pgbouncer.ini")
	if err := os.WriteFile(config, fmt.Appendf(nil, poolerConfig, s.address(), filepath.Join(p.dir, "users")), 0o644); err != nil {
		return err
	}
	if p.cmd != nil {
		return p.cmd.Process.Signal(syscall.SIGHUP)
	}
	cmd := exec.Command(p.program, "-q", config)
	var err error
	if cmd.SysProcAttr, err = pgtest.Account(p.dir); err != nil {
		return err
	}
	if err := p.host.Start(cmd); err != nil {
		return err
	}
	p.cmd = cmd
	return nil
}

func (p *pooler) stop() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
	p.cmd = nil
}

// TestMachines takes -machines.faults, and to make the choices of a run again, its
// -machines.seed. It leaves nothing behind, however it ends.
func TestMachines(t *testing.T) {
	need(t)
	if testing.Short() || *throughBouncer {
		t.Skip("does harm to machines for a minute")
	}
	n := lan.New()
	defer n.Close()
	if _, err := n.Host("any"); err != nil {
		t.Skip(err)
	}
	programs := builds(t)
	seed := *machineSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-machines.seed %d, lease %s", seed, *machineLease)
	began := time.Now()
	rounds := make(chan int)
	var total soak.Figures
	var mu sync.Mutex
	var fleets sync.WaitGroup
	for range *machineFleets {
		fleets.Go(func() {
			for round := range rounds {
				if w := soakMachines(t, programs, seed, round); w != nil {
					mu.Lock()
					total.AddFleet(w.Figures)
					mu.Unlock()
				}
			}
		})
	}
	for round := 0; round == 0 || round**machineRound < *machineFaults; round++ {
		rounds <- round
	}
	close(rounds)
	fleets.Wait()
	t.Log(total.Fleet())
	t.Log(total.Takeovers())
	t.Log(total.Pauses())
	t.Log(time.Since(began).Round(time.Second))
}

// soakMachines is one round; it returns nil when it could not be made.
func soakMachines(t *testing.T, programs [2]string, seed uint64, round int) *soak.World {
	m, err := newMachines()
	dir := filepath.Join(t.ArtifactDir(), fmt.Sprint(round))
	if err == nil {
		err = os.Mkdir(dir, 0o755)
	}
	if err != nil {
		t.Error(err)
		return nil
	}
	defer m.close()
	fleet := m.fleet(t, programs, *machineLease)
	faults := min(*machineRound, *machineFaults-round**machineRound)
	if *machineFaults == 0 {
		faults = len(soak.Faults) + len(fleet.Harms)
	}
	c := soak.Config{Seed: seed + uint64(round), Kills: faults, Width: 24, Functions: fleetFunctions, Patience: time.Minute + 3**machineLease}
	if *machineKinds != "" {
		c.Faults = strings.Split(*machineKinds, ",")
	}
	w, err := c.Fleet(dir, fleet)
	if err != nil {
		t.Errorf("round with -machines.seed %d: %v", c.Seed, err)
		return nil
	}
	t.Logf("round %d: %s; %s; packets: %+v", round, w.Figures.Fleet(), w.Figures.Takeovers(), m.net.Seen())
	if len(w.Violations) > 0 {
		for _, s := range []*site{m.primary, m.standby} { // what the servers say of it
			if log, err := os.ReadFile(filepath.Join(s.dir, "log")); err == nil {
				os.WriteFile(filepath.Join(dir, s.host.Name+".log"), log, 0o644)
			}
		}
		t.Errorf("again with -machines.seed %d -machines.faults %d -machines.round %[2]d:\n%s", c.Seed, faults, w.Report())
	}
	return w
}
