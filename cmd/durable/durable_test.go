package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/boltstore"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/durable-go/durable/checkpoint/pgstore/pgtest"
	"github.com/durable-go/durable/durablehttp"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"durable": main,
		"program": program,
		"fetch":   fetch,
	})
}

// TestScripts runs testdata/script, which is documentation as well: each file is a
// session with the command line.
func TestScripts(t *testing.T) {
	server, noServer := pgtest.Start()
	if noServer == nil {
		t.Cleanup(func() { server.Close() })
	} else {
		t.Log("the session with PostgreSQL is left out: " + noServer.Error())
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("TZ", "UTC")
			if server != nil {
				e.Setenv("PG", server.URL())
			}
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "postgres" {
				return noServer == nil, nil
			}
			return false, fmt.Errorf("no condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    exits,
			"eventual": eventual,
			"appears":  appears,
			"flip":     flip,
		},
	})
}

// exits runs a command and checks its exit code: exits 3 durable run show nobody
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND …")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := "0"
	if coded, ok := errors.AsType[interface {
		error
		ExitCode() int
	}](err); ok {
		code = fmt.Sprint(coded.ExitCode())
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if code != args[0] {
		ts.Fatalf("exit code %s, want %s", code, args[0])
	}
}

// eventual runs a command again and again until what it prints matches.
func eventual(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventual PATTERN COMMAND …")
	}
	pattern := regexp.MustCompile(args[0])
	for deadline := time.Now().Add(time.Minute); ; {
		err := ts.Exec(args[1], args[2:]...)
		out := ts.ReadFile("stdout")
		if err == nil && pattern.MatchString(out) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not appear in:\n%s%s", args[0], out, ts.ReadFile("stderr"))
		}
		time.Sleep(20 * time.Millisecond) // between looks at another process
	}
}

// appears waits for a file that another process makes.
func appears(ts *testscript.TestScript, neg bool, args []string) {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not appear", args[0])
		}
	}
}

// flip changes a byte in the middle of a file.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	i := strings.Index(string(data), args[1])
	if i < 0 {
		ts.Fatalf("%s does not contain %q", args[0], args[1])
	}
	data[i] ^= 1
	ts.Check(os.WriteFile(path, data, 0o600))
}

// fetch prints what is at a URL: fetch URL [Header: value …]
func fetch() {
	r, err := http.NewRequest("GET", os.Args[1], nil)
	if err == nil {
		for _, h := range os.Args[2:] {
			name, value, _ := strings.Cut(h, ": ")
			if name == "Host" {
				r.Host = value
			}
			r.Header.Set(name, value)
		}
		var answer *http.Response
		if answer, err = http.DefaultClient.Do(r); err == nil {
			fmt.Println(answer.Status)
			io.Copy(os.Stdout, answer.Body)
			return
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// The functions of the program.
var (
	greet = durable.Define("greet", func(ctx *durable.Context, name string) (string, error) {
		return durable.Step(ctx, "compose", func(context.Context) (string, error) { return "Hello, " + name + "!", nil })
	})
	approve = durable.Define("approve", func(ctx *durable.Context, amount int) (json.RawMessage, error) {
		if err := durable.Do(ctx, "reserve", func(context.Context) error { return nil }); err != nil {
			return nil, err
		}
		return durable.WaitForCallback[json.RawMessage](ctx, "approval", func(context.Context, string) error { return nil },
			durable.WithTimeout(24*time.Hour))
	})
	broken = durable.Define("broken", func(ctx *durable.Context, _ any) (string, error) {
		if err := durable.Do(ctx, "prepare", func(context.Context) error { return nil }); err != nil {
			return "", err
		}
		return durable.Step(ctx, "charge", func(context.Context) (string, error) {
			if os.Getenv("MENDED") == "" {
				return "", durable.Permanent(errors.New("the card was refused"))
			}
			return "charged", nil
		})
	})
	batch = durable.Define("batch", func(ctx *durable.Context, n int) (int, error) {
		b, err := durable.Map(ctx, "items", make([]struct{}, n), func(ctx *durable.Context, _ struct{}, i int) (int, error) {
			return durable.Step(ctx, "item", func(context.Context) (int, error) { return i, nil })
		})
		return b.Succeeded(), err
	})
)

// program is a program that has executions: program STORE COMMAND …
//
//	start FUNCTION ID INPUT …   starts executions and ends when nothing can go on
//	serve                       runs and serves beside the file until it is interrupted
//	hold                        only has it open
func program() {
	if err := runProgram(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "program:", err)
		os.Exit(1)
	}
}

func runProgram(store, command string, args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	opts := &durable.Options{
		Functions: []durable.Definition{greet, approve, broken, batch}, ParkFor: -1, Logger: slog.New(slog.DiscardHandler),
	}
	if command == "hold" {
		opts.Functions = nil
	}
	var e *durable.Engine
	if isPostgres(store) {
		s, err := pgstore.Open(ctx, store, &pgstore.Options{Schema: "cli"})
		if err != nil {
			return err
		}
		if e, err = durable.New(s, opts); err != nil {
			return err
		}
	} else {
		s, err := boltstore.Open(store, nil)
		if err != nil {
			return err
		}
		if e, err = durable.New(s, opts); err != nil {
			return err
		}
	}
	defer e.Close()
	switch command {
	case "start":
		for ; len(args) >= 3; args = args[3:] {
			if _, err := e.StartByName(ctx, args[0], json.RawMessage(args[2]), durable.WithExecutionID(args[1])); err != nil {
				return err
			}
		}
		return settle(ctx, e)
	case "serve":
		fmt.Println("serving")
		if err := durablehttp.ServeBeside(ctx, e, store, nil); err != nil {
			return err
		}
	case "hold":
		if err := os.WriteFile(store+".open", nil, 0o600); err != nil {
			return err
		}
		<-ctx.Done()
	}
	return e.Shutdown(context.Background())
}

// settle returns when nothing is in memory or due any more.
func settle(ctx context.Context, e *durable.Engine) error {
	for ; ; time.Sleep(5 * time.Millisecond) {
		busy := false
		for info, err := range e.Executions(ctx, durable.Query{Status: durable.ExecutionRunning}) {
			if err != nil {
				return err
			}
			busy = busy || info.Resident || !info.WakeAt.IsZero() && info.WakeAt.Before(time.Now()) || info.Function == "greet"
		}
		if !busy {
			return e.Shutdown(ctx)
		}
	}
}
