package pgstore_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
)

// TestBodiesEndWithTheLease cuts off a process whose body runs: the body's context ends
// before another process begins it again.
func TestBodiesEndWithTheLease(t *testing.T) {
	c := need(t)
	const lease = 2 * time.Second
	type run struct {
		ctx context.Context
		at  time.Time
	}
	quiet := slog.New(slog.DiscardHandler)
	schema := c.Schema()
	worker := func(url string) (*durable.Engine, *durable.Function[int, int], <-chan run) {
		runs := make(chan run, 10)
		f := durable.Define("busy", func(ctx *durable.Context, _ int) (int, error) {
			return durable.Step(ctx, "work", func(ctx context.Context) (int, error) {
				runs <- run{ctx, time.Now()}
				<-ctx.Done()
				return 0, ctx.Err()
			})
		})
		e, err := durable.New(openAt(t, url, schema, pgstore.Options{Lease: lease, Logger: quiet}), &durable.Options{Functions: []durable.Definition{f}, Logger: quiet})
		require.NoError(t, err)
		t.Cleanup(func() { e.Close() })
		return e, f, runs
	}
	next := func(runs <-chan run) run {
		select {
		case r := <-runs:
			return r
		case <-time.After(patience):
			t.Fatal("the body does not begin")
			return run{}
		}
	}
	proxy := startProxy(t, c)
	e, f, runs := worker(proxy.url())
	_, err := f.Start(t.Context(), e, 1)
	require.NoError(t, err)
	first := next(runs)
	select { // it is renewed while the body does nothing
	case <-first.ctx.Done():
		t.Fatal(context.Cause(first.ctx))
	case <-time.After(lease * 3 / 2):
	}
	_, _, others := worker(c.url)
	proxy.cut()
	cut, stalled := time.Now(), stalls(t, c)
	select {
	case <-first.ctx.Done():
	case <-time.After(patience):
		t.Fatal("the body's context does not end")
	}
	ended := time.Since(cut)
	require.Less(t, ended, lease)
	second := next(others)
	took := second.at.Sub(cut)
	require.Greater(t, took, ended, "two bodies at once")
	require.LessOrEqual(t, took, lease*3/2+stalled())
	require.NoError(t, second.ctx.Err())
	t.Logf("cut off, the body's context ended after %s, and another process began it after %s, lease %s", ended.Round(time.Millisecond), took.Round(time.Millisecond), lease)
}

// stalls measures how late this machine and its disk are: how long a few small
// transactions take, one after the other, which is what a process does that takes over. On
// an idle machine that is some milliseconds.
func stalls(t *testing.T, c *cluster) (stalled func() time.Duration) {
	const few = 5 // looks, takes over, finds the work, claims it, begins
	table := fmt.Sprintf("%q", c.Schema()+" stalls")
	c.exec(t, "CREATE TABLE "+table+" (n int)")
	c.exec(t, "INSERT INTO "+table+" VALUES (0)")
	ctx, cancel := context.WithCancel(context.Background())
	conn, err := pgx.Connect(ctx, c.Cluster.URL())
	require.NoError(t, err)
	t.Cleanup(cancel)
	measured := make(chan time.Duration, 1)
	go func() {
		defer conn.Close(context.Background())
		var worst time.Duration
		for ctx.Err() == nil {
			began := time.Now()
			time.Sleep(time.Millisecond) // timers may be late, too
			if _, err := conn.Exec(context.Background(), "UPDATE "+table+" SET n = n + 1"); err != nil {
				break
			}
			worst = max(worst, time.Since(began))
		}
		measured <- worst
	}()
	return func() time.Duration {
		cancel()
		return few * <-measured
	}
}

// TestStoppedInATransaction has a process stop for ever while it has locked what others
// need, and its lease.
func TestStoppedInATransaction(t *testing.T) {
	c := need(t)
	t.Parallel()
	const lease = 4 * time.Second
	schema := c.Schema()
	proxy := startProxy(t, c)
	a := openAt(t, proxy.url(), schema, pgstore.Options{Lease: lease})
	b := openAt(t, c.url, schema, pgstore.Options{Lease: lease})
	hints := watched(b)
	create(t, a, "x", true)
	create(t, b, "y", true)
	cancel := func(s *pgstore.Store) error {
		return s.Deliver(context.Background(), checkpoint.Delivery{ID: "y", Record: checkpoint.Record{Type: checkpoint.CancelRequested}})
	}
	frozen := proxy.freeze()
	go cancel(a)
	select {
	case <-frozen:
	case <-time.After(patience):
		t.Fatal("there was no transaction to stop in")
	}
	since := time.Now()
	stalled := stalls(t, c)
	require.NoError(t, cancel(b))
	waited := time.Since(since)
	require.True(t, claimed(t, b, hints, "x").Lost)
	took, late := time.Since(since), stalled()
	require.Less(t, waited, lease/2+late, "others wait for a process that is stopped")
	require.LessOrEqual(t, took, lease*3/2+late)
	t.Logf("stopped in a transaction: others waited %s for what it had locked, and took over after %s, lease %s", waited.Round(time.Millisecond), took.Round(time.Millisecond), lease)
}
