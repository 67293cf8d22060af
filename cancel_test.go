package durable_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// cancel cancels an execution and fails the test if it can't.
func (b *bundle) cancel(id string) {
	b.Helper()
	require.NoError(b, b.engine.Cancel(context.Background(), id, "enough"))
}

// complete completes the callback of an execution that has a name.
func (b *bundle) complete(id, name string, payload any) {
	b.Helper()
	cb, err := b.engine.CallbackID(context.Background(), id, name)
	require.NoError(b, err)
	require.NoError(b, b.engine.SucceedCallback(context.Background(), cb, payload))
}

// operation is one operation of an execution.
func (b *bundle) operation(id, operationID string) durable.Operation {
	b.Helper()
	ops, err := b.engine.Operations(context.Background(), id)
	require.NoError(b, err)
	for _, o := range ops {
		if o.ID == operationID {
			return o
		}
	}
	require.Fail(b, "no such operation", "%s of %s", operationID, id)
	return durable.Operation{}
}

// bothWays runs a test once with executions that leave memory whenever they can,
// and once with executions that stay.
func bothWays(t *testing.T, name string, f func(t *testing.T, parkFor time.Duration)) {
	t.Helper()
	inBubble(t, name+"/Suspended", func(t *testing.T) { f(t, -1) })
	inBubble(t, name+"/Resident", func(t *testing.T) { f(t, 1000*time.Hour) })
}

func TestCancel(t *testing.T) {
	bothWays(t, "EveryOpenOperationFailsBehindTheCancel", func(t *testing.T, parkFor time.Duration) {
		child := durable.Define("child", func(ctx *durable.Context, _ int) (int, error) {
			return 0, durable.Wait(ctx, "child sleep", 100*time.Hour)
		})
		var mu sync.Mutex
		var got map[string]error
		kinds := map[string]func(ctx *durable.Context) error{
			"wait": func(ctx *durable.Context) error { return durable.Wait(ctx, "wait", 100*time.Hour) },
			"timer": func(ctx *durable.Context) error {
				return durable.After(ctx, "timer", 100*time.Hour).Await(ctx)
			},
			"callback": func(ctx *durable.Context) error {
				cb, err := durable.CreateCallback[int](ctx, "callback")
				if err != nil {
					return err
				}
				_, err = cb.Await(ctx)
				return err
			},
			"submitted": func(ctx *durable.Context) error {
				_, err := durable.WaitForCallback[int](ctx, "submitted", func(context.Context, string) error { return nil })
				return err
			},
			"retry": func(ctx *durable.Context) error {
				return durable.Do(ctx, "retry", func(context.Context) error { return errors.New("not yet") },
					durable.WithRetry(durable.RetryPolicy{Initial: 100 * time.Hour, Max: 100 * time.Hour, Jitter: durable.NoJitter}))
			},
			"poll": func(ctx *durable.Context) error {
				_, err := durable.WaitForCondition(ctx, "poll", 0, func(_ context.Context, s int) (int, error) { return s + 1, nil },
					durable.PollEvery(100*time.Hour, func(int) bool { return false }))
				return err
			},
			"invoke": func(ctx *durable.Context) error {
				_, err := durable.Invoke(ctx, "invoke", child, 0)
				return err
			},
			"nested": func(ctx *durable.Context) error {
				_, err := durable.RunInChildContext(ctx, "nested", func(ctx *durable.Context) (int, error) {
					return 0, durable.Wait(ctx, "inner", 100*time.Hour)
				})
				return err
			},
			"select": func(ctx *durable.Context) error {
				first, err := durable.Select(ctx, "select", durable.After(ctx, "a", 100*time.Hour), durable.After(ctx, "b", 200*time.Hour))
				if err != nil {
					return err
				}
				return first.(*durable.Timer).Await(ctx)
			},
			"settled": func(ctx *durable.Context) (err error) {
				for s := range durable.Settled(ctx, "settled", durable.After(ctx, "a", 100*time.Hour)) {
					err = s.(*durable.Timer).Await(ctx)
				}
				return err
			},
			"race": func(ctx *durable.Context) error {
				_, err := durable.Race(ctx, "race", durable.Go(ctx, "go", func(ctx *durable.Context) (int, error) {
					return 0, durable.Wait(ctx, "inner", 100*time.Hour)
				}))
				return err
			},
			"any": func(ctx *durable.Context) error {
				_, err := durable.Any(ctx, "any", durable.Go(ctx, "go", func(ctx *durable.Context) (int, error) {
					return 0, durable.Wait(ctx, "inner", 100*time.Hour)
				}))
				return err
			},
			"all": func(ctx *durable.Context) error {
				_, err := durable.All(ctx, "all", durable.Go(ctx, "go", func(ctx *durable.Context) (int, error) {
					return 0, durable.Wait(ctx, "inner", 100*time.Hour)
				}))
				return err
			},
		}
		var names []string
		for name := range kinds {
			names = append(names, name)
		}
		slices.Sort(names)
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			var futures []*durable.Future[int]
			for _, name := range names {
				futures = append(futures, durable.Go(ctx, name, func(ctx *durable.Context) (int, error) {
					err := kinds[name](ctx)
					mu.Lock()
					got[name] = err
					mu.Unlock()
					return 0, err
				}))
			}
			var all error
			for _, future := range futures {
				_, err := future.Await(ctx)
				all = errors.Join(all, err)
			}
			return 0, all
		})
		got = make(map[string]error)
		b := setupWith(t, durable.Options{ParkFor: parkFor}, f, child)
		x := start(b, f, 0)
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Empty(t, got)
		before := len(b.history(x.ID()))
		cancelled := time.Now()
		b.cancel(x.ID())
		_, err := x.Result(b.ctx)
		require.ErrorIs(t, err, durable.ErrCanceled)
		require.Equal(t, cancelled, time.Now())
		for _, name := range names {
			require.ErrorIs(t, got[name], durable.ErrCanceled, name)
			require.NotErrorIs(t, got[name], context.Canceled, name)
			failure, ok := errors.AsType[*durable.Failure](got[name])
			require.True(t, ok, name)
			require.Equal(t, "Canceled", failure.Type, name)
		}
		types := map[string]int{}
		for _, l := range b.history(x.ID())[before:] {
			types[strings.Fields(l)[0]]++
		}
		require.Equal(t, 9, types["WaitCancelled"])
		require.Equal(t, 2, types["CallbackFailed"])
		require.Equal(t, 2, types["StepFailed"])
		require.Equal(t, 1, types["ChainedInvokeStopped"])
		info := b.describe(x.ID())
		require.Equal(t, durable.ExecutionFailed, info.Status)
		require.Equal(t, "Canceled", info.Failure.Type)

		// The invoked execution is cancelled too.
		for child, err := range b.engine.Executions(b.ctx, durable.Query{Function: "child"}) {
			require.NoError(t, err)
			require.Equal(t, x.ID(), child.Parent)
			_, err := b.engine.ResultJSON(b.ctx, child.ID)
			require.ErrorIs(t, err, durable.ErrCanceled)
		}
	})

	inBubble(t, "AReplayTakesTheSameArm", func(t *testing.T) {
		// The handler looks at its context between operations. What it saw then it
		// must see again, although the cancel is recorded by now.
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			std := ctx.Context()
			n.add("enter %v", context.Cause(std))
			if _, err := durable.Step(ctx, "reserve", n.body("reserve")); err != nil {
				return "", err
			}
			n.add("reserved %v", context.Cause(std))
			if ctx.Context().Err() != nil {
				return durable.Step(ctx.WithoutCancel(), "undo", n.body("undo"))
			}
			if _, err := durable.Step(ctx, "next", n.body("next")); err != nil {
				return "", err
			}
			n.add("next %v", context.Cause(std))
			err := durable.Wait(ctx, "sleep", time.Hour)
			n.add("slept %v", context.Cause(std))
			if !errors.Is(err, durable.ErrCanceled) {
				return "", fmt.Errorf("not cancelled: %w", err)
			}
			if err := durable.Wait(ctx.WithoutCancel(), "calm down", time.Hour); err != nil {
				return "", err
			}
			return durable.Step(ctx.WithoutCancel(), "undo next", n.body("undo next"))
		})
		b := setup(t, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		b.cancel(x.ID())
		out, err := x.Result(b.ctx)
		require.NoError(t, err)
		require.Equal(t, "undo next", out)
		seen := []string{"enter <nil>", "reserved <nil>", "next <nil>", "slept " + durable.ErrCanceled.Error()}
		require.Equal(t, slices.Concat(
			[]string{"enter <nil>", "reserve", "reserved <nil>", "next", "next <nil>"}, // until it sleeps
			seen,                        // the cancel wakes it, it sleeps again
			seen, []string{"undo next"}, // and goes on
		), n.all())
		require.Nil(t, b.describe(x.ID()).Held)
		require.Equal(t, []string{
			"ExecutionStarted", "StepStarted 1 reserve", "StepSucceeded 1 reserve", "StepStarted 2 next", "StepSucceeded 2 next", "WaitStarted 3 sleep", "InvocationCompleted",
			"WaitCancelled 3 sleep", "WaitStarted 4 calm down", "InvocationCompleted",
			"WaitSucceeded 4 calm down", "StepStarted 5 undo next", "StepSucceeded 5 undo next", "InvocationCompleted", "ExecutionSucceeded",
		}, b.history(x.ID()))
	})

	inBubble(t, "ACancelBetweenALookAtTheContextAndTheNextOperation", func(t *testing.T) {
		// The handler looks, and sees nothing; the cancel comes; the next operation is
		// refused. A replay must not see the cancel at that look.
		var n notes
		looked, cancelled := make(chan struct{}, 1), make(chan struct{})
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			if _, err := durable.Step(ctx, "reserve", n.body("reserve")); err != nil {
				return "", err
			}
			if ctx.Context().Err() != nil {
				return durable.Step(ctx.WithoutCancel(), "undo reserve", n.body("undo reserve"))
			}
			select {
			case looked <- struct{}{}:
			default:
			}
			<-cancelled // plain code that takes its time
			_, err := durable.Step(ctx, "next", n.body("next"))
			if !errors.Is(err, durable.ErrCanceled) {
				return "", fmt.Errorf("not cancelled: %w", err)
			}
			if _, err := durable.Step(ctx.WithoutCancel(), "undo both", n.body("undo both")); err != nil {
				return "", err
			}
			return "undone", durable.Wait(ctx.WithoutCancel(), "sleep", time.Hour)
		})
		b := setup(t, f)
		x := start(b, f, 0)
		<-looked
		b.cancel(x.ID())
		synctest.Wait()
		close(cancelled)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		require.Nil(t, b.describe(x.ID()).Held, "%+v", b.describe(x.ID()).Held)
		out, err := within(b, x, time.Hour)
		require.NoError(t, err)
		require.Equal(t, "undone", out)
		require.Equal(t, []string{"reserve", "undo both"}, n.all())
	})
}

