package pgstore_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/durable-go/durable/checkpoint/pgstore/pgtest"
)

// TestCommitsThatWaitForAStandby are waited for no longer when the lease is over, and
// nobody reads what no standby has.
func TestCommitsThatWaitForAStandby(t *testing.T) {
	need(t)
	if testing.Short() || *throughBouncer {
		t.Skip("it starts a server of its own")
	}
	t.Parallel()
	server, err := pgtest.Start()
	require.NoError(t, err)
	t.Cleanup(func() { server.Close() })
	conn, err := pgx.Connect(t.Context(), server.URL())
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), `CREATE TABLE probe (n integer)`)
	require.NoError(t, err)
	waits := func(sessions int) { // for the standby
		require.Eventually(t, func() bool {
			var n int
			return conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`).Scan(&n) == nil && n >= sessions
		}, patience, time.Millisecond)
	}
	standby := func(name string) {
		for _, sql := range []string{`ALTER SYSTEM SET synchronous_standby_names = '` + name + `'`, `SELECT pg_reload_conf()`} {
			_, err := conn.Exec(t.Context(), sql)
			require.NoError(t, err)
		}
		require.Eventually(t, func() bool {
			var now string
			require.NoError(t, conn.QueryRow(t.Context(), `SELECT current_setting('synchronous_standby_names')`).Scan(&now))
			return now == name
		}, patience, time.Millisecond)
		if name == "" {
			return
		}
		probe, err := pgx.Connect(t.Context(), server.URL())
		require.NoError(t, err)
		go func() {
			defer probe.Close(context.Background())
			for { // commits wait once the server's checkpointer has seen it, too
				if _, err := probe.Exec(t.Context(), `INSERT INTO probe VALUES (1)`); err != nil {
					return
				}
			}
		}()
		waits(1)
	}
	count := func(sql string) (n int) {
		require.NoError(t, conn.QueryRow(t.Context(), sql).Scan(&n))
		return n
	}
	var log lines
	s, err := pgstore.Open(t.Context(), server.URL(), &pgstore.Options{Lease: 4 * time.Second, Poll: time.Hour, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, err)
	defer s.Close()
	writes, step1 := create(t, s, "writes", true), create(t, s, "step", true)
	tx := begin(t, s)
	standby("nobody")
	defer standby("")
	committed := make(chan error, 1)
	go func() { committed <- tx.Commit(step(step1, 1)) }()
	waits(2)
	require.ErrorIs(t, appendTo(s, step(writes, 1)), checkpoint.ErrFenced)
	require.ErrorIs(t, <-committed, checkpoint.ErrUnknown)
	tried := log.count("was not renewed")
	require.Eventually(t, func() bool { return log.count("was not renewed") > tried+4 }, patience, time.Millisecond)
	require.Zero(t, count(`SELECT count(*) FROM durable.execution WHERE tail > 1`), "no standby has it")
	require.GreaterOrEqual(t, count(`SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`), 3)
	standby("")
	require.Eventually(t, func() bool { return count(`SELECT count(*) FROM durable.execution WHERE tail > 1`) == 2 }, patience, time.Millisecond)
}
