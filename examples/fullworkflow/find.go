package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/examples/fullworkflow/workflow"
)

// find returns the execution to go on with, nil if one is to be started.
func (o runOptions) find(ctx context.Context, e *durable.Engine, opened time.Time, event workflow.Event) (*durable.ExecutionInfo, error) {
	var found *durable.ExecutionInfo
	var err error
	switch {
	case o.id != "":
		found, err = byID(ctx, e, o.id)
	case !o.startNew:
		found, err = newestUnfinished(ctx, e, opened)
	}
	switch {
	case found == nil || err != nil:
		return nil, err
	case o.startNew:
		return nil, fmt.Errorf("execution %s exists: leave -new out to go on with it, or give another -id", found.ID)
	case found.Function != workflow.Function.Name():
		return nil, fmt.Errorf("execution %s is one of the function %q, not of %q", found.ID, found.Function, workflow.Function.Name())
	case o.input != "" && !sameInput(event, found.Input):
		return nil, fmt.Errorf("execution %s (%s) has another input than %s: leave -input out to go on with it, or start another one with -new",
			found.ID, found.Status, o.input)
	}
	return found, nil
}

func byID(ctx context.Context, e *durable.Engine, id string) (*durable.ExecutionInfo, error) {
	info, err := e.Describe(ctx, id)
	if errors.Is(err, durable.ErrExecutionNotFound) {
		return nil, nil
	}
	return &info, err
}

// newestUnfinished returns the newest execution that had not ended when the
// engine was opened. The engine began to run it at once, so if there was little
// left to do it may have ended by now.
func newestUnfinished(ctx context.Context, e *durable.Engine, opened time.Time) (*durable.ExecutionInfo, error) {
	for info, err := range e.Executions(ctx, durable.Query{Function: workflow.Function.Name()}) {
		if err != nil {
			return nil, err
		}
		if info.Status == durable.ExecutionRunning || info.EndedAt.After(opened) {
			return &info, nil
		}
	}
	return nil, nil
}

func sameInput(event workflow.Event, recorded json.RawMessage) bool {
	input, err := json.Marshal(event)
	return err == nil && bytes.Equal(input, recorded)
}

// attach returns the execution that was found, or starts one.
func (o runOptions) attach(ctx context.Context, e *durable.Engine, found *durable.ExecutionInfo, event workflow.Event) (*durable.Execution[workflow.Result], error) {
	if found == nil {
		var opts []durable.StartOption
		if o.id != "" {
			opts = append(opts, durable.WithExecutionID(o.id))
		}
		return workflow.Function.Start(ctx, e, event, opts...)
	}
	if found.Held != nil {
		// Code that did not fit what is recorded ran into it. Perhaps this fits.
		if err := e.Resume(ctx, found.ID); err != nil {
			return nil, err
		}
	}
	return workflow.Function.Attach(e, found.ID), nil
}