// compensate waits, and when it is cancelled undoes something in a step that
// takes three attempts and hours.
func compensate(n *notes) func(ctx *durable.Context) (int, error) {
	return func(ctx *durable.Context) (int, error) {
		err := durable.Wait(ctx, "sleep", 100*time.Hour)
		if !errors.Is(err, durable.ErrCanceled) {
			return 0, fmt.Errorf("not cancelled: %w", err)
		}
		undo := ctx.WithoutCancel()
		if err := durable.Wait(undo, "calm down", time.Hour); err != nil {
			return 0, err
		}
		return 1, durable.Do(undo, "undo", func(ctx context.Context) error {
			if ctx.Err() != nil {
				return durable.Permanent(ctx.Err())
			}
			info, _ := durable.StepInfoFrom(ctx)
			n.add("undo %d", info.Attempt)
			if info.Attempt < 3 {
				return errors.New("not yet")
			}
			return nil
		}, durable.WithRetry(durable.RetryPolicy{Initial: time.Hour, Jitter: durable.NoJitter}))
	}
}

func TestWithoutCancel(t *testing.T) {
	// Compensation may take its time and leave memory, wherever it stands.
	type undo = func(ctx *durable.Context) (int, error)
	places := map[string]func(ctx *durable.Context, undo undo) (int, error){
		"InTheHandler": func(ctx *durable.Context, undo undo) (int, error) { return undo(ctx) },
		"InAChild": func(ctx *durable.Context, undo undo) (int, error) {
			return durable.RunInChildContext(ctx, "child", undo)
		},
		"InAFuture": func(ctx *durable.Context, undo undo) (int, error) {
			return durable.Go(ctx, "go", undo).Await(ctx)
		},
		"InAnItem": func(ctx *durable.Context, undo undo) (int, error) {
			batch, err := durable.Map(ctx, "map", []string{"a", "b"}, func(ctx *durable.Context, item string, _ int) (int, error) {
				if item == "a" {
					return 0, durable.Wait(ctx, "a", 100*time.Hour)
				}
				return undo(ctx)
			}, durable.WithToleratedFailures(1))
			if err != nil {
				return 0, err
			}
			return batch.Succeeded(), nil
		},
		"InAFlatItem": func(ctx *durable.Context, undo undo) (int, error) {
			batch, err := durable.Map(ctx, "map", []string{"a"}, func(ctx *durable.Context, _ string, _ int) (int, error) { return undo(ctx) }, durable.Flat())
			if err != nil {
				return 0, err
			}
			return batch.Succeeded(), nil
		},
		"InAnInvokedExecution": func(ctx *durable.Context, undo undo) (int, error) {
			return durable.InvokeByName[int](ctx, "invoke", "child", 0)
		},
	}
	for name, place := range places {
		bothWays(t, name, func(t *testing.T, parkFor time.Duration) {
			var n notes
			child := durable.Define("child", func(ctx *durable.Context, _ int) (int, error) { return compensate(&n)(ctx) })
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return place(ctx, compensate(&n)) })
			b := setupWith(t, durable.Options{ParkFor: parkFor}, f, child)
			x := start(b, f, 0)
			time.Sleep(time.Minute)
			b.cancel(x.ID())
			_, _ = x.Result(b.ctx)
			time.Sleep(100 * time.Hour) // an invoked execution outlives its caller
			require.Equal(t, []string{"undo 1", "undo 2", "undo 3"}, n.all())
		})
	}

	bothWays(t, "ShieldsAWholeChild", func(t *testing.T, parkFor time.Duration) {
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			if err := durable.Wait(ctx, "sleep", 100*time.Hour); !errors.Is(err, durable.ErrCanceled) {
				return "", fmt.Errorf("not cancelled: %w", err)
			}
			return durable.RunInChildContext(ctx.WithoutCancel(), "undo all", func(ctx *durable.Context) (string, error) {
				if err := durable.Wait(ctx, "calm down", time.Hour); err != nil {
					return "", err
				}
				batch, err := durable.Map(ctx, "map", []string{"a", "b"}, durable.AsStep(func(ctx context.Context, item string) (string, error) {
					n.add("%s", item)
					return item, ctx.Err()
				}), durable.WithMaxConcurrency(1))
				if err != nil {
					return "", err
				}
				return strings.Join(batch.Values(), "+"), context.Cause(ctx.Context())
			})
		})
		b := setupWith(t, durable.Options{ParkFor: parkFor}, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		b.cancel(x.ID())
		out, err := x.Result(b.ctx)
		require.NoError(t, err)
		require.Equal(t, "a+b", out)
		require.Equal(t, []string{"a", "b"}, n.all())
	})
}

