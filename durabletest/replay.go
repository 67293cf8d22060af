package durabletest

import (
	"context"
	"encoding/json"
	"os"
	"testing"

	"github.com/durable-go/durable"
)

// Replay runs today's functions over a recording in a file, and fails the test if
// they don't go the recorded way: see durable.Replay. To make such a file from a
// real execution, marshal what Engine.Recording returns as JSON. A recording that
// is kept beside the tests tells, before a deploy, whether executions that began
// with yesterday's code can go on with today's.
//
// No body is called, so it needs no stubs, and a debugger can step through the
// handler. Of the config the functions and the options are used.
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
	if err := durable.Replay(context.Background(), recording, &opts); err != nil {
		t.Errorf("durabletest: replay %s: %v", file, err)
	}
}
