package workflow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/durable-go/durable"
)

// WorkItem is one piece of work.
type WorkItem struct {
	ID       string `json:"id"`
	Data     string `json:"data"`
	Priority int    `json:"priority"`
	Status   string `json:"status"`
}

// ProcessedItem is a piece of work that is done.
type ProcessedItem struct {
	WorkItem
	Processed       bool      `json:"processed"`
	ProcessedAt     time.Time `json:"processedAt"`
	ProcessingTime  int64     `json:"processingTime"` // milliseconds
	Index           int       `json:"index"`
	TransformedData string    `json:"transformedData"`
	CheckpointID    string    `json:"checkpointId"`
}

// processInputData makes work items of an event. An event without items will not
// have them at the next attempt either, so that error is permanent.
func processInputData(_ context.Context, event Event) ([]WorkItem, error) {
	if event.InputData.Items == nil {
		return nil, durable.Permanent(errors.New("the event has no inputData.items: give it a list of strings"))
	}
	items := make([]WorkItem, len(event.InputData.Items))
	for i, data := range event.InputData.Items {
		items[i] = WorkItem{ID: fmt.Sprintf("work-item-%d", i+1), Data: data, Priority: i%3 + 1, Status: "pending"}
	}
	return items, nil
}

// processItem works on an item, the longer the higher its priority.
func processItem(ctx context.Context, item WorkItem, index int) (ProcessedItem, error) {
	begin := time.Now()
	if err := work(ctx, time.Duration(item.Priority)*50*time.Millisecond); err != nil {
		return ProcessedItem{}, err
	}
	item.Status = "completed"
	return ProcessedItem{
		WorkItem:        item,
		Processed:       true,
		ProcessedAt:     milliseconds(time.Now()),
		ProcessingTime:  time.Since(begin).Milliseconds(),
		Index:           index,
		TransformedData: "processed-" + item.Data,
		CheckpointID:    fmt.Sprintf("checkpoint-%s-%d", item.ID, index),
	}, nil
}

// work stands for work that takes d. It heeds its context, as every body should.
func work(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// milliseconds is t as it appears in results: in UTC, to the millisecond.
func milliseconds(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