func TestCancelOfBodies(t *testing.T) {
	inBubble(t, "ARunningBodySeesItsContextEnd", func(t *testing.T) {
		var cause error
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			return 1, durable.Do(ctx, "slow", func(ctx context.Context) error {
				<-ctx.Done()
				cause = context.Cause(ctx)
				return ctx.Err()
			})
		})
		b := setup(t, f)
		x := start(b, f, 0)
		synctest.Wait()
		b.cancel(x.ID())
		_, err := x.Result(b.ctx)
		require.ErrorIs(t, err, durable.ErrCanceled)
		require.Equal(t, durable.ErrCanceled, cause)
		require.Equal(t, []string{"ExecutionStarted", "StepStarted 1 slow", "StepFailed 1 slow", "InvocationCompleted", "ExecutionFailed"}, b.history(x.ID()),
			"it is not tried again")
		require.Equal(t, "Canceled", b.operation(x.ID(), "1").Failure.Type)
	})

	inBubble(t, "ABodyThatEndsWellAfterTheCancelHasSucceeded", func(t *testing.T) {
		release := make(chan struct{})
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			v, err := durable.Step(ctx, "slow", func(ctx context.Context) (string, error) {
				n.add("slow")
				<-release
				return "value", nil
			})
			n.add("%s %v", v, err)
			_, err = durable.Step(ctx, "next", n.body("next"))
			n.add("%v", errors.Is(err, durable.ErrCanceled))
			return v, durable.Wait(ctx.WithoutCancel(), "sleep", time.Hour)
		})
		b := setup(t, f)
		x := start(b, f, 0)
		synctest.Wait()
		b.cancel(x.ID())
		time.Sleep(time.Minute)
		close(release)
		out, err := x.Result(b.ctx)
		require.NoError(t, err)
		require.Equal(t, "value", out)
		require.Equal(t, []string{"slow", "value <nil>", "true", "value <nil>", "true"}, n.all(), "first run and replay")
		require.Equal(t, durable.OperationSucceeded, b.operation(x.ID(), "1").Status)
	})

	inBubble(t, "ABodyCutOffAfterTheCancelDoesNotRunAgain", func(t *testing.T) {
		m := newMachine(t)
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			return 0, durable.Do(ctx, "slow", func(ctx context.Context) error {
				n.add("slow")
				time.Sleep(time.Hour)
				return nil
			})
		})
		b := m.open(durable.Options{}, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		b.cancel(x.ID())
		time.Sleep(time.Minute)
		m.kill(b)
		b = m.open(durable.Options{}, f)
		_, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
		require.ErrorIs(t, err, durable.ErrCanceled)
		require.Equal(t, []string{"slow"}, n.all())
		time.Sleep(time.Hour)
	})

	inBubble(t, "ABodyMayCancelItsOwnExecution", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			v, err := durable.Step(ctx, "cancel", func(ctx context.Context) (string, error) {
				info, _ := durable.StepInfoFrom(ctx)
				err := info.Engine.Cancel(ctx, info.ExecutionID, "by itself")
				<-ctx.Done()
				return "did it", err
			})
			if err != nil {
				return "", err
			}
			return v, durable.Wait(ctx, "sleep", time.Hour)
		})
		b := setup(t, f)
		x := start(b, f, 0)
		_, err := within(b, x, time.Minute)
		require.ErrorIs(t, err, durable.ErrCanceled)
		require.JSONEq(t, `"did it"`, string(b.operation(x.ID(), "1").Result))
	})

	inBubble(t, "ABodyThatGoesOnIsLoggedAndNamed", func(t *testing.T) {
		release := make(chan struct{})
		book := new(logBook)
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			return 0, durable.Do(ctx, "stubborn", func(ctx context.Context) error { <-release; return nil })
		})
		b := setupWith(t, durable.Options{Logger: book.logger()}, f)
		x := start(b, f, 0)
		synctest.Wait()
		b.cancel(x.ID())
		time.Sleep(9 * time.Second)
		require.Empty(t, book.lines("stubborn"))
		time.Sleep(2 * time.Second)
		require.Len(t, book.lines("stubborn"), 1)
		require.Equal(t, []string{"1"}, b.describe(x.ID()).Bodies)
		close(release)
		_, err := x.Result(b.ctx)
		require.NoError(t, err)
	})
}

