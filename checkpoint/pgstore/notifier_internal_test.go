package pgstore

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
)

// Whatever a round has to tell is told in as few notifications as it fits in, which the
// server takes, and read as it was; also by a process of an older version, as far as it
// reads.
func TestNotes(t *testing.T) {
	news := make(map[checkpoint.Hint]struct{})
	add := func(kind checkpoint.HintKind, id string) { news[checkpoint.Hint{Kind: kind, ID: id}] = struct{}{} }
	add(checkpoint.HintDue, "")
	for i := range 1000 {
		add(checkpoint.HintEnded, fmt.Sprint("order ", i))
	}
	add(checkpoint.HintInbox, "\x00 any\nbytes \xff")
	add(checkpoint.HintCallback, strings.Repeat("long", 1200))
	notes := notesOf(7, news)
	read := make(map[checkpoint.Hint]struct{})
	for _, note := range notes {
		require.Less(t, len(note), 8000)
		process, hints, err := hintsOf(note)
		require.NoError(t, err)
		require.EqualValues(t, 7, process)
		for _, h := range hints {
			read[h] = struct{}{}
		}
		var was int64
		var first checkpoint.Hint
		var id string
		n, _ := fmt.Sscanf(note, "%d %d %s", &was, &first.Kind, &id)
		require.GreaterOrEqual(t, n, 2)
		require.Equal(t, hints[0].Kind, first.Kind)
	}
	require.Equal(t, news, read)
	require.LessOrEqual(t, len(notes), 6)
	require.Contains(t, notes, "7 1 ", "that something is due is read by everybody")

	require.Empty(t, notesOf(7, map[checkpoint.Hint]struct{}{{Kind: checkpoint.HintEnded, ID: strings.Repeat("x", 8000)}: {}}), "the server would take none of them")

	for note, want := range map[string][]checkpoint.Hint{
		"5 1 ":     {{Kind: checkpoint.HintDue}}, // as older versions write them
		"5 3 aWQ=": {{Kind: checkpoint.HintEnded, ID: "id"}},
		"5 0 ":     nil,
	} {
		process, hints, err := hintsOf(note)
		require.NoError(t, err)
		require.EqualValues(t, 5, process)
		require.Equal(t, want, hints)
	}
	for _, note := range []string{"", "x", "5", "5 3", "5 x aWQ=", "5 3 !", "5 3 aWQ= 1", "5 300 aWQ="} {
		_, hints, err := hintsOf(note)
		if err == nil {
			require.Empty(t, hints, note)
		}
	}
}
