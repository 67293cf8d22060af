//go:build unix

package owner

import (
	"io/fs"
	"os"
	"syscall"
)

func of(info fs.FileInfo) (uid, gid int, ok bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(s.Uid), int(s.Gid), true
}

func give(path string, uid, gid int) error {
	is, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if u, g, ok := of(is); ok && u == uid && g == gid {
		return nil
	}
	return os.Lchown(path, uid, gid)
}
