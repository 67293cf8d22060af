//go:build linux

package faults

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// workerDir is set in a process that runs a worker.
const workerDir = "DURABLE_FAULTS_DIR"

// TestMain is a test, or the worker of one.
func TestMain(m *testing.M) {
	if dir := os.Getenv(workerDir); dir != "" {
		work(dir)
		return
	}
	os.Exit(m.Run())
}

// The worker appends to the file witness, which no fault falls on, a line each:
//
//	opened                    the engine runs
//	refused ERROR             it could not be opened
//	start ID                  the start was acknowledged
//	effect ID STEP            a body ran
//	recorded ID STEP          code behind a step ran, and an effect that waited for it
//	callback ID               the completion was acknowledged
//	result ID RESULT          the result was reported
//	error ERROR               an operation of the engine failed
//	closed GOROUTINES HANDLES the engine was closed; what is left of it
type witness struct{ *os.File }

func (w witness) say(format string, args ...any) {
	text := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ")
	if _, err := fmt.Fprintf(w, "\n%s .", text); err != nil {
		panic(err)
	}
}

var nap = 20 * time.Millisecond

// order is a bit of everything.
func order(w witness) *durable.Function[int, string] {
	return durable.Define("order", func(ctx *durable.Context, i int) (string, error) {
		id := ctx.ExecutionID()
		effect := func(name, before string) error {
			return durable.Do(ctx, name, func(context.Context) error {
				if before != "" {
					w.say("recorded %s %s", id, before)
				}
				w.say("effect %s %s", id, name)
				return nil
			})
		}
		if err := effect("reserve", ""); err != nil {
			return "", err
		}
		began := durable.Now(ctx)
		if err := durable.Wait(ctx, "nap", nap); err != nil {
			return "", err
		}
		if slept := durable.Now(ctx).Sub(began); slept < nap {
			return "", fmt.Errorf("slept %s instead of %s", slept, nap)
		}
		if err := effect("charge", "reserve"); err != nil {
			return "", err
		}
		approval, err := durable.WaitForCallback[string](ctx, "approval", func(context.Context, string) error { return nil })
		if err != nil {
			return "", err
		}
		if err := effect("ship", "charge"); err != nil {
			return "", err
		}
		return fmt.Sprint(approval, i), nil
	})
}

func open(path string, w witness) (*durable.Engine, *durable.Function[int, string], error) {
	f := order(w)
	e, err := durable.Open(path, &durable.Options{Functions: []durable.Definition{f}, ParkFor: 5 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	return e, f, err
}

// follow brings an order to its end.
func follow(ctx context.Context, e *durable.Engine, f *durable.Function[int, string], w witness, id string) error {
	callback, err := e.CallbackID(ctx, id, "approval")
	if err == nil {
		if err = e.SucceedCallback(ctx, callback, "yes"); err == nil {
			w.say("callback %s", id)
		}
	}
	if err != nil && !errors.Is(err, durable.ErrCallbackNotFound) && !errors.Is(err, durable.ErrCallbackCompleted) {
		return err
	}
	result, err := f.Attach(e, id).Result(ctx)
	if err == nil {
		w.say("result %s %s", id, result)
	}
	return err
}

// work starts orders and follows them until an operation fails or a line comes on the
// standard input, and closes the engine. The path of the store is in the environment too.
func work(dir string) {
	f, err := os.OpenFile(filepath.Join(dir, "witness"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	w := witness{f}
	handles := len(openHandles())
	e, fn, err := open(os.Getenv(workerDir+"_STORE"), w)
	if err != nil {
		w.say("refused %s", err)
		return
	}
	w.say("opened")
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		bufio.NewScanner(os.Stdin).Scan()
		stop()
	}()
	done := make(chan struct{})
	const workers = 6
	for n := range workers {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := 0; ctx.Err() == nil; i++ {
				x, err := fn.Start(ctx, e, i, durable.WithExecutionID(fmt.Sprintf("%d-%d-%d", os.Getpid(), n, i)))
				if err == nil {
					w.say("start %s", x.ID())
					err = follow(ctx, e, fn, w, x.ID())
				}
				if err != nil {
					if ctx.Err() == nil {
						w.say("error %s", err)
					}
					stop()
				}
			}
		}()
	}
	for range workers {
		<-done
	}
	if err := e.Close(); err != nil {
		w.say("error %s", err)
	}
	w.say("closed %d %d", len(ownGoroutines(time.Minute)), len(openHandles())-handles)
}

// openHandles are the files that this process has open.
func openHandles() (names []string) {
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if name, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(name, "/") {
			names = append(names, name)
		}
	}
	return names
}

// ownGoroutines returns what runs code of the engine or its stores, and is not a
// test, after those that are about to end have had some time.
func ownGoroutines(patience time.Duration) (stacks []string) {
	for deadline := time.Now().Add(patience); ; runtime.Gosched() {
		stacks = stacks[:0]
		buf := make([]byte, 1<<20)
		for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(stack, "durable-go/durable") && !strings.Contains(stack, "internal/faults.") {
				stacks = append(stacks, stack)
			}
		}
		if len(stacks) == 0 || time.Now().After(deadline) {
			return stacks
		}
	}
}

