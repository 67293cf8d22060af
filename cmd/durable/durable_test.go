package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/boltstore"
	"github.com/durable-go/durable/checkpoint/pgstore"
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
	server, noServer := startPostgres(t)
	if noServer != nil {
		t.Log("the session with PostgreSQL is left out: " + noServer.Error())
	}
	testscript.Run(t, testscript.Params{
		Dir:      "testdata/script",
		Deadline: time.Now().Add(2 * time.Minute),
		Setup: func(e *testscript.Env) error {
			e.Setenv("TZ", "UTC")
			e.Values[announced{}] = make(map[string]*exec.Cmd)
			e.Setenv("PG", server)
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "postgres" {
				return noServer == nil, nil
			}
			return false, fmt.Errorf("no condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     exits,
			"eventual":  eventual,
			"appears":   appears,
			"flip":      flip,
			"announces": announces,
			"interrupt": interrupt,
			"replays":   replays,
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

// announces runs a command in the background and takes a variable from the first line
// that it prints, where the pattern has its group: announces NAME PATTERN COMMAND …
func announces(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: announces NAME PATTERN COMMAND …")
	}
	cmd := exec.Command(args[2], args[3:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"DURABLE_STORE", "DURABLE_ADDR", "DURABLE_TOKEN"} {
		cmd.Env = append(cmd.Environ(), name+"="+ts.Getenv(name))
	}
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	ts.Check(err)
	found := regexp.MustCompile(args[1]).FindStringSubmatch(line)
	if len(found) != 2 {
		ts.Fatalf("%q does not match %s", line, args[1])
	}
	ts.Setenv(args[0], found[1])
	ts.Value(announced{}).(map[string]*exec.Cmd)[args[0]] = cmd
}

// announced is the key of the commands that run in the background, by their variables.
type announced struct{}

// interrupt ends a command that announced a variable, which must exit with a code, or 0:
// interrupt NAME [CODE]
func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	cmd := ts.Value(announced{}).(map[string]*exec.Cmd)[args[0]]
	ts.Check(cmd.Process.Signal(os.Interrupt))
	cmd.Wait()
	if got, want := fmt.Sprint(cmd.ProcessState.ExitCode()), append(args, "0")[1]; got != want {
		ts.Fatalf("exit code %s, want %s", got, want)
	}
}

// replays runs the program's functions over a recording in a file. With ! it must be
// found that they don't go the recorded way.
func replays(ts *testscript.TestScript, neg bool, args []string) {
	data, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	var recording durable.Recording
	ts.Check(json.Unmarshal(data, &recording))
	functions := programs
	if neg {
		functions = []durable.Definition{durable.Define("greet", func(ctx *durable.Context, name string) (string, error) {
			return durable.Step(ctx, "write", func(context.Context) (string, error) { return "Dear " + name, nil })
		})}
	}
	switch err := durable.Replay(context.Background(), &recording, &durable.Options{Functions: functions}); {
	case neg && !errors.Is(err, durable.ErrNonDeterministic):
		ts.Fatalf("%s fits other code: %v", args[0], err)
	case !neg:
		ts.Check(err)
	}
}

// flip changes a bit wherever a file has a text: it may lie in a free page too.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	text := []byte(args[1])
	if !bytes.Contains(data, text) {
		ts.Fatalf("%s does not contain %q", args[0], args[1])
	}
	flipped := append([]byte{text[0] ^ 1}, text[1:]...)
	ts.Check(os.WriteFile(path, bytes.ReplaceAll(data, text, flipped), 0o600))
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
	refunded = durable.Define("refunded", func(ctx *durable.Context, _ any) (string, error) {
		done := func(context.Context) error { return nil }
		if err := durable.Do(ctx, "charge", done); err != nil {
			return "", err
		}
		err := durable.Do(ctx, "ship", func(context.Context) error {
			if os.Getenv("MENDED") == "" {
				return durable.Permanent(errors.New("the carrier is down"))
			}
			return nil
		})
		if err != nil {
			return "", errors.Join(err, durable.Do(ctx, "refund", done))
		}
		return "shipped", nil
	})
	invokes = durable.Define("invokes", func(ctx *durable.Context, _ any) (string, error) {
		return durable.Invoke[any](ctx, "charged", broken, nil)
	})
	batch = durable.Define("batch", func(ctx *durable.Context, n int) (int, error) {
		b, err := durable.Map(ctx, "items", make([]struct{}, n), func(ctx *durable.Context, _ struct{}, i int) (int, error) {
			return durable.Step(ctx, "item", func(context.Context) (int, error) { return i, nil })
		})
		return b.Succeeded(), err
	})
)

var programs = []durable.Definition{greet, approve, broken, refunded, invokes, batch}

// program is a program that has executions: program STORE COMMAND …
//
//	start FUNCTION ID INPUT …   starts executions; ends when they have, or wait for a callback
//	finish ID …                 ends when these executions have
//	serve                       runs and serves beside the file until it is interrupted
//	serve-http                  runs and serves over HTTP, with passwords, and says where
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
		Functions: programs, ParkFor: -1, Logger: slog.New(slog.DiscardHandler),
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
		var ids []string
		for ; len(args) >= 3; args = args[3:] {
			ids = append(ids, args[1])
			if _, err := e.StartByName(ctx, args[0], json.RawMessage(args[2]), durable.WithExecutionID(args[1])); err != nil {
				return err
			}
		}
		return settle(ctx, e, ids, true)
	case "finish":
		return settle(ctx, e, args, false)
	case "serve":
		fmt.Println("serving")
		if err := durablehttp.ServeBeside(ctx, e, store, nil); err != nil {
			return err
		}
	case "serve-http":
		return serveHTTP(ctx, e)
	case "hold":
		if err := os.WriteFile(store+".open", nil, 0o600); err != nil {
			return err
		}
		<-ctx.Done()
	}
	return e.Shutdown(context.Background())
}

// serveHTTP serves ann, and whoever has the token, fully; eve may look, at what is not hidden.
func serveHTTP(ctx context.Context, e *durable.Engine) error {
	authorize := func(r *http.Request, access durablehttp.Access) error {
		name, password, _ := r.BasicAuth()
		switch {
		case name == "ann" && password == "s3cret", r.Header.Get("Authorization") == "Bearer t0ken":
			return nil
		case name == "eve" && access == durablehttp.Reading && !r.URL.Query().Has("payloads"):
			return nil
		case name == "eve":
			return errors.New("eve only looks")
		}
		return durablehttp.ErrUnauthenticated
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	admin := durablehttp.Admin(e, &durablehttp.AdminOptions{Authorize: authorize, HidePayloads: true})
	server := &http.Server{Handler: http.StripPrefix("/durable", admin)}
	context.AfterFunc(ctx, func() { server.Close() })
	fmt.Printf("serving on %s\n", l.Addr())
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return e.Shutdown(context.Background())
}

// settle returns when executions have ended, or wait for a callback and left memory.
func settle(ctx context.Context, e *durable.Engine, ids []string, callbacks bool) error {
	for ; len(ids) > 0; time.Sleep(5 * time.Millisecond) {
		info, err := e.Describe(ctx, ids[0])
		if err != nil {
			return err
		}
		waits := false
		if callbacks && !info.Resident {
			ops, err := e.Operations(ctx, ids[0])
			if err != nil {
				return err
			}
			waits = slices.ContainsFunc(ops, func(o durable.Operation) bool { return o.Type == "CALLBACK" })
		}
		if waits || info.Status != durable.ExecutionRunning {
			ids = ids[1:]
		}
	}
	return e.Shutdown(ctx)
}
