package durable_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// retry retries an execution. What it would drop, by names, must be allowed, and nothing
// else.
func retry(b *bundle, id, drops string) string {
	b.Helper()
	again, err := b.engine.Retry(b.ctx, id)
	if drops == "" {
		require.NoError(b, err)
		return again
	}
	require.ErrorIs(b, err, durable.ErrWouldDrop)
	refusal, _ := errors.AsType[*durable.DropError](err)
	var names []string
	for _, o := range refusal.Operations {
		names = append(names, o.Name)
	}
	require.Equal(b, drops, strings.Join(names, " "))
	again, err = b.engine.Retry(b.ctx, id, durable.AllowDrop())
	require.NoError(b, err)
	return again
}

// TestRetryExecution lets handlers fail, once, and retries them: what succeeded does not
// run again, what failed does.
func TestRetryExecution(t *testing.T) {
	type world struct {
		notes
		broken bool // what fails, fails
	}
	fails := func(w *world, name string) func(context.Context) (string, error) {
		return func(context.Context) (string, error) {
			w.add("%s", name)
			if w.broken {
				return "", durable.Permanent(fmt.Errorf("%s is broken", name))
			}
			return name, nil
		}
	}
	// Bodies that run in the retry, of a handler that fails while the world is broken.
	for name, c := range map[string]struct {
		handler func(ctx *durable.Context, w *world) error
		again   []string
		drops   string // what must be allowed to be dropped
	}{
		"TheLastStep": {func(ctx *durable.Context, w *world) error {
			_, err := durable.Step(ctx, "a", w.body("a"))
			if err == nil {
				_, err = durable.Step(ctx, "b", fails(w, "b"))
			}
			return err
		}, []string{"b"}, ""},
		"WithTextAroundIt": {func(ctx *durable.Context, w *world) error {
			_, err := durable.Step(ctx, "a", fails(w, "a"))
			if err != nil {
				return fmt.Errorf("the order failed: %w", err)
			}
			_, err = durable.Step(ctx, "b", w.body("b"))
			return err
		}, []string{"a", "b"}, ""},
		"AnotherErrorRightBehindIt": {func(ctx *durable.Context, w *world) error {
			if _, err := durable.Step(ctx, "a", fails(w, "a")); err != nil {
				return errors.New("something else")
			}
			return nil
		}, []string{"a"}, ""},
		// What compensated for it is dropped with it.
		"WithCompensation": {func(ctx *durable.Context, w *world) error {
			_, err := durable.Step(ctx, "charge", fails(w, "charge"))
			if err != nil {
				_, _ = durable.Step(ctx, "undo", w.body("undo"))
				return err
			}
			_, err = durable.Step(ctx, "ship", w.body("ship"))
			return err
		}, []string{"charge", "ship"}, "undo"},
		// A handled failure stays: with another outcome the handler would go another way.
		"NotOneThatWasHandled": {func(ctx *durable.Context, w *world) error {
			if _, err := durable.Step(ctx, "handled", fails(w, "handled")); err == nil {
				return durable.Do(ctx, "never here", func(context.Context) error { return nil })
			}
			if _, err := durable.Step(ctx, "instead", w.body("instead")); err != nil {
				return err
			}
			_, err := durable.Step(ctx, "last", fails(w, "last"))
			return err
		}, []string{"last"}, ""},
		"NoneButTheHandler": {func(ctx *durable.Context, w *world) error {
			_, err := durable.Step(ctx, "a", w.body("a"))
			if w.broken {
				return errors.New("no operation")
			}
			return err
		}, nil, ""},
		"InsideContexts": {func(ctx *durable.Context, w *world) error {
			_, err := durable.RunInChildContext(ctx, "outer", func(ctx *durable.Context) (int, error) {
				if _, err := durable.Step(ctx, "before", w.body("before")); err != nil {
					return 0, err
				}
				return durable.Go(ctx, "inner", func(ctx *durable.Context) (int, error) {
					if _, err := durable.Step(ctx, "a", w.body("a")); err != nil {
						return 0, err
					}
					_, err := durable.Step(ctx, "b", fails(w, "b"))
					return 0, err
				}).Await(ctx)
			})
			if err == nil {
				_, err = durable.Step(ctx, "behind", w.body("behind"))
			}
			return err
		}, []string{"b", "behind"}, ""},
		"FailedItemsOfABatch": {func(ctx *durable.Context, w *world) error {
			_, err := durable.Map(ctx, "m", []int{0, 1, 2, 3}, func(ctx *durable.Context, i, _ int) (string, error) {
				if _, err := durable.Step(ctx, "a", w.body(fmt.Sprint("a", i))); err != nil {
					return "", err
				}
				if i%2 == 0 {
					return durable.Step(ctx, "b", w.body(fmt.Sprint("b", i)))
				}
				return durable.Step(ctx, "b", fails(w, fmt.Sprint("b", i)))
			}, durable.WithToleratedFailures(1), durable.WithMaxConcurrency(1))
			return err
		}, []string{"b1", "b3"}, ""},
		"FailedItemsOfABatchWhoseErrorsAreReturned": {func(ctx *durable.Context, w *world) error {
			batch, err := durable.Map(ctx, "m", []int{0, 1, 2}, func(ctx *durable.Context, i, _ int) (string, error) {
				return durable.Step(ctx, "b", fails(w, fmt.Sprint("b", i)))
			}, durable.WithToleratedFailures(3), durable.WithMaxConcurrency(1))
			return errors.Join(err, batch.Err())
		}, []string{"b0", "b1", "b2"}, ""},
		"NotTheToleratedFailuresOfABatch": {func(ctx *durable.Context, w *world) error {
			_, err := durable.Map(ctx, "m", []int{0}, func(ctx *durable.Context, i, _ int) (string, error) {
				return durable.Step(ctx, "tolerated", fails(w, "tolerated"))
			}, durable.WithToleratedFailures(3))
			if err == nil {
				_, err = durable.Step(ctx, "between", w.body("between"))
			}
			if err == nil {
				_, err = durable.Step(ctx, "last", fails(w, "last"))
			}
			return err
		}, []string{"last"}, ""},
		// Of branches side by side, each keeps what it has done, and goes on.
		"BranchesGoOn": {func(ctx *durable.Context, w *world) error {
			long := durable.Go(ctx, "long", func(ctx *durable.Context) (string, error) {
				for i := range 4 {
					if _, err := durable.Step(ctx, "s", w.body(fmt.Sprint("long", i))); err != nil {
						return "", err
					}
					if err := durable.Wait(ctx, "w", time.Minute); err != nil {
						return "", err
					}
				}
				return "", nil
			})
			short := durable.Go(ctx, "short", func(ctx *durable.Context) (string, error) {
				if err := durable.Wait(ctx, "w", 90*time.Second); err != nil {
					return "", err
				}
				return durable.Step(ctx, "short", fails(w, "short"))
			})
			_, err := durable.All(ctx, "all", long, short)
			return err
		}, []string{"long2", "long3", "short"}, ""},
		"ACallback": {func(ctx *durable.Context, w *world) error {
			_, err := durable.WaitForCallback[string](ctx, "c", func(ctx context.Context, id string) error {
				w.add("submit")
				info, _ := durable.StepInfoFrom(ctx)
				if w.broken {
					return info.Engine.FailCallback(ctx, id, durable.Failure{Type: "Refused", Message: "no"})
				}
				return info.Engine.SucceedCallback(ctx, id, "yes")
			})
			return err
		}, []string{"submit"}, ""},
		"ATimeout": {func(ctx *durable.Context, w *world) error {
			_, err := durable.RunInChildContext(ctx, "slow", func(ctx *durable.Context) (string, error) {
				if _, err := durable.Step(ctx, "a", w.body("a")); err != nil {
					return "", err
				}
				d := time.Minute
				if w.broken {
					d = time.Hour
				}
				if err := durable.Wait(ctx, "w", d); err != nil {
					_, _ = durable.Step(ctx.WithoutCancel(), "undo", w.body("undo"))
					return "", err
				}
				return durable.Step(ctx, "b", w.body("b"))
			}, durable.WithTimeout(10*time.Minute))
			return err
		}, []string{"b"}, "undo"},
		"AnInvoke": {func(ctx *durable.Context, w *world) error {
			_, err := durable.InvokeByName[string](ctx, "i", "child", 0)
			return err
		}, []string{"child"}, ""},
	} {
		inBubble(t, name, func(t *testing.T) {
			w := &world{broken: true}
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) { return "done", c.handler(ctx, w) })
			child := durable.Define("child", func(ctx *durable.Context, _ int) (string, error) {
				return durable.Step(ctx, "child", fails(w, "child"))
			})
			b := setup(t, f, child)
			x := start(b, f, 0)
			require.Equal(t, durable.ExecutionFailed, ended(b, x.ID()).Status)
			// While the world is broken it fails the same way.
			w.clear()
			again := retry(b, x.ID(), c.drops)
			info := ended(b, again)
			require.Equal(t, durable.ExecutionFailed, info.Status, "%v\n%v", info.Held, b.history(again))
			require.Equal(t, b.describe(x.ID()).Failure.Type, info.Failure.Type)
			for _, old := range []string{x.ID(), again} {
				w.clear()
				w.broken = false
				retried := retry(b, old, c.drops)
				info := ended(b, retried)
				require.Equal(t, durable.ExecutionSucceeded, info.Status, "%v\n%v", info.Failure, b.history(retried))
				got := w.take()
				slices.Sort(got)
				require.Equal(t, append([]string{}, c.again...), got, "%v", b.history(retried))
			}
		})
	}

	inBubble(t, "OneThatWasCancelledGoesOnAsIfItWasNot", func(t *testing.T) {
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			if _, err := durable.Step(ctx, "a", n.body("a")); err != nil {
				return 0, err
			}
			if err := durable.Wait(ctx, "w", time.Hour); err != nil {
				_, undone := durable.Step(ctx.WithoutCancel(), "undo", n.body("undo"))
				return 0, errors.Join(err, undone)
			}
			_, err := durable.Step(ctx, "b", n.body("b"))
			return 0, err
		})
		b := setup(t, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		require.NoError(t, b.engine.Cancel(b.ctx, x.ID(), ""))
		require.Equal(t, durable.ExecutionFailed, ended(b, x.ID()).Status)
		require.Equal(t, []string{"a", "undo"}, n.take())
		again := retry(b, x.ID(), "undo")
		time.Sleep(time.Minute)
		require.Equal(t, durable.ExecutionSucceeded, ended(b, again).Status)
		require.Equal(t, []string{"b"}, n.take())
		// A restart from the compensation is cancelled as the old one was.
		again, err := b.engine.RestartFrom(b.ctx, x.ID(), operationID(b, x.ID(), "undo"))
		require.NoError(t, err)
		require.Equal(t, durable.ExecutionFailed, ended(b, again).Status)
		require.Equal(t, []string{"undo"}, n.take())
	})

	inBubble(t, "OneThatTimedOutHasItsWholeTimeAgain", func(t *testing.T) {
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			for i := range 3 {
				if _, err := durable.Step(ctx, "s", n.body(fmt.Sprint(i))); err != nil {
					return 0, err
				}
				if err := durable.Wait(ctx, "w", 40*time.Minute); err != nil {
					return 0, err
				}
			}
			return 0, nil
		}, durable.WithExecutionTimeout(time.Hour))
		b := setup(t, f)
		x := start(b, f, 0)
		require.Equal(t, durable.ExecutionTimedOut, ended(b, x.ID()).Status)
		again, err := b.engine.Retry(b.ctx, x.ID())
		require.NoError(t, err)
		require.Equal(t, durable.ExecutionTimedOut, ended(b, again).Status)
		again, err = b.engine.Retry(b.ctx, again)
		require.NoError(t, err)
		require.Equal(t, durable.ExecutionSucceeded, ended(b, again).Status)
		require.Equal(t, []string{"0", "1", "2"}, n.take())
	})

	inBubble(t, "APlainFunctionIsCalledAgain", func(t *testing.T) {
		broken := true
		f := durable.DefinePlain("f", func(context.Context, int) (int, error) {
			if broken {
				return 0, errors.New("broken")
			}
			return 7, nil
		})
		b := setup(t, f)
		x := start(b, f, 0)
		require.Equal(t, durable.ExecutionFailed, ended(b, x.ID()).Status)
		broken = false
		again, err := b.engine.Retry(b.ctx, x.ID())
		require.NoError(t, err)
		require.JSONEq(t, "7", string(ended(b, again).Result))
	})
}
