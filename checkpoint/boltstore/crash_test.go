package boltstore

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/durable-go/durable/checkpoint"
	"github.com/stretchr/testify/require"
)

// TestCutAtEveryOperation stops everything at each operation on the log, in the
// middle of it when it is a write. What was acknowledged must be there when the
// store is opened again, and nothing that was never asked for.
func TestCutAtEveryOperation(t *testing.T) {
	stride := 1
	if testing.Short() {
		stride = 7
	}
	lived, cuts := 0, 0
	for cut := 0; ; cut += stride {
		cuts++
		faults := &faultyFiles{}
		faults.Disk.NoSync = true
		n := 0
		faults.fail = func(op, name string) error {
			if n++; n > cut {
				return &cutError{sectors: (n * cut) % 9}
			}
			return nil
		}
		path := filepath.Join(t.TempDir(), "store")
		acknowledged, ended := cutWorkload(t, path, &Options{Logger: quiet.Logger, UnsafeNoSync: true, files: faults, segmentSize: 4 * 4096})

		opts := &Options{Logger: quiet.Logger, UnsafeNoSync: true, segmentSize: 4 * 4096}
		for again := range 3 { // cut while it is opened, and goes on
			left := (cut + again) % 5
			faults.set(func(op, name string) error {
				if left--; left < 0 {
					return &cutError{sectors: (cut + again) % 9}
				}
				return nil
			})
			opts := *opts
			opts.files = faults
			s, err := Open(path, &opts)
			if err != nil {
				require.NotErrorIs(t, err, checkpoint.ErrCorrupt, "cut at %d", cut)
				continue
			}
			claims, _ := s.Claim(t.Context(), checkpoint.ClaimRequest{Functions: []string{"f"}, Max: 10})
			for _, c := range claims {
				a := step(c.ID, c.Tail)
				a.Epoch = c.Epoch
				if <-s.start(a) == nil {
					acknowledged[c.ID] = c.Tail + 1
					lived++
				}
			}
			s.Close()
		}
		for range 2 { // recovery is the same the second time
			s, err := Open(path, opts)
			require.NoError(t, err, "cut at %d", cut)
			for id, tail := range acknowledged {
				has := uint64(len(s.journal(t, id)))
				require.GreaterOrEqual(t, has, tail, "cut at %d: %s", cut, id)
				require.LessOrEqual(t, has, tail+4, "cut at %d: %s", cut, id) // one in each life may be there, and nobody heard of it
			}
			require.NoError(t, s.Close())
		}
		s, err := Open(path, opts)
		require.NoError(t, err)
		claims, err := s.Claim(t.Context(), checkpoint.ClaimRequest{Functions: []string{"f"}, Max: 10})
		require.NoError(t, err)
		for _, c := range claims {
			a := step(c.ID, c.Tail)
			a.Epoch = c.Epoch
			require.NoError(t, <-s.start(a))
		}
		require.NoError(t, s.Close())
		require.NoDirExists(t, path+logSuffix)
		if ended {
			require.NotZero(t, lived)
			t.Logf("cut at %d operations, then 3 times while it was opened again; %d appends in between were kept", cuts, lived)
			return
		}
	}
}

// cutWorkload makes changes until the power is cut. It returns the tails that
// were acknowledged, and whether it came to its end.
func cutWorkload(t *testing.T, path string, opts *Options) (acknowledged map[string]uint64, ended bool) {
	acknowledged = make(map[string]uint64)
	s, err := Open(path, opts)
	require.NoError(t, err)
	defer func() { ended = s.Close() == nil && ended }()
	ctx := t.Context()
	for i := range 3 {
		id := fmt.Sprint(i)
		if _, _, err := s.Create(ctx, checkpoint.Creation{ID: id, Claim: true, Started: checkpoint.Record{Function: "f"}}); err != nil {
			return acknowledged, false
		}
		acknowledged[id] = 1
	}
	for n := range 8 {
		for i := range 3 {
			id := fmt.Sprint(i)
			a := step(id, uint64(n+1))
			a.Records[0].Payload = make([]byte, 1500*i)
			if err := <-s.start(a); err != nil {
				return acknowledged, false
			}
			acknowledged[id]++
		}
		if n%3 == 2 && s.awaitApplied(ctx) != nil {
			return acknowledged, false
		}
	}
	return acknowledged, true
}
