package durabletest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/durable-go/durable"
)

var errStandsStill = errors.New("the handler stands still outside of operations: does it wait for what a step's body does?")

// replayLimit is how long, in real time, Replay may take.
const replayLimit = time.Minute

// Replay runs today's functions over a recording in a file, and fails the test if
// they don't go the recorded way. To make such a file from a real execution, marshal
// what Engine.Recording returns as JSON. A recording that is kept beside the tests
// tells, before a deploy, whether executions that began with yesterday's code can go
// on with today's.
//
// No body is called, so it needs no stubs. Of the config the functions and the options
// are used. It takes a minute at most; to step through a handler with a debugger use
// durable.Replay, which has no limit.
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
	opts := c.options()
	ctx, cancel := context.WithTimeoutCause(context.Background(), replayLimit, errStandsStill)
	defer cancel()
	if err := durable.Replay(ctx, recording, &opts); err != nil {
		t.Errorf("durabletest: replay %s: %v", file, err)
	}
}
