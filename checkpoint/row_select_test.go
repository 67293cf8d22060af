package checkpoint

import (
	"strings"
	"testing"
	"testing/quick"

	"github.com/stretchr/testify/require"
)

// TestRowSelected compares what it says of a row's form with what the row holds.
func TestRowSelected(t *testing.T) {
	same := func(r Row, q Query, which uint8) bool {
		r.Caller, r.HeldBuilds = nil, nil
		if which&1 != 0 {
			q.Function = r.Function
		}
		if which&2 != 0 {
			q.IDPrefix = r.ID[:len(r.ID)/2]
		}
		if which&4 != 0 {
			q.StartedAfter, q.StartedBefore = r.StartedAt-1, 0
		}
		if which&8 != 0 {
			q.Status = r.Status
		}
		status, selected, err := RowSelected(AppendRow(nil, &r), &q)
		want := (q.Function == "" || q.Function == r.Function) && strings.HasPrefix(r.ID, q.IDPrefix) && (q.Status == 0 || q.Status == r.Status) &&
			(q.StartedAfter == 0 || r.StartedAt > q.StartedAfter) && (q.StartedBefore == 0 || r.StartedAt < q.StartedBefore)
		return err == nil && status == r.Status && selected == want
	}
	require.NoError(t, quick.Check(same, &quick.Config{MaxCount: 2000}))
	row := AppendRow(nil, &Row{Summary: Summary{Number: 1, ID: "a", Function: "f", Status: Running}})
	for i := range row {
		_, _, err := RowSelected(row[:i], &Query{})
		require.ErrorIs(t, err, ErrCorrupt)
		row[i] ^= 1
		_, _, err = RowSelected(row, &Query{})
		require.ErrorIs(t, err, ErrCorrupt)
		row[i] ^= 1
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _, _ = RowSelected(row, &Query{Function: "f"}) }))
}