// process is a worker in a process of its own.
type process struct {
	*exec.Cmd
	stdin interface{ Close() error }
	log   *os.File
	ended chan struct{}
}

// begin starts a worker; before is what comes before its command line, such as
// a tracer.
func begin(t *testing.T, dir, store string, before ...string) *process {
	t.Helper()
	args := append(before, os.Args[0])
	p := &process{Cmd: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
	p.Env = append(os.Environ(), workerDir+"="+dir, workerDir+"_STORE="+store)
	var err error
	p.log, err = os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	require.NoError(t, err)
	p.Stdout, p.Stderr = p.log, p.log
	p.stdin, err = p.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, p.Start())
	t.Cleanup(func() {
		p.Process.Kill()
		<-p.ended
		p.log.Close()
	})
	go func() {
		p.Wait()
		close(p.ended)
	}()
	return p
}

// await waits until the process has ended.
func (p *process) await(t *testing.T) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(3 * time.Minute):
		log, _ := os.ReadFile(p.log.Name())
		require.Fail(t, "the process hangs", "%s", log)
	}
}

// said returns the lines of the witness that begin with a word, without it.
func said(t *testing.T, dir, word string) (lines []string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "witness"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	for l := range strings.Lines(string(b)) {
		l, whole := strings.CutSuffix(strings.TrimSuffix(l, "\n"), " .")
		if first, rest, _ := strings.Cut(l, " "); whole && first == word {
			lines = append(lines, rest)
		}
	}
	return lines
}

// until waits until the witness has n lines that begin with a word.
func until(t *testing.T, p *process, dir, word string, n int) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); len(said(t, dir, word)) < n; {
		select {
		case <-p.ended:
			require.Fail(t, "the process has ended")
		default:
			require.True(t, time.Now().Before(deadline), "no line %q came", word)
			runtime.Gosched()
		}
	}
}

// recovered opens the store without faults, and has everything go on to its end;
// then it compares what there is with what the witness saw.
func recovered(t *testing.T, dir, store string) (orders int) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "witness"), os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer f.Close()
	w := witness{f}
	e, fn, err := open(store, w)
	require.NoError(t, err)
	defer e.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	results := make(map[string]string)
	var ids []string
	for info, err := range e.Executions(ctx, durable.Query{}) {
		require.NoError(t, err)
		ids = append(ids, info.ID)
	}
	for _, id := range ids {
		require.NoError(t, follow(ctx, e, fn, w, id), id)
		if results[id], err = fn.Attach(e, id).Result(ctx); err != nil {
			require.NoError(t, err)
		}
	}
	require.NoError(t, compare(t, dir, results))
	require.NoError(t, e.Shutdown(ctx))
	return len(ids)
}

// compare says what is wrong between the results that there are and what the
// witness saw.
func compare(t *testing.T, dir string, results map[string]string) error {
	t.Helper()
	for _, what := range []string{"start", "callback"} {
		for _, id := range said(t, dir, what) {
			if _, ok := results[id]; !ok {
				return fmt.Errorf("%s: the %s was acknowledged, and it is not there", id, what)
			}
		}
	}
	for _, l := range said(t, dir, "result") {
		id, result, _ := strings.Cut(l, " ")
		if results[id] != result {
			return fmt.Errorf("%s: the result was %q, it is %q", id, result, results[id])
		}
	}
	used := make(map[string]bool)
	b, err := os.ReadFile(filepath.Join(dir, "witness"))
	if err != nil {
		return err
	}
	for l := range strings.Lines(string(b)) {
		words := strings.Fields(l)
		switch {
		case len(words) != 4:
		case words[0] == "recorded":
			used[words[1]+" "+words[2]] = true
		case words[0] == "effect" && used[words[1]+" "+words[2]]:
			return fmt.Errorf("%s: step %s ran again after an effect that waited for it", words[1], words[2])
		}
	}
	return nil
}

// noLeaks requires that nothing is left of an engine: neither goroutines nor open files.
func noLeaks(t *testing.T, store string) {
	t.Helper()
	require.Empty(t, ownGoroutines(time.Minute))
	require.Empty(t, handlesOf(store))
}

func handlesOf(store string) (names []string) {
	for _, name := range openHandles() {
		if strings.HasPrefix(name, store) {
			names = append(names, name)
		}
	}
	return names
}
