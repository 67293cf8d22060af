//go:build unix

package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// The user and the group of the service in these tests, which root's tools work for.
const service, group, other = 41234, 41235, 41236

// serviceStore is a store that belongs to the service, in a folder of its own.
func serviceStore(t *testing.T) (path string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can give files to others")
	}
	dir := t.TempDir()
	path = filepath.Join(dir, "store")
	s, err := Open(path, quiet)
	require.NoError(t, err)
	s.begin(t, "a", nil).steps(2, 10)
	require.NoError(t, s.Close())
	for _, name := range []string{dir, path} {
		require.NoError(t, os.Chown(name, service, group))
	}
	require.NoError(t, os.Chmod(path, 0o660))
	return path
}

func requireOwner(t *testing.T, path string, uid, gid uint32) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, []uint32{uid, gid}, ownerOf(info), path)
}

func ownerOf(info fs.FileInfo) []uint32 {
	s := info.Sys().(*syscall.Stat_t)
	return []uint32{s.Uid, s.Gid}
}

func TestCompactKeepsOwnerGroupAndMode(t *testing.T) {
	path := serviceStore(t)
	_, err := Compact(t.Context(), path)
	require.NoError(t, err)
	requireOwner(t, path, service, group)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o660), info.Mode())

	// By a link, too: the file counts, not the link.
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(path, link))
	_, err = Compact(t.Context(), link)
	require.NoError(t, err)
	requireOwner(t, path, service, group)
}

const foreignPath = "BOLTSTORE_TEST_FOREIGN_PATH"

// Who may write into a file but not give one to its owner does not take it from him.
func TestCompactRefusesWhereItCantKeepTheOwner(t *testing.T) {
	if path := os.Getenv(foreignPath); path != "" {
		_, err := Compact(context.Background(), path)
		fmt.Println("Compact:", err)
		return
	}
	path := serviceStore(t)
	require.NoError(t, os.Chmod(path, 0o666))
	require.NoError(t, os.Chmod(filepath.Dir(path), 0o777))
	before, err := os.Stat(path)
	require.NoError(t, err)
	program := filepath.Join(t.TempDir(), "test")
	for _, name := range []string{path, program} { // the tests' folder is closed to others
		require.NoError(t, os.Chmod(filepath.Dir(filepath.Dir(name)), 0o755))
	}
	copyFile(t, os.Args[0], program)
	require.NoError(t, os.Chmod(program, 0o755))
	cmd := exec.Command(program, "-test.run=^TestCompactRefusesWhereItCantKeepTheOwner$")
	cmd.Env = append(os.Environ(), foreignPath+"="+path)
	cmd.Dir = filepath.Dir(path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: other, Gid: other}}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), fmt.Sprintf("it belongs to user %d and group %d", service, group))
	requireOwner(t, path, service, group)
	after, err := os.Stat(path)
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after))
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing is left")
}

// What root's program leaves beside the file when it is killed, its owner can go on with.
func TestTheLogHasTheOwnerOfTheFile(t *testing.T) {
	path := serviceStore(t)
	s, err := Open(path, &Options{Logger: quiet.Logger, segmentSize: 4 * 4096})
	require.NoError(t, err)
	defer s.Close()
	s.begin(t, "b", nil).steps(20, 4000)
	requireOwner(t, path, service, group)
	requireOwner(t, path+logSuffix, service, group)
	segments, err := filepath.Glob(path + logSuffix + "/*")
	require.NoError(t, err)
	seen := 0
	for _, segment := range segments {
		info, err := os.Stat(segment)
		if errors.Is(err, fs.ErrNotExist) || strings.HasSuffix(segment, ".new") {
			continue // of no use any more, or being made: whose folder it is may remove it
		}
		require.NoError(t, err)
		require.Equal(t, []uint32{service, group}, ownerOf(info), segment)
		seen++
	}
	require.Greater(t, seen, 1)
}
