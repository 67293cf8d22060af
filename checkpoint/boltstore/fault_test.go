package boltstore

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/durable-go/durable/checkpoint"
	"github.com/stretchr/testify/require"
)

// badDisk can't read from a moment on.
type badDisk struct {
	io.ReaderAt
	left int
}

func (d *badDisk) ReadAt(b []byte, at int64) (int, error) {
	if d.left--; d.left < 0 {
		return 0, &os.PathError{Op: "read", Path: "store", Err: syscall.EIO}
	}
	return d.ReaderAt.ReadAt(b, at)
}

// What the system can't read is no damage, whatever it is, and nothing that follows from it.
func TestVerifyOnABadDisk(t *testing.T) {
	s := openTemp(t)
	s.mix(t, 20)
	require.NoError(t, s.Close())
	file, err := os.Open(s.path)
	require.NoError(t, err)
	defer file.Close()
	info, err := file.Stat()
	require.NoError(t, err)
	m, whole, err := newestMeta(file, os.Getpagesize())
	require.NoError(t, err)
	for reads := 0; ; reads++ {
		disk := &badDisk{file, reads}
		v := newVerifier(t.Context(), s.path, &VerifyOptions{Problem: func(p Problem) { t.Errorf("after %d reads: %s", reads, p) }})
		done, err := v.end(v.verify(disk, info.Size(), m, whole, nil))
		if disk.left >= 0 {
			require.NoError(t, err)
			require.Greater(t, reads, 20)
			return
		}
		require.ErrorIs(t, err, syscall.EIO)
		require.NotErrorIs(t, err, checkpoint.ErrCorrupt)
		require.Zero(t, done.Problems)
	}
}

// accident is a fault in the memory that the file is mapped to.
type accident uintptr

func (accident) Error() string   { return "unexpected fault address" }
func (a accident) Addr() uintptr { return uintptr(a) }

// A fault where the system can't read the file either is the system's error; one where it
// can, or behind its end, is damage.
func TestFaultsOfTheSystemAreNoDamage(t *testing.T) {
	s := openTemp(t)
	s.own(t, "a")
	base := s.db.Info().Data
	info, err := s.file.Stat()
	require.NoError(t, err)
	for _, at := range []uintptr{base, base + uintptr(info.Size()), base - 1, 0} {
		require.ErrorIs(t, s.panicked(accident(at)), checkpoint.ErrCorrupt)
	}
	require.ErrorIs(t, s.panicked(errors.New("a page is wrong")), checkpoint.ErrCorrupt)

	file := s.file
	defer func() { s.file = file }()
	s.file, err = os.Open(t.TempDir()) // of which the system says that it can't be read
	require.NoError(t, err)
	defer s.file.Close()
	damaged := func(*snapshot) error { panic(accident(base)) }
	err = s.read(t.Context(), damaged)
	require.ErrorIs(t, err, syscall.EISDIR)
	require.NotErrorIs(t, err, checkpoint.ErrCorrupt)
	require.ErrorContains(t, err, s.path)
	opening := &Store{path: s.path, file: s.file, log: s.log}
	require.ErrorIs(t, opening.panicked(accident(base)), syscall.EISDIR)
}

// What keeps a file from being opened is told as it is.
func TestOpenTellsWhatTheSystemSays(t *testing.T) {
	if os.Getuid() == 0 {
		t.Log("root may do everything: no file is without rights")
	}
	dir := t.TempDir()
	folder := filepath.Join(dir, "folder")
	require.NoError(t, os.Mkdir(folder, 0o700))
	for name, path := range map[string]string{
		"a folder":                    folder,
		"a file where a folder is":    filepath.Join(dir, "file", "store"),
		"a log that is a file":        filepath.Join(dir, "log"),
		"a name that is too long":     filepath.Join(dir, string(make([]byte, 300))),
		"links that lead in a circle": filepath.Join(dir, "circle"),
	} {
		switch filepath.Base(path) {
		case "store":
			require.NoError(t, os.WriteFile(filepath.Dir(path), nil, 0o600))
		case "circle":
			require.NoError(t, os.Symlink("circle", path))
		case "log":
			s, err := Open(path, quiet)
			require.NoError(t, err)
			require.NoError(t, s.Close())
			require.NoError(t, os.WriteFile(path+logSuffix, nil, 0o600))
		}
		_, err := Open(path, quiet)
		require.Error(t, err, name)
		require.NotErrorIs(t, err, checkpoint.ErrCorrupt, name)
		var errno syscall.Errno
		require.ErrorAs(t, err, &errno, name)
		_, err = Verify(context.Background(), path, nil)
		require.Error(t, err, name)
		require.NotErrorIs(t, err, checkpoint.ErrCorrupt, name)
	}
}
