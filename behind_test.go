package durable_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/storetest"
)

// lagging is a machine whose store may show what it held before.
func lagging(t *testing.T) (m *machine, l *storetest.LaggingStore) {
	m = newMachine(t)
	l = storetest.Lagging(nil)
	m.wrap = func(s checkpoint.Store) checkpoint.Store {
		l.Store = s
		return l
	}
	return m, l
}

// TestBehind reads from a store that is behind, as one is whose connections lead to a
// replica: nothing that was done is done again, and all goes on when it shows the truth.
func TestBehind(t *testing.T) {
	payments := func(n *notes) *durable.Function[int, int] {
		return durable.Define("payments", func(ctx *durable.Context, count int) (int, error) {
			for i := range count {
				name := string(rune('a' + i))
				if _, err := durable.Step(ctx, name, n.body(name)); err != nil {
					return 0, err
				}
				if err := durable.Wait(ctx, "pause", time.Hour); err != nil {
					return 0, err
				}
			}
			return count, nil
		})
	}

	for name, freeze := range map[string]func(*storetest.LaggingStore, context.Context) error{
		"TheJournalOfAClaim":              (*storetest.LaggingStore).FreezeJournals,
		"TheJournalOfAClaimAndItsSummary": (*storetest.LaggingStore).Freeze,
	} {
		inBubble(t, name, func(t *testing.T) {
			var n notes
			book := new(logBook)
			m, l := lagging(t)
			b := m.open(durable.Options{ParkFor: -1, Logger: book.logger()}, payments(&n))
			x := start(b, payments(&n), 4)
			time.Sleep(30 * time.Minute)
			require.NoError(t, freeze(l, b.ctx))
			time.Sleep(10 * time.Hour)
			synctest.Wait()
			require.Equal(t, []string{"a", "b"}, n.all(), "the first wake-up reads what is there, the second one lacks b")
			s, err := m.base.Get(b.ctx, x.ID())
			require.NoError(t, err)
			require.Less(t, s.Epoch, uint64(2000), "it is tried again with growing pauses")
			require.NotEmpty(t, book.lines("what is recorded was not read", "does it read from a replica"))
			l.Thaw()
			out, err := within(b, x, 10*time.Hour)
			require.NoError(t, err)
			require.Equal(t, 4, out)
			require.Equal(t, []string{"a", "b", "c", "d"}, n.all())
			succeeded := 0
			for _, line := range b.history(x.ID()) {
				if line[:min(len(line), 13)] == "StepSucceeded" {
					succeeded++
				}
			}
			require.Equal(t, 4, succeeded, "one outcome of each")
		})
	}

	approval := func(n *notes) *durable.Function[int, string] {
		return durable.Define("approval", func(ctx *durable.Context, _ int) (string, error) {
			if _, err := durable.Step(ctx, "a", n.body("a")); err != nil {
				return "", err
			}
			cb, err := durable.CreateCallback[string](ctx, "cb")
			if err != nil {
				return "", err
			}
			return cb.Await(ctx)
		})
	}
	for name, parkFor := range map[string]time.Duration{"TheInboxOfAClaim": -1, "TheInboxOfOneInMemory": time.Minute} {
		inBubble(t, name, func(t *testing.T) {
			var n notes
			m, l := lagging(t)
			b := m.open(durable.Options{ParkFor: parkFor}, approval(&n))
			x := start(b, approval(&n), 0)
			time.Sleep(time.Second)
			id, err := b.engine.CallbackID(b.ctx, x.ID(), "cb")
			require.NoError(t, err)
			require.NoError(t, l.Freeze(b.ctx))
			require.NoError(t, b.engine.SucceedCallback(b.ctx, id, "yes"))
			seen := invocations(b)
			time.Sleep(time.Hour)
			synctest.Wait()
			require.Less(t, invocations(b)-seen, int64(200), "it is tried again with growing pauses")
			l.Thaw()
			out, err := within(b, x, time.Hour)
			require.NoError(t, err)
			require.Equal(t, "yes", out)
			require.Equal(t, []string{"a"}, n.all())
		})
	}

	inBubble(t, "TheSummaryOfWhatWasWrittenOff", func(t *testing.T) {
		// Whose claim is older than the one that was written off is not somebody else's.
		for _, created := range []bool{true, false} {
			var n notes
			m, l := lagging(t)
			b := m.open(durable.Options{ParkFor: -1}, payments(&n))
			require.NoError(t, l.Freeze(b.ctx)) // before there is one
			l.Thaw()
			var failed atomic.Bool
			fail := func(a *checkpoint.Append) error {
				if len(a.Records) > 0 && failed.CompareAndSwap(false, true) {
					return errors.New("the connection was reset")
				}
				return nil
			}
			if created {
				x := start(b, payments(&n), 1)
				time.Sleep(30 * time.Minute)
				require.NoError(t, l.Freeze(b.ctx))
				m.set(func() { m.onAppend = fail })
				time.Sleep(time.Hour)
				synctest.Wait()
				l.Thaw()
				require.Equal(t, durable.ExecutionSucceeded, b.describe(x.ID()).Status)
			} else {
				require.NoError(t, l.Freeze(b.ctx))
				m.set(func() { m.onAppend = fail })
				x := start(b, payments(&n), 1)
				time.Sleep(5 * time.Minute)
				l.Thaw()
				_, err := within(b, x, 2*time.Hour)
				require.NoError(t, err)
			}
			require.True(t, failed.Load())
			require.NoError(t, b.engine.Close())
		}
	})

	inBubble(t, "WhatOthersAskFor", func(t *testing.T) {
		var n notes
		broken := durable.Define("broken", func(ctx *durable.Context, _ int) (int, error) {
			for _, name := range []string{"a", "b"} {
				if _, err := durable.Step(ctx, name, n.body(name)); err != nil {
					return 0, err
				}
				if err := durable.Wait(ctx, "pause", time.Hour); err != nil {
					return 0, err
				}
			}
			if _, err := durable.CreateCallback[int](ctx, "cb"); err != nil {
				return 0, err
			}
			return 0, errors.Join(durable.Wait(ctx, "pause", time.Hour), errors.New("it is broken"))
		})
		m, l := lagging(t)
		b := m.open(durable.Options{ParkFor: time.Hour * 24}, broken)
		x := start(b, broken, 0)
		time.Sleep(30 * time.Minute)
		behind := func(err error) {
			t.Helper()
			require.ErrorContains(t, err, "does it read from a replica")
		}
		require.NoError(t, l.FreezeJournals(b.ctx))
		time.Sleep(2 * time.Hour)
		_, err := b.engine.CallbackID(b.ctx, x.ID(), "cb")
		behind(err)
		time.Sleep(2 * time.Hour)
		_, err = b.engine.Recording(b.ctx, x.ID())
		behind(err)
		_, err = b.engine.RestartFrom(b.ctx, x.ID(), "b")
		behind(err)
		_, err = b.engine.Retry(b.ctx, x.ID())
		behind(err)
		_, err = b.engine.Operations(b.ctx, x.ID())
		behind(err)
		for _, e := range b.engine.History(b.ctx, x.ID()) {
			err = e
		}
		behind(err)
		require.Equal(t, []string{"a", "b"}, n.all())

		// What is only a little behind is waited for.
		time.AfterFunc(100*time.Millisecond, l.Thaw)
		_, err = b.engine.Recording(b.ctx, x.ID())
		require.NoError(t, err)
	})
}
