package wal

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// unopenable is the disk, but a segment that was made can't be opened, as when the
// process has too many files open.
type unopenable struct {
	Disk
	on *atomic.Bool
}

func (d unopenable) Open(name string) (File, error) {
	if d.on.Load() {
		return d.Disk.Open(filepath.Join(name, "nothing"))
	}
	return d.Disk.Open(name)
}

func TestASegmentThatCantBeOpenedSpoilsNothing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), testDir)
	files := unopenable{Disk{NoSync: true}, new(atomic.Bool)}
	files.on.Store(true)
	_, err := Create(dir, testID, 0, small(files))
	require.Error(t, err)
	require.NoError(t, Remove(files, dir))
	files.on.Store(false)
	l, err := Create(dir, testID, 0, small(files))
	require.NoError(t, err)
	files.on.Store(true)
	n := uint64(0)
	for ; err == nil; n++ {
		_, err = l.put(body(2))
	}
	n--
	require.ErrorIs(t, err, ErrNotWritten)
	require.ErrorContains(t, err, filepath.Join(dir, "2"))
	files.on.Store(false)
	seq, err := l.put(body(2))
	require.NoError(t, err)
	require.Equal(t, n+1, seq)
	require.NoError(t, l.Close())
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 3)
}
