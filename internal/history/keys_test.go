package history_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
)

// TestKeysAsRecorded checks what stands in a record, which later versions read.
func TestKeysAsRecorded(t *testing.T) {
	t.Parallel()
	k := history.NewKeys(incarnation("A"))
	k.Add(&history.Known{ID: "10", Kind: checkpoint.Step, Name: "b"})
	k.Add(&history.Known{ID: "2", Kind: checkpoint.Step, Name: "b", Of: history.Incarnation(incarnation("B"))})
	k.Add(&history.Known{ID: "2", Kind: checkpoint.Step, Name: "a"})
	k.Add(&history.Known{ID: "2", Kind: checkpoint.ChainedInvoke, Name: "a", Invoked: "inv-1", Base: history.Incarnation(incarnation("C")), Retry: true, Fresh: true})
	const a, b, c = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "cccccccccccccccccccccccccccccccc"
	const recorded = `{"base":"` + a + `","known":[{"id":"2","kind":1,"name":"a"},{"id":"2","kind":1,"name":"b","of":"` + b + `"},` +
		`{"id":"2","kind":4,"name":"a","invoked":"inv-1","base":"` + c + `","retry":true,"fresh":true},{"id":"10","kind":1,"name":"b"}]}`
	require.Equal(t, recorded, k.Encode(), "in the order of IDs, sub-types, names")
	again, err := history.DecodeKeys(recorded)
	require.NoError(t, err)
	require.Equal(t, k, again)

	// Nothing to say is nothing.
	require.Empty(t, history.NewKeys(checkpoint.Incarnation{}).Encode())
	require.Empty(t, (*history.Keys)(nil).Encode())
	none, err := history.DecodeKeys("")
	require.NoError(t, err)
	require.Nil(t, none)

	// A newer version may say more, and a hand may have been at it.
	some, err := history.DecodeKeys(`{"base":"` + a + `","known":[null,{"id":"1","kind":1,"more":1}],"more":1}`)
	require.NoError(t, err)
	require.Len(t, some.Known, 1)
	for _, bad := range []string{"{", `{"base":1}`, `{"base":"` + a + `aa"}`, `{"base":"` + a[2:] + `"}`, `{"base":"` + a[1:] + `"}`, `{"base":"g` + a[1:] + `"}`, `{"known":[{"id":1}]}`} {
		_, err := history.DecodeKeys(bad)
		require.ErrorContains(t, err, "idempotency keys", bad)
	}
}

// TestBaseOf checks where keys come from in an execution that began as none.
func TestBaseOf(t *testing.T) {
	t.Parallel()
	own := incarnation("B")
	for _, k := range []*history.Keys{nil, history.NewKeys(checkpoint.Incarnation{})} {
		require.Equal(t, own, k.BaseOf(own))
		require.Equal(t, own, k.Origin(&history.Operation{ID: "1"}, own))
		require.Nil(t, k.Invoked(&history.Operation{ID: "1"}))
	}
	require.Equal(t, incarnation("A"), history.NewKeys(incarnation("A")).BaseOf(own))
}
