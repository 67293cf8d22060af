package pgstore_test

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint/pgstore/pgtest"
	"github.com/stretchr/testify/require"
)

var throughBouncer = flag.Bool("pgstore.bouncer", false, "put PgBouncer in transaction mode between all tests and the server, and turn LISTEN off")

// bouncer is a running PgBouncer.
type bouncer struct {
	cmd  *exec.Cmd
	dir  string
	port int
}

const bouncerConfig = `[databases]
postgres = host=127.0.0.1 port=%d dbname=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = trust
auth_file = %s
pool_mode = transaction
default_pool_size = 20
max_client_conn = 500
server_login_retry = 0.2
`

// findBouncer is the program, "" if it is not installed.
func findBouncer() string {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// startBouncer puts one before a server. It does not run as root.
func startBouncer(to int) (*bouncer, error) {
	program := findBouncer()
	if program == "" {
		return nil, fmt.Errorf("PgBouncer is not installed (apt-get install pgbouncer)")
	}
	dir, err := os.MkdirTemp("", "pgbouncer")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &bouncer{dir: dir, port: l.Addr().(*net.TCPAddr).Port}
	l.Close()
	config, users := filepath.Join(dir, "pgbouncer.ini"), filepath.Join(dir, "users")
	if err := os.WriteFile(users, []byte("\"tests\" \"\"\n"), 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(config, fmt.Appendf(nil, bouncerConfig, to, b.port, users), 0o644); err != nil {
		return nil, err
	}
	b.cmd = exec.Command(program, "-q", config)
	if b.cmd.SysProcAttr, err = pgtest.Account(dir); err != nil {
		return nil, err
	}
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.port))
		if err == nil {
			return b, conn.Close()
		}
		if try == 100 {
			b.stop()
			return nil, fmt.Errorf("PgBouncer does not listen: %w", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (b *bouncer) stop() {
	b.cmd.Process.Kill()
	b.cmd.Wait()
	os.RemoveAll(b.dir)
}

// TestPgBouncer runs the tests of stores and of fleets once more, in a process of their
// own, through PgBouncer in transaction mode.
func TestPgBouncer(t *testing.T) {
	if testing.Short() {
		t.Skip("runs most of the other tests again")
	}
	if *throughBouncer {
		t.Skip("this is that process")
	}
	t.Parallel()
	need(t)
	if findBouncer() == "" {
		t.Skip("PgBouncer is not installed (apt-get install pgbouncer)")
	}
	cmd := exec.Command(os.Args[0], "-pgstore.bouncer", "-test.v", "-test.run", "^(TestStore|TestTwoStores|TestLease|TestOpen|TestEngines|TestAnyProcess)$")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NotContains(t, string(out), "--- SKIP", "%s", out)
	passed := regexp.MustCompile(`(?m)^ *--- PASS`).FindAllIndex(out, -1)
	require.Greater(t, len(passed), 100, "%s", out)
	t.Logf("%d tests pass through PgBouncer in transaction mode", len(passed))
	for line := range bytes.Lines(out) {
		if s := string(line); strings.Contains(s, "fleet_test.go:") || strings.Contains(s, "engine_test.go:") {
			t.Log(strings.TrimSpace(s))
		}
	}
}
