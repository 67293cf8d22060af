//go:build unix

package pgstore_test

import (
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
)

// stopped is a process with a store that is stopped in the midst of its life, and never
// goes on. listens is how many sessions of it listen.
func stopped(t *testing.T, c *cluster, opts pgstore.Options) (listens func() int64) {
	name := strings.ReplaceAll(c.Schema(), " ", "_")
	process := startWorker(t, c.url+"&application_name="+name, opts)
	t.Cleanup(func() { process.Kill() })
	listens = func() int64 {
		return c.exec(t, `SELECT FROM pg_stat_activity a WHERE application_name = $1 AND query LIKE 'SELECT pg_notify%'`, name)
	}
	require.Eventually(t, func() bool { return listens() == 1 }, patience, 5*time.Millisecond)
	require.NoError(t, process.Signal(syscall.SIGSTOP))
	return listens
}

// TestAStoppedListenerEnds: the session of a stopped process must not keep the server's
// queue of notifications from being emptied.
func TestAStoppedListenerEnds(t *testing.T) {
	c := need(t)
	if *throughBouncer {
		t.Skip("nobody listens")
	}
	t.Run("WhenItIsSent", func(t *testing.T) { // no other process of the store is there
		t.Parallel()
		opts := pgstore.Options{Schema: c.Schema(), Lease: 2 * time.Second}
		listens := stopped(t, c, opts)
		c.exec(t, `SELECT pg_notify('durable_' || left(encode(sha256($1::bytea), 'hex'), 32), repeat('x', 7900) || i) FROM generate_series(1, 6000) i`, opts.Schema)
		require.Eventually(t, func() bool { return listens() == 0 }, patience, 10*time.Millisecond)
		require.Eventually(t, func() bool {
			return c.exec(t, `SELECT WHERE pg_notification_queue_usage() < 0.001`) == 1
		}, patience, 10*time.Millisecond)
	})
	for name, first := range map[string]bool{"WhenOthersTakeOver": false, "WhenAnotherOneOpens": true} {
		t.Run(name, func(t *testing.T) { // nothing is sent
			t.Parallel()
			opts := pgstore.Options{Schema: c.Schema(), Lease: 2 * time.Second}
			if !first {
				openAt(t, c.url, opts.Schema, opts)
			}
			listens := stopped(t, c, opts)
			if first {
				require.Eventually(t, func() bool {
					return c.exec(t, `DELETE FROM `+pgx.Identifier{opts.Schema}.Sanitize()+`.process WHERE lease_until < extract(epoch FROM clock_timestamp()) * 1e9`) == 1
				}, patience, 10*time.Millisecond)
				openAt(t, c.url, opts.Schema, opts)
			}
			require.Eventually(t, func() bool { return listens() == 0 }, patience, 10*time.Millisecond)
		})
	}
	t.Run("NotThatOfOneThatLives", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		opts := pgstore.Options{Lease: 400 * time.Millisecond, Poll: time.Hour, Logger: slog.New(slog.DiscardHandler)}
		proxy := startProxy(t, c)
		a := openAt(t, proxy.url(), schema, opts)
		b := openAt(t, c.url, schema, opts)
		hints := watched(a)
		for i := range 3 {
			was, _ := a.Lease()
			proxy.cut()
			require.Eventually(t, func() bool {
				return c.exec(t, `SELECT FROM `+pgx.Identifier{schema}.Sanitize()+`.process WHERE id = $1`, was) == 0
			}, patience, 5*time.Millisecond)
			proxy.mend()
			require.Eventually(t, func() bool { now, _ := a.Lease(); return now != was }, patience, 5*time.Millisecond)
			tries := 0
			require.Eventually(t, func() bool { // told once it listens again
				tries++
				id := fmt.Sprint(i, "-", tries)
				create(t, b, id, false)
				b.End(t.Context(), checkpoint.Ending{ID: id, Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
				for {
					select {
					case h := <-hints:
						if h.Kind == checkpoint.HintEnded && strings.HasPrefix(h.ID, fmt.Sprint(i, "-")) {
							return true
						}
					default:
						return false
					}
				}
			}, patience, 10*time.Millisecond)
		}
	})
}
