package pgstore_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
)

// blind is a store that finds nothing by looking: what an engine on it knows of others it
// was told.
type blind struct{ *pgstore.Store }

func (b blind) Glance(_ context.Context, ids []string) (found []checkpoint.Glance, err error) {
	for _, id := range ids {
		found = append(found, checkpoint.Glance{ID: id, Status: checkpoint.Running})
	}
	return found, nil
}

// TestNoWaitEndsByLooking: among processes that start, invoke, cancel and stop each other's
// executions, no wait ends because somebody looks.
func TestNoWaitEndsByLooking(t *testing.T) {
	c := need(t)
	if *throughBouncer {
		t.Skip("nobody listens through PgBouncer")
	}
	const processes = 4
	parents := 200
	if testing.Short() {
		parents = 50
	}
	parent, child := ringFunctions()
	quiet := slog.New(slog.DiscardHandler)
	schema := c.Schema()
	var engines []*durable.Engine
	for range processes {
		s := open(t, schema, pgstore.Options{Logger: quiet, Lease: time.Minute, Poll: time.Hour})
		e, err := durable.New(blind{s}, &durable.Options{Functions: []durable.Definition{parent, child}, Logger: quiet, MaxResident: 64, ParkFor: -1})
		require.NoError(t, err)
		t.Cleanup(func() { e.Close() })
		engines = append(engines, e)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var left, stopped atomic.Int64
	left.Store(int64(parents))
	var slowest atomic.Int64
	var wg sync.WaitGroup
	for i := range 4 * processes {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			for left.Add(-1) >= 0 {
				at := time.Now()
				x, err := parent.Start(ctx, engines[i%processes], i)
				if err != nil {
					t.Error(err)
					return
				}
				if rng.IntN(4) == 0 { // somebody else stops it
					time.Sleep(time.Duration(rng.Int64N(int64(30 * time.Millisecond))))
					if err := engines[rng.IntN(processes)].Stop(ctx, x.ID(), "enough"); err != nil {
						t.Error(err)
					}
					stopped.Add(1)
				}
				if _, err := parent.Attach(engines[rng.IntN(processes)], x.ID()).Result(ctx); err != nil && !errors.Is(err, durable.ErrStopped) {
					t.Errorf("execution %s: %v", x.ID(), err)
				}
				for took := int64(time.Since(at)); ; {
					if old := slowest.Load(); took <= old || slowest.CompareAndSwap(old, took) {
						break
					}
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d parents of 4 children on %d processes, %d of them stopped; the slowest took %v", parents, processes, stopped.Load(), time.Duration(slowest.Load()))
}
