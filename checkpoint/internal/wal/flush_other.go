//go:build !linux

package wal

import "os"

// Methods are the ways to flush a batch. File.Sync is F_FULLFSYNC on macOS, where
// fsync does not reach the disk, and FlushFileBuffers on Windows.
func Methods() []Method { return []Method{fallback} }

var fallback = Method{Name: "write+fsync", sync: (*os.File).Sync}
