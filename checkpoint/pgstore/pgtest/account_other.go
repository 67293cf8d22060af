//go:build !unix

package pgtest

import (
	"fmt"
	"runtime"
	"syscall"
)

// Account is an error where no server is started.
func Account(string) (*syscall.SysProcAttr, error) {
	return nil, fmt.Errorf("%w, or not started on %s", ErrNotInstalled, runtime.GOOS)
}
