//go:build !unix

package pause

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

var errNone = fmt.Errorf("processes can't be stopped and continued on %s: %w", runtime.GOOS, errors.ErrUnsupported)

func stop(*os.Process) error { return errNone }

func goOn(*os.Process) error { return errNone }
