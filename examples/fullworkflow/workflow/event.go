package workflow

import (
	_ "embed"
	"encoding/json"
	"io"
	"time"

	"github.com/durable-go/durable/examples/internal/input"
)

// Event is what an execution of the workflow is started with.
type Event struct {
	WorkflowID string          `json:"workflowId"`
	InputData  InputData       `json:"inputData"`
	StartTime  int64           `json:"startTime,omitempty"` // Unix milliseconds; absent: when the execution was started
	Metadata   json.RawMessage `json:"metadata,omitempty"`
}

// InputData is the work: one work item is made of each item.
type InputData struct {
	Items []string `json:"items"`
}

func (e Event) startedAt(execution time.Time) time.Time {
	if e.StartTime != 0 {
		return time.UnixMilli(e.StartTime).UTC()
	}
	return milliseconds(execution)
}

//go:embed event.json
var shippedEvent []byte

// ReadEvent reads the event from a file, from stdin ("-"), or takes the shipped
// one (""). Whether it makes sense is for the workflow's first step to say.
func ReadEvent(path string, stdin io.Reader) (event Event, err error) {
	data, name := shippedEvent, "event.json"
	if path != "" {
		if data, name, err = input.Read(path, stdin); err != nil {
			return event, err
		}
	}
	return event, input.Decode(name, data, &event)
}
