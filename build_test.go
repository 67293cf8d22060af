package durable_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// builtProgram runs a function whose first step has the name that a generated file says.
const builtProgram = `package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/durable-go/durable"
)

func nothing(context.Context) error { return nil }

var order = durable.Define("order", func(ctx *durable.Context, _ int) (string, error) {
	if err := durable.Do(ctx, first, nothing); err != nil {
		return "", err
	}
	return "done", durable.Wait(ctx, "w", 100*time.Millisecond)
})

func main() {
	e, err := durable.Open(os.Args[1], &durable.Options{Functions: []durable.Definition{order}, ParkFor: -1, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		panic(err)
	}
	defer e.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	x, err := order.Start(ctx, e, 0, durable.WithExecutionID("o"))
	if err != nil {
		panic(err)
	}
	for ; ; time.Sleep(time.Millisecond) {
		info, err := e.Describe(ctx, x.ID())
		switch {
		case err != nil:
			panic(err)
		case info.Held != nil && len(os.Args) == 2: // else it goes on: it was not claimed yet
			fmt.Println("held")
			return
		case info.Status != durable.ExecutionRunning:
			fmt.Println(info.Status)
			return
		case !info.WakeAt.IsZero() && len(os.Args) > 2 && os.Args[2] == "dies":
			os.Exit(0)
		}
	}
}
`

// TestBuildsOfOneRevision: a program that was made anew goes on with what the one before
// held, also when both are of one clean revision.
func TestBuildsOfOneRevision(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short: builds a program three times")
	}
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("no git")
	}
	repository, err := os.Getwd()
	require.NoError(t, err)
	dir, out := t.TempDir(), t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	call := func(name string, args ...string) string {
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
		text, err := cmd.CombinedOutput()
		require.NoError(t, err, string(text))
		return strings.TrimSpace(string(text))
	}
	sums, err := os.ReadFile("go.sum")
	require.NoError(t, err)
	required, err := os.ReadFile("go.mod")
	require.NoError(t, err)
	_, required, _ = bytes.Cut(required, []byte("\n"))
	write("go.mod", "module example.com/order\n"+string(required)+"\nrequire github.com/durable-go/durable v0.0.0\n\nreplace github.com/durable-go/durable => "+repository+"\n")
	write("go.sum", string(sums))
	write("main.go", builtProgram)
	write(".gitignore", "first.go\n")
	call("git", "init", "-q", ".")
	call("git", "add", "-A")
	call("git", "-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "-qm", "one")
	var programs []string
	for i, first := range []string{"reserve", "hold", "reserve"} {
		write("first.go", fmt.Sprintf("package main\n\nconst first = %q // generated, %d\n", first, i))
		programs = append(programs, filepath.Join(out, fmt.Sprint(i)))
		call("go", "build", "-buildvcs=true", "-o", programs[i], ".")
	}
	require.Contains(t, call("go", "version", "-m", programs[1]), "vcs.modified=false")
	file := filepath.Join(out, "x.db")
	call(programs[0], file, "dies")
	require.Equal(t, "held", call(programs[1], file))
	require.Equal(t, "held", call(programs[1], file), "the same build does not try again")
	require.Equal(t, "SUCCEEDED", call(programs[2], file, "ends"))
}
