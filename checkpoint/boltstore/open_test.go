package boltstore

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

func TestASecondOpenerIsTurnedAwayAtOnce(t *testing.T) {
	s := openTemp(t)
	begun := time.Now()
	_, err := Open(s.path, nil)
	require.ErrorIs(t, err, checkpoint.ErrLocked)
	require.ErrorContains(t, err, s.path)
	require.Less(t, time.Since(begun), 30*time.Second) // bbolt would wait for ever
	s.own(t, "a")                                      // the first one is unharmed

	require.NoError(t, s.Close())
	again, err := Open(s.path, nil)
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

func TestAFailedOpenLeavesNoLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte("not a store\n"), 10_000), 0o600))
	for range 2 {
		_, err := Open(path, nil)
		require.ErrorIs(t, err, checkpoint.ErrCorrupt)
	}
}

func TestForeignFilesAreRefusedAndLeftAlone(t *testing.T) {
	foreign := filepath.Join(t.TempDir(), "foreign")
	edit(t, foreign, func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket([]byte("somebody else's"))
		return err
	})
	bbolt, err := os.ReadFile(foreign)
	require.NoError(t, err)

	s := openTemp(t)
	require.NoError(t, s.Close())
	edit(t, s.path, func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("meta")).Put(metaFormat, binary.BigEndian.AppendUint32(nil, formatWhole+1))
	})
	newer, err := os.ReadFile(s.path)
	require.NoError(t, err)

	for name, c := range map[string]struct {
		content []byte
		says    string
	}{
		"empty":     {nil, "empty"},
		"short":     {[]byte("hello"), "truncated, or is not a bbolt file"},
		"text":      {bytes.Repeat([]byte("hello\n"), 5000), "not a bbolt file"},
		"zeros":     {make([]byte, 1<<16), "not a bbolt file"},
		"a bbolt":   {bbolt, "no store of durable executions"},
		"newer one": {newer, fmt.Sprintf("its format is %d", formatWhole+1)},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			require.NoError(t, os.WriteFile(path, c.content, 0o600))
			_, err := Open(path, nil)
			require.ErrorIs(t, err, checkpoint.ErrCorrupt)
			require.ErrorContains(t, err, path)
			require.ErrorContains(t, err, c.says)
			now, err := os.ReadFile(path)
			require.NoError(t, err)
			require.True(t, bytes.Equal(c.content, now), "the file was changed")
		})
	}
	_, err = Open(t.TempDir(), nil)
	require.Error(t, err, "a folder")
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	s, err := Open(filepath.Join(dir, "store"), nil)
	require.NoError(t, err)
	defer s.Close()
	info, err := os.Stat(s.path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	for _, d := range []string{dir, filepath.Dir(dir)} {
		info, err = os.Stat(d)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing lies beside the store")
}

func TestACreationThatWasCutOffLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "st[or]e*")
	left := path + ".123" + asideSuffix
	require.NoError(t, os.WriteFile(left, []byte("half of it"), 0o600))
	other := filepath.Join(dir, "other.123"+asideSuffix)
	require.NoError(t, os.WriteFile(other, nil, 0o600))
	s, err := Open(path, nil)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoFileExists(t, left)
	require.FileExists(t, other)
}

// Whatever part of the making of a file a crash leaves, it has another name.
func TestAFileHasItsNameOnlyWhenItIsWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			b, err := os.ReadFile(path)
			if err != nil {
				continue
			}
			if len(b) < 4*os.Getpagesize() || !bytes.Contains(b, metaSecret) {
				t.Errorf("the file has its name, but only %d bytes", len(b))
			}
			return
		}
	})
	s, err := Open(path, nil)
	close(stop)
	watching.Wait()
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func TestManyCreateTheSameFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	var mu sync.Mutex
	var opened []*Store
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			s, err := Open(path, nil)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				opened = append(opened, s)
			} else if !errors.Is(err, checkpoint.ErrLocked) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.Len(t, opened, 1)
	secret := opened[0].Secret()
	require.NoError(t, opened[0].Close())
	s, err := Open(path, nil)
	require.NoError(t, err)
	defer s.Close()
	require.Equal(t, secret, s.Secret())
}

func TestTheProcessChangesItsFolder(t *testing.T) {
	home, away := t.TempDir(), t.TempDir()
	t.Chdir(home)
	s, err := Open("store", nil)
	require.NoError(t, err)
	t.Chdir(away)
	s.own(t, "a")
	require.NoError(t, s.awaitApplied(t.Context()))
	require.NoError(t, s.Close())
	require.Equal(t, []string{away}, list(t, away))
	s, err = Open(filepath.Join(home, "store"), nil)
	require.NoError(t, err)
	defer s.Close()
	require.Len(t, s.journal(t, "a"), 1)
}

// What a killed making left lies beside the path, what Compact left beside the file.
func TestOpenRemovesWhatWasLeftBesideALinkedStore(t *testing.T) {
	dir, linked := t.TempDir(), t.TempDir()
	real, path := filepath.Join(dir, "real"), filepath.Join(linked, "store")
	s, err := Open(real, quiet)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, os.Symlink(real, path))
	for _, name := range []string{real, path} {
		require.NoError(t, os.WriteFile(name+".123"+asideSuffix, nil, 0o600))
	}
	s, err = Open(path, quiet)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.Equal(t, []string{dir, real}, list(t, dir))
	require.Equal(t, []string{linked, path}, list(t, linked))
}

func TestUnsafeNoSync(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, err := Open(path, &Options{UnsafeNoSync: true})
	require.NoError(t, err)
	s.own(t, "a")
	require.NoError(t, s.Close())
	s, err = Open(path, nil)
	require.NoError(t, err)
	defer s.Close()
	require.Len(t, s.journal(t, "a"), 1)
}

// The file was made by a release that had no log.
func TestAFileFromBeforeTheLog(t *testing.T) {
	packed, err := os.Open("testdata/format1.db.gz")
	require.NoError(t, err)
	defer packed.Close()
	unpacked, err := gzip.NewReader(packed)
	require.NoError(t, err)
	old, err := io.ReadAll(unpacked)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "store")
	require.NoError(t, os.WriteFile(path, old, 0o600))
	for round := range 2 {
		found, done := problems(t, path)
		require.Empty(t, found)
		require.EqualValues(t, 3*(5+round), done.Records)
		s, err := Open(path, nil)
		require.NoError(t, err)
		for i := range 3 {
			id := fmt.Sprint("execution-", i)
			records := s.journal(t, id)
			require.Len(t, records, 5+round)
			require.Equal(t, "input", string(records[0].Payload))
			require.Equal(t, "payload", string(records[4].Payload))
			entries, err := s.Inbox(t.Context(), id, 0)
			require.NoError(t, err)
			require.Len(t, entries, 1)
		}
		claims, err := s.Claim(t.Context(), checkpoint.ClaimRequest{Functions: []string{"f"}, Max: 10})
		require.NoError(t, err)
		require.Len(t, claims, 3)
		for _, c := range claims {
			require.True(t, c.Lost)
			a := step(c.ID, c.Tail)
			a.Epoch = c.Epoch
			require.NoError(t, <-s.start(a))
		}
		require.NoError(t, s.Close())
	}
}
