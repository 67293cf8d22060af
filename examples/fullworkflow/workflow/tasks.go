package workflow

import (
	"context"
	"time"
)

// TaskResult is what one of the parallel tasks found out.
type TaskResult struct {
	Task           int       `json:"task"`
	Type           string    `json:"type"`
	Result         string    `json:"result"`
	ItemsValidated *int      `json:"itemsValidated,omitempty"` // of the validation
	ItemsEnriched  *int      `json:"itemsEnriched,omitempty"`  // of the enrichment
	QualityScore   *float64  `json:"qualityScore,omitempty"`   // of the quality check
	Timestamp      time.Time `json:"timestamp"`
}

func validateItems(ctx context.Context, items []WorkItem) (TaskResult, error) {
	err := work(ctx, 100*time.Millisecond)
	return TaskResult{Task: 1, Type: "validation", Result: "completed", ItemsValidated: new(len(items)), Timestamp: milliseconds(time.Now())}, err
}

func enrichItems(ctx context.Context, items []WorkItem) (TaskResult, error) {
	err := work(ctx, 150*time.Millisecond)
	return TaskResult{Task: 2, Type: "enrichment", Result: "completed", ItemsEnriched: new(len(items)), Timestamp: milliseconds(time.Now())}, err
}

func checkQuality(ctx context.Context, _ []WorkItem) (TaskResult, error) {
	err := work(ctx, 80*time.Millisecond)
	return TaskResult{Task: 3, Type: "quality-check", Result: "completed", QualityScore: new(0.95), Timestamp: milliseconds(time.Now())}, err
}
