package durable_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
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

// followed collects what Follow yields, in the background.
func followed(b *bundle, ctx context.Context, id string, after int64) (events func() []durable.Event, ended func() error) {
	var mu sync.Mutex
	var got []durable.Event
	var last error
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ev, err := range b.engine.Follow(ctx, id, after) {
			if err != nil {
				last = err
				continue
			}
			mu.Lock()
			got = append(got, ev)
			mu.Unlock()
		}
	}()
	events = func() []durable.Event {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(got)
	}
	return events, func() error { <-done; return last }
}

func TestFollow(t *testing.T) {
	f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
		if err := durable.Wait(ctx, "w", time.Hour); err != nil {
			return 0, err
		}
		c, err := durable.CreateCallback[int](ctx, "c")
		if err != nil {
			return 0, err
		}
		return c.Await(ctx)
	})
	complete := func(b *bundle, id string) {
		callback, err := b.engine.CallbackID(b.ctx, id, "c")
		require.NoError(b, err)
		require.NoError(b, b.engine.SucceedCallback(b.ctx, callback, 7))
	}

	inBubble(t, "YieldsTheHistoryAndThenWhatComesUntilTheEnd", func(t *testing.T) {
		b := setup(t, f)
		x := start(b, f, 0)
		events, ended := followed(b, b.ctx, x.ID(), 0)
		require.Len(t, events(), 3, "started, waits, suspended")
		time.Sleep(2 * time.Hour)
		require.Len(t, events(), 6, "waited, the callback, suspended")
		complete(b, x.ID())
		require.NoError(t, ended())
		require.Equal(t, slices.Collect(b.events(x.ID())), events())
		again, ended := followed(b, b.ctx, x.ID(), 4)
		require.NoError(t, ended())
		require.Equal(t, events()[4:], again())
	})

	inBubble(t, "EndsWithTheFinalEventOfOneThatIsStopped", func(t *testing.T) {
		b := setup(t, f)
		x := start(b, f, 0)
		events, ended := followed(b, b.ctx, x.ID(), 0)
		events()
		require.NoError(t, b.engine.Stop(b.ctx, x.ID(), ""))
		require.NoError(t, ended())
		require.Equal(t, "ExecutionStopped", events()[len(events())-1].Type)
	})

	inBubble(t, "EndsWithItsContextWithTheEngineAndWithTheExecution", func(t *testing.T) {
		b := setup(t, f)
		x := start(b, f, 0)
		mine := errors.New("enough")
		ctx, cancel := context.WithCancelCause(b.ctx)
		_, ended := followed(b, ctx, x.ID(), 0)
		cancel(mine)
		require.Equal(t, mine, ended())
		_, ended = followed(b, b.ctx, "nobody", 0)
		require.ErrorIs(t, ended(), durable.ErrExecutionNotFound)
		_, ended = followed(b, b.ctx, x.ID(), 0)
		_, other := followed(b, b.ctx, x.ID(), 0)
		for range b.engine.Follow(b.ctx, x.ID(), 0) {
			break // nothing is left behind
		}
		synctest.Wait()
		require.NoError(t, b.engine.Close())
		require.ErrorIs(t, ended(), durable.ErrClosed)
		require.ErrorIs(t, other(), durable.ErrClosed)
	})

	inBubble(t, "DoesNotTakeAnotherExecutionUnderTheIDForIt", func(t *testing.T) {
		b := setup(t, f)
		x := start(b, f, 0, durable.WithExecutionID("x"))
		next, stop := iter.Pull2(b.engine.Follow(b.ctx, x.ID(), 0))
		defer stop()
		for range 3 {
			_, err, _ := next()
			require.NoError(t, err)
		}
		require.NoError(t, b.engine.Stop(b.ctx, x.ID(), ""))
		require.NoError(t, b.engine.Delete(b.ctx, x.ID()))
		start(b, f, 0, durable.WithExecutionID("x"))
		_, err, _ := next()
		require.ErrorIs(t, err, durable.ErrExecutionNotFound)
		_, _, more := next()
		require.False(t, more)
	})

	// A wide execution is read once, not once for each of its operations.
	inBubble(t, "IsNotQuadratic", func(t *testing.T) {
		const wide = 10_000
		g := durable.Define("g", func(ctx *durable.Context, _ int) (int, error) {
			items := make([]int, wide)
			_, err := durable.Map(ctx, "m", items, func(ctx *durable.Context, _, i int) (int, error) {
				return i, durable.Wait(ctx, "w", time.Duration(1+i%100)*time.Second)
			})
			return 0, err
		})
		store := &countingReads{Store: memstore.New()}
		e, err := durable.New(store, &durable.Options{Functions: []durable.Definition{g}, ParkFor: time.Hour})
		require.NoError(t, err)
		defer e.Close()
		x, err := g.Start(t.Context(), e, 0)
		require.NoError(t, err)
		n := 0
		for _, err := range e.Follow(t.Context(), x.ID(), 0) {
			require.NoError(t, err)
			n++
		}
		require.Greater(t, n, 4*wide)
		require.Less(t, store.records, 2*n, "records read to yield %d events", n)
		t.Logf("%d events followed by %d records in %d reads", n, store.records, store.reads)
	})

	// Nothing is hinted at: it must look.
	inBubble(t, "SeesWhatOthersDoOnAStoreTheyShare", func(t *testing.T) {
		shared := memstore.New()
		open := func(functions ...durable.Definition) *bundle {
			e, err := durable.New(&sharedStore{Store: shared}, &durable.Options{Functions: functions, ParkFor: -1})
			require.NoError(t, err)
			t.Cleanup(func() { e.Close() })
			return &bundle{T: t, ctx: t.Context(), engine: e, store: shared}
		}
		looker := open()
		runner := open(f) // gets the hints
		ctx, cancel := context.WithCancel(t.Context())
		changed := watched(looker, ctx)
		x := start(runner, f, 0)
		events, ended := followed(looker, looker.ctx, x.ID(), 0)
		time.Sleep(2 * time.Second)
		require.Len(t, events(), 3)
		require.Equal(t, []string{x.ID()}, changed())
		time.Sleep(time.Hour)
		complete(runner, x.ID())
		require.NoError(t, ended())
		time.Sleep(2 * time.Second)
		require.Contains(t, changed(), x.ID())
		cancel()
		synctest.Wait()
	})
}

