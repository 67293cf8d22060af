package pgstore_test

import (
	"context"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/durable-go/durable/checkpoint/pgstore/pgtest"
)

// cluster is a PostgreSQL server of the tests' own.
type cluster struct {
	*pgtest.Cluster
	url string
}

var server *cluster
var missing string // why there is no server

func TestMain(m *testing.M) {
	if os.Getenv(childURL) != "" {
		child()
		return
	}
	os.Exit(func() int {
		c, err := pgtest.Start()
		if err != nil {
			missing = err.Error()
		} else {
			server = &cluster{c, c.URL()}
			defer c.Close()
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

// exec runs SQL of a test.
func (c *cluster) exec(t testing.TB, sql string, args ...any) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
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
