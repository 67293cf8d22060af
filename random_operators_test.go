package durable_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// TestRandomOperators lets operators do what they like with many executions at
// once, on a store that fails and in a process that dies now and then: every
// execution ends, once, and nothing is left behind.
func TestRandomOperators(t *testing.T) {
	t.Parallel()
	seeds := max(30, *randomPrograms/10)
	if testing.Short() {
		seeds = 5
	}
	for seed := uint64(1); seed <= uint64(seeds); seed++ {
		if *randomSeed != 0 && seed != *randomSeed {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 6))
			child := durable.Define("child", func(ctx *durable.Context, i int) (int, error) {
				if err := durable.Do(ctx, "work", func(ctx context.Context) error { return rest(ctx, time.Duration(i)*time.Second) }); err != nil {
					return 0, err
				}
				return i, durable.Wait(ctx, "sleep", time.Duration(i)*time.Minute)
			}, durable.WithExecutionTimeout(4*time.Minute))
			f := durable.Define("f", func(ctx *durable.Context, i int) (out int, err error) {
				defer func() {
					if err != nil && errors.Is(err, durable.ErrCanceled) {
						_, err = durable.Step(ctx.WithoutCancel(), "undo", func(ctx context.Context) (int, error) { return -1, rest(ctx, time.Second) })
					}
				}()
				if err := durable.Do(ctx, "work", func(ctx context.Context) error { return rest(ctx, time.Second) }, durable.AtMostOnce(),
					durable.WithRetry(durable.RetryPolicy{MaxAttempts: 100, Initial: time.Second})); err != nil {
					return 0, err
				}
				batch, err := durable.Map(ctx, "map", []int{1, 2, 3}, func(ctx *durable.Context, k, _ int) (int, error) {
					switch k {
					case 1:
						return durable.Invoke(ctx, "invoke", child, i%7, durable.WithTimeout(5*time.Minute))
					case 2:
						return durable.WaitForCallback[int](ctx, "cb", func(context.Context, string) error { return nil }, durable.WithTimeout(6*time.Minute), durable.WithHeartbeatTimeout(2*time.Minute))
					}
					return 0, durable.Do(ctx, "slow", func(ctx context.Context) error { return rest(ctx, 3*time.Minute) }, durable.WithTimeout(2*time.Minute))
				}, durable.WithMinSuccessful(2))
				if err != nil && !errors.Is(err, durable.ErrMinSuccessfulNotReached) {
					return 0, err
				}
				return batch.Succeeded(), durable.Wait(ctx, "sleep", time.Minute)
			})
			m := newMachine(t)
			m.onAppend = func(*checkpoint.Append) error { return lottery(rng, 5) }
			m.afterAppend = func(_ *checkpoint.Append, err error) error { return errors.Join(err, lottery(rng, 5)) }
			draw := func(n int) int {
				lots.Lock()
				defer lots.Unlock()
				return rng.IntN(n)
			}
			opts := durable.Options{ParkFor: []time.Duration{-1, 0, time.Minute}[draw(3)], MaxResident: []int{0, 3}[draw(2)]}
			b := m.open(opts, f, child)
			ctx := context.Background()
			expected := func(err error, these ...error) {
				t.Helper()
				for _, e := range these {
					if errors.Is(err, e) {
						return
					}
				}
				require.NoError(t, err, "seed %d", seed)
			}
			for range 250 {
				id := fmt.Sprint("x", draw(15))
				switch draw(14) {
				case 0, 1, 2:
					_, err := f.Start(ctx, b.engine, 7, durable.WithExecutionID(id))
					expected(err)
				case 3:
					err := b.engine.Stop(ctx, id, "enough")
					expected(err, durable.ErrExecutionNotFound)
					if info, err := b.engine.Describe(ctx, id); err == nil {
						require.NotEqual(t, durable.ExecutionRunning, info.Status, "seed %d", seed)
					}
				case 4:
					expected(b.engine.Cancel(ctx, id, "enough"), durable.ErrExecutionNotFound)
				case 5:
					expected(b.engine.Resume(ctx, id), durable.ErrExecutionNotFound)
				case 6:
					expected(b.engine.Delete(ctx, id), durable.ErrExecutionNotFound, durable.ErrExecutionRunning)
				case 7, 8, 9:
					short, done := context.WithTimeout(ctx, time.Millisecond)
					cb, err := b.engine.CallbackID(short, id, "cb")
					done()
					expected(err, durable.ErrExecutionNotFound, durable.ErrCallbackNotFound, context.DeadlineExceeded)
					if err != nil {
						break
					}
					if draw(3) == 0 {
						expected(b.engine.HeartbeatCallback(ctx, cb), durable.ErrCallbackCompleted, durable.ErrCallbackNotFound)
					} else {
						expected(b.engine.SucceedCallback(ctx, cb, 1), durable.ErrCallbackCompleted, durable.ErrCallbackNotFound)
					}
				case 10:
					go f.Attach(b.engine, id).Result(ctx)
				case 11:
					for _, err := range b.engine.History(ctx, id) {
						expected(err, durable.ErrExecutionNotFound)
					}
				case 12:
					if draw(4) == 0 {
						m.kill(b)
						b = m.open(opts, f, child)
					}
				case 13:
					if draw(4) == 0 {
						short, done := context.WithTimeout(ctx, time.Duration(draw(3000))*time.Millisecond)
						_ = b.engine.Shutdown(short)
						done()
						m.kill(b)
						b = m.open(opts, f, child)
					}
				}
				time.Sleep(time.Duration(draw(3000)) * time.Millisecond)
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			for info, err := range b.engine.Executions(ctx, durable.Query{}) {
				require.NoError(t, err)
				require.NotEqual(t, durable.ExecutionRunning, info.Status, "seed %d: %+v\n%s", seed, info, strings.Join(b.history(info.ID), "\n"))
				require.Empty(t, callbacksOf(b, info.ID))
				checkHistory(b, fmt.Sprint("seed ", seed), info.ID)
			}
			stats := b.engine.Stats()
			require.Zero(t, stats.Resident, "seed %d", seed)
			require.Zero(t, stats.Bodies, "seed %d", seed)
			require.NoError(t, b.engine.Shutdown(ctx))
		})
		if t.Failed() {
			t.Logf("to repeat it: go test -run '%s$' -random.seed=%d", t.Name(), seed)
			return
		}
	}
}
