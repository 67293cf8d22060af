// Package workflow is a workflow of nine stages, one for each kind of durable
// operation. Programs that run it are examples/fullworkflow, on a file, and
// examples/fleet, on many machines.
package workflow

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/examples/helloworld/hello"
)

// Function is the workflow as a durable function.
var Function = durable.Define("full-workflow", run)

// Stages are the names of its nine operations, in order.
var Stages = [...]string{
	"processInputData",
	CallbackName,
	"simple-wait",
	"parallel-operations",
	"map-operations",
	"wait-for-condition",
	"invoke-hello-world",
	"isolated-operations",
	"aggregateResults",
}

// run goes through nine stages, one for each kind of durable operation.
//
// It is run from the top again whenever its execution comes back into memory:
// after a wait, and after the process was killed. What an operation returned
// once it then returns again, without its body being called, so the code goes on
// where it was. For that, everything here follows from the event and from what
// operations return: whatever does work, waits or looks at a clock is an
// operation, or the body of one.
func run(ctx *durable.Context, event Event) (Result, error) {
	// 1. A step: an ordinary function whose result is recorded.
	items, err := durable.Call(ctx, "processInputData", processInputData, event)
	if err != nil {
		return Result{}, err
	}

	// 2. A callback: nothing is in memory until somebody outside answers.
	answer, err := durable.WaitForCallback[json.RawMessage](ctx, CallbackName,
		askExternalSystem, durable.WithTimeout(time.Hour))
	if err != nil {
		return Result{}, err
	}

	// 3. A wait, which lasts as long when the process dies meanwhile.
	if err := durable.Wait(ctx, "simple-wait", 5*time.Second); err != nil {
		return Result{}, err
	}

	// 4. Branches that run at the same time.
	tasks, err := durable.Parallel(ctx, "parallel-operations", []durable.Branch[TaskResult]{
		{Name: "parallelTask1", Run: task("parallelTask1", validateItems, items)},
		{Name: "parallelTask2", Run: task("parallelTask2", enrichItems, items)},
		{Name: "parallelTask3", Run: task("parallelTask3", checkQuality, items)},
	})
	if err != nil {
		return Result{}, err
	}

	// 5. A step for each item, all at the same time.
	processed, err := durable.Map(ctx, "map-operations", items,
		func(ctx *durable.Context, item WorkItem, index int) (ProcessedItem, error) {
			return durable.Step(ctx, fmt.Sprintf("processItem-%d", index), func(ctx context.Context) (ProcessedItem, error) {
				return processItem(ctx, item, index)
			})
		})
	if err != nil {
		return Result{}, err
	}

	// 6. A condition: checked every three seconds. How often it was checked is
	// part of its state, which is recorded; a variable would not survive.
	condition, err := durable.WaitForCondition(ctx, "wait-for-condition", Readiness{}, checkReadiness,
		durable.PollEvery(3*time.Second, Readiness.isReady))
	if err != nil {
		return Result{}, err
	}

	// 7. Another function, as an execution of its own.
	greeting, err := durable.Invoke(ctx, "invoke-hello-world", hello.Function, hello.Input{
		Name:               "DurableExecution-" + ctx.ExecutionID(),
		Message:            "Hello",
		WorkItemsProcessed: processed.Succeeded(),
		Timestamp:          milliseconds(durable.Now(ctx)), // time.Now would differ on replay
	})
	if err != nil {
		return Result{}, err
	}

	// 8. A child context: operations that count and fail on their own.
	isolated, err := durable.RunInChildContext(ctx, "isolated-operations",
		func(ctx *durable.Context) (IsolatedResult, error) { return isolatedOperations(ctx, len(items)) })
	if err != nil {
		return Result{}, err
	}

	// 9. All of it together.
	return durable.Call(ctx, "aggregateResults", aggregateResults, Outcomes{
		WorkflowID:  event.WorkflowID,
		ExecutionID: ctx.ExecutionID(),
		StartedAt:   event.startedAt(ctx.StartedAt()),
		Items:       processed.Values(),
		Tasks:       tasks.Values(),
		Callback:    answer,
		Advanced:    AdvancedResults{Condition: condition, Invoke: greeting, ChildContext: isolated},
	})
}

// task makes one step of f a branch.
func task(name string, f func(context.Context, []WorkItem) (TaskResult, error), items []WorkItem) func(*durable.Context) (TaskResult, error) {
	return func(ctx *durable.Context) (TaskResult, error) { return durable.Call(ctx, name, f, items) }
}

// isolatedOperations is what the child context of stage 8 does.
func isolatedOperations(ctx *durable.Context, items int) (IsolatedResult, error) {
	result := IsolatedResult{ChildExecutionID: ctx.ExecutionID()}
	var err error
	result.Metadata, err = durable.Step(ctx, "processMetadata", func(c context.Context) (ProcessedMetadata, error) {
		return processMetadata(c, ctx.ExecutionID(), items)
	})
	if err != nil {
		return result, err
	}
	result.Validation, err = durable.Step(ctx, "validateConfiguration", validateConfiguration)
	if err != nil {
		return result, err
	}
	result.CompletedAt = milliseconds(durable.Now(ctx))
	return result, nil
}
