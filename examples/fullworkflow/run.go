package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/examples/fullworkflow/workflow"
	"github.com/durable-go/durable/examples/helloworld/hello"
)

// Who answers the callback.
const (
	callbackAuto   = "auto"   // this program
	callbackManual = "manual" // whoever runs resume
)

type runOptions struct {
	db       string
	input    string // "": the shipped event
	id       string // "": the newest unfinished execution
	callback string
	startNew bool
	quiet    bool
	ui       bool // the console is told of, and stays after the result
}

// shutdownGrace is how long steps that run may take to end after Ctrl-C.
const shutdownGrace = 10 * time.Second

// run runs the workflow to its end, or until ctx ends.
func (p program) run(ctx context.Context, o runOptions) error {
	event, err := workflow.ReadEvent(o.input, p.stdin)
	if err != nil {
		return err
	}
	opened := time.Now()
	board := newBoard(opened)
	display := newDisplay(p.stderr, board, o.quiet)
	engine, err := durable.Open(o.db, &durable.Options{
		Functions: []durable.Definition{workflow.Function, hello.Function},
		Observer:  board.observer(),
		Logger:    display.logger(),
	})
	if err != nil {
		return err
	}
	defer engine.Close() // after Shutdown it does nothing

	loopback, err := listen(o.db, engine, display.logger())
	switch {
	case err != nil && o.ui:
		return err
	case err != nil:
		display.note("resume and history can't reach this program while it runs: " + plain(err))
	}
	defer loopback.close()

	found, err := o.find(ctx, engine, opened, event)
	if err != nil {
		return err
	}
	x, err := o.attach(ctx, engine, found, event)
	if err != nil {
		return err
	}
	if err := board.catchUp(ctx, engine, x.ID()); err != nil {
		return err
	}
	if o.ui {
		display.note("The console is at\n\n    " + loopback.address + "\n")
	}
	display.start(x.ID(), beginning(found, x.ID(), o.db, board))
	defer display.close()

	r := &attended{x, engine, board, display, o}
	result, err := r.result(ctx)
	if err != nil && ctx.Err() != nil {
		loopback.close()
		return p.suspend(r)
	}
	display.close()
	if err == nil {
		err = p.print(result, x.ID())
	}
	if o.ui {
		p.stay(ctx, err)
	}
	loopback.close()
	// What else was unfinished in the file goes on when it is opened again.
	grace, cancel := context.WithTimeout(context.Background(), shutdownGrace)
	defer cancel()
	engine.Shutdown(grace)
	return err
}

func (p program) print(result workflow.Result, id string) error {
	out := json.NewEncoder(p.stdout)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	if err := out.Encode(result); err != nil {
		return fmt.Errorf("write the result: %w: it is kept, -id %s prints it again", err, id)
	}
	return nil
}

// stay keeps the console open for whoever looks at how it ended.
func (p program) stay(ctx context.Context, err error) {
	if err != nil {
		fmt.Fprintln(p.stderr, "It has no result:", plain(err))
	}
	fmt.Fprintln(p.stderr, "The console stays open until Ctrl-C.")
	<-ctx.Done()
}

// beginning says what this process does with an execution.
func beginning(found *durable.ExecutionInfo, id, db string, b *board) string {
	switch {
	case found == nil:
		return fmt.Sprintf("Execution %s begins in %s.\n", id, db)
	case found.Status != durable.ExecutionRunning:
		return fmt.Sprintf("Execution %s in %s has ended.\n", id, db)
	}
	return fmt.Sprintf("Execution %s in %s goes on where it was:\n%d of %d stages are recorded.\n", id, db, b.replayed(id), len(workflow.Stages))
}

// attended is an execution that the program waits for.
type attended struct {
	*durable.Execution[workflow.Result]
	engine  *durable.Engine
	board   *board
	display *display
	opts    runOptions
}

// result waits for the result and has the callback answered meanwhile. It gives
// up when ctx ends, or the execution can't go on with this code.
func (a *attended) result(ctx context.Context) (workflow.Result, error) {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	go func() {
		if err := a.answer(ctx); err != nil {
			giveUp(err)
		}
	}()
	go func() {
		if err := a.watchHold(ctx); err != nil {
			giveUp(err)
		}
	}()
	result, err := a.Result(ctx)
	if err != nil && ctx.Err() != nil {
		return result, context.Cause(ctx) // why it was given up
	}
	if failed, ok := errors.AsType[*durable.OpError](err); ok {
		err = fmt.Errorf("execution %s failed: %w", a.ID(), failed.Err)
	}
	return result, err
}

// answer answers the callback, or says how to.
func (a *attended) answer(ctx context.Context) error {
	if a.opts.callback == callbackAuto {
		return workflow.PlayExternalSystem(ctx, a.engine, a.ID())
	}
	id, _, err := workflow.OpenCallback(ctx, a.engine, a.ID())
	if id == "" || err != nil {
		return err
	}
	a.display.note(fmt.Sprintf(`Stage 2 waits for you to answer the callback

    %s

for instance by one of

    %s success '{"approved": true}'
    %[2]s failure 'not approved'
`, id, a.opts.commandLine("resume", id)))
	return nil
}

// watchHold returns an error when the execution is held, because the code does
// not fit what other code recorded of it.
func (a *attended) watchHold(ctx context.Context) error {
	for {
		info, err := a.engine.Describe(ctx, a.ID())
		if err == nil && info.Held != nil {
			return fmt.Errorf("execution %s is held: %w", a.ID(), info.Held)
		}
		select {
		case <-a.board.leftMemory(a.ID()):
		case <-ctx.Done():
			return nil
		}
	}
}

// suspend ends the program in the middle of an execution.
func (p program) suspend(a *attended) error {
	grace, cancel := context.WithTimeout(context.Background(), shutdownGrace)
	defer cancel()
	err := a.engine.Shutdown(grace)
	a.display.close() // only now: what ended meanwhile is shown
	if err != nil {
		fmt.Fprintln(p.stderr, "fullworkflow:", plain(err))
	}
	fmt.Fprintf(p.stderr, "Suspended in stage %d of %d; nothing is lost. Go on with\n\n    %s\n",
		a.board.current(a.ID()), len(workflow.Stages), a.opts.commandLine())
	return errInterrupted
}
