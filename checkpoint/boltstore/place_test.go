package boltstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/durable-go/durable/checkpoint"
	"github.com/stretchr/testify/require"
)

// What a link leads to may be on a disk that is not mounted now.
func TestALinkToNothingIsNotReplaced(t *testing.T) {
	for name, link := range map[string]func(dir string) (path, link string){
		"the file": func(dir string) (string, string) { return filepath.Join(dir, "store"), filepath.Join(dir, "store") },
		"its folder": func(dir string) (string, string) {
			return filepath.Join(dir, "data", "store"), filepath.Join(dir, "data")
		},
		"a folder above it": func(dir string) (string, string) {
			return filepath.Join(dir, "data", "a", "b", "store"), filepath.Join(dir, "data")
		},
		"the folder of its log": func(dir string) (string, string) { return filepath.Join(dir, "store"), filepath.Join(dir, "store-wal") },
	} {
		t.Run(name, func(t *testing.T) {
			path, link := link(t.TempDir())
			away := filepath.Join(t.TempDir(), "volume", "away")
			require.NoError(t, os.Symlink(away, link))
			for range 2 {
				_, err := Open(path, quiet)
				require.ErrorIs(t, err, fs.ErrNotExist)
				require.NotErrorIs(t, err, checkpoint.ErrCorrupt)
				require.ErrorContains(t, err, link+" is a link to "+away+", which does not exist")
				to, err := os.Readlink(link)
				require.NoError(t, err)
				require.Equal(t, away, to)
			}
			require.NoDirExists(t, filepath.Dir(away))

			// It is there again: nothing was put in its place.
			require.NoError(t, os.MkdirAll(filepath.Dir(away), 0o700))
			if path == link {
				s, err := Open(away, quiet)
				require.NoError(t, err)
				s.own(t, "a")
				require.NoError(t, s.Close())
			} else {
				require.NoError(t, os.MkdirAll(away, 0o700))
			}
			s, err := Open(path, quiet)
			require.NoError(t, err)
			if path == link {
				require.Len(t, s.journal(t, "a"), 1)
			}
			require.NoError(t, s.Close())
		})
	}
}

// A link to a link that leads to nothing.
func TestALinkToALinkToNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	require.NoError(t, os.Symlink("two", path))
	require.NoError(t, os.Symlink("three", filepath.Join(dir, "two")))
	_, err := Open(path, quiet)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Equal(t, []string{dir, path, filepath.Join(dir, "two")}, list(t, dir))
}

// The log may be on another disk, by a link, which Close leaves where it is.
func TestALinkedLogStaysALink(t *testing.T) {
	dir, disk := t.TempDir(), t.TempDir()
	path := filepath.Join(dir, "store")
	require.NoError(t, os.Symlink(disk, path+logSuffix))
	for range 2 {
		s, err := Open(path, quiet)
		require.NoError(t, err)
		if _, err := s.Get(t.Context(), "a"); errors.Is(err, checkpoint.ErrNotFound) {
			s.own(t, "a")
		}
		require.NoError(t, s.awaitApplied(t.Context()))
		require.NoError(t, s.Close())
		require.Equal(t, []string{disk}, list(t, disk), "the log is removed")
		to, err := os.Readlink(path + logSuffix)
		require.NoError(t, err)
		require.Equal(t, disk, to)
	}
}

// Only what Open and Compact were making is removed.
func TestOpenRemovesNoFileOfAnybodyElse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store")
	var others []string
	for _, name := range []string{".new", ".1.new", ".123.new", ".20261130.new", ".backup.new", ".0.part", ".durable-new", ".mine.durable-new", ".1.durable-new.gz", "-1.durable-new", ".1.2.durable-new", "..durable-new"} {
		others = append(others, path+name)
		require.NoError(t, os.WriteFile(path+name, []byte("of another program"), 0o600))
	}
	require.NoError(t, os.Mkdir(path+".7.durable-new", 0o700))
	s, err := Open(path, quiet)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	_, err = Compact(t.Context(), path)
	require.NoError(t, err)
	for _, name := range others {
		require.FileExists(t, name)
	}
	require.DirExists(t, path+".7.durable-new")
}
