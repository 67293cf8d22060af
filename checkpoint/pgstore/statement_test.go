package pgstore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint/pgstore"
)

// TestStatementsThatAreGone: a session that has forgotten what was prepared in it is given
// up, and the store goes on over another one.
func TestStatementsThatAreGone(t *testing.T) {
	c := need(t)
	if *throughBouncer {
		t.Skip("it prepares statements itself")
	}
	t.Parallel()
	s := open(t, c.Schema(), pgstore.Options{})
	sum := create(t, s, "x", true)
	require.NoError(t, appendTo(s, step(sum, 1)))
	require.NoError(t, appendTo(s, step(sum, 2)))
	require.NoError(t, pgstore.Deallocate(s))
	err := appendTo(s, step(sum, 3))
	if err != nil { // it says so once, as what is refused
		require.ErrorContains(t, err, "26000")
		err = appendTo(s, step(sum, 3))
	}
	require.NoError(t, err)
	require.NoError(t, appendTo(s, step(sum, 4)))
}
