package durable_test

import (
	"context"
	"iter"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// behind reads journals from where the last records have not arrived yet, a few times.
type behind struct {
	checkpoint.Store
	times atomic.Int64
}

func (s *behind) Records(ctx context.Context, id string, after uint64) iter.Seq2[checkpoint.Record, error] {
	return func(yield func(checkpoint.Record, error) bool) {
		var all []checkpoint.Record
		for r, err := range s.Store.Records(ctx, id, after) {
			if err != nil {
				yield(r, err)
				return
			}
			all = append(all, r)
		}
		if s.times.Add(-1) >= 0 {
			all = all[:1]
		}
		for _, r := range all {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// What is recorded is not done again because a server that is read from is behind.
func TestJournalWithoutItsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var bodies atomic.Int64
		f := durable.Define("f", func(ctx *durable.Context, n int) (int, error) {
			v, err := durable.Step(ctx, "charge", func(context.Context) (int, error) { bodies.Add(1); return n + 1, nil })
			if err != nil {
				return 0, err
			}
			return v, durable.Wait(ctx, "later", time.Hour)
		})
		m := newMachine(t)
		var s *behind
		m.wrap = func(store checkpoint.Store) checkpoint.Store {
			s = &behind{Store: store}
			return s
		}
		b := m.open(durable.Options{ParkFor: -1}, f)
		x := start(b, f, 1, durable.WithExecutionID("x"))
		time.Sleep(time.Minute) // it is out of memory
		s.times.Store(3)
		out, err := finish(b, x)
		require.NoError(t, err)
		require.Equal(t, 2, out)
		require.Negative(t, s.times.Load())
		require.EqualValues(t, 1, bodies.Load())
	})
}
