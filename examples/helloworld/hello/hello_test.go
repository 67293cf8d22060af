package hello_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/durabletest"
	"github.com/durable-go/durable/examples/helloworld/hello"
)

func TestGreet(t *testing.T) {
	t.Parallel()
	for want, in := range map[string]hello.Input{
		"Hello, World!":   {},
		"Hello, Ada!":     {Name: "Ada"},
		"Good day, Ada!":  {Name: "Ada", Message: "Good day", WorkItemsProcessed: 5, Timestamp: time.Unix(1, 0).UTC()},
		"Bonjour, World!": {Message: "Bonjour"},
	} {
		out, err := hello.Greet(t.Context(), in)
		require.NoError(t, err)
		require.Equal(t, want, out.Greeting)
		require.Equal(t, 200, out.StatusCode)
		require.Equal(t, "hello-world-function", out.ProcessedBy)
		require.Equal(t, in, out.InputReceived)
		require.WithinDuration(t, time.Now(), out.Timestamp, time.Minute)
	}
}

// caller invokes it as durable executions do.
var caller = durable.Define("caller", func(ctx *durable.Context, name string) (hello.Output, error) {
	return durable.Invoke(ctx, "greet", hello.Function, hello.Input{Name: name})
})

func TestFunction(t *testing.T) {
	t.Parallel()
	config := durabletest.Config{Functions: []durable.Definition{caller, hello.Function}}
	durabletest.Test(t, config, func(t *testing.T, e *durabletest.Engine) {
		x, err := caller.Start(t.Context(), e.Engine, "Ada")
		require.NoError(t, err)
		out, err := x.Result(t.Context())
		require.NoError(t, err)
		require.Equal(t, hello.Output{StatusCode: 200, Greeting: "Hello, Ada!", Timestamp: time.Now().UTC(), ProcessedBy: "hello-world-function", InputReceived: hello.Input{Name: "Ada"}}, out)
		e.Golden(x.ID(), "testdata/caller.golden")
	})
	durabletest.CrashEverywhere(t, config, caller, "Ada")
}
