package pgstore

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
)

// A process is never taken to be alone on the word of a table that is older than what was
// heard of others.
func TestCompany(t *testing.T) {
	var c company
	require.False(t, c.answered(c.asks(), false))
	require.True(t, c.alone.Load())
	require.True(t, c.hears(), "somebody came")
	require.False(t, c.alone.Load())
	require.False(t, c.hears())
	asked := c.asks()
	require.False(t, c.hears())
	require.False(t, c.answered(asked, false), "that one may be missing in the answer")
	require.False(t, c.alone.Load())
	require.False(t, c.answered(c.asks(), false))
	require.True(t, c.alone.Load())
	require.True(t, c.answered(c.asks(), true), "somebody is there who has said nothing")
	require.False(t, c.answered(c.asks(), true))
	require.False(t, c.alone.Load())
	require.True(t, c.met.Load())
}

// What is too much to be told one by one is to be looked for.
func TestTooMuchNews(t *testing.T) {
	n := &notifier{news: make(map[checkpoint.Hint]struct{}), wanted: make(chan struct{}, 1)}
	for i := range maxNews {
		n.tell([]checkpoint.Hint{{Kind: checkpoint.HintEnded, ID: fmt.Sprint(i)}})
	}
	require.Len(t, n.news, maxNews)
	require.NotContains(t, n.news, missed)
	last := checkpoint.Hint{Kind: checkpoint.HintEnded, ID: "last"}
	for range 2 {
		n.tell([]checkpoint.Hint{last})
		require.Len(t, n.news, 2)
		require.Contains(t, n.news, missed)
		require.Contains(t, n.news, last)
	}
}
