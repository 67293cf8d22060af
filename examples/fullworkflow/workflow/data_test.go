package workflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProcessInputData(t *testing.T) {
	t.Parallel()
	items, err := processInputData(t.Context(), Event{InputData: InputData{Items: []string{"a", "b", "", "d"}}})
	require.NoError(t, err)
	require.Equal(t, []WorkItem{
		{ID: "work-item-1", Data: "a", Priority: 1, Status: "pending"},
		{ID: "work-item-2", Data: "b", Priority: 2, Status: "pending"},
		{ID: "work-item-3", Data: "", Priority: 3, Status: "pending"},
		{ID: "work-item-4", Data: "d", Priority: 1, Status: "pending"},
	}, items)
}

func TestProcessInputDataWithoutItems(t *testing.T) {
	t.Parallel()
	_, err := processInputData(t.Context(), Event{})
	require.ErrorContains(t, err, "inputData.items")
	items, err := processInputData(t.Context(), Event{InputData: InputData{Items: []string{}}})
	require.NoError(t, err, "no work is not a mistake")
	require.Empty(t, items)
}

func TestProcessItem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		got, err := processItem(t.Context(), WorkItem{ID: "work-item-8", Data: "x", Priority: 2, Status: "pending"}, 7)
		require.NoError(t, err)
		require.Equal(t, ProcessedItem{
			WorkItem:        WorkItem{ID: "work-item-8", Data: "x", Priority: 2, Status: "completed"},
			Processed:       true,
			ProcessedAt:     milliseconds(begin.Add(100 * time.Millisecond)),
			ProcessingTime:  100,
			Index:           7,
			TransformedData: "processed-x",
			CheckpointID:    "checkpoint-work-item-8-7",
		}, got)
	})
}

func TestBodiesHeedTheirContext(t *testing.T) {
	t.Parallel()
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	_, err := processItem(ctx, WorkItem{Priority: 1000}, 0)
	require.ErrorIs(t, err, gone)
	for _, task := range []func(context.Context, []WorkItem) (TaskResult, error){validateItems, enrichItems, checkQuality} {
		_, err := task(ctx, nil)
		require.ErrorIs(t, err, gone)
	}
}

func TestTasks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		items := make([]WorkItem, 4)
		for _, task := range []struct {
			run  func(context.Context, []WorkItem) (TaskResult, error)
			took time.Duration
			want string
		}{
			{validateItems, 100 * time.Millisecond, `{"task": 1, "type": "validation", "result": "completed", "itemsValidated": 4, "timestamp": %q}`},
			{enrichItems, 150 * time.Millisecond, `{"task": 2, "type": "enrichment", "result": "completed", "itemsEnriched": 4, "timestamp": %q}`},
			{checkQuality, 80 * time.Millisecond, `{"task": 3, "type": "quality-check", "result": "completed", "qualityScore": 0.95, "timestamp": %q}`},
		} {
			begin := time.Now()
			got, err := task.run(t.Context(), items)
			require.NoError(t, err)
			require.Equal(t, task.took, time.Since(begin))
			encoded, err := json.Marshal(got)
			require.NoError(t, err)
			require.JSONEq(t, fmt.Sprintf(task.want, time.Now().UTC().Format(time.RFC3339Nano)), string(encoded))
		}
	})
}

func TestCheckReadiness(t *testing.T) {
	t.Parallel()
	var state Readiness
	for attempt := 1; attempt <= 3; attempt++ {
		var err error
		state, err = checkReadiness(t.Context(), state)
		require.NoError(t, err)
		require.Equal(t, attempt, state.Attempts)
		require.Equal(t, attempt, state.LastCheck.Attempt)
		require.Equal(t, attempt == 3, state.isReady())
		require.Equal(t, attempt == 3, state.LastCheck.Ready)
		require.NotEmpty(t, state.LastCheck.Note)
	}
}

func TestAggregateResults(t *testing.T) {
	t.Parallel()
	started := time.Now().Add(-time.Minute)
	r, err := aggregateResults(t.Context(), Outcomes{
		WorkflowID: "w", ExecutionID: "x", StartedAt: started,
		Items: []ProcessedItem{
			{Processed: true, ProcessingTime: 50},
			{Processed: false, ProcessingTime: 101},
		},
		Tasks: make([]TaskResult, 3),
	})
	require.NoError(t, err)
	require.Equal(t, 2, r.ItemsProcessed)
	require.Equal(t, 1, r.SuccessfulItems)
	require.Equal(t, 0.5, r.SuccessRate)
	require.EqualValues(t, 151, r.TotalProcessingTime)
	require.Equal(t, 75.5, r.AvgProcessingTime)
	require.InDelta(t, 60_000, r.TotalDuration, 5000)
	require.Equal(t, 2+3+4, r.CheckpointCount)
	require.Equal(t, OperationCount{Steps: 2 + 3 + 3, Parallel: 3, Map: 2, Wait: 1, WaitForCondition: 1, Invoke: 1, ChildContext: 1}, r.OperationCount)
}

func TestAggregateNothing(t *testing.T) {
	t.Parallel()
	r, err := aggregateResults(t.Context(), Outcomes{})
	require.NoError(t, err)
	require.EqualValues(t, 1, r.SuccessRate)
	require.Zero(t, r.AvgProcessingTime)
}

func TestShippedEvent(t *testing.T) {
	t.Parallel()
	event, err := ReadEvent("", nil)
	require.NoError(t, err)
	require.NotEmpty(t, event.WorkflowID)
	require.Len(t, event.InputData.Items, 5)
}
