package pgstore_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/stretchr/testify/require"
)

// TestRetriesKeepKeys retries an execution, with what it invoked, from a process without
// its functions: what had succeeded does not run again, and what does has its key.
func TestRetriesKeepKeys(t *testing.T) {
	c := need(t)
	schema := c.Schema()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var mu sync.Mutex
	keys := map[string][]string{}
	down := true
	step := func(ctx *durable.Context, name string, fails bool) error {
		return durable.Do(ctx, name, func(ctx context.Context) error {
			info, _ := durable.StepInfoFrom(ctx)
			mu.Lock()
			defer mu.Unlock()
			keys[name] = append(keys[name], info.IdempotencyKey)
			if fails && down {
				return durable.Permanent(errors.New(name + ": the answer was lost"))
			}
			return nil
		})
	}
	child := durable.Define("child", func(ctx *durable.Context, _ int) (int, error) {
		if err := step(ctx, "charge", false); err != nil {
			return 0, err
		}
		return 7, step(ctx, "ship", true)
	})
	parent := durable.Define("parent", func(ctx *durable.Context, n int) (int, error) {
		if err := step(ctx, "reserve", false); err != nil {
			return 0, err
		}
		n, err := durable.Invoke(ctx, "child", child, n)
		if err != nil {
			return 0, err
		}
		return n, step(ctx, "tell", false)
	})
	open := func(functions ...durable.Definition) *durable.Engine {
		quiet := slog.New(slog.DiscardHandler)
		e, err := durable.New(open(t, schema, pgstore.Options{Lease: 4 * time.Second, Poll: 200 * time.Millisecond, Logger: quiet}),
			&durable.Options{Functions: functions, Logger: quiet})
		require.NoError(t, err)
		t.Cleanup(func() { e.Close() })
		return e
	}
	workers, desk := open(parent, child), open()
	x, err := parent.Start(ctx, desk, 1)
	require.NoError(t, err)
	id := x.ID()
	for range 2 {
		_, err = parent.Attach(desk, id).Result(ctx)
		require.ErrorContains(t, err, "the answer was lost")
		id, err = desk.Retry(ctx, id)
		require.NoError(t, err)
	}
	_, err = parent.Attach(desk, id).Result(ctx)
	require.Error(t, err)
	require.NoError(t, workers.Shutdown(ctx))
	mu.Lock()
	down = false
	mu.Unlock()
	id, err = desk.Retry(ctx, id)
	require.NoError(t, err)
	open(parent, child)
	out, err := parent.Attach(desk, id).Result(ctx)
	require.NoError(t, err)
	require.Equal(t, 7, out)
	for name, times := range map[string]int{"reserve": 1, "charge": 1, "ship": 4, "tell": 1} {
		require.Len(t, keys[name], times, name)
		for _, key := range keys[name] {
			require.Equal(t, keys[name][0], key, name)
		}
	}
}