// TestChangesOfOthers is about executions that many newer ones hide.
func TestChangesOfOthers(t *testing.T) {
	inBubble(t, "TellsOfTheEndOfAnOldExecution", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, n int) (int, error) {
			return 0, durable.Wait(ctx, "w", time.Duration(n)*time.Hour)
		})
		shared := memstore.New()
		open := func(functions ...durable.Definition) *bundle {
			e, err := durable.New(&sharedStore{Store: shared}, &durable.Options{Functions: functions, ParkFor: -1})
			require.NoError(t, err)
			t.Cleanup(func() { e.Close() })
			return &bundle{T: t, ctx: t.Context(), engine: e, store: shared}
		}
		looker := open()
		runner := open(f) // gets the hints
		old := start(runner, f, 100)
		for range 300 {
			start(runner, f, 0)
		}
		last := start(runner, f, 0)
		ended(runner, last.ID())
		time.Sleep(time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		changed := watched(looker, ctx)
		time.Sleep(time.Minute)
		require.Empty(t, changed())
		require.NoError(t, runner.engine.Stop(runner.ctx, old.ID(), ""))
		time.Sleep(2 * time.Second)
		require.Equal(t, []string{old.ID()}, changed())
		require.NoError(t, runner.engine.Delete(runner.ctx, last.ID()))
		time.Sleep(2 * time.Second)
		require.Equal(t, []string{last.ID()}, changed())
		for range 300 { // those that leave its sight have not changed
			start(runner, f, 0)
		}
		time.Sleep(2 * time.Second)
		require.Len(t, changed(), 200)
		time.Sleep(time.Minute)
		require.Empty(t, changed())
		cancel()
		synctest.Wait()
	})
}

