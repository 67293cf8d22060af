package durable_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// callbacksOf are the IDs of an execution's open callbacks.
func callbacksOf(b *bundle, id string) (ids []string) {
	b.Helper()
	ops, err := b.engine.Operations(b.ctx, id)
	require.NoError(b, err)
	for _, o := range ops {
		if o.CallbackID != "" {
			ids = append(ids, o.CallbackID)
		}
	}
	return ids
}

// manyCallbacks waits for n callbacks at once and returns their payloads.
var manyCallbacks = durable.Define("many", func(ctx *durable.Context, n int) ([]string, error) {
	batch, err := durable.Map(ctx, "map", make([]int, n), func(ctx *durable.Context, _, i int) (string, error) {
		return durable.WaitForCallback[string](ctx, "cb", func(context.Context, string) error { return nil })
	})
	if err != nil {
		return nil, err
	}
	return batch.Values(), nil
})

func TestInbox(t *testing.T) {
	bothWays(t, "OneOfAThousandSendersCompletesACallback", func(t *testing.T, parkFor time.Duration) {
		b := setupWith(t, durable.Options{ParkFor: parkFor}, awaitCallback)
		x := start(b, awaitCallback, 0)
		id, err := b.engine.CallbackID(b.ctx, x.ID(), "cb")
		require.NoError(t, err)
		synctest.Wait()
		var wg sync.WaitGroup
		var won atomic.Int32
		var winner atomic.Value
		for i := range 1000 {
			wg.Go(func() {
				payload := fmt.Sprint("sender ", i)
				var err error
				if i%3 == 0 {
					err = b.engine.FailCallback(b.ctx, id, durable.Failure{Type: "Rejected", Message: payload})
				} else {
					err = b.engine.SucceedCallback(b.ctx, id, payload)
				}
				if err == nil {
					won.Add(1)
					winner.Store(payload)
				} else if !errors.Is(err, durable.ErrCallbackCompleted) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, won.Load())
		out, err := within(b, x, time.Minute)
		if err != nil {
			require.ErrorIs(t, err, durable.ErrCallbackFailed)
			failure, _ := errors.AsType[*durable.Failure](err)
			out = failure.Message
		}
		require.Equal(t, winner.Load(), out)
		completed := 0
		for ev := range b.events(x.ID()) {
			if ev.Type == "CallbackSucceeded" || ev.Type == "CallbackFailed" {
				completed++
			}
		}
		require.Equal(t, 1, completed)
	})

	bothWays(t, "ThousandsOfCallbacksToOneExecution", func(t *testing.T, parkFor time.Duration) {
		const n = 2000
		b := setupWith(t, durable.Options{ParkFor: parkFor}, manyCallbacks)
		x := start(b, manyCallbacks, n)
		synctest.Wait()
		ids := callbacksOf(b, x.ID())
		require.Len(t, ids, n)
		var wg sync.WaitGroup
		for part := range 20 {
			wg.Go(func() {
				for i := part; i < n; i += 20 {
					require.NoError(t, b.engine.SucceedCallback(b.ctx, ids[i], fmt.Sprint(i)))
				}
			})
		}
		wg.Wait()
		out, err := within(b, x, time.Minute)
		require.NoError(t, err)
		for i, v := range out {
			require.Equal(t, fmt.Sprint(i), v)
		}
		seen := map[string]int{}
		last := int64(0)
		for ev := range b.events(x.ID()) {
			require.Equal(t, last+1, ev.EventID)
			last = ev.EventID
			if ev.Type == "CallbackSucceeded" {
				seen[ev.OperationID]++
			}
		}
		require.Len(t, seen, n)
		for _, times := range seen {
			require.Equal(t, 1, times)
		}
	})

	inBubble(t, "WhatIsAcknowledgedIsSeenAtOnce", func(t *testing.T) {
		m := newMachine(t)
		b := m.open(durable.Options{ParkFor: -1}, awaitCallback)
		x := start(b, awaitCallback, 0)
		synctest.Wait()
		claims := make(chan struct{})
		m.set(func() { m.onClaim = func() error { <-claims; return nil } })
		b.complete(x.ID(), "cb", "yes")
		history := b.history(x.ID())
		require.Equal(t, "CallbackSucceeded 1 cb", history[len(history)-1])
		o := b.operation(x.ID(), "1")
		require.Equal(t, durable.OperationSucceeded, o.Status)
		require.JSONEq(t, `"yes"`, string(o.Result))
		require.Empty(t, o.CallbackID)
		close(claims)
		out, err := within(b, x, time.Minute)
		require.NoError(t, err)
		require.Equal(t, "yes", out)
		require.Equal(t, history, b.history(x.ID())[:len(history)], "and it stands where it was seen")
	})

	inBubble(t, "ACallbackCompletedWhileNothingRunsIsNotLost", func(t *testing.T) {
		m := newMachine(t)
		b := m.open(durable.Options{ParkFor: -1}, awaitCallback)
		x := start(b, awaitCallback, 0)
		id, err := b.engine.CallbackID(b.ctx, x.ID(), "cb")
		require.NoError(t, err)
		m.kill(b)
		// A process that has other functions takes callbacks for all.
		b = m.open(durable.Options{ParkFor: -1}, nap)
		require.NoError(t, b.engine.SucceedCallback(b.ctx, id, "yes"))
		require.ErrorIs(t, b.engine.SucceedCallback(b.ctx, id, "no"), durable.ErrCallbackCompleted)
		m.kill(b)
		b = m.open(durable.Options{ParkFor: -1}, awaitCallback)
		out, err := within(b, awaitCallback.Attach(b.engine, x.ID()), time.Minute)
		require.NoError(t, err)
		require.Equal(t, "yes", out)
	})

	inBubble(t, "AnEventIsTakenOverOnceHoweverOftenThatFails", func(t *testing.T) {
		// The append that moves it from the inbox fails, or succeeds but says that
		// it did not know; then the process dies.
		m := newMachine(t)
		rng := rand.New(rand.NewPCG(1, 2))
		var mu sync.Mutex
		m.onAppend = func(*checkpoint.Append) error {
			mu.Lock()
			defer mu.Unlock()
			if rng.IntN(3) == 0 {
				return errors.New("connection refused")
			}
			return nil
		}
		m.afterAppend = func(_ *checkpoint.Append, err error) error {
			mu.Lock()
			defer mu.Unlock()
			if err == nil && rng.IntN(3) == 0 {
				return errors.New("connection reset")
			}
			return err
		}
		const n = 50
		b := m.open(durable.Options{ParkFor: -1}, manyCallbacks)
		x := start(b, manyCallbacks, n)
		var ids []string
		for len(ids) < n {
			time.Sleep(time.Second)
			ids = callbacksOf(b, x.ID())
		}
		for i, id := range ids {
			require.NoError(t, b.engine.SucceedCallback(b.ctx, id, fmt.Sprint(i)))
			if i%10 == 5 {
				time.Sleep(time.Duration(i) * time.Millisecond)
				m.kill(b)
				b = m.open(durable.Options{ParkFor: -1}, manyCallbacks)
			}
		}
		out, err := within(b, manyCallbacks.Attach(b.engine, x.ID()), 100*time.Hour)
		require.NoError(t, err)
		for i, v := range out {
			require.Equal(t, fmt.Sprint(i), v)
		}
		seen := map[string]int{}
		for ev := range b.events(x.ID()) {
			if ev.Type == "CallbackSucceeded" {
				seen[ev.OperationID]++
			}
		}
		require.Len(t, seen, n)
		for id, times := range seen {
			require.Equal(t, 1, times, id)
		}
	})
}

func TestDueTogether(t *testing.T) {
	// What became due while nothing ran, or what a clock that jumped finds due, is
	// recorded in the order in which it was due. Operations are named so.
	f := durable.Define("f", func(ctx *durable.Context, _ int) ([]string, error) {
		hour := func(n int) time.Duration { return time.Duration(n) * time.Hour }
		as := []durable.Awaitable{durable.After(ctx, "3h", hour(3)), durable.After(ctx, "1h", hour(1))}
		for _, n := range []int{6, 2, 4} {
			cb, err := durable.CreateCallback[string](ctx, fmt.Sprintf("%dh", n), durable.WithTimeout(hour(n)))
			if err != nil {
				return nil, err
			}
			as = append(as, cb)
		}
		child := durable.Go(ctx, "child", func(ctx *durable.Context) (int, error) { return 0, durable.Wait(ctx, "5h", 1000*time.Hour) }, durable.WithTimeout(hour(5)))
		event, err := durable.CreateCallback[string](ctx, "3h30")
		if err != nil {
			return nil, err
		}
		var order []string
		for s := range durable.Settled(ctx, "settled", append(as, event)...) {
			order = append(order, s.Name())
		}
		_, _ = child.Await(ctx)
		return order, nil
	})
	happened := func(b *bundle, id string) (names []string) {
		for ev := range b.events(id) {
			switch ev.Type {
			case "WaitSucceeded", "WaitCancelled", "CallbackSucceeded", "CallbackTimedOut":
				names = append(names, ev.Name)
			}
		}
		return names
	}
	seen := []string{"1h", "2h", "3h", "3h30", "4h", "6h"}
	recorded := []string{"1h", "2h", "3h", "3h30", "4h", "5h", "6h"}

	inBubble(t, "OneByOne", func(t *testing.T) {
		b := setup(t, f)
		x := start(b, f, 0)
		time.Sleep(3*time.Hour + 30*time.Minute)
		b.complete(x.ID(), "3h30", "yes")
		out, err := within(b, x, 10*time.Hour)
		require.NoError(t, err)
		require.Equal(t, recorded, happened(b, x.ID()))
		require.Equal(t, seen, out)
	})

	inBubble(t, "AfterADay", func(t *testing.T) {

		m := newMachine(t)
		b := m.open(durable.Options{ParkFor: -1}, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		id, err := b.engine.CallbackID(b.ctx, x.ID(), "3h30")
		require.NoError(t, err)
		m.kill(b)
		time.Sleep(3*time.Hour + 29*time.Minute)
		b = m.open(durable.Options{ParkFor: -1}, nap)
		require.NoError(t, b.engine.SucceedCallback(b.ctx, id, "yes"))
		m.kill(b)
		time.Sleep(24 * time.Hour)
		b = m.open(durable.Options{ParkFor: -1}, f)
		out, err := within(b, f.Attach(b.engine, x.ID()), time.Minute)
		require.NoError(t, err)
		require.Equal(t, recorded, happened(b, x.ID()))
		require.Equal(t, seen, out)
	})

	inBubble(t, "WhenTheClockJumps", func(t *testing.T) {

		m := newMachine(t)
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			late := durable.After(ctx, "3h", 3*time.Hour)
			child := durable.Go(ctx, "child", func(ctx *durable.Context) (int, error) { return 0, durable.Wait(ctx, "2h", 1000*time.Hour) }, durable.WithTimeout(2*time.Hour))
			early := durable.After(ctx, "1h", time.Hour)
			_, _ = child.Await(ctx)
			return 0, errors.Join(late.Await(ctx), early.Await(ctx))
		})
		b := m.open(durable.Options{ParkFor: 1000 * time.Hour}, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		m.set(func() { m.ahead = 24 * time.Hour }) // the process was stopped, or the clock was set
		_, err := within(b, x, time.Minute)
		require.NoError(t, err, "the clock is looked at again within 30 s")
		require.Equal(t, []string{"1h", "2h", "3h"}, happened(b, x.ID()))
	})

	inBubble(t, "ATimerThatIsEarlyByTheStoresClockSleepsOn", func(t *testing.T) {
		m := newMachine(t)
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 1, durable.Wait(ctx, "sleep", time.Hour) })
		b := m.open(durable.Options{ParkFor: 1000 * time.Hour}, f)
		began := time.Now()
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		m.set(func() { m.ahead = -30 * time.Minute }) // the clock was set back
		_, err := within(b, x, 10*time.Hour)
		require.NoError(t, err)
		punctual(t, 90*time.Minute, time.Since(began))
	})
}

