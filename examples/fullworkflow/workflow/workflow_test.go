package workflow

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/memstore"
	"github.com/durable-go/durable/examples/helloworld/hello"
)

var update = flag.Bool("update", false, "write the golden files")

// open opens an engine that has the program's functions.
func open(t *testing.T) *durable.Engine {
	t.Helper()
	e, err := durable.New(memstore.New(), &durable.Options{
		Functions: []durable.Definition{Function, hello.Function},
		Logger:    slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	return e
}

// runToEnd runs the workflow, with the program as the external system.
func runToEnd(ctx context.Context, e *durable.Engine, id string, event Event) (Result, error) {
	x, err := Function.Start(ctx, e, event, durable.WithExecutionID(id))
	if err != nil {
		return Result{}, err
	}
	if err := PlayExternalSystem(ctx, e, id); err != nil {
		return Result{}, err
	}
	return x.Result(ctx)
}

func eventOf(items int) Event {
	event := Event{WorkflowID: fmt.Sprintf("workflow-of-%d", items), InputData: InputData{Items: make([]string, items)}}
	for i := range items {
		event.InputData.Items[i] = fmt.Sprintf("item-%d", i)
	}
	return event
}

// TestWorkflowResult compares the whole result of the shipped event. Time is
// virtual, so it is the same each time.
func TestWorkflowResult(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := open(t)
		defer e.Close()
		event, err := ReadEvent("", nil)
		require.NoError(t, err)
		result, err := runToEnd(t.Context(), e, "golden", event)
		require.NoError(t, err)
		got, err := json.MarshalIndent(result, "", "  ")
		require.NoError(t, err)
		golden := filepath.Join("testdata", "result.json")
		if *update {
			require.NoError(t, os.WriteFile(golden, append(got, '\n'), 0o644))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		require.JSONEq(t, string(want), string(got))
	})
}

func TestWorkflowSizes(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 5, 20, 500} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e := open(t)
				defer e.Close()
				event := eventOf(n)
				begin := milliseconds(time.Now())
				r, err := runToEnd(t.Context(), e, "sized", event)
				require.NoError(t, err)
				requireComplete(t, r, "sized", event)

				// The slowest item, and 1 s + 5 s + 150 ms + 2 × 3 s for the others.
				took := 12_150*time.Millisecond + time.Duration(min(n, 3))*50*time.Millisecond
				require.Equal(t, begin, r.StartTime)
				require.Equal(t, begin.Add(took), r.CompletedAt)
				require.Equal(t, took.Milliseconds(), r.TotalDuration)
				for _, item := range r.ProcessedItems {
					require.EqualValues(t, item.Priority*50, item.ProcessingTime)
				}
			})
		})
	}
}

