package durable_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// outside is what is started outside of a scope, and takes ten hours.
type outside struct {
	cb     *durable.Callback[int]
	timer  *durable.Timer
	future *durable.Future[int]
}

func startOutside(ctx *durable.Context) (out outside, err error) {
	out.cb, err = durable.CreateCallback[int](ctx, "cb", durable.WithTimeout(10*time.Hour))
	out.timer = durable.After(ctx, "timer", 10*time.Hour)
	out.future = hours(ctx, "future", 10)
	return out, err
}

// waits are the ways to wait for it.
var waits = map[string]func(ctx *durable.Context, o outside) error{
	"Callback": func(ctx *durable.Context, o outside) error { _, err := o.cb.Await(ctx); return err },
	"Timer":    func(ctx *durable.Context, o outside) error { return o.timer.Await(ctx) },
	"Future":   func(ctx *durable.Context, o outside) error { _, err := o.future.Await(ctx); return err },
	"Select": func(ctx *durable.Context, o outside) error {
		_, err := durable.Select(ctx, "s", o.cb, o.timer, o.future)
		return err
	},
	"All":  func(ctx *durable.Context, o outside) error { _, err := durable.All(ctx, "all", o.future); return err },
	"Any":  func(ctx *durable.Context, o outside) error { _, err := durable.Any(ctx, "any", o.future); return err },
	"Race": func(ctx *durable.Context, o outside) error { _, err := durable.Race(ctx, "race", o.future); return err },
	"Settled": func(ctx *durable.Context, o outside) error {
		for a := range durable.Settled(ctx, "settled", o.timer, o.future) {
			return fmt.Errorf("%s has settled", a.Name())
		}
		return durable.Do(ctx, "behind", func(context.Context) error { return nil }) // refused
	},
	"Nested": func(ctx *durable.Context, o outside) error {
		_, err := durable.RunInChildContext(ctx, "nested", func(ctx *durable.Context) (int, error) { return o.future.Await(ctx) })
		return err
	},
	"Branch": func(ctx *durable.Context, o outside) error {
		_, err := durable.Go(ctx, "branch", func(ctx *durable.Context) (int, error) { return o.cb.Await(ctx) }).Await(ctx)
		return err
	},
	"Item": func(ctx *durable.Context, o outside) error {
		_, err := durable.Map(ctx, "map", []int{1, 2}, func(ctx *durable.Context, i, _ int) (int, error) {
			if i == 1 {
				return 1, nil
			}
			return o.future.Await(ctx)
		})
		return err
	},
	"FlatItem": func(ctx *durable.Context, o outside) error {
		_, err := durable.Map(ctx, "map", []int{1}, func(ctx *durable.Context, _, _ int) (int, error) { return o.future.Await(ctx) }, durable.Flat())
		return err
	},
	"MixedWithItsOwn": func(ctx *durable.Context, o outside) error {
		_, err := durable.Select(ctx, "s", o.cb, durable.After(ctx, "own", 5*time.Hour))
		return err
	},
}

// scopes are what a timeout ends.
var scopes = map[string]func(ctx *durable.Context, wait func(*durable.Context) error, d time.Duration) error{
	"Child": func(ctx *durable.Context, wait func(*durable.Context) error, d time.Duration) error {
		_, err := durable.RunInChildContext(ctx, "scope", func(ctx *durable.Context) (int, error) { return 0, wait(ctx) }, durable.WithTimeout(d))
		return err
	},
	"Go": func(ctx *durable.Context, wait func(*durable.Context) error, d time.Duration) error {
		_, err := durable.Go(ctx, "scope", func(ctx *durable.Context) (int, error) { return 0, wait(ctx) }, durable.WithTimeout(d)).Await(ctx)
		return err
	},
	"Batch": func(ctx *durable.Context, wait func(*durable.Context) error, d time.Duration) error {
		_, err := durable.Map(ctx, "scope", []int{1}, func(ctx *durable.Context, _, _ int) (int, error) { return 0, wait(ctx) }, durable.WithTimeout(d))
		return err
	},
}

