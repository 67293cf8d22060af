package durable_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// sharing is a store that another process may have open, too.
type sharing struct{ checkpoint.Store }

func (sharing) Shared() bool { return true }

// TestSharedStoreWithoutTheFunction: an execution of a function that only others have is started and
// waits. (That another process runs it is tested with stores that processes can share.)
func TestSharedStoreWithoutTheFunction(t *testing.T) {
	t.Parallel()
	inBubble(t, "Waits", func(t *testing.T) {
		e, err := durable.New(sharing{memstore.New()}, nil)
		require.NoError(t, err)
		defer e.Close()
		f := durable.Define("f", func(*durable.Context, int) (int, error) { return 0, nil }, durable.WithExecutionTimeout(time.Hour))
		x, err := f.Start(t.Context(), e, 1)
		require.NoError(t, err)
		info, err := e.Describe(t.Context(), x.ID())
		require.NoError(t, err)
		require.Nil(t, info.Held, "another process may be about to run it")
		require.Equal(t, info.StartedAt.Add(time.Hour), info.Deadline, "the timeout of its definition holds")
		time.Sleep(10 * time.Second)
		info, err = e.Describe(t.Context(), x.ID())
		require.NoError(t, err)
		require.ErrorIs(t, info.Held, durable.ErrFunctionNotFound)
		_, err = e.StartByName(t.Context(), "no name", []byte("1"))
		require.ErrorIs(t, err, durable.ErrInvalidID)
	})
	inBubble(t, "OnlyOnASharedOne", func(t *testing.T) {
		e, err := durable.New(memstore.New(), nil)
		require.NoError(t, err)
		defer e.Close()
		_, err = e.StartByName(t.Context(), "f", []byte("1"))
		require.ErrorIs(t, err, durable.ErrFunctionNotFound)
	})
}
