package queue_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/dispatch"
	"github.com/durable-go/durable/checkpoint/internal/queue"
	"github.com/stretchr/testify/require"
)

type command struct {
	queue.Command
	name int
}

func TestQueue(t *testing.T) {
	t.Parallel()
	names := func(round []*command) (all []int) {
		for _, c := range round {
			all = append(all, c.name)
		}
		return all
	}
	appending := func(name, bytes int) *command {
		return &command{queue.Command{Bytes: bytes, Done: func(error) {}}, name}
	}

	t.Run("RoundsHaveBounds", func(t *testing.T) {
		t.Parallel()
		q := queue.New[*command](3, 100)
		for name, bytes := range []int{1, 1, 1, 1, 500, 60, 40, 1} {
			require.NoError(t, q.Add(appending(name, bytes)))
		}
		for _, want := range [][]int{{0, 1, 2}, {3}, {4}, {5, 6}, {7}} {
			require.Equal(t, want, names(q.Take()))
		}
	})

	t.Run("ClosedItEmptiesFirst", func(t *testing.T) {
		t.Parallel()
		q := queue.New[*command](3, 100)
		require.NoError(t, q.Add(appending(1, 1)))
		q.Close()
		require.ErrorIs(t, q.Add(appending(2, 1)), checkpoint.ErrClosed)
		require.ErrorIs(t, q.Do(t.Context(), &command{}), checkpoint.ErrClosed)
		require.Equal(t, []int{1}, names(q.Take()))
		require.Empty(t, q.Take())
	})

	t.Run("WhoGivesUpIsNotServed", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			q, calls := queue.New[*command](10, 100), dispatch.New()
			defer calls.Close()
			ctx, cancel := context.WithCancel(t.Context())
			given, served := make(chan error, 1), make(chan error, 1)
			go func() { given <- q.Do(ctx, &command{name: 1}) }()
			synctest.Wait()
			cancel()
			require.ErrorIs(t, <-given, context.Canceled)
			require.ErrorIs(t, q.Do(ctx, &command{name: 1}), context.Canceled)

			ctx, cancel = context.WithCancel(t.Context())
			go func() { served <- q.Do(ctx, &command{name: 2}) }()
			round := q.Take()
			require.Equal(t, []int{2}, names(round))
			cancel() // too late
			synctest.Wait()
			require.Empty(t, served)
			round[0].Err = errors.New("the answer")
			round[0].Answer(calls)
			require.ErrorContains(t, <-served, "the answer")
		})
	})
}