// TestAWaiterBelongsToItsScope: a timeout ends the wait for what was started outside of
// the scope, and what is waited for goes on.
func TestAWaiterBelongsToItsScope(t *testing.T) {
	var names []string
	for wait := range waits {
		for scope := range scopes {
			names = append(names, wait+"/"+scope)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		bothWays(t, name, func(t *testing.T, parkFor time.Duration) {
			wait, scope, _ := strings.Cut(name, "/")
			var seen []string
			var first time.Duration
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				begun := durable.Now(ctx)
				out, err := startOutside(ctx)
				if err != nil {
					return "", err
				}
				var inside error
				err = scopes[scope](ctx, func(ctx *durable.Context) error {
					inside = waits[wait](ctx, out)
					// Replays see the same, also when it has settled by then.
					if err := durable.Wait(ctx.WithoutCancel(), "undo", 12*time.Hour); err != nil {
						return err
					}
					seen = append(seen, fmt.Sprint(inside))
					return inside
				}, time.Hour)
				if !errors.Is(err, durable.ErrTimeout) {
					return "", fmt.Errorf("the scope: %w", err)
				}
				first = durable.Now(ctx).Sub(begun)
				n, err := out.future.Await(ctx) // it goes on
				return fmt.Sprint(n, durable.Now(ctx).Sub(begun)), err
			})
			b := setupWith(t, durable.Options{ParkFor: parkFor}, f)
			x := start(b, f, 0)
			got, err := within(b, x, 100*time.Hour)
			require.NoError(t, err)
			require.Equal(t, 13*time.Hour, first)
			require.Equal(t, "10 13h0m0s", got)
			require.NotEmpty(t, seen)
			for _, s := range seen {
				require.Equal(t, seen[0], s)
				require.True(t, strings.Contains(s, "a timeout around it passed") || strings.Contains(s, "timed out") || strings.Contains(s, "FailureTolerance") || strings.Contains(s, "failed"), s)
			}
			checkHistory(b, name, x.ID())
			rec, err := b.engine.Recording(b.ctx, x.ID())
			require.NoError(t, err)
			require.NoError(t, durable.Replay(b.ctx, rec, &durable.Options{Functions: []durable.Definition{f}}))
		})
	}

	bothWays(t, "WithoutCancelWaitsOn", func(t *testing.T, parkFor time.Duration) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			slow := hours(ctx, "slow", 10)
			var n int
			_, err := durable.RunInChildContext(ctx, "scope", func(ctx *durable.Context) (int, error) {
				var err error
				n, err = slow.Await(ctx.WithoutCancel())
				return n, err
			}, durable.WithTimeout(time.Hour))
			if !errors.Is(err, durable.ErrTimeout) {
				return 0, err
			}
			n, err = slow.Await(ctx)
			return n, errors.Join(err, durable.Wait(ctx, "end", time.Hour))
		})
		b := setupWith(t, durable.Options{ParkFor: parkFor}, f)
		x := start(b, f, 0)
		begun := time.Now()
		n, err := within(b, x, 100*time.Hour)
		require.NoError(t, err)
		require.Equal(t, 10, n)
		require.Equal(t, 11*time.Hour, time.Since(begun))
	})

	bothWays(t, "WhatIsInTheScopeHasAnOutcomeOfItsOwn", func(t *testing.T, parkFor time.Duration) {
		// A future that compensates is waited for, and what it returned is what Await returns.
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			undoing := durable.Go(ctx, "undoing", func(ctx *durable.Context) (string, error) {
				if err := durable.Wait(ctx, "wait", 100*time.Hour); err == nil {
					return "", nil
				}
				return "undone", durable.Wait(ctx.WithoutCancel(), "undo", 5*time.Hour)
			})
			shielded := durable.Go(ctx.WithoutCancel(), "shielded", func(ctx *durable.Context) (string, error) {
				return "finished", durable.Wait(ctx, "wait", 10*time.Hour)
			})
			first, err := undoing.Await(ctx)
			second, err2 := shielded.Await(ctx)
			return first + " " + second, errors.Join(err, err2, durable.Wait(ctx.WithoutCancel(), "end", time.Hour))
		})
		b := setupWith(t, durable.Options{ParkFor: parkFor}, f)
		x := start(b, f, 0)
		time.Sleep(time.Hour)
		b.cancel(x.ID())
		out, err := within(b, x, 100*time.Hour)
		require.NoError(t, err)
		require.Equal(t, "undone finished", out)
	})

	bothWays(t, "AnOutcomeFromBeforeTheCancelCounts", func(t *testing.T, parkFor time.Duration) {
		var seen notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			early, late := hours(ctx, "early", 1), hours(ctx, "late", 3)
			_, err := durable.RunInChildContext(ctx, "scope", func(ctx *durable.Context) (int, error) {
				_ = durable.Wait(ctx, "sleep", 100*time.Hour)
				_ = durable.Wait(ctx.WithoutCancel(), "undo", 10*time.Hour) // late settles meanwhile
				n, err := early.Await(ctx)
				m, err2 := late.Await(ctx)
				seen.add("%d %v %d %v", n, err, m, err2 != nil)
				return 0, durable.Wait(ctx.WithoutCancel(), "again", time.Hour)
			}, durable.WithTimeout(2*time.Hour))
			return "", errors.Join(durable.Wait(ctx.WithoutCancel(), "end", time.Hour), onlyTimeout(err))
		})
		b := setupWith(t, durable.Options{ParkFor: parkFor}, f)
		x := start(b, f, 0)
		time.Sleep(100 * time.Hour)
		require.Nil(t, b.describe(x.ID()).Held)
		require.Equal(t, durable.ExecutionSucceeded, b.describe(x.ID()).Status)
		require.NotEmpty(t, seen.all())
		for _, s := range seen.all() {
			require.Equal(t, "1 <nil> 0 true", s)
		}
	})
}

