package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// exposed are the files below a folder that others than their owner could open, and
// the folders that they could enter; n is how many there are of both.
func exposed(t *testing.T, dir string) (found []string, n int) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				n++
				want := fs.FileMode(0o600)
				if d.IsDir() {
					want = 0o700
				}
				if info.Mode().Perm() != want {
					found = append(found, fmt.Sprintf("%s: %s", path, info.Mode()))
				}
			}
		}
		if path != dir && errors.Is(err, fs.ErrNotExist) {
			return nil // a segment of the log that was being made has got its name
		}
		return err
	}))
	return found, n
}

const modesVariable = "DURABLE_TEST_MODES"

// TestModesWhateverTheUmask uses a store, closes it and opens it again in processes
// with different umasks, and looks at all files and folders at each moment.
func TestModesWhateverTheUmask(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv(modesVariable); dir != "" {
		useAndLook(t, filepath.Join(dir, "new", "folder"))
		return
	}
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("sh is needed to set the umask of a process")
	}
	for _, umask := range []string{"000", "002", "022", "077"} {
		cmd := exec.Command("sh", "-c", `umask "$1" && exec "$0" -test.run='^TestModesWhateverTheUmask$'`, os.Args[0], umask)
		cmd.Env = append(os.Environ(), modesVariable+"="+t.TempDir())
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "umask %s: %s", umask, out)
	}

	dir := filepath.Join(t.TempDir(), "planted")
	require.NoError(t, os.Mkdir(dir, 0o700))
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o400} {
		path := filepath.Join(dir, mode.String())
		require.NoError(t, os.WriteFile(path, nil, mode))
		require.NoError(t, os.Chmod(path, mode))
	}
	require.NoError(t, os.Chmod(dir, 0o750))
	found, _ := exposed(t, dir)
	require.Len(t, found, 4)
}

func useAndLook(t *testing.T, dir string) {
	looked := 0
	look := func(when string, atLeast int) {
		found, n := exposed(t, dir)
		require.Empty(t, found, when)
		require.GreaterOrEqual(t, n, atLeast, when)
		looked += n
	}
	for range 2 {
		s, err := Open(filepath.Join(dir, "store"), nil)
		require.NoError(t, err)
		look("when it is new, or opened again", 2)
		s.own(t, fmt.Sprint("a", looked))
		look("in use, with its log", 4)
		s.CopyAsKilled(t, filepath.Join(dir, "copy"))
		require.NoError(t, s.Close())
		look("closed", 2)
		copied, err := Open(filepath.Join(dir, "copy"), nil) // it recovers from its log
		require.NoError(t, err)
		look("recovered", 3)
		require.NoError(t, copied.Close())
		require.NoError(t, os.Remove(filepath.Join(dir, "copy")))
	}
	_, err := DiskCheck(t.Context(), dir)
	require.NoError(t, err)
	look("after a check of the disk", 2)
	t.Logf("%d modes looked at", looked)
}
