package boltstore

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/durable-go/durable/checkpoint"
	"github.com/stretchr/testify/require"
)

// mountAt mounts what is at from at to, too, as a container has parts of its host.
func mountAt(t *testing.T, from, to string) {
	t.Helper()
	if err := syscall.Mount(from, to, "", syscall.MS_BIND, ""); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(to, syscall.MNT_DETACH)) })
}

func TestMounts(t *testing.T) {
	// made is a store with an execution; unclean leaves its log as a crash does.
	made := func(t *testing.T, path string, unclean bool) {
		s, err := Open(path, quiet)
		require.NoError(t, err)
		s.own(t, "a")
		if unclean {
			crashed := filepath.Join(t.TempDir(), "crashed")
			copyStore(t, path, crashed)
			require.NoError(t, s.Close())
			require.NoError(t, os.Rename(crashed, path))
			require.NoError(t, os.Rename(crashed+logSuffix, path+logSuffix))
			return
		}
		require.NoError(t, s.Close())
	}
	refused := func(t *testing.T, path string) {
		t.Helper()
		before, err := os.ReadFile(path)
		require.NoError(t, err)
		_, err = Open(path, quiet)
		require.ErrorContains(t, err, "the file is mounted by itself")
		require.ErrorContains(t, err, path+logSuffix)
		require.ErrorContains(t, err, "mount the folder that the file is in")
		require.NotErrorIs(t, err, checkpoint.ErrCorrupt)
		_, err = Compact(t.Context(), path)
		require.ErrorContains(t, err, "the file is mounted by itself")
		now, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, before, now)
		require.Equal(t, []string{filepath.Dir(path), path}, list(t, filepath.Dir(path)), "nothing is made beside it")
	}
	opened := func(t *testing.T, path string) {
		t.Helper()
		for range 2 {
			s, err := Open(path, quiet)
			require.NoError(t, err)
			require.Len(t, s.journal(t, "a"), 1)
			require.NoError(t, s.awaitApplied(t.Context()))
			require.NoError(t, s.Close())
		}
	}
	t.Run("AFileAlone", func(t *testing.T) {
		host, inside := filepath.Join(t.TempDir(), "store"), filepath.Join(t.TempDir(), "store")
		made(t, host, false)
		require.NoError(t, os.WriteFile(inside, nil, 0o600))
		mountAt(t, host, inside)
		refused(t, inside)
		opened(t, host)
	})
	t.Run("AFileAloneBehindALink", func(t *testing.T) {
		host, inside, link := filepath.Join(t.TempDir(), "store"), filepath.Join(t.TempDir(), "a b\\store"), filepath.Join(t.TempDir(), "store")
		made(t, host, false)
		require.NoError(t, os.WriteFile(inside, nil, 0o600))
		require.NoError(t, os.Symlink(inside, link))
		mountAt(t, host, inside)
		_, err := Open(link, quiet)
		require.ErrorContains(t, err, "the file is mounted by itself")
		require.True(t, isMountPoint(inside))
	})
	t.Run("AnEmptyFileAlone", func(t *testing.T) {
		host, inside := filepath.Join(t.TempDir(), "store"), filepath.Join(t.TempDir(), "store")
		for _, path := range []string{host, inside} {
			require.NoError(t, os.WriteFile(path, nil, 0o600))
		}
		mountAt(t, host, inside)
		refused(t, inside)
	})
	t.Run("AFolder", func(t *testing.T) {
		host, inside := t.TempDir(), t.TempDir()
		made(t, filepath.Join(host, "store"), true)
		mountAt(t, host, inside)
		opened(t, filepath.Join(inside, "store"))
	})
	t.Run("AFolderAboveIt", func(t *testing.T) {
		host, inside := t.TempDir(), t.TempDir()
		made(t, filepath.Join(host, "data", "store"), true)
		mountAt(t, host, inside)
		opened(t, filepath.Join(inside, "data", "store"))
	})
	t.Run("AFileAndItsLog", func(t *testing.T) {
		host, inside := filepath.Join(t.TempDir(), "store"), filepath.Join(t.TempDir(), "store")
		made(t, host, true)
		require.NoError(t, os.WriteFile(inside, nil, 0o600))
		require.NoError(t, os.Mkdir(inside+logSuffix, 0o700))
		mountAt(t, host, inside)
		mountAt(t, host+logSuffix, inside+logSuffix)
		opened(t, inside)
	})
	t.Run("ALogAlone", func(t *testing.T) {
		disk, path := t.TempDir(), filepath.Join(t.TempDir(), "store")
		require.NoError(t, os.Mkdir(path+logSuffix, 0o700))
		mountAt(t, disk, path+logSuffix)
		made(t, path, false)
		opened(t, path)
	})
}

// TestNoAddresses has no addresses for a file: that is no damage of it.
func TestNoAddresses(t *testing.T) {
	if path := os.Getenv(unmappable); path != "" {
		limit := syscall.Rlimit{Cur: 16 << 30, Max: 16 << 30}
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_AS, &limit))
		_, err := Open(path, quiet)
		require.ErrorIs(t, err, syscall.ENOMEM)
		require.NotErrorIs(t, err, checkpoint.ErrCorrupt)
		require.ErrorContains(t, err, path)
		return
	}
	s := openTemp(t)
	require.NoError(t, s.Close())
	require.NoError(t, os.Truncate(s.path, 1<<40)) // it takes no room
	inProcess(t, unmappable, s.path)
}

// inProcess runs the test once more, in a process of its own.
func inProcess(t *testing.T, name, value string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), name+"="+value)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

const unmappable = "BOLTSTORE_TEST_UNMAPPABLE"

// TestNoFileDescriptors has none left when a store is opened, at any moment of it.
func TestNoFileDescriptors(t *testing.T) {
	if path := os.Getenv(exhausted); path != "" {
		var open []*os.File
		for { // those that there are
			f, err := os.Open(os.DevNull)
			if err != nil {
				break
			}
			open = append(open, f)
		}
		require.NotEmpty(t, open)
		for free := 0; ; free++ {
			s, err := Open(path, quiet)
			if err == nil {
				require.NotZero(t, free)
				require.NoError(t, s.Close())
				return
			}
			require.ErrorIs(t, err, syscall.EMFILE)
			require.NotErrorIs(t, err, checkpoint.ErrCorrupt)
			require.NoError(t, open[free].Close())
		}
	}
	path := filepath.Join(t.TempDir(), "store")
	s, err := Open(path, quiet)
	require.NoError(t, err)
	s.own(t, "a")
	crashed := filepath.Join(t.TempDir(), "crashed")
	copyStore(t, path, crashed)
	require.NoError(t, s.Close())
	inProcess(t, exhausted, crashed)
}

const exhausted = "BOLTSTORE_TEST_EXHAUSTED"
