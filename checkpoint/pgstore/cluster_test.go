package pgstore_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// cluster is a PostgreSQL server of the tests' own: a temporary folder, a free port of
// the loopback interface, fsync on. DURABLE_POSTGRES names the folder of another
// version's programs.
type cluster struct {
	bin, dir, url string
	port          int
	as            *syscall.SysProcAttr
	schemas       atomic.Int64
}

var server *cluster
var missing string // why there is no server

func TestMain(m *testing.M) {
	if os.Getenv(childURL) != "" {
		child()
		return
	}
	if os.Getenv(payerURL) != "" {
		payerProcess()
	}
	os.Exit(func() int {
		c, err := startCluster()
		if err != nil {
			missing = err.Error()
		} else {
			server = c
			defer c.remove()
		}
		return m.Run()
	}())
}

// need skips a test when there is no server.
func need(t testing.TB) *cluster {
	t.Helper()
	if server == nil {
		t.Skip("PostgreSQL can't be started here: " + missing)
	}
	return server
}

func startCluster() (*cluster, error) {
	bin := os.Getenv("DURABLE_POSTGRES")
	if bin == "" {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
		if path, err := exec.LookPath("initdb"); err == nil {
			found = append(found, path)
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("it is not installed (apt-get install postgresql)")
		}
		bin = filepath.Dir(found[len(found)-1])
	}
	dir, err := os.MkdirTemp("", "pgstore")
	if err != nil {
		return nil, err
	}
	c := &cluster{bin: bin, dir: dir}
	if os.Getuid() == 0 { // initdb does nothing as root
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, err
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		c.as = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		if err := os.Chown(dir, uid, gid); err != nil {
			return nil, err
		}
	}
	if c.port, err = freePort(); err != nil {
		return nil, err
	}
	c.url = fmt.Sprintf("postgres://tests@127.0.0.1:%d/postgres?sslmode=disable", c.port)
	if err := c.run("initdb", "-D", c.data(), "-U", "tests", "-A", "trust", "-N", "--no-locale", "-E", "UTF8"); err != nil {
		c.remove()
		return nil, err
	}
	if err := c.start(); err != nil {
		c.remove()
		return nil, err
	}
	return c, nil
}

// freePort is one of the loopback interface.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (c *cluster) data() string { return filepath.Join(c.dir, "data") }

func (c *cluster) run(program string, args ...string) error {
	cmd := exec.Command(filepath.Join(c.bin, program), args...)
	cmd.SysProcAttr, cmd.Dir = c.as, c.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, out)
	}
	return nil
}

func (c *cluster) start() error {
	opts := fmt.Sprintf("-p %d -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=on -c max_connections=200 -c shared_buffers=64MB", c.port)
	return c.run("pg_ctl", "-D", c.data(), "-o", opts, "-l", filepath.Join(c.dir, "log"), "-w", "start")
}

func (c *cluster) stop(mode string) error {
	return c.run("pg_ctl", "-D", c.data(), "-m", mode, "-w", "stop")
}

func (c *cluster) remove() {
	c.stop("immediate")
	os.RemoveAll(c.dir)
}

// schema is a name that no other test has.
func (c *cluster) schema() string { return fmt.Sprintf("test %d", c.schemas.Add(1)) }

// TestServer says whether there is one: the other tests are skipped for lack of it.
func TestServer(t *testing.T) {
	c := need(t)
	conn, err := pgx.Connect(t.Context(), c.url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var version, fsync, commit string
	err = conn.QueryRow(t.Context(), "SELECT current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit')").Scan(&version, &fsync, &commit)
	if err != nil || fsync != "on" || commit != "on" {
		t.Fatalf("fsync is %s, synchronous_commit is %s: %v", fsync, commit, err)
	}
	t.Logf("PostgreSQL %s, fsync %s, synchronous_commit %s", version, fsync, commit)
}

// exec runs SQL of a test.
func (c *cluster) exec(t testing.TB, sql string, args ...any) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	tag, err := conn.Exec(ctx, sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	return tag.RowsAffected()
}
