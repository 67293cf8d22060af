package durabletest

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/durable-go/durable"
)

var errStandsStill = errors.New("the handler stands still outside of operations: does it wait for what a step's body does?")

// replayLimit is how long, in real time, Replay may take.
const replayLimit = time.Minute

// Replay runs today's functions over a recording in a file, and fails the test if
// they don't go the recorded way. Such a file is what the command line prints (durable
// run export ID), or what Engine.Recording returns, marshalled as JSON. A recording that
// is kept beside the tests tells, before a deploy, whether executions that began with
// yesterday's code can go on with today's.
//
// No body is called, so it needs no stubs. Of the config the functions and the options
// are used. What the handlers log with Context.Logger goes to Options.Logger; by default
// all of it goes to the test's log, which go test -v shows.
//
// It takes a minute at most, or as long as it likes if the test does (-timeout 0). That
// is so under dlv test: a debugger can step through the handlers.
func Replay(t testing.TB, c Config, file string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("durabletest: replay: %v", err)
	}
	recording := new(durable.Recording)
	if err := json.Unmarshal(data, recording); err != nil {
		t.Fatalf("durabletest: replay %s: %v", file, err)
	}
	if c.Options.Logger == nil {
		log := &testLog{w: t.Output()}
		defer log.end()
		c.Options.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	opts := c.options(func(s Stub) func(context.Context, json.RawMessage) (any, error) { return s })
	ctx := context.Background()
	if timeout := flag.Lookup("test.timeout"); timeout == nil || timeout.Value.String() != "0s" {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, replayLimit, errStandsStill)
		defer cancel()
	}
	if err := durable.Replay(ctx, recording, &opts); err != nil {
		t.Errorf("durabletest: replay %s: %v", file, err)
	}
}

// testLog is the log of a test that takes nothing more once the replay is over: a
// handler that stands still may go on after the test, where testing panics.
type testLog struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *testLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(line)
}

func (l *testLog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w = io.Discard
}
