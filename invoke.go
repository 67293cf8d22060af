package durable

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/durable-go/durable/checkpoint"
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
		return x.misused(f, typeInvoke, name, err, "")
	}
	if err := checkID("function name", function); err != nil {
		return x.misused(f, typeInvoke, name, err, "")
	}
	o, err := c.enter(typeInvoke, checkpoint.ChainedInvoke, name)
	if err != nil {
		return err
	}
	defer c.leave()
	if o.status != "" && o.function != function {
		asked := describeOp(typeInvoke, checkpoint.ChainedInvoke, name) + " of function "
		return x.diverged(f, o.id, asked+o.function, asked+function)
	}
	if o.status == "" {
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
		if by := o.cancelledBy(); by != nil {
			return x.refuse(o, by)
		}
		if failure == nil && !x.e.has(function) && !x.e.shared {
			failure = ownFailure("FunctionNotFound", fmt.Sprintf("function %q is not in Options.Functions of this engine", function))
		}
		target := "" // nothing is started
		if failure == nil {
			target = derivedID(invokedPrefix, x.sum.Incarnation, o.id)
		}
		now := x.e.now()
		rec := checkpoint.Record{Type: checkpoint.ChainedInvokeStarted, SubType: checkpoint.ChainedInvoke, OperationID: o.id, ParentID: o.recordedParent(), Name: name,
			Flags: o.flags | checkpoint.FlagPayload, Time: now, Function: function, TargetID: target,
			Payload: input, Codec: x.e.codecName(s.codec), Timeout: int64(s.timeout)}
		if s.timeout > 0 {
			rec.TimeoutAt = after(now, int64(s.timeout))
		}
		x.record(o, &rec, nil)
		x.waitsOutside(o)
		if failure != nil {
			x.settle(o, &checkpoint.Record{Type: checkpoint.ChainedInvokeFailed}, failure)
		} else {
			x.addDue(o)
		}
	}
	if !o.settled() {
		if err := x.await(f); err != nil {
			return err
		}
	}
	if !o.settled() && x.replay == nil {
		target, payload := o.target, o.payload
		x.mu.Unlock()
		err := x.e.createInvoked(x, o, target, function, payload)
		x.mu.Lock()
		if err == nil && (o.dead() || o.settled() && o.status != OperationSucceeded && o.status != OperationFailed) {
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
		if err != nil && !o.settled() {
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
func (e *Engine) createInvoked(x *residency, o *operation, id, function string, input []byte) error {
	ctx := context.WithoutCancel(e.life)
	caller := &checkpoint.Caller{ID: x.id, Incarnation: x.sum.Incarnation, OperationID: o.id}
	var err error
	if before := x.keys.invoked(o); before == nil {
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
func (e *Engine) createAgain(ctx context.Context, before *knownOperation, id, function string, input []byte, caller *checkpoint.Caller) error {
	c, err := e.creation(ctx, id, function, input, 0, caller, "")
	if err != nil {
		return err
	}
	var j *endedJournal
	err = ErrExecutionNotFound
	if before.Invoked != "" { // else it is in another store
		j, err = e.endedJournal(ctx, before.Invoked)
	}
	switch {
	case errors.Is(err, ErrExecutionNotFound):
		if !before.Fresh {
			c.Started.Keys = newKeys(checkpoint.Incarnation(before.Base)).encode()
		}
	case err != nil:
		return err
	default:
		var kept []checkpoint.Record
		var b *blame
		if before.Retry && j.sum.Function == function && bytes.Equal(compactJSON(j.records[0].Payload), compactJSON(input)) {
			kept, b = j.withoutFailure()
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
