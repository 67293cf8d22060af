package durable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// What stands in for a crash here: machine ends an engine as a crash would, in
// virtual time and where the test says. Real processes on a real file are killed at
// any time in the folder soak.

// inBubble runs a subtest in a synctest bubble.
func inBubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, f)
	})
}

// TestAppendFailures lets each kind of append fail in each way that a store may
// report, made or not made: the execution is replayed, and goes on.
func TestAppendFailures(t *testing.T) {
	kinds := map[string]func(a *checkpoint.Append) bool{
		"Plain":   func(a *checkpoint.Append) bool { return a.Status == 0 && a.Release == nil },
		"Release": func(a *checkpoint.Append) bool { return a.Release != nil },
		"End":     func(a *checkpoint.Append) bool { return a.Status != 0 },
	}
	errs := map[string]error{
		"Unknown":          errors.New("connection reset"),
		"Canceled":         context.Canceled,
		"DeadlineExceeded": fmt.Errorf("append: %w", context.DeadlineExceeded),
		"Conflict":         checkpoint.ErrConflict,
		"EOF":              io.ErrUnexpectedEOF,
		"InboxNews":        checkpoint.ErrInboxNews,
	}
	for kind, is := range kinds {
		for name, failure := range errs {
			for _, made := range []bool{false, true} {
				for _, parkFor := range []time.Duration{-1, 0} {
					if name == "InboxNews" && (kind != "Release" || made) {
						continue // no store says so
					}
					inBubble(t, fmt.Sprintf("%s/%s/made=%v/ParkFor=%s", kind, name, made, parkFor), func(t *testing.T) {
						m := newMachine(t)
						var failures atomic.Int32
						fail := func(a *checkpoint.Append) error {
							if is(a) && failures.Add(1) <= 3 {
								return failure
							}
							return nil
						}
						if made {
							m.afterAppend = func(a *checkpoint.Append, err error) error {
								if err != nil {
									return err
								}
								return fail(a)
							}
						} else {
							m.onAppend = fail
						}
						child := durable.Define("child", func(ctx *durable.Context, _ int) (int, error) {
							return 7, durable.Do(ctx, "x", func(context.Context) error { return nil })
						})
						f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
							if err := durable.Do(ctx, "x", func(context.Context) error { return nil }); err != nil {
								return 0, err
							}
							if err := durable.Wait(ctx, "sleep", time.Hour); err != nil {
								return 0, err
							}
							return durable.Invoke(ctx, "invoke", child, 0)
						})
						b := m.open(durable.Options{ParkFor: parkFor}, f, child)
						x := start(b, f, 0)
						out, err := within(b, x, 3*time.Hour)
						require.NoError(t, err)
						require.Equal(t, 7, out)
						checkHistory(b, "append", x.ID())
						time.Sleep(time.Minute)
						synctest.Wait()
						require.NotZero(t, failures.Load())
						require.Zero(t, b.engine.Stats().Resident)
					})
				}
			}
		}
	}
}