func TestCancelRefuses(t *testing.T) {
	bothWays(t, "LaterOperationsTakeTheirPositionWithoutARecord", func(t *testing.T, parkFor time.Duration) {
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			_ = durable.Wait(ctx, "sleep", 100*time.Hour) // 1
			_, err := durable.Step(ctx, "refused", n.body("refused"))
			n.add("step %v", errors.Is(err, durable.ErrCanceled)) // 2
			_, err = durable.CreateCallback[int](ctx, "refused")
			n.add("callback %v", errors.Is(err, durable.ErrCanceled)) // 3
			_, err = durable.Map(ctx, "refused", []int{1}, func(*durable.Context, int, int) (int, error) { n.add("item"); return 0, nil })
			n.add("map %v", errors.Is(err, durable.ErrCanceled)) // 4
			_, err = durable.Go(ctx, "refused", func(*durable.Context) (int, error) { n.add("branch"); return 0, nil }).Await(ctx)
			n.add("go %v", errors.Is(err, durable.ErrCanceled)) // 5
			err = durable.After(ctx, "refused", time.Hour).Await(ctx)
			n.add("after %v", errors.Is(err, durable.ErrCanceled)) // 6
			_, err = durable.InvokeByName[int](ctx, "refused", "f", 0)
			n.add("invoke %v", errors.Is(err, durable.ErrCanceled)) // 7
			_, err = durable.RunInChildContext(ctx, "refused", func(*durable.Context) (int, error) { n.add("child"); return 0, nil })
			n.add("child %v", errors.Is(err, durable.ErrCanceled))         // 8
			return 0, durable.Wait(ctx.WithoutCancel(), "undo", time.Hour) // 9
		})
		b := setupWith(t, durable.Options{ParkFor: parkFor}, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		b.cancel(x.ID())
		time.Sleep(time.Minute)
		want := []string{"step true", "callback true", "map true", "go true", "after true", "invoke true", "child true"}
		require.Equal(t, want, n.all())
		_, err := x.Result(b.ctx)
		require.NoError(t, err)
		if parkFor < 0 {
			require.Equal(t, want, n.all()[len(want):], "on replay")
		}
		var ids []string
		ops, err := b.engine.Operations(b.ctx, x.ID())
		require.NoError(t, err)
		for _, o := range ops {
			ids = append(ids, o.ID)
		}
		require.Equal(t, []string{"1", "9"}, ids)
	})

	loops := map[string]func(ctx *durable.Context, refused *atomic.Int32){
		"Steps": func(ctx *durable.Context, refused *atomic.Int32) {
			for durable.Do(ctx, "again", func(context.Context) error { return nil }) != nil {
				refused.Add(1)
			}
		},
		"Waits": func(ctx *durable.Context, refused *atomic.Int32) {
			for durable.Wait(ctx, "again", time.Hour) != nil {
				refused.Add(1)
			}
		},
		"Children": func(ctx *durable.Context, refused *atomic.Int32) {
			for {
				durable.RunInChildContext(ctx, "again", func(ctx *durable.Context) (int, error) { return 0, nil })
				refused.Add(1)
			}
		},
		"Callbacks": func(ctx *durable.Context, refused *atomic.Int32) {
			for {
				durable.WaitForCallback[int](ctx, "again", func(context.Context, string) error { return nil })
				refused.Add(1)
			}
		},
		"AroundABatch": func(ctx *durable.Context, refused *atomic.Int32) {
			durable.Map(ctx.WithoutCancel(), "map", []int{1}, func(ctx *durable.Context, _, _ int) (int, error) {
				return 0, durable.Wait(ctx, "undo", time.Hour)
			})
			for durable.Wait(ctx, "again", time.Hour) != nil {
				refused.Add(1)
			}
		},
	}
	for name, loop := range loops {
		bothWays(t, "AHandlerThatGoesOnIsEnded/"+name, func(t *testing.T, parkFor time.Duration) {
			var refused atomic.Int32
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				_ = durable.Wait(ctx, "sleep", 100*time.Hour)
				loop(ctx, &refused)
				return 1, nil
			})
			b := setupWith(t, durable.Options{ParkFor: parkFor}, f)
			x := start(b, f, 0)
			time.Sleep(time.Minute)
			b.cancel(x.ID())
			_, err := x.Result(b.ctx)
			require.ErrorIs(t, err, durable.ErrCanceled)
			failure, _ := errors.AsType[*durable.Failure](err)
			require.Equal(t, "Canceled", failure.Type)
			require.Contains(t, failure.Message, "1000")
			require.EqualValues(t, 999, refused.Load())
			require.Equal(t, durable.ExecutionFailed, b.describe(x.ID()).Status)
		})
	}

	inBubble(t, "AHandlerThatStopsInTimeIsNot", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			_ = durable.Wait(ctx, "sleep", 100*time.Hour)
			for range 3 {
				for range 999 {
					_ = durable.Wait(ctx, "again", time.Hour)
				}
				if err := durable.Wait(ctx.WithoutCancel(), "undo", time.Hour); err != nil {
					return 0, err
				}
			}
			return 42, nil
		})
		b := setup(t, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		b.cancel(x.ID())
		out, err := x.Result(b.ctx)
		require.NoError(t, err)
		require.Equal(t, 42, out)
	})
}

