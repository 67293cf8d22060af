package boltstore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// CopyAsKilled copies the file and its log as they are on the disk: what another
// process finds after this one was killed.
func (s *Store) CopyAsKilled(t testing.TB, to string) {
	t.Helper()
	tx, err := s.db.Begin(true) // the feeder waits
	require.NoError(t, err)
	defer tx.Rollback()
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
