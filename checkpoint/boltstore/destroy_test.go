package boltstore

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/durable-go/durable/checkpoint"
	"github.com/stretchr/testify/require"
)

// What is deleted although its row can't be read leaves nothing that leads to it, wherever
// it stood; and takes nothing along.
func TestDeletionOfDamagedRows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, err := Open(path, quiet)
	require.NoError(t, err)
	s.mix(t, 2)
	var ids []string
	for sum, err := range s.List(t.Context(), checkpoint.Query{}) {
		require.NoError(t, err)
		ids = append(ids, sum.ID)
	}
	require.NoError(t, s.Close())
	s, err = Open(path, quiet) // nothing is owned any more
	require.NoError(t, err)
	deleted := 0
	for i, id := range ids {
		if (i+i/12)%2 == 1 { // each state once
			continue
		}
		s.DamageRow(t, id)
		require.NoError(t, s.Delete(t.Context(), id))
		deleted++
	}
	require.NoError(t, s.Close())
	found, done := problems(t, path)
	require.Empty(t, found)
	require.EqualValues(t, len(ids)-deleted, done.Executions)
	require.Greater(t, deleted, 10)
}

// An ID that leads to another execution is no reason to delete that one.
func TestDeletionOfADamagedID(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "store"), quiet)
	require.NoError(t, err)
	defer s.Close()
	s.begin(t, "a", nil).end(checkpoint.Succeeded, checkpoint.ExecutionSucceeded)
	b := s.begin(t, "b", nil)
	b.end(checkpoint.Succeeded, checkpoint.ExecutionSucceeded)
	require.NoError(t, s.awaitApplied(t.Context()))
	_, err = s.update(func(t *transaction) error {
		t.put(idTable, []byte("a"), numberKey(2))
		return nil
	})
	require.NoError(t, err)
	sum, err := s.Get(t.Context(), "a")
	require.ErrorIs(t, err, checkpoint.ErrCorrupt)
	require.EqualValues(t, 2, sum.Number)
	require.NoError(t, s.Delete(t.Context(), "a"))
	sum, err = s.Get(t.Context(), "b")
	require.NoError(t, err)
	require.EqualValues(t, 2, sum.Number)
	require.Equal(t, b.tail, sum.Tail)
	_, err = s.Get(t.Context(), "a")
	require.True(t, errors.Is(err, checkpoint.ErrNotFound), err)
}
