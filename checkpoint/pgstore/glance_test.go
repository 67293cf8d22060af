package pgstore_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
)

// asked counts what an engine asks a store for.
type asked struct {
	*pgstore.Store
	gets, glances atomic.Int64
}

func (a *asked) Get(ctx context.Context, id string) (checkpoint.Summary, error) {
	a.gets.Add(1)
	return a.Store.Get(ctx, id)
}

func (a *asked) Glance(ctx context.Context, ids []string) ([]checkpoint.Glance, error) {
	a.glances.Add(1)
	return a.Store.Glance(ctx, ids)
}

// TestWaitersAreToldOfTheirOwn: a thousand wait in a process for what sleeps, others come
// and go: what it asks the database for is theirs. Their own ends are told, or found when
// notifications get lost.
func TestWaitersAreToldOfTheirOwn(t *testing.T) {
	c := need(t)
	t.Parallel()
	quiet := slog.New(slog.DiscardHandler)
	quick := durable.Define("quick", func(ctx *durable.Context, n int) (int, error) {
		return durable.Step(ctx, "s", func(context.Context) (int, error) { return n, nil })
	})
	schema := c.Schema()
	server := fakeNotifications(t, c)
	opts := pgstore.Options{Poll: 100 * time.Millisecond, Logger: quiet}
	worker, err := durable.New(openAt(t, server.url, schema, opts), &durable.Options{Functions: []durable.Definition{quick, rest}, Logger: quiet})
	require.NoError(t, err)
	defer worker.Close()
	store := &asked{Store: openAt(t, c.url, schema, opts)}
	client, err := durable.New(store, &durable.Options{Logger: quiet})
	require.NoError(t, err)
	defer client.Close()
	const waiters, executions = 1000, 100
	var all sync.WaitGroup
	for i := range waiters {
		x, err := rest.Start(t.Context(), client, 1, durable.WithExecutionID(fmt.Sprint(i)))
		require.NoError(t, err)
		all.Go(func() {
			_, err := x.Result(t.Context())
			require.ErrorIs(t, err, durable.ErrStopped)
		})
	}
	require.Eventually(t, func() bool { return store.gets.Load() >= waiters && worker.Stats().Resident == 0 }, patience, 20*time.Millisecond)
	before := store.gets.Load()
	began := time.Now()
	for i := range executions {
		n, err := quick.Run(t.Context(), client, i)
		require.NoError(t, err)
		require.Equal(t, i, n)
	}
	require.LessOrEqual(t, store.gets.Load()-before, int64(3*executions), "%d wait", waiters)
	require.LessOrEqual(t, store.glances.Load(), int64(time.Since(began)/time.Second)+60)

	server.does(t, "NULL") // they get lost
	for i := range waiters {
		require.NoError(t, worker.Stop(t.Context(), fmt.Sprint(i), ""))
	}
	all.Wait()
	require.LessOrEqual(t, store.gets.Load()-before, int64(3*executions+2*waiters))
}
