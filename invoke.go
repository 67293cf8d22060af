package durable

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/jsonform"
)

// Invoke starts an execution of f and waits for its result. The execution has
// an ID that derives from this operation, so it is started once, however often
// the caller is replayed; it is listed and addressed like any other. Its failure
// is an error here: ErrStopped and ErrTimeout if it was stopped or timed out.
// Cancelling, stopping or ending the caller cancels it.
//
// The caller leaves memory while it waits. Costs one flush before the execution
// is started, and one to start it.
//
// Options: WithTimeout (the execution is then cancelled), WithCodec.
func Invoke[I, O any](ctx *Context, name string, f *Function[I, O], in I, opts ...InvokeOption) (O, error) {
	if f == nil {
		panic(fmt.Errorf("durable: invoke: %w", errNoFunction))
	}
	var out O
	s := invokeSettings(opts)
	err := ctx.invoke(name, f.name, func() ([]byte, error) {
		if s.codec != nil { // what it makes is decoded by another one
			return ctx.v.encodeWith(s.codec, in)
		}
		return encodeInput(ctx.v, f.name, in)
	}, &s, &out)
	return out, err
}

// InvokeByName is Invoke by the name of the function. If the engine does not have
// it, the operation fails with ErrFunctionNotFound, for good; on a store that
// processes share, the execution waits for one that has it.
func InvokeByName[O any](ctx *Context, name, function string, in any, opts ...InvokeOption) (O, error) {
	var out O
	s := invokeSettings(opts)
	err := ctx.invoke(name, function, func() ([]byte, error) { return ctx.v.encode(s.codec, in) }, &s, &out)
	return out, err
}

func (c *Context) invoke(name, function string, encode func() ([]byte, error), s *settings, out any) error {
	if err := cmp.Or(s.check(), history.CheckID("function name", function)); err != nil {
		return c.misused(history.Invoke, name, err, "")
	}
	result, err := c.in.Invoke(name, function, s.named(c.v), func() ([]byte, *fault.Failure) {
		input, err := encode()
		if err != nil {
			err = fmt.Errorf("input: %w", err)
		}
		return input, c.v.errs.recordAny(err)
	})
	if err != nil {
		return c.v.public(err)
	}
	defer c.in.Leave()
	return c.decode(&result, s.codec, out)
}

// createInvoked creates the execution that an invoke asks for. It does nothing
// if it exists, or if the caller has ended meanwhile.
func (r *resident) createInvoked(o *history.Operation, before *history.Known) error {
	e := r.e
	ctx := context.WithoutCancel(e.life)
	caller := &checkpoint.Caller{ID: r.id, Incarnation: r.x.Summary().Incarnation, OperationID: o.ID}
	var err error
	if before == nil {
		err = e.create(ctx, o.Target, o.Function, o.Payload, 0, caller, "")
	} else {
		err = e.createAgain(ctx, before, o.Target, o.Function, o.Payload, caller)
	}
	if errors.Is(err, checkpoint.ErrEnded) {
		return nil
	}
	return err
}

// createAgain creates the execution of an invoke that had started another one, in an
// execution that its caller began as. To the store it is the same one as without that.
func (e *Engine) createAgain(ctx context.Context, before *history.Known, id, function string, input []byte, caller *checkpoint.Caller) error {
	c, err := e.creation(ctx, id, function, input, 0, caller, "")
	if err != nil {
		return err
	}
	var j *history.Ended
	err = ErrExecutionNotFound
	if before.Invoked != "" { // else it is in another store
		j, err = e.endedJournal(ctx, before.Invoked)
	}
	switch {
	case errors.Is(err, ErrExecutionNotFound):
		if !before.Fresh {
			c.Started.Keys = history.NewKeys(checkpoint.Incarnation(before.Base)).Encode()
		}
	case err != nil:
		return err
	default:
		var kept []checkpoint.Record
		var b *history.Blame
		if before.Retry && j.Summary.Function == function && bytes.Equal(jsonform.Compact(j.Records[0].Payload), jsonform.Compact(input)) {
			kept, b = j.WithoutFailure()
		}
		if err := e.beginAs(ctx, &c, j, kept, b, before.Fresh); err != nil {
			return fmt.Errorf("durable: start execution %s as %s: %w", id, before.Invoked, err)
		}
	}
	if err := e.sealAll(&c); err != nil {
		return fmt.Errorf("durable: start %q: %w", function, err)
	}
	return e.put(ctx, &c, input, true)
}
