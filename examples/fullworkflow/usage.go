package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/durable-go/durable"
)

const usageText = `Runs a workflow of nine durable stages and prints its result. Killed at any
moment, it goes on where it was when it is started again.

usage:
  fullworkflow [flags]                                                     run it
  fullworkflow resume [-db FILE] <callback-id> [success|failure] [json or message]
                                                                           complete the callback
  fullworkflow history [-db FILE] [-id ID]                                 print what happened

flags:
  -db FILE                the file that keeps everything (default fullworkflow.db)
  -input FILE             the event to start with; - is standard input (default: a shipped event of five items)
  -id ID                  the execution: it is started, or gone on with if it exists
                          (default: the newest unfinished one of the file, else a new one)
  -callback auto|manual   who answers the callback: this program after a second, or you by resume (default auto)
  -new                    start another execution, even if there is an unfinished one
  -quiet                  do not show the stages
  -ui                     print the address of the console, and keep it open after the result until Ctrl-C
`

// usageError is a command line that makes no sense.
type usageError struct{ error }

func misuse(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// command is what a command line asks for.
type command func(p program, ctx context.Context) error

const defaultDB = "fullworkflow.db"

func parse(args []string) (command, error) {
	o := runOptions{db: defaultDB}
	rest, err := parseFlags(args, func(f *flag.FlagSet) {
		f.StringVar(&o.db, "db", o.db, "")
		f.StringVar(&o.input, "input", "", "")
		f.StringVar(&o.id, "id", "", "")
		f.StringVar(&o.callback, "callback", callbackAuto, "")
		f.BoolVar(&o.startNew, "new", false, "")
		f.BoolVar(&o.quiet, "quiet", false, "")
		f.BoolVar(&o.ui, "ui", false, "")
	})
	switch {
	case err != nil:
		return nil, err
	case o.callback != callbackAuto && o.callback != callbackManual:
		return nil, misuse("-callback %q: it is auto or manual", o.callback)
	case o.db == "":
		return nil, misuse("-db is empty: name a file")
	case len(rest) == 0:
		return func(p program, ctx context.Context) error { return p.run(ctx, o) }, nil
	case rest[0] == "resume":
		return parseResume(rest[1:], o.db)
	case rest[0] == "history":
		return parseHistory(rest[1:], o.db, o.id)
	}
	return nil, misuse("%q is not a command: there are resume and history", rest[0])
}

func parseFlags(args []string, define func(*flag.FlagSet)) (rest []string, err error) {
	f := flag.NewFlagSet("fullworkflow", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	define(f)
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil, err
	} else if err != nil {
		return nil, usageError{err}
	}
	return f.Args(), nil
}

func parseHistory(args []string, db, id string) (command, error) {
	rest, err := parseFlags(args, func(f *flag.FlagSet) {
		f.StringVar(&db, "db", db, "")
		f.StringVar(&id, "id", id, "")
	})
	if err == nil && len(rest) > 0 {
		err = misuse("history takes no arguments: name the execution with -id")
	}
	return func(p program, ctx context.Context) error { return p.history(ctx, db, id) }, err
}

// looksLikeCallbackID tells an ID that begins with a hyphen from a flag.
var looksLikeCallbackID = regexp.MustCompile(`^[A-Za-z0-9_-]{40,}$`)

func parseResume(args []string, db string) (command, error) {
	var flags []string // those before the ID
	i := slices.IndexFunc(args, looksLikeCallbackID.MatchString)
	if i >= 0 {
		flags, args = args[:i], args[i:]
	} else {
		flags, args = args, nil
	}
	rest, err := parseFlags(flags, func(f *flag.FlagSet) { f.StringVar(&db, "db", db, "") })
	if err != nil {
		return nil, err
	}
	args = append(rest, args...)
	if len(args) == 0 {
		return nil, misuse("resume needs the ID of a callback, as the running program prints it")
	}
	a := answer{callbackID: args[0]}
	if len(args) > 3 {
		return nil, misuse("resume takes an ID, an outcome and a value: quote a value that has spaces")
	}
	outcome, value := "success", ""
	if len(args) > 1 {
		outcome = args[1]
	}
	if len(args) > 2 {
		value = args[2]
	}
	switch outcome {
	case "success":
		a.payload, err = parsePayload(value)
	case "failure":
		a.failure, err = parseFailure(value)
	default:
		err = misuse("resume: the outcome is success or failure, not %q", outcome)
	}
	return func(p program, ctx context.Context) error { return p.resume(ctx, db, a) }, err
}

// parsePayload takes JSON, or a text that could not be meant as an object or a list.
func parsePayload(value string) (json.RawMessage, error) {
	value = strings.TrimSpace(value)
	switch {
	case value == "":
		return json.RawMessage("null"), nil
	case json.Valid([]byte(value)):
		return json.RawMessage(value), nil
	case strings.ContainsAny(value[:1], `{["`):
		err := json.Unmarshal([]byte(value), new(any))
		return nil, misuse("resume: the value is not JSON: %w", err)
	}
	return json.Marshal(value)
}

// parseFailure takes a message, or an object with type, message and data.
func parseFailure(value string) (*durable.Failure, error) {
	f := &durable.Failure{Type: "ExternalFailure", Message: "the external system reported a failure"}
	switch value = strings.TrimSpace(value); {
	case value == "":
	case strings.HasPrefix(value, "{"):
		if err := json.Unmarshal([]byte(value), f); err != nil {
			return nil, misuse("resume: the value is not a failure: %w", err)
		}
	default:
		f.Message = value
	}
	return f, nil
}
