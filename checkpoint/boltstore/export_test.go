package boltstore

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint/internal/wal"
	"github.com/stretchr/testify/require"
)

// WithClock gives a store another clock.
func (o Options) WithClock(now func() time.Time) *Options {
	o.now = now
	return &o
}

// CopyAsKilled copies the file and its log as they are on the disk: what another
// process finds after this one was killed.
func (s *Store) CopyAsKilled(t testing.TB, to string) {
	t.Helper()
	s.writing.Lock() // the feeder waits
	defer s.writing.Unlock()
	copyStore(t, s.path, to)
}

// DamageRecords makes the journal of an execution unreadable in the file, DamageRow its
// row.
func (s *Store) DamageRecords(t testing.TB, id string) { s.damage(t, id, journalTable) }
func (s *Store) DamageRow(t testing.TB, id string)     { s.damage(t, id, executionTable) }

func (s *Store) damage(t testing.TB, id string, in table) {
	t.Helper()
	require.NoError(t, s.awaitApplied(t.Context()))
	sum, err := s.Get(t.Context(), id)
	require.NoError(t, err)
	key := numberKey(sum.Number)
	if in == journalTable {
		key = pairKey(sum.Number, 1)
	}
	_, err = s.update(func(t *transaction) error {
		value := bytes.Clone(t.bucket(in).Get(key))
		value[len(value)/2] ^= 1
		t.put(in, key, value)
		return nil
	})
	require.NoError(t, err)
}

// copyStore copies a file and its log.
func copyStore(t testing.TB, from, to string) {
	t.Helper()
	copyFile(t, from, to)
	segments, err := filepath.Glob(globEscape(from) + logSuffix + "/*")
	require.NoError(t, err)
	for _, segment := range segments {
		if strings.HasSuffix(segment, ".new") {
			continue // it is being made, and may be gone in a moment
		}
		require.NoError(t, os.MkdirAll(to+logSuffix, 0o700))
		copyFile(t, segment, filepath.Join(to+logSuffix, filepath.Base(segment)))
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, b, 0o600))
}

// SmallSegments are options with a log of such small segments that they are used
// again soon.
func SmallSegments(unsafeNoSync, unsafeNoLogSync bool) *Options {
	return &Options{
		Logger: quiet.Logger, UnsafeNoSync: unsafeNoSync, segmentSize: 4 * 4096,
		files: wal.Disk{NoSync: unsafeNoSync || unsafeNoLogSync},
	}
}

// globEscape quotes what has a meaning in a pattern.
func globEscape(path string) string {
	return strings.NewReplacer(`[`, `[[]`, `*`, `[*]`, `?`, `[?]`).Replace(path)
}
