package invocation

import (
	"errors"
	"fmt"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// Invoke starts an execution and waits for its result. input is called if it was not
// started before. c is left by Leave if there is no error.
func (c Context) Invoke(name, function string, s *Settings, input func() ([]byte, *fault.Failure)) (out Outcome, err error) {
	o, err := c.enter(history.Invoke, checkpoint.ChainedInvoke, name)
	if err != nil {
		return out, err
	}
	stays := false
	defer c.leaveUnless(&stays)
	if err = c.invoke(o, function, s, input); err == nil {
		out, err = c.outcome(o)
	}
	stays = err == nil
	return out, err
}

// invoke carries an invoke to its outcome. x.mu is held, but not on return with an error.
func (c Context) invoke(o *history.Operation, function string, s *Settings, input func() ([]byte, *fault.Failure)) error {
	f, x := c.f, c.f.x
	if o.Status != "" && o.Function != function {
		asked := history.Describe(history.Invoke, checkpoint.ChainedInvoke, o.Name) + " of function "
		return x.diverged(f, o.ID, asked+o.Function, asked+function)
	}
	if o.Status == "" {
		x.mu.Unlock()
		payload, failure := input()
		x.mu.Lock()
		if !x.mayGoOn(f) {
			return x.exit(f)
		}
		if by := o.CancelledBy(); by != nil {
			return x.refuse(o, by)
		}
		if failure == nil && !x.host.Knows(function) {
			failure = fault.Own("FunctionNotFound", fmt.Sprintf("function %q is not in Options.Functions of this engine", function))
		}
		target := "" // nothing is started
		if failure == nil {
			target = history.DerivedID(history.InvokedPrefix, x.Execution.Incarnation, o.ID)
		}
		now := x.host.Now()
		rec := checkpoint.Record{Type: checkpoint.ChainedInvokeStarted, SubType: checkpoint.ChainedInvoke, OperationID: o.ID, ParentID: o.RecordedParent(), Name: o.Name,
			Flags: o.Flags | checkpoint.FlagPayload, Time: now, Function: function, TargetID: target,
			Payload: payload, Codec: s.Codec, Timeout: int64(s.Timeout)}
		if s.Timeout > 0 {
			rec.TimeoutAt = history.After(now, int64(s.Timeout))
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
		before := x.keys.Invoked(o)
		x.mu.Unlock()
		err := x.host.Invoke(o, before)
		x.mu.Lock()
		if err == nil && (o.Dead() || o.Settled() && o.Status != history.Succeeded && o.Status != history.Failed) {
			// Abandoned, cancelled or timed out meanwhile, when there was nobody to be told.
			x.host.CancelInvoked(o.Target, "the operation that invoked it has ended")
		}
		if !x.mayGoOn(f) {
			return x.exit(f)
		}
		if errors.Is(err, checkpoint.ErrClosed) { // the engine shuts down: the replay will create it
			for !f.r.quitting {
				x.wait(f.r)
			}
			return x.exit(f)
		}
		if errors.Is(err, checkpoint.ErrExists) || errors.Is(err, checkpoint.ErrRunning) {
			x.holdNow(&Reason{Err: err, Record: &fault.Failure{Type: "error", Message: err.Error()}, Logged: "Engine.Describe tells"})
			return x.exit(f)
		}
		if err != nil && !o.Settled() {
			x.lost(err)
			return x.exit(f)
		}
	}
	return c.awaitOne(o)
}
