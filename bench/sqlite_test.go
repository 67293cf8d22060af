package main

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
)

// Not parallel: what is noted is the process's.
func TestSQLiteDurability(t *testing.T) {
	forget := func() { connections.count, connections.unlike = 0, nil }
	pool := func(t *testing.T, dsn string) *sql.DB {
		forget()
		db, err := sql.Open("sqlite", dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		return db
	}
	path := func(t *testing.T) string { return filepath.Join(t.TempDir(), "x.sqlite") }

	t.Run("Flushes", func(t *testing.T) {
		// The pool has no connection yet: asking it opens one.
		said, err := sqliteDurability(t.Context(), pool(t, sqliteDSN(path(t), "foreign_keys(ON)")))
		if err != nil || !strings.Contains(said, "(FULL), journal_mode wal") {
			t.Errorf("got %q, %v", said, err)
		}
	})
	t.Run("DoesNot", func(t *testing.T) {
		db := pool(t, "file:"+path(t)+"?_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)")
		if _, err := sqliteDurability(t.Context(), db); err == nil {
			t.Error("no error")
		}
		if _, err := sqliteDurability(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "synchronous=1") {
			t.Errorf("by the hook alone: %v", err)
		}
	})
	t.Run("WasChangedLater", func(t *testing.T) {
		db := pool(t, sqliteDSN(path(t)))
		db.SetMaxOpenConns(1)
		if _, err := db.ExecContext(t.Context(), "PRAGMA synchronous=OFF"); err != nil {
			t.Fatal(err)
		}
		if _, err := sqliteDurability(t.Context(), db); err == nil {
			t.Error("no error")
		}
	})
	t.Run("NobodyConnected", func(t *testing.T) {
		forget()
		if _, err := sqliteDurability(t.Context(), nil); err == nil {
			t.Error("no error")
		}
	})
}