// requireComplete checks everything in a result that does not depend on time.
func requireComplete(t *testing.T, r Result, executionID string, event Event) {
	t.Helper()
	n := len(event.InputData.Items)
	require.Equal(t, event.WorkflowID, r.WorkflowID)
	require.Equal(t, executionID, r.ExecutionID)
	require.Len(t, r.ProcessedItems, n)
	for i, item := range r.ProcessedItems {
		id := fmt.Sprintf("work-item-%d", i+1)
		require.Equal(t, WorkItem{ID: id, Data: event.InputData.Items[i], Priority: i%3 + 1, Status: "completed"}, item.WorkItem)
		require.True(t, item.Processed)
		require.Equal(t, i, item.Index)
		require.Equal(t, "processed-"+item.Data, item.TransformedData)
		require.Equal(t, fmt.Sprintf("checkpoint-%s-%d", id, i), item.CheckpointID)
	}
	require.Len(t, r.ParallelResults, 3)
	for i, task := range r.ParallelResults {
		require.Equal(t, i+1, task.Task)
		require.Equal(t, "completed", task.Result)
	}
	require.Equal(t, n, *r.ParallelResults[0].ItemsValidated)
	require.Equal(t, n, *r.ParallelResults[1].ItemsEnriched)
	require.Equal(t, 0.95, *r.ParallelResults[2].QualityScore)
	var approval Approval
	require.NoError(t, json.Unmarshal(r.CallbackResult, &approval))
	require.True(t, approval.Approved)

	condition := r.AdvancedOperations.Condition
	require.True(t, condition.Ready)
	require.Equal(t, 3, condition.Attempts)
	greeting := r.AdvancedOperations.Invoke
	require.Equal(t, 200, greeting.StatusCode)
	require.Equal(t, "Hello, DurableExecution-"+executionID+"!", greeting.Greeting)
	require.Equal(t, n, greeting.InputReceived.WorkItemsProcessed)
	child := r.AdvancedOperations.ChildContext
	require.Equal(t, executionID, child.ChildExecutionID)
	require.Equal(t, executionID, child.Metadata.ExecutionID)
	require.Equal(t, n, child.Metadata.WorkItemsCount)
	require.True(t, child.Validation.Valid)
	require.Equal(t, []string{"schema", "permissions", "resources"}, child.Validation.Checks)

	require.Equal(t, n+3+4, r.CheckpointCount)
	require.Equal(t, OperationCount{Steps: n + 3 + 3, Parallel: 3, Map: n, Wait: 1, WaitForCondition: 1, Invoke: 1, ChildContext: 1}, r.OperationCount)
	require.Equal(t, n, r.ItemsProcessed)
	require.Equal(t, n, r.SuccessfulItems)
	require.EqualValues(t, 1, r.SuccessRate)
}

// TestStages checks that they are what the handler does.
func TestStages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := open(t)
		defer e.Close()
		_, err := runToEnd(t.Context(), e, "x", eventOf(2))
		require.NoError(t, err)
		ops, err := e.Operations(t.Context(), "x")
		require.NoError(t, err)
		var names []string
		for _, o := range ops {
			if o.ParentID == "" && o.Name != "" { // durable.Now has no name
				names = append(names, o.Name)
			}
		}
		require.Equal(t, Stages[:], names)
	})
}

func TestStartTimeOfTheEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := open(t)
		defer e.Close()
		event := eventOf(1)
		sent := milliseconds(time.Now().Add(-time.Hour))
		event.StartTime = sent.UnixMilli()
		r, err := runToEnd(t.Context(), e, "x", event)
		require.NoError(t, err)
		require.Equal(t, sent, r.StartTime)
		require.Equal(t, (time.Hour + 12_200*time.Millisecond).Milliseconds(), r.TotalDuration)
	})
}

func TestWithoutItemsIsNotRetried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := open(t)
		defer e.Close()
		begin := time.Now()
		_, err := Function.Run(t.Context(), e, Event{}, durable.WithExecutionID("x"))
		require.ErrorContains(t, err, "inputData.items")
		require.Less(t, time.Since(begin), time.Second)
		ops, err := e.Operations(t.Context(), "x")
		require.NoError(t, err)
		require.Len(t, ops, 1)
		require.Equal(t, 1, ops[0].Attempt)
	})
}

func TestCallbackFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := open(t)
		defer e.Close()
		x, err := Function.Start(t.Context(), e, eventOf(1))
		require.NoError(t, err)
		id, err := e.CallbackID(t.Context(), x.ID(), CallbackName)
		require.NoError(t, err)
		require.NoError(t, e.FailCallback(t.Context(), id, durable.Failure{Type: "Rejected", Message: "too expensive"}))
		_, err = x.Result(t.Context())
		require.ErrorIs(t, err, durable.ErrCallbackFailed)
		failure, ok := errors.AsType[*durable.Failure](err)
		require.True(t, ok)
		require.Equal(t, "Rejected", failure.Type)
		require.Equal(t, "too expensive", failure.Message)
	})
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := open(t)
		defer e.Close()
		begin := time.Now()
		_, err := Function.Run(t.Context(), e, eventOf(1))
		require.ErrorIs(t, err, durable.ErrTimeout)
		require.Equal(t, time.Hour, time.Since(begin))
	})
}
