package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/examples/helloworld/hello"
)

type runOptions struct {
	db       string
	input    string // "": the shipped event
	id       string // "": the newest unfinished execution
	callback string
	startNew bool
	quiet    bool
}

// shutdownGrace is how long steps that run may take to end after Ctrl-C.
const shutdownGrace = 10 * time.Second

// run runs the workflow to its end, or until ctx ends.
func (p program) run(ctx context.Context, o runOptions) error {
	event, err := readEvent(o.input, p.stdin)
	if err != nil {
		return err
	}
	board := newBoard(time.Now())
	display := newDisplay(p.stderr, board, o.quiet)
	engine, err := durable.Open(o.db, &durable.Options{
		Functions: []durable.Definition{workflow, hello.Function},
		Observer:  board.observer(),
		Logger:    display.logger(),
	})
	if err != nil {
		return err
	}
	defer engine.Close() // after Shutdown it does nothing

	loopback, err := listen(o.db, engine)
	if err != nil {
		return err
	}
	defer loopback.close()

	x, resumed, err := o.pick(ctx, engine, event)
	if err != nil {
		return err
	}
	if err := board.catchUp(ctx, engine, x.ID()); err != nil {
		return err
	}
	display.start(x.ID(), o.db, resumed)
	defer display.close()

	result, err := p.await(ctx, engine, x, board, display, o)
	loopback.close()
	if err != nil && ctx.Err() != nil {
		return p.suspend(engine, board, display, x.ID(), o)
	}
	display.close()
	if err != nil {
		return err
	}
	out := json.NewEncoder(p.stdout)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	if err := out.Encode(result); err != nil {
		return fmt.Errorf("write the result: %w: it is kept, -id %s prints it again", err, x.ID())
	}
	grace, cancel := context.WithTimeout(context.Background(), shutdownGrace)
	defer cancel()
	return engine.Shutdown(grace)
}

// pick finds the execution to go on with, or starts one.
func (o runOptions) pick(ctx context.Context, e *durable.Engine, event Event) (x *durable.Execution[Result], resumed bool, err error) {
	found, err := o.find(ctx, e)
	if err != nil {
		return nil, false, err
	}
	if found == nil {
		var opts []durable.StartOption
		if o.id != "" {
			opts = append(opts, durable.WithExecutionID(o.id))
		}
		x, err = workflow.Start(ctx, e, event, opts...)
		return x, false, err
	}
	switch {
	case o.startNew:
		return nil, false, fmt.Errorf("execution %s exists: leave -new out to go on with it, or give another -id", found.ID)
	case found.Function != workflow.Name():
		return nil, false, fmt.Errorf("execution %s is one of the function %q, not of %q", found.ID, found.Function, workflow.Name())
	case o.input != "" && !sameInput(event, found.Input):
		return nil, false, fmt.Errorf("execution %s (%s) has another input than %s: leave -input out to go on with it, or start another one with -new",
			found.ID, found.Status, o.input)
	}
	if found.Held != nil {
		// Code that did not fit what is recorded ran into it. Perhaps this fits.
		if err := e.Resume(ctx, found.ID); err != nil {
			return nil, false, err
		}
	}
	return workflow.Attach(e, found.ID), true, nil
}

// find returns the execution to go on with, nil if there is none.
func (o runOptions) find(ctx context.Context, e *durable.Engine) (*durable.ExecutionInfo, error) {
	if o.id != "" {
		info, err := e.Describe(ctx, o.id)
		if errors.Is(err, durable.ErrExecutionNotFound) {
			return nil, nil
		}
		return &info, err
	}
	if o.startNew {
		return nil, nil
	}
	newest := durable.Query{Function: workflow.Name(), Status: durable.ExecutionRunning, Limit: 1}
	for info, err := range e.Executions(ctx, newest) {
		return &info, err
	}
	return nil, nil
}

func sameInput(event Event, recorded json.RawMessage) bool {
	input, err := json.Marshal(event)
	return err == nil && bytes.Equal(input, recorded)
}

// await waits for the result, has the callback answered, and gives up when ctx
// ends or the execution can't go on with this code.
func (p program) await(ctx context.Context, e *durable.Engine, x *durable.Execution[Result], board *board, d *display, o runOptions) (Result, error) {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	go func() {
		if err := p.haveAnswered(ctx, e, x.ID(), d, o); err != nil && ctx.Err() == nil {
			giveUp(err)
		}
	}()
	go func() {
		for {
			info, err := e.Describe(ctx, x.ID())
			if err == nil && info.Held != nil {
				giveUp(fmt.Errorf("execution %s is held, because the code does not fit what is recorded of it: %w", x.ID(), info.Held))
				return
			}
			select {
			case <-board.leftMemory(x.ID()):
			case <-ctx.Done():
				return
			}
		}
	}()
	result, err := x.Result(ctx)
	if err != nil && ctx.Err() != nil {
		return result, context.Cause(ctx) // why it was given up
	}
	if failed, ok := errors.AsType[*durable.OpError](err); ok {
		err = fmt.Errorf("execution %s failed: %w", x.ID(), failed.Err)
	}
	return result, err
}

// haveAnswered answers the callback, or says how to.
func (p program) haveAnswered(ctx context.Context, e *durable.Engine, executionID string, d *display, o runOptions) error {
	if o.callback == callbackAuto {
		return playExternalSystem(ctx, e, executionID)
	}
	id, err := openCallback(ctx, e, executionID)
	if id == "" || err != nil {
		return err
	}
	d.note(fmt.Sprintf("Stage 2 waits for you to answer the callback\n\n    %s\n\nfor instance by one of\n\n    %s success '{\"approved\": true}'\n    %[2]s failure 'not approved'\n",
		id, o.commandLine("resume", id)))
	return nil
}

// suspend ends the program in the middle of an execution.
func (p program) suspend(e *durable.Engine, board *board, d *display, id string, o runOptions) error {
	grace, cancel := context.WithTimeout(context.Background(), shutdownGrace)
	defer cancel()
	err := e.Shutdown(grace)
	d.close() // only now: what ended meanwhile is shown
	if err != nil {
		fmt.Fprintln(p.stderr, "fullworkflow:", plain(err))
	}
	fmt.Fprintf(p.stderr, "Suspended in stage %d of %d; nothing is lost. Go on with\n\n    %s\n", board.current(id), len(stages), o.commandLine())
	return errInterrupted
}
