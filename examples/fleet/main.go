// Command fleet runs the workflow of examples/fullworkflow on several processes
// that share one PostgreSQL database. Kill one of them: the others go on with what
// it was doing.
//
//	export DATABASE_URL=postgres://user:password@localhost/database
//	go run . demo
//
// The README beside this file shows the same by hand, in four terminals.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/pgstore"
)

const usage = `Runs a workflow of nine stages on several processes over one PostgreSQL database.

  fleet [flags] worker     run what there is to run, until Ctrl-C
  fleet [flags] run        start executions, play the external system, wait for the results
  fleet [flags] demo       three workers and a run; one worker is killed in the middle

Flags:

  -db URL          the database; default: $DATABASE_URL
  -schema NAME     of the tables; default "fleet_example"
  -lease DURATION  how long a process is believed to live without a sign; default 5s
  -name NAME       of a worker; default: its process ID
  -n COUNT         of executions to run; default 12
`

// settings are what the flags say.
type settings struct {
	db, schema, name string
	lease            time.Duration
	count            int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process
	err := run(ctx, os.Args[1:])
	switch {
	case err == nil:
	case errors.Is(err, flag.ErrHelp):
		fmt.Print(usage)
	default:
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var s settings
	f := flag.NewFlagSet("fleet", flag.ContinueOnError)
	f.Usage = func() {}
	f.StringVar(&s.db, "db", os.Getenv("DATABASE_URL"), "")
	f.StringVar(&s.schema, "schema", "fleet_example", "")
	f.StringVar(&s.name, "name", strconv.Itoa(os.Getpid()), "")
	f.DurationVar(&s.lease, "lease", 5*time.Second, "")
	f.IntVar(&s.count, "n", 12, "")
	if err := f.Parse(args); err != nil {
		return err
	}
	command := map[string]func(context.Context, settings) error{
		"worker": worker, "run": client, "demo": demo,
	}[f.Arg(0)]
	switch {
	case f.NArg() == 0:
		return errors.New("which command? worker, run or demo (-h shows the usage)")
	case command == nil:
		return fmt.Errorf("no command %q: there are worker, run and demo (-h shows the usage)", f.Arg(0))
	case f.NArg() != 1:
		return fmt.Errorf("%q behind the command %s: flags stand before it (-h shows the usage)", f.Arg(1), f.Arg(0))
	case s.db == "":
		return errors.New("which database? Give -db or set DATABASE_URL, as in postgres://user:password@localhost/database")
	}
	return command(ctx, s)
}

// open opens an engine on the database. This is all that differs from a program
// on a file: the store, and that any number of processes may have it open.
func (s settings) open(ctx context.Context, opts durable.Options) (*durable.Engine, error) {
	opts.Logger = cmp.Or(opts.Logger, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	store, err := pgstore.Open(ctx, s.db, &pgstore.Options{Schema: s.schema, Lease: s.lease, Logger: opts.Logger})
	if err != nil {
		return nil, err
	}
	return durable.New(store, &opts)
}
