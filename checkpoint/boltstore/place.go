package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// checkPlace refuses a file whose log would not stay with it. The file is there, and real
// is its name without links.
//
//	the file, or its log   | may be
//	a link to a file       | opened: its log lies beside that
//	a link to nothing      | refused: what it leads to is away, a new store would hide it
//	mounted with its folder | opened
//	mounted alone          | refused: its log would lie in what the container keeps for
//	                       | itself, and go with it; unless the log is mounted, too
func checkPlace(real string) error {
	log := real + logSuffix
	if err := checkLink(log); err != nil {
		return err
	}
	if isMount(real) && !isMount(resolved(log)) {
		return fmt.Errorf("the file is mounted by itself, as a container does with a single file: its log %s lies beside it, outside of the mount, and would be lost with the container, and with it what was acknowledged last: mount the folder that the file is in, and move the log there, too, if there is one", log)
	}
	return nil
}

// resolved is a path without links, or itself.
func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

// checkLink is an error if a path, or a folder above it, is a link that leads to nothing.
func checkLink(path string) error {
	for at := filepath.Clean(path); ; at = filepath.Dir(at) {
		info, err := os.Lstat(at)
		if err == nil && info.Mode()&fs.ModeSymlink != 0 {
			if _, err := os.Stat(at); errors.Is(err, fs.ErrNotExist) {
				to, _ := os.Readlink(at)
				return fmt.Errorf("%s is a link to %s, which does not exist: put back what it leads to, which may be on a disk that is not mounted, or remove the link: %w", at, to, fs.ErrNotExist)
			}
		}
		if err == nil || at == filepath.Dir(at) {
			return nil // those above it are there
		}
	}
}