func TestIdentity(t *testing.T) {
	inBubble(t, "OfAnExecutionThatWasDeletedSaysNothingAboutTheNext", func(t *testing.T) {
		var mu sync.Mutex
		keys := map[string]bool{}
		child := durable.Define("child", func(ctx *durable.Context, _ int) (string, error) { return ctx.ExecutionID(), nil })
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			err := durable.Do(ctx, "charge", func(ctx context.Context) error {
				info, _ := durable.StepInfoFrom(ctx)
				mu.Lock()
				defer mu.Unlock()
				if keys[info.IdempotencyKey] {
					return durable.Permanent(errors.New("charged already"))
				}
				keys[info.IdempotencyKey] = true
				return nil
			})
			if err != nil {
				return "", err
			}
			invoked, err := durable.Invoke(ctx, "invoke", child, 0)
			if err != nil {
				return "", err
			}
			answer, err := durable.WaitForCallback[string](ctx, "cb", func(context.Context, string) error { return nil })
			return invoked + " " + answer, err
		})
		b := setup(t, f, child)
		order := durable.WithExecutionID("order-42")
		x := start(b, f, 0, order)
		old, err := b.engine.CallbackID(b.ctx, x.ID(), "cb")
		require.NoError(t, err)
		require.NoError(t, b.engine.SucceedCallback(b.ctx, old, "first"))
		first, err := within(b, x, time.Minute)
		require.NoError(t, err)
		require.NoError(t, b.engine.Delete(b.ctx, "order-42"))

		x = start(b, f, 0, order)
		id, err := b.engine.CallbackID(b.ctx, x.ID(), "cb")
		require.NoError(t, err)
		require.NotEqual(t, old, id)
		require.ErrorIs(t, b.engine.SucceedCallback(b.ctx, old, "last week's"), durable.ErrCallbackNotFound)
		require.ErrorIs(t, b.engine.FailCallback(b.ctx, old, durable.Failure{}), durable.ErrCallbackNotFound)
		require.ErrorIs(t, b.engine.HeartbeatCallback(b.ctx, old), durable.ErrCallbackNotFound)
		require.NoError(t, b.engine.SucceedCallback(b.ctx, id, "second"))
		second, err := within(b, x, time.Minute)
		require.NoError(t, err)
		require.NotEqual(t, first[:30], second[:30], "another invoked execution")
		require.Contains(t, second, " second")
		require.Len(t, keys, 2)
	})

	inBubble(t, "OfManyStartsAtOnceIsOne", func(t *testing.T) {
		var entered atomic.Int32
		f := durable.Define("f", func(ctx *durable.Context, i int) (int, error) {
			return i, durable.Do(ctx, "x", func(context.Context) error { entered.Add(1); return nil })
		})
		b := setup(t, f)
		var wg sync.WaitGroup
		var others atomic.Int32
		for i := range 200 {
			wg.Go(func() {
				out, err := f.Run(b.ctx, b.engine, i%2, durable.WithExecutionID("same"))
				if err != nil {
					require.ErrorIs(t, err, durable.ErrExecutionExists)
					others.Add(1)
					return
				}
				require.Equal(t, i%2, out)
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, entered.Load())
		require.EqualValues(t, 100, others.Load(), "those with the other input")
		require.Equal(t, 1, b.count(durable.Query{}))
	})

	inBubble(t, "OfACallbackIsNotGuessed", func(t *testing.T) {
		b := setup(t, awaitCallback)
		x := start(b, awaitCallback, 0)
		id, err := b.engine.CallbackID(b.ctx, x.ID(), "cb")
		require.NoError(t, err)
		for i := range id[:len(id)-1] { // the last bits of base64 may say nothing
			for _, c := range []byte("A_z") {
				if id[i] == c {
					continue
				}
				forged := []byte(id)
				forged[i] = c
				require.ErrorIs(t, b.engine.SucceedCallback(b.ctx, string(forged), "forged"), durable.ErrCallbackNotFound, "byte %d", i)
			}
		}
		for _, forged := range []string{"", "x", id + "A", id[1:], id[:len(id)-2], id + id} {
			require.ErrorIs(t, b.engine.SucceedCallback(b.ctx, forged, "forged"), durable.ErrCallbackNotFound)
		}
		other := setup(t, awaitCallback)
		require.ErrorIs(t, other.engine.SucceedCallback(other.ctx, id, "another store's"), durable.ErrCallbackNotFound)
	})
}

func TestInvokeOverCrashes(t *testing.T) {
	child := durable.Define("child", func(ctx *durable.Context, d time.Duration) (int, error) { return 7, durable.Wait(ctx, "sleep", d) })
	f := durable.Define("f", func(ctx *durable.Context, d time.Duration) (int, error) {
		return durable.Invoke(ctx, "invoke", child, d)
	})

	inBubble(t, "TheEndOfTheChildIsNotLost", func(t *testing.T) {
		// The process dies just after the child's end was written.
		m := newMachine(t)
		b := m.open(durable.Options{ParkFor: -1}, f, child)
		ended := make(chan struct{})
		m.set(func() {
			m.afterAppend = func(a *checkpoint.Append, err error) error {
				if a.Status != 0 && a.Deliver != nil {
					m.mu.Lock()
					m.tap.dead.Store(true)
					m.mu.Unlock()
					close(ended)
				}
				return err
			}
		})
		x := start(b, f, time.Hour)
		<-ended
		m.set(func() { m.afterAppend = nil })
		m.kill(b)
		b = m.open(durable.Options{ParkFor: -1}, f, child)
		out, err := within(b, f.Attach(b.engine, x.ID()), time.Minute)
		require.NoError(t, err)
		require.Equal(t, 7, out)
	})

	inBubble(t, "AChildThatWasAskedForIsCreatedOnce", func(t *testing.T) {
		// The process dies between the record of the invoke and the creation, or
		// just after that.
		for _, after := range []bool{false, true} {
			m := newMachine(t)
			b := m.open(durable.Options{ParkFor: -1}, f, child)
			asked := make(chan struct{})
			var once sync.Once
			m.set(func() {
				m.onCreate = func(c *checkpoint.Creation) error {
					if c.Caller == nil {
						return nil
					}
					if after {
						_, _, err := m.base.Create(context.Background(), *c)
						require.NoError(t, err)
					}
					b.store.(*tap).dead.Store(true)
					once.Do(func() { close(asked) })
					return errors.New("connection reset")
				}
			})
			x := start(b, f, time.Hour)
			<-asked
			synctest.Wait()
			m.set(func() { m.onCreate = nil })
			m.kill(b)
			b = m.open(durable.Options{ParkFor: -1}, f, child)
			out, err := within(b, f.Attach(b.engine, x.ID()), 2*time.Hour)
			require.NoError(t, err)
			require.Equal(t, 7, out)
			children := 0
			for info, err := range b.engine.Executions(b.ctx, durable.Query{Function: "child"}) {
				require.NoError(t, err)
				require.Equal(t, x.ID(), info.Parent)
				children++
			}
			require.Equal(t, 1, children)
		}
	})

	inBubble(t, "WhatAStoppedOneInvokedIsCancelled", func(t *testing.T) {
		m := newMachine(t)
		b := m.open(durable.Options{ParkFor: -1}, f, child)
		x := start(b, f, 100*time.Hour)
		time.Sleep(time.Minute)
		m.set(func() { m.onClaim = func() error { return errors.New("busy") } })
		b.stop(x.ID())
		m.kill(b) // the child has not heard of it
		m.set(func() { m.onClaim = nil })
		b = m.open(durable.Options{ParkFor: -1}, f, child)
		time.Sleep(time.Minute)
		for info, err := range b.engine.Executions(b.ctx, durable.Query{Function: "child"}) {
			require.NoError(t, err)
			require.Equal(t, durable.ExecutionFailed, info.Status)
			require.Equal(t, "Canceled", info.Failure.Type)
		}
	})
}

// early delivers a cancel between the creation of an execution and its residency.
type early struct {
	*memstore.Store
	cancels bool
	asked   atomic.Int32 // for an inbox
	hinted  chan struct{}
}

func (s *early) Watch(fn func(checkpoint.Hint)) {
	s.Store.Watch(func(h checkpoint.Hint) {
		fn(h)
		if h.Kind == checkpoint.HintInbox {
			close(s.hinted)
		}
	})
}

func (s *early) Create(ctx context.Context, c checkpoint.Creation) (checkpoint.Summary, bool, error) {
	sum, created, err := s.Store.Create(ctx, c)
	if s.cancels && err == nil {
		err = s.Deliver(ctx, checkpoint.Delivery{ID: c.ID, Record: checkpoint.Record{Type: checkpoint.CancelRequested}})
		<-s.hinted
	}
	return sum, created, err
}

func (s *early) Inbox(ctx context.Context, id string, after uint64) ([]checkpoint.Record, error) {
	s.asked.Add(1)
	return s.Store.Inbox(ctx, id, after)
}

func TestInboxIsAskedFor(t *testing.T) {
	sleep := durable.Define("sleep", func(ctx *durable.Context, d time.Duration) (bool, error) {
		return true, durable.Wait(ctx, "sleep", d)
	})
	run := func(t *testing.T, cancels bool) (*early, error) {
		s := &early{Store: memstore.New(), cancels: cancels, hinted: make(chan struct{})}
		e, err := durable.New(s, &durable.Options{Functions: []durable.Definition{sleep}, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		defer e.Close()
		_, err = sleep.Run(t.Context(), e, time.Millisecond)
		return s, err
	}
	t.Run("WhenNewsCameBeforeTheResidency", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, err := run(t, true)
			require.ErrorIs(t, err, durable.ErrCanceled)
		})
	})
	t.Run("NotOtherwise", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, err := run(t, false)
			require.NoError(t, err)
			require.Zero(t, s.asked.Load())
		})
	})
}
