//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package boltstore

import "os"

// unlock does nothing: closing a file gives up the locks on it here.
func unlock(*os.File) {}
