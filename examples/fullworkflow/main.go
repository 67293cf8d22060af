// Command fullworkflow runs a workflow of nine stages, one for each kind of
// durable operation, on a file. Kill it at any moment and start it again: it goes
// on where it was.
//
//	go run ./examples/fullworkflow
//
// The workflow is in the folder workflow; the files here are the program around it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// program is the process, as the commands see it.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
}

func main() {
	// The first signal lets the command end in its own time, a second one ends
	// the process.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(program{os.Stdin, os.Stdout, os.Stderr}.main(ctx, os.Args[1:]))
}

// The exit codes of the program.
const (
	exitError       = 1
	exitUsage       = 2
	exitInterrupted = 130 // as shells say it
)

// errInterrupted is the end by Ctrl-C; all that is to be said has been said.
var errInterrupted = errors.New("interrupted")

func (p program) main(ctx context.Context, args []string) int {
	command, err := parse(args)
	if err == nil {
		err = command(p, ctx)
	}
	switch _, usage := errors.AsType[usageError](err); {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(p.stdout, usageText)
		return 0
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		fmt.Fprintln(p.stderr, "fullworkflow: interrupted")
		return exitInterrupted
	case usage:
		fmt.Fprintf(p.stderr, "fullworkflow: %s (-h shows the usage)\n", err)
		return exitUsage
	default:
		fmt.Fprintln(p.stderr, "fullworkflow:", plain(err))
		return exitError
	}
}

// plain is an error as one line of this program.
func plain(err error) string {
	text := strings.TrimPrefix(err.Error(), "durable: ")
	text = strings.ReplaceAll(text, ": durable: ", ": ")
	return printable(strings.ReplaceAll(text, "\n", "; "))
}
