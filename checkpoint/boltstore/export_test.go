package boltstore

import (
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
