package workflow

import (
	"context"
	"time"

	"github.com/durable-go/durable/examples/helloworld/hello"
)

// AdvancedResults are the results of stages 6 to 8.
type AdvancedResults struct {
	Condition    Readiness      `json:"conditionResult"`
	Invoke       hello.Output   `json:"invokeResult"`
	ChildContext IsolatedResult `json:"childContextResult"`
}

// Readiness is the state of the condition. Each check gets what the one before
// it returned, also when that one ran in a process that is gone.
type Readiness struct {
	Ready     bool           `json:"ready"`
	Attempts  int            `json:"attempts"`
	LastCheck ReadinessCheck `json:"lastCheck"`
}

// ReadinessCheck is what one check saw.
type ReadinessCheck struct {
	Ready     bool      `json:"ready"`
	Attempt   int       `json:"attempt"`
	Note      string    `json:"note"`
	CheckedAt time.Time `json:"checkedAt"`
}

func (r Readiness) isReady() bool { return r.Ready }

// checkReadiness stands for a look at a system that is ready at the third one.
func checkReadiness(_ context.Context, last Readiness) (Readiness, error) {
	check := ReadinessCheck{Attempt: last.Attempts + 1, Note: "not ready yet", CheckedAt: milliseconds(time.Now())}
	if check.Attempt >= 3 {
		check.Ready, check.Note = true, "ready"
	}
	return Readiness{Ready: check.Ready, Attempts: check.Attempt, LastCheck: check}, nil
}

// IsolatedResult is the result of the child context.
type IsolatedResult struct {
	Metadata         ProcessedMetadata `json:"metadata"`
	Validation       Validation        `json:"validation"`
	ChildExecutionID string            `json:"childExecutionId"`
	CompletedAt      time.Time         `json:"completedAt"`
}

// ProcessedMetadata tells about the execution.
type ProcessedMetadata struct {
	ExecutionID    string       `json:"executionId"`
	WorkItemsCount int          `json:"workItemsCount"`
	ProcessedAt    time.Time    `json:"processedAt"`
	Metadata       NodeMetadata `json:"metadata"`
}

// NodeMetadata tells where the metadata was processed.
type NodeMetadata struct {
	Version        string `json:"version"`
	ProcessingNode string `json:"processingNode"`
	Isolated       bool   `json:"isolated"`
}

func processMetadata(_ context.Context, executionID string, items int) (ProcessedMetadata, error) {
	return ProcessedMetadata{
		ExecutionID:    executionID,
		WorkItemsCount: items,
		ProcessedAt:    milliseconds(time.Now()),
		Metadata:       NodeMetadata{Version: "1.0.0", ProcessingNode: "child-context", Isolated: true},
	}, nil
}

// Validation is what was checked of the configuration.
type Validation struct {
	Valid         bool      `json:"valid"`
	ConfigVersion string    `json:"configVersion"`
	ValidatedAt   time.Time `json:"validatedAt"`
	Checks        []string  `json:"checks"`
}

func validateConfiguration(context.Context) (Validation, error) {
	return Validation{
		Valid:         true,
		ConfigVersion: "2.1.0",
		ValidatedAt:   milliseconds(time.Now()),
		Checks:        []string{"schema", "permissions", "resources"},
	}, nil
}
