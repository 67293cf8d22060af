package durable

import (
	"bytes"
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
			return ctx.f.x.e.encodeWith(s.codec, in)
		}
		return encodeInput(ctx.f.x.e, f.name, in)
	}, &s, &out)
	return out, err
}

// InvokeByName is Invoke by the name of the function. If the engine does not have
// it, the operation fails with ErrFunctionNotFound, for good; on a store that
// processes share, the execution waits for one that has it.
func InvokeByName[O any](ctx *Context, name, function string, in any, opts ...InvokeOption) (O, error) {
	var out O
	s := invokeSettings(opts)
	err := ctx.invoke(name, function, func() ([]byte, error) { return ctx.f.x.e.encode(s.codec, in) }, &s, &out)
	return out, err
}

func (c *Context) invoke(name, function string, encode func() ([]byte, error), s *settings, out any) error {
	f, x := c.f, c.f.x
	if err := s.check(); err != nil {
		return x.misused(f, history.Invoke, name, err, "")
	}
	if err := history.CheckID("function name", function); err != nil {
		return x.misused(f, history.Invoke, name, err, "")
	}
	o, err := c.enter(history.Invoke, checkpoint.ChainedInvoke, name)
	if err != nil {
		return err
	}
	defer c.leave()
	if o.Status != "" && o.Function != function {
		asked := history.Describe(history.Invoke, checkpoint.ChainedInvoke, name) + " of function "
		return x.diverged(f, o.ID, asked+o.Function, asked+function)
	}
	if o.Status == "" {
		x.mu.Unlock()
		input, err := encode()
		if err != nil {
			err = fmt.Errorf("input: %w", err)
		}
		failure := x.e.errs.recordAny(err)
		x.mu.Lock()
		if !x.mayGoOn(f) {
			return x.exit(f)
		}
		if by := o.CancelledBy(); by != nil {
			return x.refuse(o, by)
		}
		if failure == nil && !x.e.has(function) && !x.e.shared {
			failure = fault.Own("FunctionNotFound", fmt.Sprintf("function %q is not in Options.Functions of this engine", function))
		}
		target := "" // nothing is started
		if failure == nil {
			target = history.DerivedID(history.InvokedPrefix, x.sum.Incarnation, o.ID)
		}
		now := x.e.now()
		rec := checkpoint.Record{Type: checkpoint.ChainedInvokeStarted, SubType: checkpoint.ChainedInvoke, OperationID: o.ID, ParentID: o.RecordedParent(), Name: name,
			Flags: o.Flags | checkpoint.FlagPayload, Time: now, Function: function, TargetID: target,
			Payload: input, Codec: x.e.codecName(s.codec), Timeout: int64(s.timeout)}
		if s.timeout > 0 {
			rec.TimeoutAt = history.After(now, int64(s.timeout))
		}
		x.record(o, &rec, nil)
		x.waitsOutside(o)
		if failure != nil {
			x.settle(o, &checkpoint.Record{Type: checkpoint.ChainedInvokeFailed}, failure)
		} else {
			x.addDue(o)
		}
	}
	if !o.Settled() {
		if err := x.await(f); err != nil {
			return err
		}
	}
	if !o.Settled() && x.replay == nil {
		target, payload := o.Target, o.Payload
		x.mu.Unlock()
		err := x.e.createInvoked(x, o, target, function, payload)
		x.mu.Lock()
		if err == nil && (o.Dead() || o.Settled() && o.Status != history.Succeeded && o.Status != history.Failed) {
			// Abandoned, cancelled or timed out meanwhile, when there was nobody to be told.
			go x.e.store.Deliver(context.WithoutCancel(x.e.life), cancelDelivery(target, "the operation that invoked it has ended"))
		}
		if !x.mayGoOn(f) {
			return x.exit(f)
		}
		if errors.Is(err, ErrClosed) { // the engine shuts down: the replay will create it
			for !f.r.quitting {
				f.r.woken.Wait()
			}
			return x.exit(f)
		}
		if errors.Is(err, ErrExecutionExists) || errors.Is(err, ErrExecutionRunning) {
			x.holdNow(err)
			return x.exit(f)
		}
		if err != nil && !o.Settled() {
			x.lost(err)
			return x.exit(f)
		}
	}
	if err := c.awaitOne(o); err != nil {
		return err
	}
	return c.outcome(o, s.codec, out)
}

// createInvoked creates the execution that an invoke asks for. It does nothing
// if it exists, or if the caller has ended meanwhile.
func (e *Engine) createInvoked(x *residency, o *history.Operation, id, function string, input []byte) error {
	ctx := context.WithoutCancel(e.life)
	caller := &checkpoint.Caller{ID: x.id, Incarnation: x.sum.Incarnation, OperationID: o.ID}
	var err error
	if before := x.keys.Invoked(o); before == nil {
		err = e.create(ctx, id, function, input, 0, caller, "")
	} else {
		err = e.createAgain(ctx, before, id, function, input, caller)
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
