// Command durable looks at durable executions and steers them: in a file, in
// PostgreSQL, or in a running program.
//
//	durable run list --store orders.db
//	durable run show order-42 --follow
//
// See docs/command-line.md for a guide, and durable help for all there is.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	// The first signal ends what runs in its own time, a second one the process.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, newRoot()))
}

// run runs the command line and returns the exit code.
func run(ctx context.Context, root *cobra.Command) int {
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	code := exitCodeOf(ctx, err)
	if code == exitInterrupted {
		return code
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(root.ErrOrStderr(), "durable:", oneLine(text))
	}
	if _, answered := errors.AsType[*apiError](err); code == exitUsage && !answered {
		fmt.Fprintln(root.ErrOrStderr(), "durable: help shows how it is used")
	}
	return code
}

// The exit codes, which docs/command-line.md promises.
const (
	exitOK          = 0
	exitError       = 1 // something else went wrong
	exitUsage       = 2 // the command line makes no sense
	exitNotFound    = 3 // no such execution, function, callback or file
	exitConflict    = 4 // it is not in the state for that: running, ended, completed, taken
	exitFailed      = 5 // the execution whose result was asked for did not succeed
	exitUnreachable = 6 // the program, file or database can't be reached, or takes nothing now
	exitDenied      = 7 // not allowed
	exitDamaged     = 8 // store verify found damage, or what was asked for is
	exitInterrupted = 130
)

// exitError is an error with an exit code of its own.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// usageError is a command line that makes no sense.
func usageError(format string, args ...any) error {
	return &codedError{exitUsage, fmt.Errorf(format, args...)}
}

// isUnreachable reports whether err may pass by itself.
func isUnreachable(err error) bool {
	coded, ok := errors.AsType[*codedError](err)
	return ok && coded.code == exitUnreachable
}

func exitCodeOf(ctx context.Context, err error) int {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	if coded, ok := errors.AsType[*codedError](err); ok {
		return coded.code
	}
	return exitError
}
