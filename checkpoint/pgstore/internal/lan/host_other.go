//go:build !linux

package lan

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
)

func (h *Host) begin() error { return fmt.Errorf("%s: %w", runtime.GOOS, errors.ErrUnsupported) }

func dieWithThread(*exec.Cmd) {}
