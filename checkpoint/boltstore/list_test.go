package boltstore_test

import (
	"fmt"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/boltstore"
)

// TestListHoldsAPage: whoever lists executions has a page of them in memory, whatever is
// large about them.
func TestListHoldsAPage(t *testing.T) {
	s, err := boltstore.Open(filepath.Join(t.TempDir(), "x.db"), &boltstore.Options{UnsafeNoSync: true})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	large := make([]byte, 1<<20)
	const n = 64
	for what, c := range map[string]checkpoint.Creation{
		"input":   {Started: checkpoint.Record{Payload: large, Flags: checkpoint.FlagPayload}, Records: []checkpoint.Record{{Type: checkpoint.ExecutionSucceeded}}, Status: checkpoint.Succeeded},
		"result":  {Records: []checkpoint.Record{{Type: checkpoint.ExecutionSucceeded, Payload: large, Flags: checkpoint.FlagPayload}}, Status: checkpoint.Succeeded},
		"failure": {Records: []checkpoint.Record{{Type: checkpoint.ExecutionFailed, Failure: large}}, Status: checkpoint.Failed},
	} {
		for i := range n {
			c := c
			c.ID, c.Incarnation, c.Started.Function = fmt.Sprint(what, i), checkpoint.Incarnation{1}, "f"
			c.Records = []checkpoint.Record{c.Records[0]}
			c.Records[0].Seq, c.Records[0].EventID, c.Records[0].Events = 2, 2, 1
			_, _, err := s.Create(t.Context(), c)
			require.NoError(t, err)
		}
		found := 0
		for _, err := range s.List(t.Context(), checkpoint.Query{IDPrefix: what}) {
			require.NoError(t, err)
			found++
		}
		require.Equal(t, n, found)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range s.List(t.Context(), checkpoint.Query{IDPrefix: what}) {
			break
		}
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20), what)
	}
}
