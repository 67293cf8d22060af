package durable_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// ended waits for the end of an execution.
func ended(b *bundle, id string) durable.ExecutionInfo {
	b.Helper()
	_, err := b.engine.ResultJSON(b.ctx, id)
	if opErr, ok := errors.AsType[*durable.OpError](err); err != nil {
		require.True(b, ok && opErr.Type == "EXECUTION", "%v", err)
	}
	return b.describe(id)
}

// operationID is the ID of the operation with the name.
func operationID(b *bundle, id, name string) string {
	b.Helper()
	ops, err := b.engine.Operations(b.ctx, id)
	require.NoError(b, err)
	i := slices.IndexFunc(ops, func(o durable.Operation) bool { return o.Name == name })
	require.GreaterOrEqual(b, i, 0, name)
	return ops[i].ID
}

func TestRestartFrom(t *testing.T) {
	restart := func(b *bundle, id, name string, opts ...durable.StartOption) durable.ExecutionInfo {
		b.Helper()
		operation := ""
		if name != "" {
			operation = operationID(b, id, name)
		}
		again, err := b.engine.RestartFrom(b.ctx, id, operation, opts...)
		require.NoError(b, err)
		return ended(b, again)
	}
	inBubble(t, "RunsWhatComesFromTheOperationOn", func(t *testing.T) {
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, in int) (string, error) {
			for _, name := range []string{"a", "b", "c"} {
				if _, err := durable.Step(ctx, name, n.body(name)); err != nil {
					return "", err
				}
				ctx.Logger().Info("after " + name)
			}
			return fmt.Sprint(in), nil
		})
		b := setup(t, f)
		x := start(b, f, 7)
		old := ended(b, x.ID())
		n.take()
		time.Sleep(time.Minute)
		again := restart(b, x.ID(), "b")
		require.Equal(t, []string{"b", "c"}, n.take())
		require.JSONEq(t, `"7"`, string(again.Result))
		require.Equal(t, x.ID(), again.RestartOf)
		require.Equal(t, old.StartedAt.Add(time.Minute), again.StartedAt)
		require.Equal(t, old, b.describe(x.ID()), "the old one stays")
		require.Equal(t, []string{
			"ExecutionStarted", "StepStarted 1 a", "StepSucceeded 1 a", "StepStarted 2 b", "StepSucceeded 2 b", "StepStarted 3 c", "StepSucceeded 3 c",
			"InvocationCompleted", "ExecutionSucceeded",
		}, b.history(again.ID))
		restart(b, x.ID(), "")
		require.Equal(t, []string{"a", "b", "c"}, n.take())
		require.Equal(t, again.ID, restart(b, again.ID, "c").RestartOf)
		require.Equal(t, []string{"c"}, n.take())
	})

	inBubble(t, "RefusesWhatCanNotBe", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 0, durable.Wait(ctx, "w", time.Hour) })
		b := setup(t, f)
		x := start(b, f, 0)
		_, err := b.engine.RestartFrom(b.ctx, x.ID(), "1")
		require.ErrorIs(t, err, durable.ErrExecutionRunning)
		_, err = b.engine.Retry(b.ctx, x.ID())
		require.ErrorIs(t, err, durable.ErrExecutionRunning)
		ended(b, x.ID())
		_, err = b.engine.Retry(b.ctx, x.ID())
		require.ErrorIs(t, err, durable.ErrExecutionSucceeded)
		for _, id := range []string{"2", "1-1", "x", "0"} {
			_, err = b.engine.RestartFrom(b.ctx, x.ID(), id)
			require.ErrorIs(t, err, durable.ErrOperationNotFound)
		}
		_, err = b.engine.RestartFrom(b.ctx, "nobody", "1")
		require.ErrorIs(t, err, durable.ErrExecutionNotFound)
		for _, id := range []string{"", "a b", "inv-1"} {
			_, err = b.engine.RestartFrom(b.ctx, x.ID(), "1", durable.WithExecutionID(id))
			require.ErrorIs(t, err, durable.ErrInvalidID)
		}
		// An ID is one restart's: not that of the old one, of another place, or of a start.
		id := durable.WithExecutionID("again")
		again := restart(b, x.ID(), "w", id)
		require.Equal(t, again.ID, restart(b, x.ID(), "w", id).ID)
		for _, conflict := range []func() error{
			func() error { _, err := b.engine.RestartFrom(b.ctx, x.ID(), "", id); return err },
			func() error {
				_, err := b.engine.RestartFrom(b.ctx, x.ID(), "1", durable.WithExecutionID(x.ID()))
				return err
			},
			func() error { _, err := b.engine.RestartFrom(b.ctx, again.ID, "1", id); return err },
			func() error { _, err := f.Start(b.ctx, b.engine, 0, id); return err },
		} {
			require.ErrorIs(t, conflict(), durable.ErrExecutionExists)
		}
		require.NoError(t, b.engine.Close())
		_, err = b.engine.RestartFrom(b.ctx, x.ID(), "1")
		require.ErrorIs(t, err, durable.ErrClosed)
	})

	// Between a cancel and the outcome that a callback has of it others may begin.
	inBubble(t, "ACallbackThatACancelHasReachedIsNoNewOne", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			cb, err := durable.CreateCallback[string](ctx, "approval")
			if err != nil {
				return "", err
			}
			if err := durable.Do(ctx, "asked", func(context.Context) error { return nil }); err != nil {
				return "", err
			}
			err = durable.Wait(ctx, "w", time.Hour)
			if err := durable.Do(ctx.WithoutCancel(), "undo", func(context.Context) error { return nil }); err != nil {
				return "", err
			}
			_, late := cb.Await(ctx)
			return matching(err) + matching(late), nil
		})
		m := newMachine(t)
		m.wrap = func(s checkpoint.Store) checkpoint.Store { return &lateInbox{s} }
		b := m.open(durable.Options{ParkFor: 2 * time.Hour}, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		b.cancel(x.ID())
		ended(b, x.ID())
		require.Equal(t, []string{"WaitCancelled 3 w", "StepStarted 4 undo", "CallbackFailed 1 approval"}, slices.DeleteFunc(b.history(x.ID()), func(event string) bool {
			return event != "WaitCancelled 3 w" && event != "StepStarted 4 undo" && event != "CallbackFailed 1 approval"
		}))
		again, err := b.engine.RestartFrom(b.ctx, x.ID(), "4")
		require.NoError(t, err)
		time.Sleep(time.Minute)
		info := b.describe(again)
		require.Nil(t, info.Held)
		require.JSONEq(t, `"ErrCanceledErrCanceled"`, string(info.Result))
	})

	inBubble(t, "ACallbackThatWasOpenIsOpenFromTheBeginning", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			cb, err := durable.CreateCallback[string](ctx, "approval", durable.WithTimeout(time.Hour), durable.WithHeartbeatTimeout(40*time.Minute))
			if err != nil {
				return "", err
			}
			for range 2 {
				if err := durable.Do(ctx.WithoutCancel(), "asked", func(context.Context) error { return nil }); err != nil {
					return "", err
				}
			}
			s, err := cb.Await(ctx)
			return s + matching(err), nil
		})
		m := newMachine(t)
		b := m.open(durable.Options{}, f)
		x := start(b, f, 0)
		time.Sleep(30 * time.Minute)
		b.stop(x.ID())
		m.shutDown(b)
		for what, want := range map[string]string{"cancel": "ErrCanceled", "succeed": "yes", "nothing": "ErrHeartbeatTimeout"} {
			b = m.open(durable.Options{}) // without the function
			again, err := b.engine.RestartFrom(b.ctx, x.ID(), "3")
			require.NoError(t, err)
			began := time.Now()
			callback, err := b.engine.CallbackID(b.ctx, again, "approval")
			require.NoError(t, err)
			switch what {
			case "cancel":
				b.cancel(again)
			case "succeed":
				require.NoError(t, b.engine.SucceedCallback(b.ctx, callback, "yes"))
			}
			m.shutDown(b)
			b = m.open(durable.Options{}, f)
			info := ended(b, again)
			require.Nil(t, info.Held, what)
			require.Contains(t, string(info.Result), want, what)
			if what == "nothing" {
				require.Equal(t, began.Add(40*time.Minute), info.EndedAt.In(began.Location()))
			}
			m.shutDown(b)
		}
	})

	// H28: a submitter whose callback was open told an ID that nobody knows any more.
	inBubble(t, "SubmitsACallbackThatWasOpenAgain", func(t *testing.T) {
		var n, submitted notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			side := durable.Go(ctx, "side", func(ctx *durable.Context) (string, error) {
				if err := durable.Wait(ctx, "w", time.Minute); err != nil {
					return "", err
				}
				return durable.Step(ctx, "beside", n.body("beside"))
			})
			s, err := durable.WaitForCallback[string](ctx, "approval", func(ctx context.Context, id string) error {
				submitted.add("%s", id)
				return nil
			})
			if err != nil {
				return "", err
			}
			_, err = side.Await(ctx)
			return s, err
		})
		b := setup(t, f)
		x := start(b, f, 0)
		time.Sleep(time.Hour)
		ids := submitted.all()
		require.Len(t, ids, 1)
		require.NoError(t, b.engine.SucceedCallback(b.ctx, ids[0], "yes"))
		ended(b, x.ID())
		again, err := b.engine.RestartFrom(b.ctx, x.ID(), operationID(b, x.ID(), "beside"))
		require.NoError(t, err)
		synctest.Wait()
		ids = submitted.all()
		require.Len(t, ids, 2, "the submitter ran again")
		require.NotEqual(t, ids[0], ids[1])
		require.ErrorIs(t, b.engine.SucceedCallback(b.ctx, ids[0], "no"), durable.ErrCallbackCompleted)
		require.NoError(t, b.engine.SucceedCallback(b.ctx, ids[1], "again"))
		require.JSONEq(t, `"again"`, string(ended(b, again).Result))
		require.Equal(t, []string{"beside", "beside"}, n.take())
	})

	inBubble(t, "LeavesAbandonedCallbacksClosed", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
				_, err := durable.CreateCallback[int](ctx, "nobody awaits it")
				return 0, err
			})
			if err != nil {
				return 0, err
			}
			return 0, durable.Wait(ctx, "w", time.Hour)
		})
		b := setup(t, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		half := recording(b, x.ID())
		ended(b, x.ID())
		again, err := b.engine.RestartFrom(b.ctx, x.ID(), operationID(b, x.ID(), "w"))
		require.NoError(t, err)
		imported, err := b.engine.Import(b.ctx, half, durable.WithExecutionID("imported"))
		require.NoError(t, err)
		for _, id := range []string{again, imported} {
			n := 0
			for ev := range b.events(id) {
				if ev.CallbackID != "" {
					n++
					require.ErrorIs(t, b.engine.SucceedCallback(b.ctx, ev.CallbackID, 1), durable.ErrCallbackCompleted)
				}
			}
			require.Equal(t, 1, n)
		}
	})

	inBubble(t, "GivesContextsTheirWholeTimeAgain", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			return durable.RunInChildContext(ctx, "c", func(ctx *durable.Context) (int, error) {
				if err := durable.Wait(ctx, "first", 40*time.Minute); err != nil {
					return 0, err
				}
				return 1, durable.Wait(ctx, "second", 10*time.Minute)
			}, durable.WithTimeout(time.Hour))
		}, durable.WithExecutionTimeout(2*time.Hour))
		b := setup(t, f)
		x := start(b, f, 0)
		ended(b, x.ID())
		time.Sleep(24 * time.Hour)
		again := restart(b, x.ID(), "second")
		require.Equal(t, durable.ExecutionSucceeded, again.Status)
		require.Equal(t, 10*time.Minute, again.EndedAt.Sub(again.StartedAt))
		require.Equal(t, 2*time.Hour, again.Deadline.Sub(again.StartedAt))
		again = restart(b, x.ID(), "second", durable.WithExecutionTimeout(time.Minute))
		require.Equal(t, durable.ExecutionTimedOut, again.Status)
	})

	inBubble(t, "KeepsIdempotencyKeysAndInvokesAnother", func(t *testing.T) {
		var keys []string
		child := durable.Define("child", func(ctx *durable.Context, _ int) (int, error) { return 1, nil })
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			if err := durable.Do(ctx, "s", func(ctx context.Context) error {
				info, _ := durable.StepInfoFrom(ctx)
				keys = append(keys, info.IdempotencyKey)
				return nil
			}); err != nil {
				return 0, err
			}
			return durable.Invoke(ctx, "i", child, 0)
		})
		b := setup(t, f, child)
		x := start(b, f, 0)
		ended(b, x.ID())
		restart(b, x.ID(), "s")
		require.Len(t, keys, 2)
		require.Equal(t, keys[0], keys[1])
		n := 0
		for range b.engine.Executions(b.ctx, durable.Query{Function: "child"}) {
			n++
		}
		require.Equal(t, 2, n, "the invoked execution is another one")
	})

	// H23: a sealed value is bound to its incarnation.
	inBubble(t, "SealsAnew", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, in string) (string, error) {
			s, err := durable.Step(ctx, "a", func(context.Context) (string, error) { return "a of " + in, nil })
			if err != nil {
				return "", err
			}
			_ = durable.Do(ctx, "fails", func(context.Context) error { return durable.Permanent(errors.New("no")) })
			return s, durable.Wait(ctx, "w", time.Hour)
		})
		b := setupWith(t, durable.Options{ParkFor: -1, Sealer: newGCM(t, 1)}, f)
		x := start(b, f, "in")
		ended(b, x.ID())
		again := restart(b, x.ID(), "w")
		require.JSONEq(t, `"a of in"`, string(again.Result))
		require.JSONEq(t, `"in"`, string(again.Input))
		recording, err := b.engine.Recording(b.ctx, x.ID())
		require.NoError(t, err)
		imported, err := b.engine.Import(b.ctx, recording, durable.WithExecutionID("imported"))
		require.NoError(t, err)
		require.JSONEq(t, `"a of in"`, string(ended(b, imported).Result))
		for _, id := range []string{again.ID, imported} {
			for rec, err := range b.store.Records(b.ctx, id, 0) {
				require.NoError(t, err)
				require.NotContains(t, string(rec.Payload)+string(rec.Failure), "in\"")
			}
		}
	})

	inBubble(t, "ReopensWhatIsAroundAnItemOfABatch", func(t *testing.T) {
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) ([]string, error) {
			return durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) ([]string, error) {
				b, err := durable.Map(ctx, "m", []string{"x", "y", "z"}, func(ctx *durable.Context, item string, _ int) (string, error) {
					if _, err := durable.Step(ctx, "first "+item, n.body("first "+item)); err != nil {
						return "", err
					}
					return durable.Step(ctx, "second "+item, n.body("second "+item))
				}, durable.WithMaxConcurrency(1))
				return b.Values(), err
			})
		})
		b := setup(t, f)
		x := start(b, f, 0)
		old := ended(b, x.ID())
		n.take()
		again := restart(b, x.ID(), "second y")
		require.Equal(t, old.Result, again.Result)
		require.Equal(t, []string{"second y", "first z", "second z"}, n.take())
	})

	inBubble(t, "LogsOnlyWhatIsNew", func(t *testing.T) {
		var said []bool
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			for i := range 3 {
				if err := durable.Wait(ctx, fmt.Sprint(i), time.Second); err != nil {
					return 0, err
				}
				said = append(said, ctx.Replaying())
			}
			return 0, nil
		})
		b := setupWith(t, durable.Options{ParkFor: time.Hour}, f)
		x := start(b, f, 0)
		ended(b, x.ID())
		said = nil
		restart(b, x.ID(), "2")
		require.Equal(t, []bool{true, true, false}, said)
	})

	inBubble(t, "IsHeldByCodeThatDoesNotFit", func(t *testing.T) {
		define := func(second string) *durable.Function[int, int] {
			return durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				for _, name := range []string{"first", second, "third"} {
					if err := durable.Wait(ctx, name, time.Second); err != nil {
						return 0, err
					}
				}
				return 0, nil
			})
		}
		m := newMachine(t)
		f := define("second")
		b := m.open(durable.Options{Build: "1"}, f)
		x := start(b, f, 0)
		ended(b, x.ID())
		m.shutDown(b)
		b = m.open(durable.Options{Build: "2"}, define("other"))
		again, err := b.engine.RestartFrom(b.ctx, x.ID(), "3")
		require.NoError(t, err)
		synctest.Wait()
		require.NotNil(t, b.describe(again).Held)
		again, err = b.engine.RestartFrom(b.ctx, x.ID(), "2")
		require.NoError(t, err)
		require.Equal(t, durable.ExecutionSucceeded, ended(b, again).Status)
	})

	inBubble(t, "NeedsNoEngineThatHasTheFunction", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 0, durable.Wait(ctx, "w", time.Second) })
		m := newMachine(t)
		b := m.open(durable.Options{}, f)
		x := start(b, f, 0)
		ended(b, x.ID())
		m.shutDown(b)
		b = m.open(durable.Options{})
		again, err := b.engine.RestartFrom(b.ctx, x.ID(), "1")
		require.NoError(t, err)
		m.shutDown(b)
		b = m.open(durable.Options{}, f)
		require.Equal(t, durable.ExecutionSucceeded, ended(b, again).Status)
	})
}

// lateInbox is a store whose inbox takes a moment to read.
type lateInbox struct{ checkpoint.Store }

func (s *lateInbox) Inbox(ctx context.Context, id string, after uint64) ([]checkpoint.Record, error) {
	time.Sleep(time.Millisecond)
	return s.Store.Inbox(ctx, id, after)
}