func TestCancelAtAnyTime(t *testing.T) {
	inBubble(t, "BeforeTheHandlerFirstRuns", func(t *testing.T) {
		m := newMachine(t)
		claims := make(chan struct{})
		m.onClaim = func() error { <-claims; return nil }
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			n.add("entered, context: %v", context.Cause(ctx.Context()))
			_, err := durable.Step(ctx, "a", n.body("a"))
			return 0, err
		})
		block := make(chan struct{})
		blocker := durable.Define("blocker", func(ctx *durable.Context, _ int) (int, error) {
			return 0, durable.Do(ctx, "block", func(context.Context) error { <-block; return nil })
		})
		b := m.open(durable.Options{MaxResident: 1}, f, blocker)
		start(b, blocker, 0)
		x := start(b, f, 0)
		synctest.Wait()
		b.cancel(x.ID())
		synctest.Wait()
		require.Empty(t, n.all())
		close(block)
		close(claims)
		_, err := x.Result(b.ctx)
		require.ErrorIs(t, err, durable.ErrCanceled)
		require.Equal(t, []string{"entered, context: " + durable.ErrCanceled.Error()}, n.all())
	})

	inBubble(t, "WhileItIsHeld", func(t *testing.T) {
		var fixed atomic.Bool
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			name := "old"
			if !fixed.Load() && n.all() != nil && len(n.all()) > 0 {
				name = "new"
			}
			if _, err := durable.Step(ctx, name, n.body(name)); err != nil {
				return "", err
			}
			if err := durable.Wait(ctx, "sleep", time.Hour); !errors.Is(err, durable.ErrCanceled) {
				return "", fmt.Errorf("not cancelled: %w", err)
			}
			return durable.Step(ctx.WithoutCancel(), "undo", n.body("undo"))
		})
		b := setup(t, f)
		x := start(b, f, 0)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		require.NotNil(t, b.describe(x.ID()).Held)
		before := b.history(x.ID())
		b.cancel(x.ID())
		time.Sleep(time.Hour)
		info := b.describe(x.ID())
		require.NotNil(t, info.Held, "a cancel does not lift a hold")
		require.Equal(t, durable.ExecutionRunning, info.Status)
		require.Equal(t, before, b.history(x.ID()))
		fixed.Store(true)
		require.NoError(t, b.engine.Resume(b.ctx, x.ID()))
		// Its wait was over before the cancel, and says so.
		_, err := x.Result(b.ctx)
		require.ErrorContains(t, err, "not cancelled")
	})

	inBubble(t, "WhatHasEndedIsLeftAlone", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 42, nil })
		b := setup(t, f)
		x := start(b, f, 0)
		_, err := x.Result(b.ctx)
		require.NoError(t, err)
		before := b.history(x.ID())
		b.cancel(x.ID())
		synctest.Wait()
		require.Equal(t, before, b.history(x.ID()))
		require.Equal(t, durable.ExecutionSucceeded, b.describe(x.ID()).Status)
		require.ErrorIs(t, b.engine.Cancel(b.ctx, "nobody", ""), durable.ErrExecutionNotFound)
		require.ErrorIs(t, b.engine.Cancel(b.ctx, "", ""), durable.ErrInvalidID)
	})

	inBubble(t, "TwiceIsOnce", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			err := durable.Wait(ctx, "sleep", 100*time.Hour)
			if err := durable.Wait(ctx.WithoutCancel(), "undo", time.Hour); err != nil {
				return 0, err
			}
			return 0, err
		})
		b := setup(t, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		b.cancel(x.ID())
		time.Sleep(time.Minute)
		b.cancel(x.ID())
		_, err := x.Result(b.ctx)
		require.ErrorIs(t, err, durable.ErrCanceled)
		require.ErrorContains(t, err, "enough", "the reason that was given")
		require.Equal(t, []string{
			"ExecutionStarted", "WaitStarted 1 sleep", "InvocationCompleted", "WaitCancelled 1 sleep", "WaitStarted 2 undo", "InvocationCompleted",
			"WaitSucceeded 2 undo", "InvocationCompleted", "ExecutionFailed",
		}, b.history(x.ID()))
	})

	inBubble(t, "AHandlerMaySucceedAllTheSame", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			if err := durable.Wait(ctx, "sleep", 100*time.Hour); err != nil {
				return "stopped half way", nil
			}
			return "", nil
		})
		b := setup(t, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		b.cancel(x.ID())
		out, err := x.Result(b.ctx)
		require.NoError(t, err)
		require.Equal(t, "stopped half way", out)
	})

	inBubble(t, "ReachesInvokedExecutionsAllTheWayDown", func(t *testing.T) {
		var n notes
		leaf := durable.Define("leaf", func(ctx *durable.Context, _ int) (int, error) {
			err := durable.Wait(ctx, "sleep", 100*time.Hour)
			n.add("leaf %v", errors.Is(err, durable.ErrCanceled))
			return 0, err
		})
		middle := durable.Define("middle", func(ctx *durable.Context, _ int) (int, error) { return durable.Invoke(ctx, "leaf", leaf, 0) })
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			_, err := durable.Invoke(ctx, "middle", middle, 0)
			n.add("f %v", errors.Is(err, durable.ErrCanceled))
			return 0, err
		})
		b := setup(t, f, middle, leaf)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		b.cancel(x.ID())
		_, err := x.Result(b.ctx)
		require.ErrorIs(t, err, durable.ErrCanceled)
		synctest.Wait()
		require.ElementsMatch(t, []string{"f true", "leaf true"}, n.all())
		require.Equal(t, durable.OperationStopped, b.operation(x.ID(), "1").Status)
		for info, err := range b.engine.Executions(b.ctx, durable.Query{}) {
			require.NoError(t, err)
			require.Equal(t, durable.ExecutionFailed, info.Status, info.Function)
			require.Equal(t, "Canceled", info.Failure.Type, info.Function)
		}
	})

	for what, end := range map[string]func(ctx *durable.Context, invoke func(ctx *durable.Context) (int, error)) error{
		"Cancel": func(ctx *durable.Context, invoke func(ctx *durable.Context) (int, error)) error {
			_, err := invoke(ctx)
			return err
		},
		"Abandon": func(ctx *durable.Context, invoke func(ctx *durable.Context) (int, error)) error {
			_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
				durable.Go(ctx, "invoke", invoke)
				return 1, durable.Wait(ctx, "sleep", 30*time.Minute)
			})
			return err
		},
		"Timeout": func(ctx *durable.Context, invoke func(ctx *durable.Context) (int, error)) error {
			_, err := durable.RunInChildContext(ctx, "child", invoke, durable.WithTimeout(30*time.Minute))
			return err
		},
	} {
		inBubble(t, "WhileAnInvokedExecutionIsOnItsWay/"+what, func(t *testing.T) {
			if what == "Abandon" {
			}
			m := newMachine(t)
			create := make(chan struct{})
			m.onCreate = func(c *checkpoint.Creation) error {
				if c.Caller != nil {
					<-create
				}
				return nil
			}
			var after atomic.Int32
			child := durable.Define("child", func(ctx *durable.Context, _ int) (int, error) {
				err := durable.Wait(ctx, "sleep", 10*time.Hour)
				if err == nil {
					after.Add(1)
				}
				return 0, err
			})
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				err := end(ctx, func(ctx *durable.Context) (int, error) { return durable.Invoke(ctx, "invoke", child, 0) })
				return 0, errors.Join(err, durable.Wait(ctx.WithoutCancel(), "sleep", 20*time.Hour))
			})
			b := m.open(durable.Options{}, f, child)
			x := start(b, f, 0)
			synctest.Wait()
			if what == "Cancel" {
				b.cancel(x.ID())
			} else {
				time.Sleep(time.Hour)
			}
			synctest.Wait()
			close(create)
			_, _ = within(b, x, 100*time.Hour)
			require.Zero(t, after.Load(), "it is cancelled, or never created")
			for info, err := range b.engine.Executions(b.ctx, durable.Query{Function: "child"}) {
				require.NoError(t, err)
				require.Equal(t, durable.ExecutionFailed, info.Status)
			}
		})
	}

	inBubble(t, "ACrashBeforeItIsRecordedDoesNotLoseIt", func(t *testing.T) {
		m := newMachine(t)
		slow, closing, crashed := make(chan struct{}), make(chan struct{}), make(chan struct{})
		m.onDeliver = func(d *checkpoint.Delivery) error {
			if d.Record.Type != checkpoint.CallbackFailed {
				return nil
			}
			close(closing) // the cancel is about to be recorded
			<-crashed
			return checkpoint.ErrClosed
		}
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			cb, err := durable.CreateCallback[string](ctx, "cb")
			if err != nil {
				return "", err
			}
			if err := durable.Do(ctx, "slow", func(context.Context) error { <-slow; return nil }); err != nil {
				return "", err
			}
			return cb.Await(ctx)
		})
		b := m.open(durable.Options{}, f)
		x := start(b, f, 0)
		synctest.Wait()
		b.cancel(x.ID())
		<-closing
		close(slow) // meanwhile something else is recorded
		time.Sleep(100 * time.Millisecond)
		require.Equal(t, durable.OperationSucceeded, b.operation(x.ID(), "2").Status)
		m.set(func() { m.onDeliver = nil })
		b.store.(*tap).dead.Store(true)
		close(crashed)
		m.kill(b)

		b = m.open(durable.Options{}, f)
		ctx, done := context.WithTimeout(b.ctx, time.Hour)
		defer done()
		_, err := f.Attach(b.engine, x.ID()).Result(ctx)
		require.ErrorIs(t, err, durable.ErrCanceled)
	})

	inBubble(t, "AStoreThatFailsForAMomentDoesNotLoseIt", func(t *testing.T) {
		m := newMachine(t)
		var failed atomic.Bool
		m.onDeliver = func(d *checkpoint.Delivery) error {
			if d.Record.Type == checkpoint.CallbackFailed && failed.CompareAndSwap(false, true) {
				return errors.New("connection reset")
			}
			return nil
		}
		b := m.open(durable.Options{ParkFor: -1}, awaitCallback)
		x := start(b, awaitCallback, 0)
		synctest.Wait()
		b.cancel(x.ID())
		ctx, done := context.WithTimeout(b.ctx, time.Hour)
		defer done()
		_, err := x.Result(ctx)
		require.ErrorIs(t, err, durable.ErrCanceled)
	})
}