func onlyTimeout(err error) error {
	if errors.Is(err, durable.ErrTimeout) {
		return nil
	}
	return fmt.Errorf("not its timeout: %w", err)
}

// TestChoicesUnderCancel: All, Any, Race and Select fail with the cancel that reaches
// them before they have a choice, and Settled ends.
func TestChoicesUnderCancel(t *testing.T) {
	for _, first := range []string{"Callback", "Timer", "Future"} {
		bothWays(t, "SelectDoesNotChooseWhatWasCancelled/"+first, func(t *testing.T, parkFor time.Duration) {
			var n notes
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				out, err := startOutside(ctx)
				if err != nil {
					return "", err
				}
				as := map[string][]durable.Awaitable{
					"Callback": {out.cb, out.timer, out.future}, "Timer": {out.timer, out.future, out.cb}, "Future": {out.future, out.cb, out.timer},
				}[first]
				chosen, err := durable.Select(ctx, "select", as...)
				n.add("%v %v", chosen, kindOf(err))
				if err := durable.Wait(ctx.WithoutCancel(), "look again", time.Hour); err != nil {
					return "", err
				}
				if err != nil {
					return "", err
				}
				return "expired", nil
			})
			b := setupWith(t, durable.Options{ParkFor: parkFor}, f)
			x := start(b, f, 0)
			time.Sleep(time.Hour)
			b.cancel(x.ID())
			_, err := within(b, x, 100*time.Hour)
			require.ErrorIs(t, err, durable.ErrCanceled)
			require.Equal(t, durable.ExecutionFailed, b.describe(x.ID()).Status)
			for _, s := range n.all() {
				require.Equal(t, "<nil> Canceled", s)
			}
		})
	}

	// Futures that compensate are waited for: if their caller returned, they would be
	// abandoned.
	for name, gather := range map[string]func(ctx *durable.Context, a, b *durable.Future[int]) error{
		"All": func(ctx *durable.Context, a, b *durable.Future[int]) error {
			_, err := durable.All(ctx, "g", a, b)
			return err
		},
		"Any": func(ctx *durable.Context, a, b *durable.Future[int]) error {
			_, err := durable.Any(ctx, "g", a, b)
			return err
		},
		"Race": func(ctx *durable.Context, a, b *durable.Future[int]) error {
			_, err := durable.Race(ctx, "g", a, b)
			return err
		},
		"Select": func(ctx *durable.Context, a, b *durable.Future[int]) error {
			_, err := durable.Select(ctx, "g", a, durable.After(ctx, "t", 90*time.Hour), b)
			return err
		},
		"Settled": func(ctx *durable.Context, a, b *durable.Future[int]) (all error) {
			for f := range durable.Settled(ctx, "g", a, b) {
				_, err := f.(*durable.Future[int]).Await(ctx)
				all = errors.Join(all, err)
			}
			return all
		},
	} {
		bothWays(t, "CompensationIsWaitedFor/"+name, func(t *testing.T, parkFor time.Duration) {
			var n notes
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				undone := func(name string, d time.Duration) *durable.Future[int] {
					return durable.Go(ctx, name, func(ctx *durable.Context) (int, error) {
						err := durable.Wait(ctx, "wait", 100*time.Hour)
						if err2 := durable.Wait(ctx.WithoutCancel(), "calm down", d); err2 != nil {
							return 0, err2
						}
						_, err2 := durable.Step(ctx.WithoutCancel(), "undo", n.body(name))
						return 0, errors.Join(err, err2)
					})
				}
				return 0, gather(ctx, undone("a", 3*time.Hour), undone("b", 5*time.Hour))
			})
			b := setupWith(t, durable.Options{ParkFor: parkFor}, f)
			x := start(b, f, 0)
			time.Sleep(time.Hour)
			b.cancel(x.ID())
			_, err := within(b, x, 100*time.Hour)
			require.ErrorIs(t, err, durable.ErrCanceled)
			require.Equal(t, []string{"a", "b"}, n.all())
			if name != "Settled" {
				require.Equal(t, "Canceled", failureType(b.operation(x.ID(), map[bool]string{true: "4", false: "3"}[name == "Select"]).Failure))
			}
		})
	}

	// What came while it was out of memory counts in its order.
	for _, completedFirst := range []bool{true, false} {
		inBubble(t, fmt.Sprint("InTheOrderInWhichItCame/", completedFirst), func(t *testing.T) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				cb, err := durable.CreateCallback[string](ctx, "cb")
				if err != nil {
					return "", err
				}
				first, err := durable.Select(ctx, "select", durable.After(ctx, "t", 90*time.Hour), cb)
				if err != nil {
					answer, err2 := cb.Await(ctx)
					return fmt.Sprint(kindOf(err), " ", answer), err2
				}
				answer, err := cb.Await(ctx)
				return first.Name() + " " + answer, errors.Join(err)
			})
			m := newMachine(t)
			b := m.open(durable.Options{ParkFor: -1}, f)
			x := start(b, f, 0)
			time.Sleep(time.Minute)
			m.kill(b)
			b = m.open(durable.Options{ParkFor: -1, MaxResident: 1}, f)
			m.set(func() { m.onClaim = func() error { time.Sleep(time.Hour); return nil } })
			if completedFirst {
				b.complete(x.ID(), "cb", "yes")
			}
			time.Sleep(time.Second)
			b.cancel(x.ID())
			if !completedFirst {
				time.Sleep(time.Second)
				b.complete(x.ID(), "cb", "yes")
			}
			time.Sleep(10 * time.Hour)
			out, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
			require.NoError(t, err)
			require.Equal(t, map[bool]string{true: "cb yes", false: "Canceled yes"}[completedFirst], out)
		})
	}

	inBubble(t, "ACallbackIsClosedBehindTheCancel", func(t *testing.T) {
		// The timeout of the scope closes its callback in the store before the cancel is
		// recorded. What comes of that must not be taken for an answer.
		m := newMachine(t)
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			var chosen string
			_, err := durable.RunInChildContext(ctx, "scope", func(ctx *durable.Context) (int, error) {
				one, err := durable.CreateCallback[string](ctx, "one")
				if err != nil {
					return 0, err
				}
				two, err := durable.CreateCallback[string](ctx, "two")
				if err != nil {
					return 0, err
				}
				first, err := durable.Select(ctx, "select", one, two)
				chosen = fmt.Sprint(first, " ", kindOf(err))
				return 0, err
			}, durable.WithTimeout(time.Hour))
			return chosen, onlyTimeout(err)
		})
		m.onDeliver = func(d *checkpoint.Delivery) error {
			if d.Record.Type == checkpoint.CallbackFailed {
				time.Sleep(time.Second) // the hint of the first one is taken meanwhile
			}
			return nil
		}
		b := m.open(durable.Options{ParkFor: 1000 * time.Hour}, f)
		x := start(b, f, 0)
		out, err := within(b, x, 100*time.Hour)
		require.NoError(t, err)
		require.Equal(t, "<nil> Timeout", out)

		// And so when it dies in between.
		dying, dead := make(chan struct{}), make(chan struct{})
		m.set(func() {
			closed := 0
			m.onDeliver = func(d *checkpoint.Delivery) error {
				if closed++; closed < 2 {
					return nil
				}
				close(dying)
				<-dead
				return checkpoint.ErrClosed
			}
		})
		y := start(b, f, 0)
		<-dying
		m.set(func() { m.onDeliver = nil })
		b.store.(*tap).dead.Store(true)
		close(dead)
		m.kill(b)
		b = m.open(durable.Options{ParkFor: 1000 * time.Hour}, f)
		out, err = within(b, f.Attach(b.engine, y.ID()), 100*time.Hour)
		require.NoError(t, err)
		require.Equal(t, "<nil> Timeout", out)
	})

	inBubble(t, "WhatIsAbandonedIsNotWaitedFor", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			lent := make(chan *durable.Future[int], 1)
			left := durable.Go(ctx, "left", func(ctx *durable.Context) (int, error) {
				lent <- hours(ctx, "lent", 50)
				return 0, durable.Wait(ctx, "wait", time.Hour)
			})
			_ = durable.Wait(ctx, "wait", time.Minute)
			_, err := durable.Race(ctx, "race", <-lent)
			_, err2 := left.Await(ctx)
			return kindOf(err), err2
		})
		b := setupWith(t, durable.Options{ParkFor: 1000 * time.Hour}, f)
		out, err := within(b, start(b, f, 0), 40*time.Hour)
		require.NoError(t, err)
		require.Equal(t, "Canceled", out)
		synctest.Wait()
	})
}
