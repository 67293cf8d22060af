//go:build linux

package pgstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/durable-go/durable/checkpoint/pgstore/internal/lan"
	"github.com/durable-go/durable/checkpoint/pgstore/pgtest"
)

// site is a host with a PostgreSQL server, the primary or its standby.
type site struct {
	host     *lan.Host
	bin, dir string
	as       *syscall.SysProcAttr
	faketime string // the library that lets the clock be set; "": there is none
	settings []string
	cmd      *exec.Cmd
	gone     chan struct{} // closed when the server has ended
}

func (s *site) data() string { return filepath.Join(s.dir, "data") }

func (s *site) address() string { return s.host.Address.String() }

// run runs a program of PostgreSQL on the host.
func (s *site) run(program string, args ...string) error {
	cmd := exec.Command(filepath.Join(s.bin, program), args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &out, s.dir
	as := *s.as
	cmd.SysProcAttr = &as
	err := s.host.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, &out)
	}
	return nil
}

// fill makes the data of a primary.
func (s *site) fill() error {
	if err := s.run("initdb", "-D", s.data(), "-U", "tests", "-A", "trust", "-N", "--no-locale", "-E", "UTF8"); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.data(), "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString("host all all 192.0.2.0/24 trust\nhost replication all 192.0.2.0/24 trust\n")
	return err
}

// follow makes the data of a standby.
func (s *site) follow(primary *site) error {
	if err := os.RemoveAll(s.data()); err != nil {
		return err
	}
	return s.run("pg_basebackup", "-D", s.data(), "-h", primary.address(), "-U", "tests", "-X", "stream", "-c", "fast", "-R", "-N")
}

// start starts the server and waits until it answers.
func (s *site) start() error {
	args := []string{"-D", s.data()}
	for _, setting := range append([]string{"listen_addresses=*", "unix_socket_directories=", "max_connections=100", "shared_buffers=64MB", "hot_standby=on",
		"wal_keep_size=256MB", "wal_retrieve_retry_interval=100ms", "wal_receiver_timeout=5s", "wal_sender_timeout=5s"}, s.settings...) {
		args = append(args, "-c", setting)
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, s.dir
	if s.faketime != "" {
		if err := s.setClock(0); err != nil {
			return err
		}
		cmd.Env = append(os.Environ(), "LD_PRELOAD="+s.faketime, "FAKETIME_TIMESTAMP_FILE="+s.clock(), "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1")
	}
	as := *s.as
	cmd.SysProcAttr = &as
	if err := s.host.Start(cmd); err != nil {
		return err
	}
	gone := make(chan struct{})
	s.cmd, s.gone = cmd, gone
	go func() {
		cmd.Wait()
		close(gone)
	}()
	for {
		err := s.exec(`SELECT 1`)
		if err == nil {
			return nil
		}
		select {
		case <-gone:
			said, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("the server has ended: %w: %s", err, said[max(0, len(said)-2000):])
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// clock is the file that says by how much the server's clock is ahead.
func (s *site) clock() string { return filepath.Join(s.dir, "clock") }

func (s *site) setClock(ahead time.Duration) error {
	next := s.clock() + ".new"
	if err := os.WriteFile(next, fmt.Appendf(nil, "%+.3f\n", ahead.Seconds()), 0o644); err != nil {
		return err
	}
	return os.Rename(next, s.clock())
}

// children are the processes that the server's first one has started.
func (s *site) children() (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(s.cmd.Process.Pid) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// signal sends one to all processes, if the first one lives: while that is stopped,
// their numbers are no other's.
func (s *site) signal(sig syscall.Signal) {
	if s.cmd.Process.Signal(syscall.SIGSTOP) != nil {
		return
	}
	for _, pid := range s.children() {
		syscall.Kill(pid, sig)
	}
	s.cmd.Process.Signal(sig)
}

// kill ends the server as the loss of its machine does.
func (s *site) kill() {
	s.signal(syscall.SIGKILL)
	<-s.gone
}

// crash ends the server at once, but in its own way.
func (s *site) crash() {
	s.cmd.Process.Signal(syscall.SIGQUIT)
	<-s.gone
}

// config is for connections from the host itself, whatever its line is.
func (s *site) config() (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(fmt.Sprintf("postgres://tests@%s/postgres?sslmode=disable&application_name=tests", s.address()))
	if err == nil {
		config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			return s.host.Dial(ctx, network, address)
		}
	}
	return config, err
}

const cannotConnectNow = "57P03"

func (s *site) do(f func(ctx context.Context, conn *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	config, err := s.config()
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	// A server that recovers takes no sessions. It may have crashed: what sets the clock is not
	// made for handlers of signals, which is one more fault now and then.
	for e := (*pgconn.PgError)(nil); errors.As(err, &e) && e.Code == cannotConnectNow && ctx.Err() == nil; {
		time.Sleep(20 * time.Millisecond)
		conn, err = pgx.ConnectConfig(ctx, config)
	}
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return f(ctx, conn)
}

func (s *site) exec(statements ...string) error {
	return s.do(func(ctx context.Context, conn *pgx.Conn) error {
		for _, sql := range statements {
			if _, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		return nil
	})
}

// until waits until a query of a truth says so.
func (s *site) until(sql string, args ...any) error {
	return s.do(func(ctx context.Context, conn *pgx.Conn) error {
		for {
			var is bool
			if err := conn.QueryRow(ctx, sql, args...).Scan(&is); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
			if is {
				return nil
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s: %w", sql, ctx.Err())
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
}

// synchronous says whether commits of this primary wait for the standby.
func (s *site) synchronous(is bool) error {
	names := ""
	if is {
		names = "*"
	}
	if err := s.exec(`ALTER SYSTEM SET synchronous_standby_names = '`+names+`'`, `SELECT pg_reload_conf()`); err != nil {
		return err
	}
	return s.until(`SELECT current_setting('synchronous_standby_names') = $1`, names)
}

// newSite makes a host with a server that is not started yet.
func newSite(n *lan.Network, name, dir string) (*site, error) {
	s := &site{dir: filepath.Join(dir, name)}
	var err error
	if s.host, err = n.Host(name); err != nil {
		return nil, err
	}
	if s.bin, err = pgtest.Programs(); err != nil {
		return nil, err
	}
	if err = os.Mkdir(s.dir, 0o755); err != nil {
		return nil, err
	}
	if s.as, err = pgtest.Account(s.dir); err != nil {
		return nil, err
	}
	if found, _ := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1"); len(found) > 0 {
		s.faketime = found[0]
	}
	return s, nil
}