func TestCancelAgainstCallback(t *testing.T) {
	// What was acknowledged is not lost: a success whose sender was told so is
	// what the handler sees, whatever came in between.
	f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
		cb, err := durable.CreateCallback[string](ctx, "cb")
		if err != nil {
			return "", err
		}
		v, err := cb.Await(ctx)
		if durable.Wait(ctx, "after", 0) == nil {
			return "", errors.New("the cancel was lost")
		}
		return v, err
	})
	for _, first := range []string{"Success", "Cancel"} {
		inBubble(t, first+"FirstWhileItSleeps", func(t *testing.T) {
			m := newMachine(t)
			b := m.open(durable.Options{ParkFor: -1}, f)
			x := start(b, f, 0)
			synctest.Wait()
			claims := make(chan struct{})
			m.set(func() { m.onClaim = func() error { <-claims; return nil } })
			if first == "Success" {
				b.complete(x.ID(), "cb", "yes")
				b.cancel(x.ID())
			} else {
				b.cancel(x.ID())
				b.complete(x.ID(), "cb", "yes")
			}
			close(claims)
			out, err := x.Result(b.ctx)
			require.NoError(t, err)
			require.Equal(t, "yes", out)
		})
	}

	inBubble(t, "SuccessWhileTheCancelIsOnItsWay", func(t *testing.T) {
		m := newMachine(t)
		b := m.open(durable.Options{}, f)
		var problem error
		m.set(func() {
			m.onDeliver = func(d *checkpoint.Delivery) error {
				if d.Record.Type == checkpoint.CallbackFailed {
					id, err := b.engine.CallbackID(context.Background(), d.ID, "cb")
					problem = errors.Join(err, b.engine.SucceedCallback(context.Background(), id, "yes"))
				}
				return nil
			}
		})
		x := start(b, f, 0)
		synctest.Wait()
		b.cancel(x.ID())
		out, err := x.Result(b.ctx)
		require.NoError(t, errors.Join(err, problem))
		require.Equal(t, "yes", out)
	})

	for _, parkFor := range []time.Duration{-1, 0} {
		inBubble(t, fmt.Sprintf("AtTheSameTime/ParkFor=%s", parkFor), func(t *testing.T) {
			b := setupWith(t, durable.Options{ParkFor: parkFor}, f)
			var wg sync.WaitGroup
			var won atomic.Int32
			for range 300 {
				x := start(b, f, 0)
				id, err := b.engine.CallbackID(b.ctx, x.ID(), "cb")
				require.NoError(t, err)
				var acknowledged bool
				var both sync.WaitGroup
				both.Go(func() {
					err := b.engine.SucceedCallback(b.ctx, id, "yes")
					acknowledged = err == nil
					if !acknowledged {
						require.ErrorIs(t, err, durable.ErrCallbackCompleted)
					}
				})
				both.Go(func() { b.cancel(x.ID()) })
				wg.Go(func() {
					both.Wait()
					out, err := x.Result(b.ctx)
					if acknowledged {
						won.Add(1)
						if err == nil {
							require.Equal(t, "yes", out)
						} else {
							require.ErrorContains(t, err, "the cancel was lost", "the cancel came after the end of the callback and of the execution")
						}
						return
					}
					require.ErrorIs(t, err, durable.ErrCanceled)
				})
			}
			wg.Wait()
			t.Logf("%d of 300 callbacks came first", won.Load())
		})
	}
}

