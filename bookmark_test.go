package durable_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// pages reads a history in pages of so many events, each with a look at the next one if
// peeks says so.
func (b *bundle) pages(id string, size int, peeks bool, between func(last int64)) (events []durable.Event) {
	b.Helper()
	for more, last := true, int64(0); more; between(last) {
		n := 0
		more = false
		for ev, err := range b.engine.HistoryAfter(b.ctx, id, last) {
			require.NoError(b, err)
			if more = peeks && n == size; more {
				break
			}
			events = append(events, ev)
			n++
			if more = !peeks && n == size; more {
				break
			}
		}
		if len(events) > 0 {
			last = events[len(events)-1].EventID
		}
	}
	return events
}

// TestHistoryAfter reads histories in pages of all kinds: they are what the whole is.
func TestHistoryAfter(t *testing.T) {
	define := func(cbs *ids) *durable.Function[int, int] {
		return count(func(ctx *durable.Context, n int) error {
			first, err := cbs.open(ctx)
			if err != nil {
				return err
			}
			if _, err := cbs.open(ctx); err != nil {
				return err
			}
			for range n {
				if err := durable.Do(ctx, "s", func(context.Context) error { return nil }); err != nil {
					return err
				}
			}
			_, err = durable.Map(ctx, "m", make([]int, n), func(c *durable.Context, _, i int) (int, error) {
				return i, durable.Wait(c, "w", time.Second)
			}, durable.Flat())
			if err != nil {
				return err
			}
			if err := durable.Wait(ctx, "long", time.Hour); err != nil {
				return err
			}
			_, err = first.Await(ctx)
			return err
		})
	}
	whole := func(b *bundle, id string) (events []durable.Event) {
		for ev := range b.events(id) {
			events = append(events, ev)
		}
		return events
	}
	inBubble(t, "Pages", func(t *testing.T) {
		var cbs ids
		f := define(&cbs)
		b := setup(t, f)
		x := start(b, f, 10)
		other := start(b, f, 3)
		nothing := func(int64) {}
		check := func() {
			t.Helper()
			want := whole(b, x.ID())
			for size := 1; size < 8; size++ {
				for _, peeks := range []bool{false, true} {
					require.Equal(t, want, b.pages(x.ID(), size, peeks, nothing), "pages of %d", size)
					require.Equal(t, want, b.pages(x.ID(), size, peeks, func(last int64) {
						b.pages(other.ID(), 2, peeks, nothing) // others read meanwhile, also the same
						for range b.engine.HistoryAfter(b.ctx, x.ID(), last+2) {
							break
						}
					}), "pages of %d, with others", size)
					require.Equal(t, want, b.pages(x.ID(), size, peeks, func(int64) { time.Sleep(2 * time.Minute / 1000) }))
				}
			}
		}
		time.Sleep(time.Minute)
		check() // it waits
		for _, id := range cbs.all {
			_ = b.engine.SucceedCallback(b.ctx, id, 1) // each is told again by a replay
		}
		synctest.Wait()
		check() // what came is in the inbox, or was taken over
		_, err := x.Result(b.ctx)
		require.NoError(t, err)
		check()
	})
	inBubble(t, "Late", func(t *testing.T) {
		var cbs ids
		f := define(&cbs)
		b := setup(t, f)
		x := start(b, f, 5)
		synctest.Wait()
		for _, id := range cbs.all {
			_ = b.engine.SucceedCallback(b.ctx, id, 1)
		}
		_, err := x.Result(b.ctx)
		require.NoError(t, err)
		require.Equal(t, whole(b, x.ID()), b.pages(x.ID(), 3, true, func(int64) { time.Sleep(time.Hour) }))
	})
	inBubble(t, "Held", func(t *testing.T) {
		var mine ids
		held := count(func(ctx *durable.Context, n int) error {
			for range n {
				if _, err := mine.open(ctx); err != nil {
					return err
				}
			}
			durable.Version(ctx, "\x00", 1)
			return nil
		})
		b := setup(t, held)
		x := start(b, held, 10)
		synctest.Wait()
		for _, id := range mine.all {
			require.NoError(t, b.engine.SucceedCallback(b.ctx, id, 1))
		}
		require.NotNil(t, b.describe(x.ID()).Held)
		want := whole(b, x.ID())
		require.Equal(t, "CallbackSucceeded", want[len(want)-1].Type)
		for size := 1; size < 8; size++ {
			require.Equal(t, want, b.pages(x.ID(), size, true, func(int64) {}))
		}
		ends := func() {
			t.Helper()
			want = whole(b, x.ID())
			for k := len(want) - 1; k > 0; k-- { // the inbox is behind what is recorded, each time
				require.Equal(t, want[k:], b.pagesFrom(x.ID(), want[k-1].EventID))
			}
		}
		ends()
		b.pagesFrom(x.ID(), want[len(want)-2].EventID)
		require.NoError(t, b.engine.Stop(b.ctx, x.ID(), ""))
		ends()
	})
	inBubble(t, "AnotherUnderTheID", func(t *testing.T) {
		f := count(func(ctx *durable.Context, n int) error {
			for range n {
				if err := durable.Do(ctx, fmt.Sprint("one of ", n), func(context.Context) error { return nil }); err != nil {
					return err
				}
			}
			return nil
		})
		b := setup(t, f)
		run(b, f, 9, durable.WithExecutionID("x"))
		for range b.engine.HistoryAfter(b.ctx, "x", 4) {
			break
		}
		require.NoError(t, b.engine.Delete(b.ctx, "x"))
		run(b, f, 3, durable.WithExecutionID("x"))
		require.Equal(t, whole(b, "x")[4:], b.pagesFrom("x", 4))
		for _, err := range b.engine.HistoryAfter(b.ctx, "nobody", 4) {
			require.ErrorIs(t, err, durable.ErrExecutionNotFound)
		}
	})
}

// pagesFrom reads what is behind an event, in one page.
func (b *bundle) pagesFrom(id string, after int64) (events []durable.Event) {
	for ev, err := range b.engine.HistoryAfter(b.ctx, id, after) {
		require.NoError(b, err)
		events = append(events, ev)
	}
	return events
}

// count is a function that gives its input back.
func count(do func(ctx *durable.Context, n int) error) *durable.Function[int, int] {
	return durable.Define("count", func(ctx *durable.Context, n int) (int, error) { return n, do(ctx, n) })
}

// ids are those of callbacks that a handler has opened, each time it came by.
type ids struct {
	mu  sync.Mutex
	all []string
}

func (i *ids) open(ctx *durable.Context) (*durable.Callback[int], error) {
	cb, err := durable.CreateCallback[int](ctx, "cb")
	if err == nil {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.all = append(i.all, cb.ID())
	}
	return cb, err
}
