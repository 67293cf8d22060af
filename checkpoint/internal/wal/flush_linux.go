package wal

import (
	"os"
	"syscall"
)

// Methods are the ways to flush a batch, the fastest first. They were measured,
// see docs/write-ahead-log.md. Writing past the page cache saves the system's
// bookkeeping for it; a file system that can't do that gets the fallback.
func Methods() []Method {
	return []Method{
		{Name: "O_DIRECT|O_DSYNC", flags: syscall.O_DIRECT | syscall.O_DSYNC},
		{Name: "O_DSYNC", flags: syscall.O_DSYNC},
		fallback,
	}
}

var fallback = Method{Name: "write+fdatasync", sync: fdatasync}

func fdatasync(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