func TestAbandoned(t *testing.T) {
	// What a branch may be doing when nobody needs it any more.
	doing := map[string]func(ctx *durable.Context, n *notes) error{
		"Waiting": func(ctx *durable.Context, n *notes) error { return durable.Wait(ctx, "loser", time.Hour) },
		"Retrying": func(ctx *durable.Context, n *notes) error {
			return durable.Do(ctx, "loser", func(ctx context.Context) error {
				if attempt(ctx) == 1 {
					return errors.New("not yet")
				}
				n.add("tried again")
				return nil
			}, durable.WithRetry(durable.RetryPolicy{Initial: time.Hour, Jitter: durable.NoJitter}))
		},
		"InABody": func(ctx *durable.Context, n *notes) error {
			return durable.Do(ctx, "loser", func(ctx context.Context) error {
				<-ctx.Done()
				return nil
			})
		},
		"InABodyThatIgnoresItsContext": func(ctx *durable.Context, n *notes) error {
			return durable.Do(ctx, "loser", func(context.Context) error { time.Sleep(50 * time.Hour); return nil })
		},
		"InABodyWithATimeout": func(ctx *durable.Context, n *notes) error {
			return durable.Do(ctx, "loser", func(ctx context.Context) error { <-ctx.Done(); return nil }, durable.WithTimeout(time.Hour))
		},
		"ForACallback": func(ctx *durable.Context, n *notes) error {
			_, err := durable.WaitForCallback[int](ctx, "loser", func(context.Context, string) error { return nil }, durable.WithTimeout(time.Hour))
			return err
		},
		"ForAnInvoke": func(ctx *durable.Context, n *notes) error {
			_, err := durable.Invoke(ctx, "loser", nap, 0, durable.WithTimeout(time.Hour))
			return err
		},
		"InAChildWithATimeout": func(ctx *durable.Context, n *notes) error {
			_, err := durable.RunInChildContext(ctx, "loser", func(ctx *durable.Context) (int, error) { return 0, durable.Wait(ctx, "nap", 2*time.Hour) }, durable.WithTimeout(time.Hour))
			return err
		},
		"InABatch": func(ctx *durable.Context, n *notes) error {
			_, err := durable.Map(ctx, "loser", []int{1, 2}, func(ctx *durable.Context, _, _ int) (int, error) { return 0, durable.Wait(ctx, "nap", time.Hour) })
			return err
		},
	}
	// Where it stands, and what ends its scope.
	places := map[string]func(ctx *durable.Context, loser func(ctx *durable.Context) (int, error)) error{
		"Branch": func(ctx *durable.Context, loser func(ctx *durable.Context) (int, error)) error {
			_, err := durable.Parallel(ctx, "scope", []durable.Branch[int]{
				{Name: "loser", Run: loser},
				{Name: "winner", Run: func(ctx *durable.Context) (int, error) { return 1, durable.Wait(ctx, "winner", time.Minute) }},
			}, durable.WithMinSuccessful(1))
			return err
		},
		"FlatBranch": func(ctx *durable.Context, loser func(ctx *durable.Context) (int, error)) error {
			_, err := durable.Parallel(ctx, "scope", []durable.Branch[int]{
				{Name: "loser", Run: loser},
				{Name: "winner", Run: func(ctx *durable.Context) (int, error) { return 1, durable.Wait(ctx, "winner", time.Minute) }},
			}, durable.WithMinSuccessful(1), durable.Flat())
			return err
		},
		"FailFast": func(ctx *durable.Context, loser func(ctx *durable.Context) (int, error)) error {
			_, err := durable.Map(ctx, "scope", []int{0, 1}, func(ctx *durable.Context, i, _ int) (int, error) {
				if i == 0 {
					return loser(ctx)
				}
				if err := durable.Wait(ctx, "winner", time.Minute); err != nil {
					return 0, err
				}
				return 0, errors.New("fails")
			})
			if !errors.Is(err, durable.ErrFailureToleranceExceeded) {
				return err
			}
			return nil
		},
		"Child": func(ctx *durable.Context, loser func(ctx *durable.Context) (int, error)) error {
			_, err := durable.RunInChildContext(ctx, "scope", func(ctx *durable.Context) (int, error) {
				durable.Go(ctx, "loser", loser)
				return 1, durable.Wait(ctx, "winner", time.Minute)
			})
			return err
		},
	}
	for where, place := range places {
		for what, does := range doing {
			bothWays(t, where+"/"+what, func(t *testing.T, parkFor time.Duration) {
				if what == "ForAnInvoke" {
				}
				var n notes
				f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
					err := place(ctx, func(ctx *durable.Context) (int, error) {
						err := does(ctx, &n)
						n.add("went on with %v", err)
						_, _ = durable.Step(ctx, "next", n.body("next"))
						n.add("and on")
						return 0, nil
					})
					if err != nil {
						return "", err
					}
					return "done", durable.Wait(ctx, "sleep", 10*time.Hour)
				})
				b := setupWith(t, durable.Options{ParkFor: parkFor}, f, nap)
				began := time.Now()
				x := start(b, f, 0)
				time.Sleep(30 * time.Second)
				synctest.Wait()
				callbacks := callbacksOf(b, x.ID())
				time.Sleep(31 * time.Second)
				synctest.Wait()
				for _, id := range callbacks {
					require.ErrorIs(t, b.engine.SucceedCallback(b.ctx, id, 1), durable.ErrCallbackCompleted)
					require.ErrorIs(t, b.engine.HeartbeatCallback(b.ctx, id), durable.ErrCallbackCompleted)
				}
				require.Empty(t, callbacksOf(b, x.ID()))
				for info, err := range b.engine.Executions(b.ctx, durable.Query{Function: "nap"}) {
					require.NoError(t, err)
					require.Equal(t, durable.ExecutionFailed, info.Status)
					require.Equal(t, "Canceled", info.Failure.Type)
				}
				history := recordedIn(b, x.ID())
				require.Equal(t, "WaitStarted 2 sleep", history[len(history)-1])
				if parkFor < 0 {
					info := b.describe(x.ID())
					require.False(t, info.Resident, "what is abandoned delays no suspension")
					require.Equal(t, began.Add(10*time.Hour+time.Minute).UTC(), info.WakeAt, "its timers are dropped")
				}
				out, err := within(b, x, 20*time.Hour)
				require.NoError(t, err)
				require.Equal(t, "done", out)
				punctual(t, 10*time.Hour+time.Minute, time.Since(began))
				require.Equal(t, append(history, "WaitSucceeded 2 sleep", "ExecutionSucceeded"), recordedIn(b, x.ID()), "nothing of it is recorded")
				time.Sleep(50 * time.Hour)
				for _, l := range n.all() {
					require.Equal(t, "went on with <nil>", l, "it ends at its next operation")
				}
			})
		}
	}

	inBubble(t, "TheEndOfAnExecutionWaitsForNobody", func(t *testing.T) {
		for what, does := range doing {
			var n notes
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				durable.Go(ctx, "loser", func(ctx *durable.Context) (int, error) { return 0, does(ctx, &n) })
				return "done", durable.Wait(ctx, "sleep", time.Minute)
			})
			b := setup(t, f, nap)
			began := time.Now()
			x := start(b, f, 0)
			out, err := within(b, x, time.Hour)
			require.NoError(t, err, what)
			require.Equal(t, "done", out)
			punctual(t, time.Minute, time.Since(began))
			history := b.history(x.ID())
			time.Sleep(60 * time.Hour)
			synctest.Wait()
			require.Equal(t, history, b.history(x.ID()), what)
			require.Empty(t, n.all(), what)
			for info, err := range b.engine.Executions(b.ctx, durable.Query{Function: "nap"}) {
				require.NoError(t, err)
				require.Equal(t, "Canceled", info.Failure.Type)
			}
		}
	})

	inBubble(t, "LosersOfARaceGoOnUntilTheScopeEnds", func(t *testing.T) {
		var n notes
		runner := func(d time.Duration) func(ctx *durable.Context) (string, error) {
			return func(ctx *durable.Context) (string, error) {
				if err := durable.Wait(ctx, "sleep", d); err != nil {
					return "", err
				}
				return durable.Step(ctx, "arrive", n.body(d.String()))
			}
		}
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			var fs []*durable.Future[string]
			for _, d := range []time.Duration{3 * time.Hour, time.Hour, 5 * time.Hour} {
				fs = append(fs, durable.Go(ctx, d.String(), runner(d)))
			}
			first, err := durable.Race(ctx, "race", fs...)
			if err != nil {
				return "", err
			}
			return first, durable.Wait(ctx, "sleep", 3*time.Hour)
		})
		b := setup(t, f)
		out, err := within(b, start(b, f, 0), 20*time.Hour)
		require.NoError(t, err)
		require.Equal(t, "1h0m0s", out)
		time.Sleep(10 * time.Hour)
		require.Equal(t, []string{"1h0m0s", "3h0m0s"}, n.all())
	})

	inBubble(t, "WhatAnItemLeavesBehindEndsWithIt", func(t *testing.T) {
		for _, opts := range [][]durable.BatchOption{nil, {durable.Flat()}} {
			var n notes
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				batch, err := durable.Map(ctx, "map", []int{1, 2}, func(ctx *durable.Context, i, _ int) (int, error) {
					if i == 1 {
						durable.Go(ctx, "left", func(ctx *durable.Context) (int, error) {
							if err := durable.Wait(ctx, "left", time.Hour); err != nil {
								return 0, err
							}
							_, err := durable.Step(ctx, "left", n.body("left"))
							return 0, err
						})
						_, err := durable.CreateCallback[int](ctx, "left")
						return 0, err
					}
					return 0, durable.Wait(ctx, "sleep", 10*time.Hour)
				}, opts...)
				if err != nil {
					return 0, err
				}
				return batch.Len(), nil
			})
			b := setup(t, f)
			x := start(b, f, 0)
			time.Sleep(time.Minute)
			info := b.describe(x.ID())
			require.Equal(t, info.StartedAt.Add(10*time.Hour), info.WakeAt)
			require.Empty(t, callbacksOf(b, x.ID()))
			_, err := within(b, x, 20*time.Hour)
			require.NoError(t, err)
			require.Empty(t, n.all())
			for _, l := range b.history(x.ID()) {
				require.NotRegexp(t, `(Succeeded|Failed|Cancelled|TimedOut) \S+ left`, l)
			}
		}
	})

	inBubble(t, "TheDecisionOfABatchIsNeverMadeAgain", func(t *testing.T) {
		// Many branches end at the same moment; what the first run saw, the replays see.
		f := durable.Define("f", func(ctx *durable.Context, n int) (string, error) {
			look := func(opts ...durable.BatchOption) (string, error) {
				batch, err := durable.Map(ctx, "map", make([]int, n), func(ctx *durable.Context, _, i int) (int, error) {
					if err := durable.Wait(ctx, "same time", time.Hour); err != nil {
						return 0, err
					}
					if i%5 == 4 {
						return 0, errors.New("fails")
					}
					return durable.Step(ctx, "x", func(context.Context) (int, error) { return i, nil })
				}, append(opts, durable.WithMinSuccessful(n/2), durable.WithToleratedFailures(n))...)
				if err != nil {
					return "", err
				}
				s := string(batch.Reason())
				for item := range batch.All() {
					s += fmt.Sprintf(" %d:%s:%d", item.Index, item.Status, item.Value)
				}
				return s, nil
			}
			now, err := look()
			if err != nil {
				return "", err
			}
			flat, err := look(durable.Flat())
			if err != nil {
				return "", err
			}
			first, err := durable.Step(ctx, "note", func(context.Context) (string, error) { return now + flat, nil })
			if err != nil {
				return "", err
			}
			if err := durable.Wait(ctx, "sleep", time.Hour); err != nil {
				return "", err
			}
			if first != now+flat {
				return "", fmt.Errorf("the first run saw %s, a replay %s", first, now+flat)
			}
			return first, nil
		})
		b := setup(t, f)
		for n := range 20 {
			_, err := within(b, start(b, f, 2*n), 20*time.Hour)
			require.NoError(t, err)
		}
	})
}
