package main

import (
	"io/fs"
	"os"
	"syscall"
)

const (
	flushName = "fdatasync"
	syncName  = "O_DSYNC"
	syncFlag  = syscall.O_DSYNC
)

func flush(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }

// allocated is what a file occupies on disk.
func allocated(info fs.FileInfo) int64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Blocks * 512
	}
	return info.Size()
}
