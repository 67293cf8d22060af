package boltstore

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/durable-go/durable/checkpoint"
	"github.com/stretchr/testify/require"
)

// problems verifies a store that is closed.
func problems(t *testing.T, path string) (found []Problem, done Verified) {
	t.Helper()
	done, err := Verify(t.Context(), path, &VerifyOptions{Problem: func(p Problem) { found = append(found, p) }, segmentSize: quiet.segmentSize})
	require.EqualValues(t, len(found), done.Problems)
	if len(found) == 0 {
		require.NoError(t, err)
	} else {
		require.ErrorIs(t, err, checkpoint.ErrCorrupt)
		require.ErrorContains(t, err, found[0].What)
	}
	return found, done
}

func TestVerifyFindsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, err := Open(path, quiet)
	require.NoError(t, err)
	s.mix(t, 6)
	var progress Verified
	open, err := s.Verify(t.Context(), &VerifyOptions{Problem: func(p Problem) { t.Error(p) }, Progress: func(v Verified) { progress = v }})
	require.NoError(t, err)
	require.Equal(t, open, progress)
	require.EqualValues(t, 6*12, open.Executions)

	s.mixMore(t)
	killed := filepath.Join(t.TempDir(), "killed")
	s.CopyAsKilled(t, killed)
	found, crashed := problems(t, killed)
	require.Empty(t, found)
	require.NotZero(t, crashed.Batches, "the log has what the file has not")
	require.Greater(t, crashed.Records, open.Records)
	_, err = Verify(t.Context(), path, nil)
	require.ErrorIs(t, err, checkpoint.ErrLocked)

	require.NoError(t, s.Close())
	found, closed := problems(t, path)
	require.Empty(t, found)
	require.Equal(t, crashed.Executions, closed.Executions)
	require.Equal(t, crashed.Records, closed.Records)
	require.Zero(t, closed.Batches)
	t.Logf("%d executions, %d records, %d entries in %d pages: no problem while it was open, killed, closed", closed.Executions, closed.Records, closed.Entries, closed.Pages)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Verify(ctx, path, nil)
	require.ErrorIs(t, err, context.Canceled)
}

// mixMore makes changes of all kinds in the log alone.
func (s *Store) mixMore(t *testing.T) {
	ctx := t.Context()
	s.own(t, "more")
	require.NoError(t, s.Delete(ctx, "succeeded-0"))
	require.NoError(t, s.Resume(ctx, "held-0"))
	require.NoError(t, s.Deliver(ctx, checkpoint.Delivery{ID: "waiting-0", Record: checkpoint.Record{Type: checkpoint.CancelRequested}}))
	claims, err := s.Claim(ctx, checkpoint.ClaimRequest{Functions: []string{"f"}, Max: 100})
	require.NoError(t, err)
	require.NotEmpty(t, claims)
	for _, c := range claims {
		j := &journalOf{t, s, c.ID, c.Epoch, c.Tail, c.LastEvent}
		j.steps(3, 5000)
	}
}
