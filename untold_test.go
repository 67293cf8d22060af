package durable_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// silentEnds is a store that loses what a caller is told with the end of an execution that it invoked.
type silentEnds struct {
	checkpoint.Store
	ended chan struct{} // closed with the first
}

func (s silentEnds) Append(a checkpoint.Append, done func(error)) {
	if a.Status == 0 || len(a.Deliver) == 0 {
		s.Store.Append(a, done)
		return
	}
	a.Deliver = nil
	s.Store.Append(a, func(err error) {
		done(err)
		close(s.ended)
	})
}

func (silentEnds) Close() error { return nil } // another engine goes on with it

// TestAnInvokeOfWhatHasEnded: its caller begins to wait, again, when the end has been told already.
func TestAnInvokeOfWhatHasEnded(t *testing.T) {
	for name, fails := range map[string]bool{"Succeeded": false, "Failed": true} {
		t.Run(name, func(t *testing.T) {
			store := memstore.New()
			child := durable.Define("child", func(_ *durable.Context, n int) (int, error) {
				if fails {
					return 0, errors.New("refused")
				}
				return n + 1, nil
			})
			parent := durable.Define("parent", func(ctx *durable.Context, n int) (int, error) {
				return durable.Invoke(ctx, "child", child, n)
			})
			opts := &durable.Options{ParkFor: time.Hour, Functions: []durable.Definition{child, parent}}
			loses := silentEnds{store, make(chan struct{})}
			e, err := durable.New(loses, opts)
			require.NoError(t, err)
			_, err = parent.Start(t.Context(), e, 1, durable.WithExecutionID("parent"))
			require.NoError(t, err)
			<-loses.ended
			require.NoError(t, e.Close())
			sum, err := store.Get(t.Context(), "parent")
			require.NoError(t, err)
			require.NoError(t, store.Disown(t.Context(), "parent", sum.Epoch)) // it had not left memory
			e, err = durable.New(store, opts)
			require.NoError(t, err)
			defer e.Close()
			n, err := parent.Attach(e, "parent").Result(t.Context())
			if fails {
				require.ErrorContains(t, err, "refused")
				return
			}
			require.NoError(t, err)
			require.Equal(t, 2, n)
		})
	}
}
