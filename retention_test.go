package durable_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// count counts the executions that a query selects.
func (b *bundle) count(q durable.Query) (n int) {
	b.Helper()
	for _, err := range b.engine.Executions(context.Background(), q) {
		require.NoError(b, err)
		n++
	}
	return n
}

func TestRetention(t *testing.T) {
	echo := durable.Define("echo", func(ctx *durable.Context, i int) (int, error) { return i, nil })

	inBubble(t, "FinishedExecutionsAreKeptAWeek", func(t *testing.T) {
		b := setup(t, echo, nap)
		run(b, echo, 1, durable.WithExecutionID("order-42"))
		time.Sleep(7*24*time.Hour - time.Second)
		synctest.Wait()
		require.Equal(t, durable.ExecutionSucceeded, b.describe("order-42").Status)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		_, err := b.engine.Describe(b.ctx, "order-42")
		require.ErrorIs(t, err, durable.ErrExecutionNotFound)
		_, err = echo.Attach(b.engine, "order-42").Result(b.ctx)
		require.ErrorIs(t, err, durable.ErrExecutionNotFound)
		// The same ID starts again, with another input.
		require.Equal(t, 2, run(b, echo, 2, durable.WithExecutionID("order-42")))
	})

	inBubble(t, "HoweverTheyEnded", func(t *testing.T) {
		fail := durable.Define("fail", func(ctx *durable.Context, _ int) (int, error) { panic("boom") })
		slow := durable.Define("slow", func(ctx *durable.Context, _ int) (int, error) { return 0, durable.Wait(ctx, "sleep", 1000*time.Hour) })
		b := setupWith(t, durable.Options{ParkFor: -1, Retention: time.Hour}, echo, fail, slow)
		run(b, echo, 1)
		start(b, fail, 1)
		start(b, slow, 1, durable.WithExecutionTimeout(time.Minute))
		x := start(b, slow, 2)
		y := start(b, slow, 3)
		b.stop(x.ID())
		time.Sleep(30 * time.Minute)
		require.Equal(t, 5, b.count(durable.Query{}))
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		require.Equal(t, 1, b.count(durable.Query{}), "what runs is kept")
		require.Equal(t, durable.ExecutionRunning, b.describe(y.ID()).Status)
	})

	inBubble(t, "ForEverWhenItIsNegative", func(t *testing.T) {
		b := setupWith(t, durable.Options{Retention: -1}, echo)
		run(b, echo, 1, durable.WithExecutionID("a"))
		time.Sleep(1000 * time.Hour)
		synctest.Wait()
		require.Equal(t, durable.ExecutionSucceeded, b.describe("a").Status)
	})

	inBubble(t, "AHeldExecutionIsKept", func(t *testing.T) {
		var entered atomic.Int32
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			return 0, durable.Wait(ctx, fmt.Sprint(entered.Add(1)), time.Minute)
		})
		b := setupWith(t, durable.Options{ParkFor: -1, Retention: time.Hour}, f)
		x := start(b, f, 0)
		time.Sleep(100 * time.Hour)
		b.held(x.ID())
	})

	inBubble(t, "AnInvokedExecutionIsKeptUntilItsCallerHasEnded", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			v, err := durable.Invoke(ctx, "invoke", echo, 7)
			if err != nil {
				return 0, err
			}
			return v, durable.Wait(ctx, "sleep", 100*time.Hour)
		})
		b := setupWith(t, durable.Options{ParkFor: -1, Retention: time.Hour}, f, echo)
		x := start(b, f, 0)
		time.Sleep(90 * time.Hour)
		synctest.Wait()
		require.Equal(t, 1, b.count(durable.Query{Function: "echo"}), "its caller may ask again on a replay")
		out, err := within(b, x, 20*time.Hour)
		require.NoError(t, err)
		require.Equal(t, 7, out)
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		require.Zero(t, b.count(durable.Query{}))
	})

	inBubble(t, "ThousandsGoWithoutStoppingAnybody", func(t *testing.T) {
		b := setupWith(t, durable.Options{ParkFor: -1, Retention: time.Hour}, echo)
		for i := range 2000 {
			start(b, echo, i)
		}
		synctest.Wait()
		require.Equal(t, 2000, b.count(durable.Query{Status: durable.ExecutionSucceeded}))
		time.Sleep(time.Hour)
		for range 100 {
			began := time.Now()
			run(b, echo, 1)
			require.Less(t, time.Since(began), time.Second)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		require.LessOrEqual(t, b.count(durable.Query{}), 100)
	})

	// What is due is claimed while the store is at work on what is past its retention.
	inBubble(t, "NobodyWaitsForIt", func(t *testing.T) {
		m := newMachine(t)
		s := &silentStore{speaks: make(chan struct{})}
		s.kind.Store("Expire")
		m.wrap = func(store checkpoint.Store) checkpoint.Store { s.Store = store; return s }
		b := m.open(durable.Options{ParkFor: -1, Retention: time.Hour}, echo, nap)
		run(b, echo, 1)
		start(b, nap, 0, durable.WithExecutionID("nap"))
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		require.Equal(t, durable.ExecutionSucceeded, b.describe("nap").Status, "its timer did not wait")
		require.Equal(t, 1, b.count(durable.Query{Function: "echo"}))
		s.kind.Store("")
		close(s.speaks)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		require.Zero(t, b.count(durable.Query{}))
	})

	// One that fails is asked again, less and less often, and the log says so once a minute.
	inBubble(t, "IsTriedAgain", func(t *testing.T) {
		m := newMachine(t)
		s := &refusingStore{}
		m.wrap = func(store checkpoint.Store) checkpoint.Store { s.Store = store; return s }
		lines := &countingHandler{Handler: slog.DiscardHandler, text: "past its retention"}
		b := m.open(durable.Options{ParkFor: -1, Retention: time.Hour, Logger: slog.New(lines)}, echo)
		run(b, echo, 1)
		s.refuses.Store(true)
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		require.Equal(t, 1, b.count(durable.Query{}))
		require.Less(t, s.asked.Load(), int32(3*3600/30+60))
		require.LessOrEqual(t, lines.n.Load(), int32(3*60+1))
		require.NotZero(t, lines.n.Load())
		s.refuses.Store(false)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.Zero(t, b.count(durable.Query{}))
	})

	inBubble(t, "ItsCallbacksAreUnknown", func(t *testing.T) {
		b := setupWith(t, durable.Options{ParkFor: -1, Retention: time.Hour}, awaitCallback)
		x := start(b, awaitCallback, 0)
		id, err := b.engine.CallbackID(b.ctx, x.ID(), "cb")
		require.NoError(t, err)
		require.NoError(t, b.engine.SucceedCallback(b.ctx, id, "yes"))
		_, err = within(b, x, time.Minute)
		require.NoError(t, err)
		require.ErrorIs(t, b.engine.SucceedCallback(b.ctx, id, "again"), durable.ErrCallbackCompleted)
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		require.ErrorIs(t, b.engine.SucceedCallback(b.ctx, id, "again"), durable.ErrCallbackNotFound)
	})

	inBubble(t, "WhatWasDueLongAgoWhenNothingRanIsRemovedAtOpen", func(t *testing.T) {
		m := newMachine(t)
		b := m.open(durable.Options{}, echo)
		run(b, echo, 1, durable.WithExecutionID("a"))
		m.shutDown(b)
		time.Sleep(30 * 24 * time.Hour)
		b = m.open(durable.Options{}, echo)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		_, err := b.engine.Describe(b.ctx, "a")
		require.ErrorIs(t, err, durable.ErrExecutionNotFound)
	})
}

