// Package owner keeps files with those they belong to. What root makes for somebody
// else's store, with sudo or from cron, must not be root's: its owner could not open it
// any more.
package owner

import (
	"fmt"
	"io/fs"
)

// Keep gives a file or folder the owner and the group of like. It does nothing where
// they are the same, or where files have none.
func Keep(path string, like fs.FileInfo) error {
	uid, gid, ok := of(like)
	if !ok {
		return nil
	}
	if err := give(path, uid, gid); err != nil {
		return fmt.Errorf("it belongs to user %d and group %d, and this one may not give files to them: do it as that user, or as root: %w", uid, gid, err)
	}
	return nil
}
