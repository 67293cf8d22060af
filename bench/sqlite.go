package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync"

	"modernc.org/sqlite"
)

// The peers on SQLite all use modernc.org/sqlite, a driver without C, and so all
// use the one version of it in go.mod.

// sqliteDSN names a file so that every connection of a pool flushes each commit.
func sqliteDSN(path string, more ...string) string {
	q := url.Values{"_txlock": {"immediate"}, "_pragma": append([]string{"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)"}, more...)}
	return "file:" + path + "?" + q.Encode()
}

// connections notes how each connection to SQLite that any library in this
// process opens is set when it has been opened.
var connections struct {
	mu          sync.Mutex
	count       int
	unlike      []string // those that do not flush each commit
	journalMode string
}

func init() {
	sqlite.RegisterConnectionHook(func(c sqlite.ExecQuerierContext, _ string) error {
		ctx := context.Background()
		synchronous, err := pragma(ctx, c, "synchronous")
		if err != nil {
			return err
		}
		mode, err := pragma(ctx, c, "journal_mode")
		if err != nil {
			return err
		}
		connections.mu.Lock()
		defer connections.mu.Unlock()
		connections.count++
		connections.journalMode = mode
		if synchronous != "2" && synchronous != "3" {
			connections.unlike = append(connections.unlike, "synchronous="+synchronous)
		}
		return nil
	})
}

func pragma(ctx context.Context, c driver.QueryerContext, name string) (string, error) {
	rows, err := c.QueryContext(ctx, "PRAGMA "+name, nil)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	value := make([]driver.Value, len(rows.Columns()))
	if err := rows.Next(value); err != nil {
		if errors.Is(err, io.EOF) {
			return "", fmt.Errorf("PRAGMA %s says nothing", name)
		}
		return "", err
	}
	return fmt.Sprint(value[0]), nil
}

// sqliteDurability fails unless every connection flushes each commit. The pool,
// where the library lets us have it, is asked again, after its use.
func sqliteDurability(ctx context.Context, pool *sql.DB) (string, error) {
	asked := ""
	if pool != nil { // first: it may open a connection, and that is noted
		var synchronous int
		if err := pool.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&synchronous); err != nil {
			return "", err
		}
		if synchronous < 2 {
			return "", fmt.Errorf("the library set synchronous to %d", synchronous)
		}
		asked = ", and again on its pool after its use"
	}
	connections.mu.Lock()
	defer connections.mu.Unlock()
	if connections.count == 0 || len(connections.unlike) > 0 {
		return "", fmt.Errorf("of %d connections to SQLite these do not flush each commit: %v", connections.count, connections.unlike)
	}
	return fmt.Sprintf("PRAGMA synchronous is 2 (FULL), journal_mode %s, read on every connection as it was opened%s", connections.journalMode, asked), nil
}
