package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

// killed makes a store with some executions, which is not closed, nothing of
// which bbolt has. It returns a copy of its files, and what was written by execution.
func killed(t *testing.T) (path string, w written) {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "store"), quiet)
	require.NoError(t, err)
	defer s.Close()
	s.own(t, "before")
	require.NoError(t, s.Close())
	s, err = Open(s.path, quiet)
	require.NoError(t, err)
	defer s.Close()
	for i := range 6 {
		id := fmt.Sprint("execution-", i)
		s.own(t, id)
		for n := range 6 {
			a := step(id, uint64(n+1))
			a.Records[0].Payload = bytes.Repeat([]byte{byte(i), byte(n)}, 20*n)
			if n == 2 {
				a.Records[0].Type = checkpoint.CallbackStarted
				a.Records[0].HeartbeatTimeout, a.Records[0].Time = int64(time.Hour), s.Now().UnixNano()
			}
			require.NoError(t, <-s.start(a))
		}
		require.NoError(t, s.Deliver(t.Context(), checkpoint.Delivery{ID: id, Record: checkpoint.Record{Type: checkpoint.CancelRequested}}))
	}
	w = make(written)
	for i := range 6 {
		id := fmt.Sprint("execution-", i)
		for _, r := range s.journal(t, id) {
			w[id] = append(w[id], string(checkpoint.AppendRecord(nil, &r)))
		}
	}
	for _, r := range s.journal(t, "before") {
		w["before"] = append(w["before"], string(checkpoint.AppendRecord(nil, &r)))
	}
	path = filepath.Join(t.TempDir(), "killed")
	s.CopyAsKilled(t, path)
	return path, w
}

func firstSegment(path string) string { return filepath.Join(path+logSuffix, "1") }

// logged is where the used part of the first segment ends.
func logged(t *testing.T, path string) (b []byte, end int) {
	t.Helper()
	b, err := os.ReadFile(firstSegment(path))
	require.NoError(t, err)
	return b, len(bytes.TrimRight(b, "\x00"))
}

func TestWhatIsOnlyInTheLogIsThereAfterAKill(t *testing.T) {
	path, w := killed(t)
	s, err := Open(path, quiet)
	require.NoError(t, err)
	for id, want := range w {
		require.Len(t, s.journal(t, id), len(want))
	}
	claims, err := s.Claim(t.Context(), checkpoint.ClaimRequest{Functions: []string{"f"}, Max: 100})
	require.NoError(t, err)
	require.Len(t, claims, len(w))
	require.NoError(t, s.Close())
	require.NoDirExists(t, path+logSuffix, "a closed store is one file")
	require.False(t, w.use(t, path))
}

// Every bit of the log that is flipped leaves everything as it was, is an error,
// or takes the last batch away, which can't be told from one that was torn.
func TestBitFlipsInTheLog(t *testing.T) {
	path, w := killed(t)
	good, end := logged(t, path)
	random := rand.New(rand.NewPCG(3, 4))
	flips := 150
	if testing.Short() {
		flips = 30
	}
	found := 0
	for i := range flips {
		at := random.IntN(end)
		if i%2 == 0 {
			at = at/4096*4096 + random.IntN(48) // a header
		}
		if at >= (end-1)/4096*4096 {
			continue // the last batch
		}
		bad := bytes.Clone(good)
		bad[at] ^= 1 << random.IntN(8)
		damaged := copyOf(t, path)
		require.NoError(t, os.WriteFile(firstSegment(damaged), bad, 0o600))
		s, err := Open(damaged, quiet)
		if err != nil {
			found++
			require.ErrorIs(t, err, checkpoint.ErrCorrupt)
			require.ErrorContains(t, err, damaged+logSuffix)
			_, err := Open(damaged, quiet)
			require.ErrorIs(t, err, checkpoint.ErrCorrupt, "it stays so")
			continue
		}
		require.NoError(t, s.Close())
		require.False(t, w.use(t, damaged))
	}
	require.NotZero(t, found)
}

