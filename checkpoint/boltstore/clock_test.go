package boltstore_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/boltstore"
)

// jumpingClock is a wall clock that is set, again and again.
type jumpingClock struct {
	ahead atomic.Int64
	asked atomic.Int64
}

func (c *jumpingClock) now() time.Time {
	c.asked.Add(1)
	return time.Now().Add(time.Duration(c.ahead.Load()))
}

// early says what of a history came before its time.
func early(events []durable.Event, slept map[string]time.Duration) error {
	began := make(map[string]time.Time)
	for _, ev := range events {
		switch ev.Type {
		case "WaitStarted":
			began[ev.OperationID] = ev.Time
		case "WaitSucceeded":
			if d := ev.Time.Sub(began[ev.OperationID]); d < slept[ev.Name] {
				return fmt.Errorf("%s ended after %s instead of %s", ev.Name, d, slept[ev.Name])
			}
		}
	}
	return nil
}

// TestTheClockJumps sets the clock of a running store back and forth: no timer
// fires early by that clock, all come, and nothing turns in circles meanwhile.
func TestTheClockJumps(t *testing.T) {
	jumps, waits, rounds := 0, 0, 12
	if testing.Short() {
		rounds = 3
	}
	for seed := range uint64(rounds) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 21))
			clock := new(jumpingClock)
			slept := make(map[string]time.Duration)
			for i := range 6 {
				slept[fmt.Sprint("wait", i)] = time.Duration(1 + random.Int64N(int64(2*time.Hour)))
			}
			sleep := durable.Define("sleep", func(ctx *durable.Context, _ int) (int, error) {
				for i := range 6 {
					name := fmt.Sprint("wait", i)
					if err := durable.Wait(ctx, name, slept[name]); err != nil {
						return 0, err
					}
				}
				return 6, nil
			})
			store, err := boltstore.Open(filepath.Join(t.TempDir(), "store"), boltstore.Options{UnsafeNoSync: true, Logger: slog.New(slog.DiscardHandler)}.WithClock(clock.now))
			require.NoError(t, err)
			e, err := durable.New(store, &durable.Options{Functions: []durable.Definition{sleep}, Logger: slog.New(slog.DiscardHandler), Retention: -1})
			require.NoError(t, err)
			defer e.Close()
			var runs []*durable.Execution[int]
			for range 4 {
				x, err := sleep.Start(t.Context(), e, 0)
				require.NoError(t, err)
				runs = append(runs, x)
			}
			var ended sync.WaitGroup
			for _, x := range runs {
				ended.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 10*24*time.Hour)
					defer cancel()
					if _, err := x.Result(ctx); err != nil {
						t.Error(err)
					}
				})
			}
			asked := clock.asked.Load()
			begun := time.Now()
			for range 20 {
				time.Sleep(time.Duration(random.Int64N(int64(40 * time.Minute))))
				clock.ahead.Store(random.Int64N(int64(6*time.Hour)) - int64(3*time.Hour))
				jumps++
			}
			clock.ahead.Store(0)
			ended.Wait()
			hours := time.Since(begun).Hours()
			// It looks at the clock twice a minute, a few times each, for each that sleeps.
			require.Less(t, float64(clock.asked.Load()-asked), 3000*(hours+1), "busy")
			for _, x := range runs {
				var events []durable.Event
				for ev, err := range e.History(t.Context(), x.ID()) {
					require.NoError(t, err)
					events = append(events, ev)
				}
				require.NoError(t, early(events, slept))
				waits += 6
				require.Error(t, early(events, map[string]time.Duration{"wait0": 1000 * time.Hour}), "what early must see")
			}
		})
	}
	t.Logf("the clock was set %d times, none of %d waits ended early by it, and all ended", jumps, waits)
}
