package pgstore_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/stretchr/testify/require"
)

var double = durable.Define("double", func(ctx *durable.Context, n int) (int, error) {
	return durable.Step(ctx, "double", func(context.Context) (int, error) { return 2 * n, nil })
})

var work = durable.Define("work", func(ctx *durable.Context, n int) (int, error) {
	sum := 0
	for i := range 5 {
		v, err := durable.Step(ctx, "add", func(context.Context) (int, error) { return n + i, nil })
		if err != nil {
			return 0, err
		}
		sum += v
	}
	if err := durable.Wait(ctx, "rest", 100*time.Millisecond); err != nil {
		return 0, err
	}
	v, err := durable.Invoke(ctx, "double", double, n)
	return sum + v, err
})

func worked(n int) int { return 5*n + 10 + 2*n }

func engine(t testing.TB, c *cluster, schema string, opts pgstore.Options) *durable.Engine {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	opts.Logger = quiet
	e, err := durable.New(open(t, schema, opts), &durable.Options{Functions: []durable.Definition{double, work}, Logger: quiet, ParkFor: -1})
	require.NoError(t, err)
	t.Cleanup(func() { e.Close() })
	return e
}

func TestEngines(t *testing.T) {
	c := need(t)
	schema := c.Schema()
	opts := pgstore.Options{Lease: 4 * time.Second, Poll: 200 * time.Millisecond}
	engines := []*durable.Engine{engine(t, c, schema, opts), engine(t, c, schema, opts), engine(t, c, schema, opts)}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	const executions = 90
	var started []*durable.Execution[int]
	for i := range executions {
		x, err := work.Start(ctx, engines[i%2], i, durable.WithExecutionID(fmt.Sprint("work-", i)))
		require.NoError(t, err)
		started = append(started, x)
	}
	require.NoError(t, engines[2].Close()) // what it owns is lost, and taken over
	require.NoError(t, c.Stop("immediate"))
	require.NoError(t, c.StartAgain())
	var wg sync.WaitGroup
	for i := range started {
		wg.Go(func() { // by the one that has not started it
			v, err := work.Attach(engines[(i+1)%2], started[i].ID()).Result(ctx)
			if err != nil || v != worked(i) {
				t.Errorf("work-%d: %d, want %d: %v", i, v, worked(i), err)
			}
		})
	}
	wg.Wait()
	t.Logf("%d executions on three engines, one closed and the server restarted meanwhile: all ended with the right result", executions)
}

// caller invokes a function that another process has.
var caller = durable.Define("caller", func(ctx *durable.Context, n int) (int, error) {
	return durable.InvokeByName[int](ctx, "double", "double", n)
})

// TestEnginesWithOtherFunctions: each starts, and invokes, what only another one has.
func TestEnginesWithOtherFunctions(t *testing.T) {
	c := need(t)
	schema := c.Schema()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	with := func(functions ...durable.Definition) *durable.Engine {
		quiet := slog.New(slog.DiscardHandler)
		store := open(t, schema, pgstore.Options{Lease: 4 * time.Second, Poll: 200 * time.Millisecond, Logger: quiet})
		e, err := durable.New(store, &durable.Options{Functions: functions, Logger: quiet, ParkFor: -1})
		require.NoError(t, err)
		t.Cleanup(func() { e.Close() })
		return e
	}
	client := with()
	x, err := caller.Start(ctx, client, 21)
	require.NoError(t, err)
	id, err := client.StartByName(ctx, "double", []byte("4"))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		info, err := client.Describe(ctx, id)
		require.NoError(t, err)
		return info.Held != nil
	}, 30*time.Second, 50*time.Millisecond, "nobody has the function, and that is said")
	_, err = client.StartByName(ctx, "no name", []byte("4"))
	require.ErrorIs(t, err, durable.ErrInvalidID)
	with(caller)
	with(double)
	v, err := x.Result(ctx)
	require.NoError(t, err)
	require.Equal(t, 42, v)
	raw, err := client.ResultJSON(ctx, id)
	require.NoError(t, err)
	require.Equal(t, "8", string(raw))
	info, err := client.Describe(ctx, id)
	require.NoError(t, err)
	require.Nil(t, info.Held)
}
