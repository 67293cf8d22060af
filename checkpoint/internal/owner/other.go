//go:build !unix

package owner

import "io/fs"

// Elsewhere a new file has the rights of its folder.
func of(fs.FileInfo) (uid, gid int, ok bool) { return 0, 0, false }

func give(string, int, int) error { return nil }
