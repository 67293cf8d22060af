package durable_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// TestRandomCancels cancels handlers that look at their context between
// operations, at random moments: whichever arm the first run took, the replays
// take, and exactly one compensation runs, once.
func TestRandomCancels(t *testing.T) {
	t.Parallel()
	for seed := uint64(1); seed <= uint64(max(300, *randomPrograms)); seed++ {
		if *randomSeed != 0 && seed != *randomSeed {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			var n notes
			rng := rand.New(rand.NewPCG(seed, 4))
			type place struct {
				kind         int
				delay, pause time.Duration
				undo         int
			}
			places := make([]place, 3+rng.IntN(5))
			ms := func() time.Duration { return time.Duration(rng.IntN(4)) * time.Millisecond }
			for i := range places {
				places[i] = place{rng.IntN(6), ms(), ms(), rng.IntN(3)}
			}
			scoped := rng.IntN(2) == 0 // cancelled by a timeout of a child instead of from outside
			after := time.Duration(rng.IntN(20000)) * time.Microsecond
			body := func(ctx *durable.Context) (string, error) {
				undo := func(i int, why string) (string, error) {
					for k := range places[i].undo {
						if err := durable.Wait(ctx.WithoutCancel(), fmt.Sprint("calm down ", k), 2*time.Millisecond); err != nil {
							return "", err
						}
					}
					return durable.Step(ctx.WithoutCancel(), fmt.Sprint("undo ", i, why), n.body(fmt.Sprint("undo ", i, why)))
				}
				for i, p := range places {
					name := fmt.Sprint(i)
					step := func(ctx *durable.Context) (int, error) {
						return 0, durable.Do(ctx, name, func(context.Context) error { time.Sleep(p.delay); return nil })
					}
					var err error
					switch p.kind {
					case 0, 1:
						_, err = step(ctx)
					case 2:
						err = durable.Wait(ctx, name, p.delay)
					case 3:
						_, err = durable.RunInChildContext(ctx, name, step)
					case 4:
						_, err = durable.Map(ctx, name, []int{1, 2}, func(ctx *durable.Context, _, _ int) (int, error) { return step(ctx) })
					case 5:
						_, err = durable.Go(ctx, name, step).Await(ctx)
					}
					if err != nil {
						return undo(i, " error")
					}
					time.Sleep(p.pause) // plain code
					if ctx.Context().Err() != nil {
						return undo(i, " seen")
					}
					time.Sleep(p.pause) // between a look and the next operation
				}
				return "finished", nil
			}
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				if !scoped {
					return body(ctx)
				}
				var out string
				_, err := durable.RunInChildContext(ctx, "scope", func(ctx *durable.Context) (_ int, err error) {
					out, err = body(ctx)
					return 0, err
				}, durable.WithTimeout(after))
				if err != nil && out == "" && !errors.Is(err, durable.ErrTimeout) {
					return "", err
				}
				return "scope", durable.Wait(ctx, "sleep", time.Millisecond)
			})
			m := newMachine(t)
			b := m.open(durable.Options{ParkFor: []time.Duration{-1, time.Millisecond, 0}[rng.IntN(3)]}, f)
			x := start(b, f, 0)
			if rng.IntN(2) == 0 { // and it is lost now and then
				m.set(func() {
					m.onAppend = func(*checkpoint.Append) error { return lottery(rng, 20) }
					m.afterAppend = func(_ *checkpoint.Append, err error) error { return errors.Join(err, lottery(rng, 20)) }
				})
			}
			if !scoped {
				time.Sleep(after)
				b.cancel(x.ID())
			}
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			info := b.describe(x.ID())
			require.Nil(t, info.Held, "seed %d: %+v\n%s", seed, info.Held, strings.Join(b.history(x.ID()), "\n"))
			require.Equal(t, durable.ExecutionSucceeded, info.Status, "seed %d: %+v\n%s", seed, info.Failure, strings.Join(b.history(x.ID()), "\n"))
			undone := slices.Compact(n.all()) // a lost record makes a body run again
			require.LessOrEqual(t, len(undone), 1, "seed %d\n%s", seed, strings.Join(b.history(x.ID()), "\n"))
			checkHistory(b, fmt.Sprint("seed ", seed), x.ID())
		})
	}
}
