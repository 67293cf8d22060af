package durable_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/boltstore"
)

var busyChild = durable.Define("busy.child", func(ctx *durable.Context, n int) (int, error) {
	if err := durable.Wait(ctx, "nap", time.Duration(n%4)*time.Millisecond); err != nil {
		return 0, err
	}
	return durable.Step(ctx, "double", func(context.Context) (int, error) { return 2 * n, nil })
})

// busy does a bit of everything.
var busy = durable.Define("busy", func(ctx *durable.Context, n int) (int, error) {
	c, err := durable.CreateCallback[int](ctx, "go", durable.WithHeartbeatTimeout(time.Hour))
	if err != nil {
		return 0, err
	}
	if _, err := c.Await(ctx); err != nil {
		return 0, err
	}
	batch, err := durable.Map(ctx, "items", []int{1, 2, 3}, func(ctx *durable.Context, item, _ int) (int, error) {
		return durable.Step(ctx, "add", func(context.Context) (int, error) { return item + n, nil })
	})
	if err != nil {
		return 0, err
	}
	doubled, err := durable.Invoke(ctx, "call", busyChild, n)
	return batch.Values()[0] + doubled, err
})

// TestUpkeepOfARunningEngine takes backups of an engine at work and verifies it. Each
// backup is opened by another engine, which runs all that is in it to its end.
func TestUpkeepOfARunningEngine(t *testing.T) {
	opts := func() *durable.Options {
		return &durable.Options{Functions: []durable.Definition{busy, busyChild}, ParkFor: -1, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	}
	s, err := boltstore.Open(filepath.Join(t.TempDir(), "store"), &boltstore.Options{UnsafeNoSync: true})
	require.NoError(t, err)
	e, err := durable.New(s, opts())
	require.NoError(t, err)
	defer e.Close()
	const workers = 4
	var done [workers]atomic.Int64
	stop, failed := make(chan struct{}), make(chan error, workers)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for n := 1; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := oneBusy(e, w, n); err != nil {
					failed <- err
					return
				}
				done[w].Store(int64(n))
			}
		})
	}
	problem := func(p boltstore.Problem) { t.Error(p) }
	rounds, resumed := 6, 0
	for range rounds {
		var least [workers]int64
		for w := range workers {
			least[w] = done[w].Load()
		}
		path := filepath.Join(t.TempDir(), "backup")
		f, err := os.Create(path)
		require.NoError(t, err)
		_, err = s.Backup(t.Context(), f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		_, err = boltstore.Verify(t.Context(), path, &boltstore.VerifyOptions{Problem: problem})
		require.NoError(t, err)
		_, err = s.Verify(t.Context(), &boltstore.VerifyOptions{Problem: problem})
		require.NoError(t, err)
		resumed += runBackup(t, path, opts(), least[:])
		_, err = boltstore.Compact(t.Context(), path)
		require.NoError(t, err)
	}
	close(stop)
	all.Wait()
	close(failed)
	for err := range failed {
		require.NoError(t, err)
	}
	var total int64
	for w := range workers {
		total += done[w].Load()
	}
	t.Logf("%d backups while %d executions ran: no problem in them, %d executions in them run to their end", rounds, total, resumed)
}

func busyID(w, n int) string { return fmt.Sprintf("busy-%d-%d", w, n) }

// oneBusy runs an execution and deletes the one before it.
func oneBusy(e *durable.Engine, w, n int) error {
	ctx := context.Background()
	x, err := busy.Start(ctx, e, n, durable.WithExecutionID(busyID(w, n)))
	if err != nil {
		return err
	}
	callback, err := e.CallbackID(ctx, x.ID(), "go")
	if err != nil {
		return err
	}
	if err := errors.Join(e.HeartbeatCallback(ctx, callback), e.SucceedCallback(ctx, callback, 1)); err != nil {
		return err
	}
	if got, err := x.Result(ctx); err != nil || got != 3*n+1 {
		return fmt.Errorf("%s: %d, %w", x.ID(), got, err)
	}
	if n > 1 {
		return e.Delete(ctx, busyID(w, n-1))
	}
	return nil
}

// runBackup runs what is in a backup to its end. Of each worker the newest execution
// is at least the one that had ended before the backup.
func runBackup(t *testing.T, path string, opts *durable.Options, least []int64) (ended int) {
	e, err := durable.Open(path, opts)
	require.NoError(t, err)
	defer e.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	newest := make([]int64, len(least))
	var ids []string
	for info, err := range e.Executions(ctx, durable.Query{Function: "busy"}) {
		require.NoError(t, err)
		ids = append(ids, info.ID)
	}
	for _, id := range ids {
		var w, n int
		_, err := fmt.Sscanf(id, "busy-%d-%d", &w, &n)
		require.NoError(t, err)
		newest[w] = max(newest[w], int64(n))
		if callback, err := e.CallbackID(ctx, id, "go"); err == nil {
			err = e.SucceedCallback(ctx, callback, 1)
			if err != nil {
				require.ErrorIs(t, err, durable.ErrCallbackCompleted)
			}
		}
		got, err := busy.Attach(e, id).Result(ctx)
		require.NoError(t, err)
		require.Equal(t, 3*n+1, got)
		ended++
	}
	for w := range least {
		require.GreaterOrEqual(t, newest[w], least[w])
	}
	return ended
}
