package pgstore_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint/pgstore/pgtest"
)

// cluster is a PostgreSQL server of the tests' own.
type cluster struct {
	*pgtest.Cluster
	url  string
	port int
	more string // of connection strings
}

var server *cluster
var missing string // why there is no server

func TestMain(m *testing.M) {
	if os.Getenv(childURL) != "" {
		child()
		return
	}
	if orders := os.Getenv(clientOrders); orders != "" {
		serveClients(orders)
		return
	}
	flag.Parse()
	if os.Getenv(payerURL) != "" {
		payerProcess()
	}
	os.Exit(func() int {
		c, err := pgtest.Start()
		switch {
		case errors.Is(err, pgtest.ErrNotInstalled):
			missing = err.Error()
		case err != nil: // it is there, so the tests must not be skipped
			fmt.Fprintln(os.Stderr, err)
			return 1
		default:
			server = &cluster{Cluster: c, url: c.URL(), port: c.Port()}
			defer c.Close()
		}
		if server != nil && *throughBouncer {
			b, err := startBouncer(c.Port())
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			defer b.stop()
			server.port, server.more = b.port, "&default_query_exec_mode=exec"
			server.url = fmt.Sprintf("postgres://tests@127.0.0.1:%d/postgres?sslmode=disable", b.port) + server.more
		}
		return m.Run()
	}())
}

// need skips a test when there is no server.
func need(t testing.TB) *cluster {
	t.Helper()
	if server == nil {
		t.Skip("there is no server: " + missing)
	}
	return server
}

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

// startPair starts a server, and a standby of it that is asynchronous.
func startPair(t *testing.T) (primary *cluster, standby *pgtest.Cluster) {
	started, err := pgtest.Start()
	require.NoError(t, err)
	t.Cleanup(func() { started.Close() })
	standby, err = started.Standby()
	require.NoError(t, err)
	t.Cleanup(func() { standby.Close() })
	return &cluster{Cluster: started, url: started.URL(), port: started.Port()}, standby
}

// database is the connection string of another database of the server.
func (c *cluster) database(t testing.TB, name string) string {
	t.Helper()
	at, err := url.Parse(c.url)
	if err != nil {
		t.Fatal(err)
	}
	at.Path = "/" + name
	return at.String()
}

// exec runs SQL of a test.
func (c *cluster) exec(t testing.TB, sql string, args ...any) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.Cluster.URL())
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
