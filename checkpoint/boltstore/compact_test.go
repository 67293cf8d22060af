package boltstore

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/durable-go/durable/checkpoint"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

func TestCompact(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, err := Open(path, quiet)
	require.NoError(t, err)
	s.mix(t, 2)
	large := s.begin(t, "large", nil)
	large.steps(20, 1<<20)
	require.NoError(t, s.awaitApplied(t.Context()))
	large.end(checkpoint.Succeeded, checkpoint.ExecutionSucceeded)
	require.NoError(t, s.Delete(t.Context(), "large"))
	_, err = Compact(t.Context(), path)
	require.ErrorIs(t, err, checkpoint.ErrLocked)
	killed := filepath.Join(t.TempDir(), "killed")
	s.CopyAsKilled(t, killed)
	require.NoError(t, s.Close())
	require.NoError(t, os.Chmod(path, 0o640))
	want := dump(t, path)

	done, err := Compact(t.Context(), path)
	require.NoError(t, err)
	require.Less(t, done.After, int64(2<<20))
	require.Greater(t, done.Before, int64(20<<20))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, done.After, info.Size())
	require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
	found, _ := problems(t, path)
	require.Empty(t, found)
	// Opening it took those with an owner from them.
	s, err = Open(path, quiet)
	require.NoError(t, err)
	for i := range 2 {
		require.Len(t, s.journal(t, fmt.Sprint("owned-", i)), 4)
	}
	s.begin(t, "after", nil).steps(3, 10)
	require.NoError(t, s.Close())
	require.NotEqual(t, want, dump(t, path))

	done, err = compactStore(t.Context(), killed, quiet) // what the log has is brought in
	require.NoError(t, err)
	require.Less(t, done.After, done.Before)
	require.NoDirExists(t, killed+logSuffix)
	found, verified := problems(t, killed)
	require.Empty(t, found)
	require.EqualValues(t, 24, verified.Executions)
	entries, err := os.ReadDir(filepath.Dir(killed))
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

// Journals of deleted executions wait for their removal. They are not copied.
func TestCompactLeavesTheTrash(t *testing.T) {
	path := mixed(t, 1)
	edit(t, path, func(tx *bolt.Tx) error {
		x := &planting{t, tx}
		x.put(trashTable, numberKey(goneNumber), nil)
		for seq := range uint64(3000) {
			x.put(journalTable, pairKey(goneNumber, seq+1), append(bind(nil, pairKey(goneNumber, seq+1)), make([]byte, 500)...))
		}
		return nil
	})
	found, _ := problems(t, path)
	require.Empty(t, found)
	like, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, compact(t.Context(), path, like))
	edit(t, path, func(tx *bolt.Tx) error {
		x := &planting{t, tx}
		require.Zero(t, x.in(trashTable).Stats().KeyN)
		k, _ := x.in(journalTable).Cursor().Seek(numberKey(goneNumber))
		require.Nil(t, k)
		return nil
	})
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(1<<20))
	found, done := problems(t, path)
	require.Empty(t, found)
	require.EqualValues(t, 12, done.Executions)
}

// What is damaged stays as it is: the copy would not have what can't be read.
func TestCompactRefusesDamage(t *testing.T) {
	path := mixed(t, 1)
	edit(t, path, func(tx *bolt.Tx) error {
		(&planting{t, tx}).cut(ownedNumber, 1)
		return nil
	})
	_, err := Compact(t.Context(), path)
	require.ErrorIs(t, err, checkpoint.ErrCorrupt)
	require.ErrorContains(t, err, "record 3 comes behind record 1")
	found, _ := problems(t, path)
	require.NotEmpty(t, found, "it is still there to be looked at")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Compact(ctx, mixed(t, 1))
	require.ErrorIs(t, err, context.Canceled)
	_, err = Compact(t.Context(), filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// The lock of a file that was replaced protects nothing.
func TestAFileThatWasReplacedIsNotOpened(t *testing.T) {
	path, other := mixed(t, 1), mixed(t, 1)
	s := &Store{path: path}
	replaced := false
	_, err := s.openBolt(path, &Options{unlocked: func() {
		replaced = true
		require.NoError(t, os.Rename(other, path))
	}})
	require.True(t, replaced)
	require.ErrorIs(t, err, checkpoint.ErrLocked)
}

const compactedPath = "BOLTSTORE_TEST_COMPACTED_PATH"

// TestKilledWhileCompacting kills a process that compacts a store again and again. The
// store must be whole each time, and nothing may be left beside it.
func TestKilledWhileCompacting(t *testing.T) {
	if path := os.Getenv(compactedPath); path != "" {
		fmt.Println("ready")
		for {
			if _, err := Compact(context.Background(), path); err != nil {
				panic(err)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "store")
	s, err := Open(path, quiet)
	require.NoError(t, err)
	s.mix(t, 20)
	require.NoError(t, s.Close())
	s, err = Open(path, quiet) // nobody owns anything any more
	require.NoError(t, err)
	require.NoError(t, s.Close())
	want := dump(t, path)
	_, err = Compact(t.Context(), path)
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	kills := 30
	if testing.Short() {
		kills = 5
	}
	aside := 0
	for kill := range kills {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWhileCompacting$")
		cmd.Env = append(os.Environ(), compactedPath+"="+path)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		_, err = out.Read(make([]byte, 64)) // it has begun
		require.NoError(t, err)
		for copied := int64(-1); copied < int64(kill)%6*info.Size()/5; { // there is a copy, of some size
			asides, err := filepath.Glob(path + ".*" + asideSuffix)
			require.NoError(t, err)
			for _, name := range asides {
				if info, err := os.Stat(name); err == nil {
					copied = max(copied, info.Size())
				}
			}
		}
		require.NoError(t, cmd.Process.Kill())
		cmd.Wait()
		left, err := filepath.Glob(path + ".*" + asideSuffix)
		require.NoError(t, err)
		aside += len(left)
		found, _ := problems(t, path)
		require.Empty(t, found)
		require.Equal(t, want, dump(t, path))
		s, err := Open(path, quiet)
		require.NoError(t, err)
		require.NoError(t, s.Close())
		entries, err := os.ReadDir(filepath.Dir(path))
		require.NoError(t, err)
		require.Len(t, entries, 1)
	}
	t.Logf("%d kills while compacting, %d of them in the middle of the copy: the store was whole each time", kills, aside)
	require.NotZero(t, aside)
}
