package pgstore_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
)

// TestListHoldsAPage: whoever lists executions has a page of them in memory, whatever is
// large about them.
func TestListHoldsAPage(t *testing.T) {
	c := need(t)
	s := open(t, c.Schema(), pgstore.Options{})
	large := make([]byte, 1<<20)
	const n = 40
	for i := range n {
		x := creation(fmt.Sprint("x", i), "f", false)
		x.Status = checkpoint.Failed
		if i%2 == 0 {
			x.Started.Payload = large
		}
		x.Records = []checkpoint.Record{{Seq: 2, EventID: 2, Events: 1, Type: checkpoint.ExecutionFailed, Failure: large}}
		_, _, err := s.Create(t.Context(), x)
		require.NoError(t, err)
	}
	var numbers []uint64
	list := func(q checkpoint.Query) (ids []string) {
		numbers = nil
		for sum, err := range s.List(t.Context(), q) {
			require.NoError(t, err)
			require.Len(t, sum.Ended.Failure, len(large))
			ids, numbers = append(ids, sum.ID), append(numbers, sum.Number)
		}
		return ids
	}
	all := list(checkpoint.Query{})
	require.Len(t, all, n)
	require.Equal(t, "x39", all[0])
	middle := numbers[n/2]
	require.Equal(t, all[:7], list(checkpoint.Query{Limit: 7}))
	require.Equal(t, all[n/2:], list(checkpoint.Query{Before: middle + 1}))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range s.List(t.Context(), checkpoint.Query{}) {
		break
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(20<<20))
}
