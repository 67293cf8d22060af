// Package hello is an ordinary function that durable executions can invoke.
package hello

import (
	"cmp"
	"context"
	"time"

	"github.com/durable-go/durable"
)

// Function is Greet under the name by which executions of it are listed. An
// engine that has it in Options.Functions can start it and invoke it.
var Function = durable.DefinePlain("hello-world", Greet)

// Input is whom to greet, and how. Every field may be absent.
type Input struct {
	Name               string    `json:"name,omitempty"`    // default "World"
	Message            string    `json:"message,omitempty"` // default "Hello"
	WorkItemsProcessed int       `json:"workItemsProcessed,omitempty"`
	Timestamp          time.Time `json:"timestamp,omitzero"`
}

// Output is the greeting.
type Output struct {
	StatusCode    int       `json:"statusCode"`
	Greeting      string    `json:"greeting"`
	Timestamp     time.Time `json:"timestamp"`
	ProcessedBy   string    `json:"processedBy"`
	InputReceived Input     `json:"inputReceived"`
}

// Greet greets. It knows nothing of durable execution.
func Greet(_ context.Context, in Input) (Output, error) {
	return Output{
		StatusCode:    200,
		Greeting:      cmp.Or(in.Message, "Hello") + ", " + cmp.Or(in.Name, "World") + "!",
		Timestamp:     time.Now().UTC().Truncate(time.Millisecond),
		ProcessedBy:   "hello-world-function",
		InputReceived: in,
	}, nil
}