// spoiled is a store that can't read in whole what it has of some executions.
type spoiled struct {
	sharedStore
	ids []string
}

func (s *spoiled) List(ctx context.Context, q checkpoint.Query) iter.Seq2[checkpoint.Summary, error] {
	return func(yield func(checkpoint.Summary, error) bool) {
		for sum, err := range s.sharedStore.List(ctx, q) {
			if slices.Contains(s.ids, sum.ID) {
				err = &checkpoint.CorruptError{Where: sum.ID, What: "it can't be read"}
				sum.Started, sum.Ended = checkpoint.Record{}, checkpoint.Record{}
			}
			if !yield(sum, err) {
				return
			}
		}
	}
}

// TestChangesBehindDamage is about executions that are listed behind a damaged one.
func TestChangesBehindDamage(t *testing.T) {
	inBubble(t, "AreTold", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, n int) (int, error) {
			return 0, durable.Wait(ctx, "w", time.Duration(n)*time.Hour)
		})
		shared := memstore.New()
		open := func(s checkpoint.Store, functions ...durable.Definition) *bundle {
			e, err := durable.New(s, &durable.Options{Functions: functions, ParkFor: -1})
			require.NoError(t, err)
			t.Cleanup(func() { e.Close() })
			return &bundle{T: t, ctx: t.Context(), engine: e, store: s}
		}
		looker := open(&spoiled{sharedStore{shared}, []string{"new"}})
		runner := open(&sharedStore{shared}, f)
		start(runner, f, 100, durable.WithExecutionID("old"))
		start(runner, f, 100, durable.WithExecutionID("new"))
		ctx, cancel := context.WithCancel(t.Context())
		changed := watched(looker, ctx)
		time.Sleep(time.Minute)
		changed()
		require.NoError(t, runner.engine.Stop(runner.ctx, "old", ""))
		time.Sleep(2 * time.Second)
		require.Equal(t, []string{"old"}, changed())
		require.NoError(t, runner.engine.Stop(runner.ctx, "new", ""))
		time.Sleep(2 * time.Second)
		require.Equal(t, []string{"new"}, changed())
		counts, err := looker.engine.Count(t.Context(), durable.Query{})
		require.NoError(t, err)
		require.Equal(t, map[durable.ExecutionStatus]int{durable.ExecutionStopped: 2}, counts)
		cancel()
		synctest.Wait()
	})
}

// TestWaitingCosts is about those who wait while others work.
func TestWaitingCosts(t *testing.T) {
	inBubble(t, "NothingWhileOtherExecutionsGoOn", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, hours int) (int, error) {
			return 0, durable.Wait(ctx, "w", time.Duration(hours)*time.Hour)
		})
		s := &countingGets{Store: memstore.New()}
		e, err := durable.New(s, &durable.Options{Functions: []durable.Definition{f}, ParkFor: -1})
		require.NoError(t, err)
		defer e.Close()
		long, err := f.Start(t.Context(), e, 1000)
		require.NoError(t, err)
		synctest.Wait()
		work := func() int64 {
			synctest.Wait()
			s.gets.Store(0)
			for range 100 {
				_, err := f.Run(t.Context(), e, 1)
				require.NoError(t, err)
			}
			return s.gets.Load()
		}
		alone := work()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go long.Result(ctx)
		go func() {
			for range e.Follow(ctx, long.ID(), 0) {
			}
		}()
		require.InDelta(t, alone, work(), 10, "summaries read") // a wake-up may find no news
	})
}

