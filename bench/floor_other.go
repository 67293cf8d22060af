//go:build !linux

package main

import (
	"io/fs"
	"os"
)

const (
	flushName = "fsync"
	syncName  = "O_SYNC"
	syncFlag  = os.O_SYNC
)

func flush(f *os.File) error { return f.Sync() }

func allocated(info fs.FileInfo) int64 { return info.Size() }
