package workflow

import (
	"testing"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/durabletest"
	"github.com/durable-go/durable/examples/helloworld/hello"
)

// TestReplay runs today's workflow over an execution of yesterday's, which the command
// line exported (durable run export). docs/debugging.md steps through it.
func TestReplay(t *testing.T) {
	durabletest.Replay(t, durabletest.Config{Functions: []durable.Definition{Function, hello.Function}}, "testdata/history.json")
}