// countingGets is a store that counts the summaries it gives.
type countingGets struct {
	*memstore.Store
	gets atomic.Int64
}

func (s *countingGets) Get(ctx context.Context, id string) (checkpoint.Summary, error) {
	s.gets.Add(1)
	return s.Store.Get(ctx, id)
}

// countingReads is a store that counts the records it gives.
type countingReads struct {
	*memstore.Store
	mu             sync.Mutex
	records, reads int
}

func (s *countingReads) Records(ctx context.Context, id string, after uint64) iter.Seq2[checkpoint.Record, error] {
	return func(yield func(checkpoint.Record, error) bool) {
		s.mu.Lock()
		s.reads++
		s.mu.Unlock()
		for rec, err := range s.Store.Records(ctx, id, after) {
			s.mu.Lock()
			s.records++
			s.mu.Unlock()
			if !yield(rec, err) {
				return
			}
		}
	}
}

// sharedStore is a store for one of several engines, which closes with the last one.
type sharedStore struct{ *memstore.Store }

func (s *sharedStore) Shared() bool { return true }

// watched collects what Changes yields, in the background. It returns what came since
// it was last called, sorted.
func watched(b *bundle, ctx context.Context) func() []string {
	var mu sync.Mutex
	var got []string
	go func() {
		for id := range b.engine.Changes(ctx) {
			mu.Lock()
			got = append(got, id)
			mu.Unlock()
		}
	}()
	synctest.Wait()
	return func() []string {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		ids := slices.Sorted(slices.Values(got))
		got = nil
		return slices.Compact(ids)
	}
}

func TestChanges(t *testing.T) {
	inBubble(t, "SinceTheCall", func(t *testing.T) {
		f := durable.Define("f", func(*durable.Context, int) (int, error) { return 0, nil })
		b := setup(t, f)
		ctx, cancel := context.WithCancel(b.ctx)
		defer cancel()
		changes := b.engine.Changes(ctx)
		start(b, f, 0, durable.WithExecutionID("before-it-is-ranged-over"))
		synctest.Wait()
		for id := range changes {
			require.Equal(t, "before-it-is-ranged-over", id)
			break
		}
		b.engine.Changes(ctx) // never ranged over
		cancel()
		for range b.engine.Changes(ctx) {
			t.Error("its context has ended")
		}
	})
	inBubble(t, "YieldsWhatHappens", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			return 0, durable.Wait(ctx, "w", time.Hour)
		})
		b := setup(t, f)
		start(b, f, 0, durable.WithExecutionID("old"))
		synctest.Wait()
		changed := watched(b, b.ctx)
		require.Empty(t, changed())
		start(b, f, 0, durable.WithExecutionID("new"))
		require.Equal(t, []string{"new"}, changed())
		time.Sleep(time.Minute)
		require.Empty(t, changed())
		require.NoError(t, b.engine.Cancel(b.ctx, "old", ""))
		require.Equal(t, []string{"old"}, changed())
		time.Sleep(time.Hour)
		require.Equal(t, []string{"new"}, changed())
		require.NoError(t, b.engine.Delete(b.ctx, "new"))
		require.Equal(t, []string{"new"}, changed())
	})

	inBubble(t, "IsOneForAllThatHappenedMeanwhile", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			for range 100 {
				if err := durable.Wait(ctx, "w", time.Second); err != nil {
					return 0, err
				}
			}
			return 0, nil
		})
		b := setup(t, f)
		go func() {
			time.Sleep(time.Minute)
			for i := range 3 {
				start(b, f, 0, durable.WithExecutionID(fmt.Sprint(i)))
			}
		}()
		n := 0
		for range b.engine.Changes(b.ctx) {
			if n++; n == 1 {
				time.Sleep(time.Hour) // slow
			}
			if n == 4 {
				break
			}
			if n == 3 {
				go b.engine.Delete(b.ctx, "0")
			}
		}
	})
}
