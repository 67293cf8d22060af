package workflow

import (
	"context"
	"encoding/json"
	"time"
)

// Outcomes are what the stages before the last one had.
type Outcomes struct {
	WorkflowID  string
	ExecutionID string
	StartedAt   time.Time
	Items       []ProcessedItem
	Tasks       []TaskResult
	Callback    json.RawMessage
	Advanced    AdvancedResults
}

// Result is the result of the workflow. Durations are in milliseconds.
type Result struct {
	WorkflowID          string          `json:"workflowId"`
	ExecutionID         string          `json:"executionId"`
	ProcessedItems      []ProcessedItem `json:"processedItems"`
	ParallelResults     []TaskResult    `json:"parallelResults"`
	CallbackResult      json.RawMessage `json:"callbackResult"`
	AdvancedOperations  AdvancedResults `json:"advancedOperations"`
	CheckpointCount     int             `json:"checkpointCount"`
	OperationCount      OperationCount  `json:"operationCount"`
	ItemsProcessed      int             `json:"itemsProcessed"`
	SuccessfulItems     int             `json:"successfulItems"`
	SuccessRate         float64         `json:"successRate"` // 0 to 1
	TotalDuration       int64           `json:"totalDuration"`
	TotalProcessingTime int64           `json:"totalProcessingTime"`
	AvgProcessingTime   float64         `json:"avgProcessingTime"`
	StartTime           time.Time       `json:"startTime"`
	EndTime             time.Time       `json:"endTime"`
	CompletedAt         time.Time       `json:"completedAt"`
}

// OperationCount counts the operations by their kind.
type OperationCount struct {
	Steps            int `json:"steps"`
	Parallel         int `json:"parallel"`
	Map              int `json:"map"`
	Wait             int `json:"wait"`
	WaitForCondition int `json:"waitForCondition"`
	Invoke           int `json:"invoke"`
	ChildContext     int `json:"childContext"`
}

func aggregateResults(_ context.Context, o Outcomes) (Result, error) {
	items, tasks := len(o.Items), len(o.Tasks)
	end := milliseconds(time.Now())
	r := Result{
		WorkflowID:         o.WorkflowID,
		ExecutionID:        o.ExecutionID,
		ProcessedItems:     o.Items,
		ParallelResults:    o.Tasks,
		CallbackResult:     o.Callback,
		AdvancedOperations: o.Advanced,
		CheckpointCount:    items + tasks + 4,
		OperationCount: OperationCount{
			Steps: items + tasks + 3, Parallel: tasks, Map: items,
			Wait: 1, WaitForCondition: 1, Invoke: 1, ChildContext: 1,
		},
		ItemsProcessed: items,
		SuccessRate:    1, // of no items
		TotalDuration:  end.Sub(o.StartedAt).Milliseconds(),
		StartTime:      o.StartedAt,
		EndTime:        end,
		CompletedAt:    end,
	}
	for _, item := range o.Items {
		r.TotalProcessingTime += item.ProcessingTime
		if item.Processed {
			r.SuccessfulItems++
		}
	}
	if items > 0 {
		r.SuccessRate = float64(r.SuccessfulItems) / float64(items)
		r.AvgProcessingTime = float64(r.TotalProcessingTime) / float64(items)
	}
	return r, nil
}
