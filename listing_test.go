package durable_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// TestListing lists what can't be read in whole, too.
func TestListing(t *testing.T) {
	inBubble(t, "ListingGoesOnBehindAnExecutionThatCanNotBeOpened", func(t *testing.T) {
		m := newMachine(t)
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 1, durable.Wait(ctx, "w", time.Hour) })
		b := m.open(durable.Options{ParkFor: -1, Sealer: newGCM(t, 1), Build: "1"}, f)
		start(b, f, 0, durable.WithExecutionID("old"))
		time.Sleep(time.Minute)
		m.shutDown(b)
		b = m.open(durable.Options{ParkFor: -1, Sealer: newGCM(t, 2), Build: "2"}, f)
		start(b, f, 0, durable.WithExecutionID("a"))
		time.Sleep(time.Minute)
		start(b, f, 0, durable.WithExecutionID("b"))
		m.kill(b)
		b = m.open(durable.Options{ParkFor: -1, Sealer: newGCM(t, 1), Build: "1"}, f)
		var seen []string
		for info, _ := range b.engine.Executions(b.ctx, durable.Query{}) {
			seen = append(seen, info.ID)
		}
		require.Len(t, seen, 3)
	})

	inBubble(t, "GoesOnBehindTheLastNumberOfAPage", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, in int) (int, error) {
			if in%2 == 1 {
				return 0, errors.New("odd")
			}
			return 0, durable.Wait(ctx, "w", time.Hour)
		})
		b := setup(t, f)
		for i := range 9 {
			start(b, f, i, durable.WithExecutionID(fmt.Sprint("x-", i)))
		}
		start(b, f, 0, durable.WithExecutionID("other"))
		synctest.Wait()
		q := durable.Query{IDPrefix: "x-", Limit: 2}
		var pages [][]string
		for {
			var page []string
			for info, err := range b.engine.Executions(b.ctx, q) {
				require.NoError(t, err)
				page = append(page, info.ID)
				require.True(t, q.Before == 0 || info.Number < q.Before)
				q.Before = info.Number
			}
			if page == nil {
				break
			}
			pages = append(pages, page)
			start(b, f, 0) // does not disturb
			require.NoError(t, b.engine.Stop(b.ctx, page[len(page)-1], ""))
			require.NoError(t, b.engine.Delete(b.ctx, page[len(page)-1]))
		}
		require.Equal(t, [][]string{{"x-8", "x-7"}, {"x-6", "x-5"}, {"x-4", "x-3"}, {"x-2", "x-1"}, {"x-0"}}, pages)
	})
}

func TestCount(t *testing.T) {
	inBubble(t, "CountsByStatus", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, in int) (int, error) {
			switch in {
			case 0:
				return 0, nil
			case 1:
				return 0, errors.New("one")
			}
			return 0, durable.Wait(ctx, "w", time.Hour)
		})
		g := durable.Define("g", func(*durable.Context, int) (int, error) { return 0, nil })
		b := setup(t, f, g)
		count := func(q durable.Query) map[durable.ExecutionStatus]int {
			counts, err := b.engine.Count(b.ctx, q)
			require.NoError(t, err)
			return counts
		}
		require.Empty(t, count(durable.Query{}))
		for i := range 7 {
			start(b, f, i, durable.WithExecutionID(fmt.Sprint("f-", i)))
		}
		time.Sleep(time.Minute)
		begun := time.Now()
		start(b, g, 0)
		synctest.Wait()
		require.NoError(t, b.engine.Stop(b.ctx, "f-6", ""))
		const running, succeeded, failed, stopped = durable.ExecutionRunning, durable.ExecutionSucceeded, durable.ExecutionFailed, durable.ExecutionStopped
		type counts = map[durable.ExecutionStatus]int
		require.Equal(t, counts{running: 4, succeeded: 2, failed: 1, stopped: 1}, count(durable.Query{Limit: 1, Before: 2}))
		require.Equal(t, counts{running: 4, succeeded: 1, failed: 1, stopped: 1}, count(durable.Query{Function: "f"}))
		require.Equal(t, counts{running: 1}, count(durable.Query{IDPrefix: "f-2"}))
		require.Equal(t, counts{failed: 1}, count(durable.Query{Status: failed}))
		require.Equal(t, counts{succeeded: 1}, count(durable.Query{StartedAfter: begun.Add(-time.Second)}))
		require.Equal(t, counts{running: 4, succeeded: 1, failed: 1, stopped: 1}, count(durable.Query{StartedBefore: begun}))
		_, err := b.engine.Count(b.ctx, durable.Query{Status: "NONE"})
		require.Error(t, err)
		require.NoError(t, b.engine.Close())
		_, err = b.engine.Count(b.ctx, durable.Query{})
		require.ErrorIs(t, err, durable.ErrClosed)
	})
}