// TestNothingLeavesBeforeItIsDurable holds back what the store says of a step's
// result: code goes on, effects wait.
func TestNothingLeavesBeforeItIsDurable(t *testing.T) {
	effects := map[string]func(ctx *durable.Context, n *notes) error{
		"Step": func(ctx *durable.Context, n *notes) error {
			_, err := durable.Step(ctx, "effect", n.body("effect"))
			return err
		},
		"AtMostOnce": func(ctx *durable.Context, n *notes) error {
			_, err := durable.Step(ctx, "effect", n.body("effect"), durable.AtMostOnce())
			return err
		},
		"Check": func(ctx *durable.Context, n *notes) error {
			_, err := durable.WaitForCondition(ctx, "effect", 0, func(context.Context, int) (int, error) { n.add("effect"); return 0, nil },
				func(int, int) durable.Poll { return durable.PollDone() })
			return err
		},
		"Submitter": func(ctx *durable.Context, n *notes) error {
			return durable.Do(ctx.WithoutCancel(), "effect", func(context.Context) error { n.add("effect"); return nil })
		},
		"CallbackID": func(ctx *durable.Context, n *notes) error {
			_, err := durable.CreateCallback[int](ctx, "effect")
			n.add("effect")
			return err
		},
		"Invoke": func(ctx *durable.Context, n *notes) error {
			_, err := durable.InvokeByName[int](ctx, "effect", "child", 0)
			return err
		},
		"InABranch": func(ctx *durable.Context, n *notes) error {
			_, err := durable.Map(ctx, "map", []int{1}, func(ctx *durable.Context, _, _ int) (string, error) {
				return durable.Step(ctx, "effect", n.body("effect"))
			})
			return err
		},
	}
	for name, effect := range effects {
		inBubble(t, name, func(t *testing.T) {
			m := newMachine(t)
			var n notes
			durableNow := make(chan struct{})
			m.afterAppend = func(a *checkpoint.Append, err error) error {
				for _, rec := range a.Records {
					if rec.Type == checkpoint.StepSucceeded && rec.OperationID == "1" {
						<-durableNow
					}
				}
				return err
			}
			m.onCreate = func(c *checkpoint.Creation) error {
				if c.Caller != nil {
					n.add("effect")
				}
				return nil
			}
			child := durable.DefinePlain("child", func(context.Context, int) (int, error) { return 0, nil })
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				if _, err := durable.Step(ctx, "first", n.body("first")); err != nil {
					return 0, err
				}
				durable.Now(ctx)
				n.add("code goes on")
				return 0, effect(ctx, &n)
			})
			b := m.open(durable.Options{}, f, child)
			x := start(b, f, 0)
			time.Sleep(time.Hour)
			require.Equal(t, []string{"first", "code goes on"}, n.all())
			close(durableNow)
			_, err := within(b, x, time.Hour)
			require.NoError(t, err)
			require.Equal(t, []string{"first", "code goes on", "effect"}, n.all())
		})
	}
}

// TestDeposedOwner lets another engine take an execution over while its owner
// still works on it, as happens when a lease runs out.
func TestDeposedOwner(t *testing.T) {
	inBubble(t, "WritesNothingAnyMore", func(t *testing.T) {
		var n notes
		f := func(who string, d time.Duration) *durable.Function[int, string] {
			return durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				if _, err := durable.Step(ctx, "first", n.body("first of "+who)); err != nil {
					return "", err
				}
				v, err := durable.Step(ctx, "slow", func(ctx context.Context) (string, error) {
					n.add("%s begins", who)
					err := rest(ctx, d)
					n.add("%s ends", who)
					return who, err
				})
				if err != nil {
					return "", err
				}
				_, err = durable.Step(ctx, "last", n.body("last of "+who))
				return v, err
			})
		}
		m := newMachine(t)
		old := m.open(durable.Options{MaxResident: 1}, f("old", time.Hour))
		id, err := old.engine.StartByName(old.ctx, "f", json.RawMessage("0"), durable.WithExecutionID("x"))
		require.NoError(t, err)
		time.Sleep(10 * time.Minute)
		s, err := m.base.Get(t.Context(), id)
		require.NoError(t, err)
		require.NoError(t, m.base.Disown(t.Context(), id, s.Epoch))
		mine := f("new", 2*time.Hour)
		b := m.open(durable.Options{}, mine)
		time.Sleep(90 * time.Minute)
		require.Equal(t, []string{"first of old", "old begins", "new begins", "old ends"}, n.all())
		require.Equal(t, durable.OperationStarted, b.operation(id, "2").Status, "what the old one made of it is not written")
		out, err := within(b, mine.Attach(b.engine, id), 10*time.Hour)
		require.NoError(t, err)
		require.Equal(t, "new", out)
		require.Equal(t, []string{"new ends", "last of new"}, n.all()[4:])
		checkHistory(b, "deposed", id)
		history := b.history(id)
		time.Sleep(10 * time.Hour)
		require.Equal(t, history, b.history(id))
		require.NoError(t, old.engine.Close())
	})
}