func TestTruncatedLogs(t *testing.T) {
	path, _ := killed(t)
	_, end := logged(t, path)
	for size := 0; size < end; size += 4096 - 7 {
		truncated := copyOf(t, path)
		require.NoError(t, os.Truncate(firstSegment(truncated), int64(size)))
		_, err := Open(truncated, quiet)
		require.ErrorIs(t, err, checkpoint.ErrCorrupt)
	}
}

// A batch that is not whole and the last one was never acknowledged.
func TestATornBatchIsForgotten(t *testing.T) {
	path, w := killed(t)
	good, end := logged(t, path)
	start := (end - 1) / 4096 * 4096
	for keep := start; keep < end; keep += 16 {
		torn := copyOf(t, path)
		b := bytes.Clone(good)
		clear(b[keep:])
		require.NoError(t, os.WriteFile(firstSegment(torn), b, 0o600))
		s, err := Open(torn, quiet)
		require.NoError(t, err)
		require.Greater(t, s.wal.Seq(), binary.BigEndian.Uint64(good[start+16:]), "its number is not given again")
		entries, err := s.Inbox(t.Context(), "execution-5", 0) // that was the last batch
		require.NoError(t, err)
		require.Empty(t, entries)
		for id, want := range w {
			require.Len(t, s.journal(t, id), len(want))
		}
		require.NoError(t, s.Close())
	}
}

// What is left of a torn batch stands in the log until the next one overwrites it, or
// Close removes the segment. Close may be cut off before it comes to that.
func TestATornBatchDoesNotOutliveAClose(t *testing.T) {
	files := &faultyFiles{}
	opts := *quiet
	opts.UnsafeNoSync, opts.files = false, files
	path := filepath.Join(t.TempDir(), "store")
	s, err := Open(path, &opts)
	require.NoError(t, err)
	create := func(id string) error {
		_, _, err := s.Create(t.Context(), checkpoint.Creation{ID: id, Started: checkpoint.Record{Function: "f", Payload: bytes.Repeat([]byte("x"), 2000)}})
		return err
	}
	require.NoError(t, create("a"))
	require.NoError(t, s.awaitApplied(t.Context()))
	cut := func(during string) {
		files.set(func(op, _ string) error {
			if op == during {
				return &cutError{1} // of a batch the header alone
			}
			return nil
		})
	}
	torn := s.wal.Seq() + 1
	cut("write")
	require.ErrorIs(t, create("b"), checkpoint.ErrFailed)
	require.Error(t, s.Close())
	files.set(nil)
	closeCutOff := func() {
		s, err = Open(path, &opts)
		require.NoError(t, err)
		defer files.set(nil)
		cut("remove")
		require.Error(t, s.Close())
	}
	closeCutOff() // nothing is needed, nobody has an owner: nothing was written
	found, _ := problems(t, path)
	require.Empty(t, found)
	s, err = Open(path, &opts)
	require.NoError(t, err)
	require.NoError(t, create("c"))
	require.Greater(t, s.wal.Seq(), torn, "its number is not given again")
	require.NoError(t, s.Close())
	found, _ = problems(t, path)
	require.Empty(t, found)
}

