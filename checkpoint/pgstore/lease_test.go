package pgstore_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

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
	cut := time.Now()
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
	require.LessOrEqual(t, took, lease*3/2)
	require.NoError(t, second.ctx.Err())
	t.Logf("cut off, the body's context ended after %s, and another process began it after %s, lease %s", ended.Round(time.Millisecond), took.Round(time.Millisecond), lease)
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
	require.NoError(t, cancel(b))
	waited := time.Since(since)
	require.Less(t, waited, lease/2, "others wait for a process that is stopped")
	require.True(t, claimed(t, b, hints, "x").Lost)
	took := time.Since(since)
	require.LessOrEqual(t, took, lease*3/2)
	t.Logf("stopped in a transaction: others waited %s for what it had locked, and took over after %s, lease %s", waited.Round(time.Millisecond), took.Round(time.Millisecond), lease)
}