// refusingStore is one that can't delete what is past its retention.
type refusingStore struct {
	checkpoint.Store
	refuses atomic.Bool
	asked   atomic.Int32
}

func (s *refusingStore) Expire(ctx context.Context, t time.Time, limit int) (int, error) {
	if s.refuses.Load() {
		s.asked.Add(1)
		return 0, errors.New("no space left on device")
	}
	return s.Store.Expire(ctx, t, limit)
}

// countingHandler counts the lines of a log that have a text.
type countingHandler struct {
	slog.Handler
	text string
	n    atomic.Int32
}

func (h *countingHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h *countingHandler) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, h.text) {
		h.n.Add(1)
	}
	return nil
}

func (h *countingHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

func TestDelete(t *testing.T) {
	echo := durable.Define("echo", func(ctx *durable.Context, i int) (int, error) { return i, nil })

	inBubble(t, "OnlyWhatHasEnded", func(t *testing.T) {
		b := setup(t, awaitCallback)
		x := start(b, awaitCallback, 0)
		require.ErrorIs(t, b.engine.Delete(b.ctx, x.ID()), durable.ErrExecutionRunning)
		b.complete(x.ID(), "cb", "yes")
		_, err := within(b, x, time.Minute)
		require.NoError(t, err)
		require.NoError(t, b.engine.Delete(b.ctx, x.ID()))
		require.ErrorIs(t, b.engine.Delete(b.ctx, x.ID()), durable.ErrExecutionNotFound)
		_, err = b.engine.Operations(b.ctx, x.ID())
		require.ErrorIs(t, err, durable.ErrExecutionNotFound)
		for _, err := range b.engine.History(b.ctx, x.ID()) {
			require.ErrorIs(t, err, durable.ErrExecutionNotFound)
		}
		require.Zero(t, b.count(durable.Query{}))
	})

	inBubble(t, "AStartAfterItSeesIt", func(t *testing.T) {
		b := setup(t, echo)
		id := durable.WithExecutionID("same")
		for i := range 200 {
			require.Equal(t, i, run(b, echo, i, id))
			require.NoError(t, b.engine.Delete(b.ctx, "same"))
		}
	})

	inBubble(t, "OfACallerLeavesNobodyBehind", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return durable.Invoke(ctx, "invoke", echo, 7) })
		b := setupWith(t, durable.Options{ParkFor: -1, Retention: time.Hour}, f, echo)
		x := start(b, f, 0)
		_, err := within(b, x, time.Minute)
		require.NoError(t, err)
		require.NoError(t, b.engine.Delete(b.ctx, x.ID()))
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		require.Zero(t, b.count(durable.Query{}), "what it had invoked is past its retention too")
	})
}