func TestTheFileAndItsLogBelongTogether(t *testing.T) {
	path, _ := killed(t)
	other, _ := killed(t)
	for name, c := range map[string]struct {
		damage func(path string) error
		says   string
	}{
		"no log":  {func(path string) error { return os.RemoveAll(path + logSuffix) }, "its log"},
		"no file": {os.Remove, "the file is missing"},
		"another's log": {func(path string) error {
			b, err := os.ReadFile(firstSegment(other))
			if err != nil {
				return err
			}
			return os.WriteFile(firstSegment(path), b, 0o600)
		}, "log of another store"},
		"an older file": {func(path string) error {
			older, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			s, err := Open(path, quiet)
			if err != nil {
				return err
			}
			s.own(t, "later")
			for n := range 12 { // until segments are used again
				a := step("later", uint64(n+1))
				a.Records[0].Payload = make([]byte, 1<<20)
				if err := errors.Join(<-s.start(a), s.awaitApplied(t.Context())); err != nil {
					return err
				}
			}
			later := filepath.Join(t.TempDir(), "later")
			s.CopyAsKilled(t, later)
			if err := s.Close(); err != nil {
				return err
			}
			if err := os.WriteFile(path, older, 0o600); err != nil {
				return err
			}
			return os.Rename(later+logSuffix, path+logSuffix)
		}, "not of the same moment"},
	} {
		t.Run(name, func(t *testing.T) {
			path := copyOf(t, path)
			require.NoError(t, c.damage(path))
			before := list(t, filepath.Dir(path))
			for range 2 {
				_, err := Open(path, quiet)
				require.ErrorIs(t, err, checkpoint.ErrCorrupt)
				require.ErrorContains(t, err, path)
				require.ErrorContains(t, err, c.says)
			}
			require.Equal(t, before, list(t, filepath.Dir(path)), "nothing is made or removed")
		})
	}
}

// A file that is older than its log is no damage as long as the log has all that
// the file has not.
func TestTheLogOfSeveralLives(t *testing.T) {
	path, w := killed(t)
	for life := range 4 {
		s, err := Open(path, quiet)
		require.NoError(t, err)
		require.NotEmpty(t, s.active.executions, "bbolt gets it later")
		id := fmt.Sprint("life-", life)
		s.own(t, id)
		next := filepath.Join(t.TempDir(), "store")
		copyStore(t, path, next)
		started := s.journal(t, id)[0]
		w[id] = []string{string(checkpoint.AppendRecord(nil, &started))}
		require.NoError(t, s.Close())
		path = next
	}
	s, err := Open(path, quiet)
	require.NoError(t, err)
	require.NotEmpty(t, s.active.executions)
	for id, want := range w {
		require.Len(t, s.journal(t, id), len(want), id)
		sum, err := s.Get(t.Context(), id)
		require.NoError(t, err)
		require.False(t, sum.Owned)
		require.NotZero(t, sum.WakeAt)
	}
	require.NoError(t, s.Close())
	require.False(t, w.use(t, path))
}

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		names = append(names, path)
		return err
	}))
	return names
}

func TestTheLogIsRemovedWhenTheFileIsWhole(t *testing.T) {
	faults := new(faultyFiles)
	s, err := Open(filepath.Join(t.TempDir(), "store"), &Options{files: faults})
	require.NoError(t, err)
	s.own(t, "a")
	format := func() (n uint32) {
		require.NoError(t, s.readFile(t.Context(), func(p *snapshot) error {
			n = binary.BigEndian.Uint32(p.bucket(metaTable).Get(metaFormat))
			return nil
		}))
		return n
	}
	require.EqualValues(t, formatLog, format())
	removed := 0
	faults.set(func(op, name string) error {
		if op == "remove" && !strings.HasSuffix(name, ".new") {
			removed++
			require.NoError(t, s.db.View(func(tx *bolt.Tx) error {
				require.EqualValues(t, formatWhole, binary.BigEndian.Uint32(tx.Bucket([]byte("meta")).Get(metaFormat)))
				require.NotNil(t, tx.Bucket([]byte("ids")).Get([]byte("a")))
				return nil
			}))
		}
		return nil
	})
	require.NoError(t, s.Close())
	require.NotZero(t, removed)
}

// Whoever changes what was read must not change what is kept.
// While bbolt can't take anything, the writer stops at a bound, and goes on
// when it can.
// A row must be logged as a whole when anything changes that an advance does not hold.
// Whatever is in a batch, reading it never panics.
