package durable

import (
	"context"
	"fmt"
	"strings"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
)

// Cancel asks an execution to end; the reason is part of the errors that its
// operations return. It is cooperative: its contexts end, waiting
// operations return ErrCanceled, running bodies see their context end, and later
// operations return ErrCanceled at once, except on WithoutCancel. The execution
// ends as its handler ends: with the value it returns, or FAILED, with a Failure
// of the type Canceled if that is the error it returns. Executions that it invoked are cancelled too. It
// does nothing to one that has ended, and a held one is cancelled when it runs.
// It returns once the request is durable.
func (e *Engine) Cancel(ctx context.Context, id, reason string) error {
	reason, err := e.reasonFor("cancel", reason)
	if err != nil {
		return err
	}
	s, err := e.find(ctx, id)
	if err != nil {
		return err
	}
	rec := checkpoint.Record{Type: checkpoint.CancelRequested, Payload: []byte(reason)}
	if err := e.sealRecord(&rec, s.Incarnation); err != nil {
		return err
	}
	open := e.whileOpen(ctx)
	defer open.left()
	err = e.store.Deliver(open, checkpoint.Delivery{ID: id, Incarnation: s.Incarnation, Record: rec})
	return e.lookup(id, err)
}

// Stop ends an execution at once with the status STOPPED. Nothing of it begins
// or is recorded any more; its contexts end; a body that ignores its context
// runs on, unrecorded. Executions that it invoked are cancelled. It does nothing
// to one that has ended.
func (e *Engine) Stop(ctx context.Context, id, reason string) error {
	reason, err := e.reasonFor("stop", reason)
	if err != nil {
		return err
	}
	s, err := e.find(ctx, id)
	if err != nil && !partly(&s, err) {
		return err
	}
	message := "stopped"
	if reason != "" {
		message += ": " + reason
	}
	if err := e.end(ctx, &s, checkpoint.Stopped, fault.Own("Stopped", message)); err != nil {
		return e.lookup(id, err)
	}
	e.mu.Lock()
	x := e.residents[id]
	if e.arriving > 0 {
		e.stopped[s.Incarnation] = struct{}{} // it may be among them
	}
	e.mu.Unlock()
	if x != nil && x.is(&s) {
		x.stopNow(ErrStopped)
	}
	e.answering(id, ctx.Done())
	return nil
}

// is reports whether the resident is of the execution whose summary s is, as far as that
// could be read.
func (r *resident) is(s *checkpoint.Summary) bool {
	return s.Incarnation.IsZero() || s.Incarnation == r.x.Summary().Incarnation
}

// reasonFor is a reason as it will be recorded: text, like the errors it is part of.
func (e *Engine) reasonFor(what, reason string) (string, error) {
	if len(reason) > e.opts.MaxPayload {
		return "", fmt.Errorf("%w: the reason to %s is %s, the limit is %s", ErrPayloadTooLarge, what, formatBytes(len(reason)), formatBytes(e.opts.MaxPayload))
	}
	return strings.ToValidUTF8(reason, "\uFFFD"), nil
}

// end gives an execution a final status in the store.
func (e *Engine) end(ctx context.Context, s *checkpoint.Summary, status checkpoint.Status, failure *fault.Failure) error {
	rec := checkpoint.Record{Type: checkpoint.ExecutionStopped, Failure: fault.Encode(failure)}
	if status == checkpoint.TimedOut {
		rec.Type = checkpoint.ExecutionTimedOut
	}
	deliver := e.tellCaller(s, status, nil, rec.Failure)
	if err := e.sealRecord(&rec, s.Incarnation); err != nil {
		return err
	}
	for i := range deliver {
		if err := e.sealRecord(&deliver[i].Record, deliver[i].Incarnation); err != nil {
			return err
		}
	}
	e.mu.Lock()
	if e.shut {
		e.mu.Unlock()
		return ErrClosed
	}
	e.telling.Add(1)
	e.mu.Unlock()
	defer e.telling.Done()
	open := e.whileOpen(ctx) // who closes the engine waits for this
	defer open.left()
	ended, err := e.store.End(open, checkpoint.Ending{ID: s.ID, Incarnation: s.Incarnation, Status: status, Record: rec, Deliver: deliver})
	if ended {
		e.executionEnded(s, status, e.now(), failure)
	}
	return err
}

// tellCaller is what the caller of an execution is told of its end, when it has been sealed.
func (e *Engine) tellCaller(s *checkpoint.Summary, status checkpoint.Status, payload, failure []byte) []checkpoint.Delivery {
	if s.Caller == nil {
		return nil
	}
	types := map[checkpoint.Status]checkpoint.EventType{
		checkpoint.Succeeded: checkpoint.ChainedInvokeSucceeded, checkpoint.Failed: checkpoint.ChainedInvokeFailed,
		checkpoint.TimedOut: checkpoint.ChainedInvokeTimedOut, checkpoint.Stopped: checkpoint.ChainedInvokeStopped,
	}
	rec := checkpoint.Record{Type: types[status], SubType: checkpoint.ChainedInvoke, OperationID: s.Caller.OperationID, Payload: payload,
		Codec: e.opts.Codec.Name(), Failure: failure}
	if len(failure) == 0 {
		rec.Flags |= checkpoint.FlagPayload
	}
	return []checkpoint.Delivery{{ID: s.Caller.ID, Incarnation: s.Caller.Incarnation, Record: rec}}
}

// tellAgain tells the caller of an execution of its end once more. It was told with the
// end; but if the store has lost what it had acknowledged, as in a failover, it may have
// been before the caller began, again, to wait for it.
func (e *Engine) tellAgain(ctx context.Context, s *checkpoint.Summary) error {
	ended := s.Ended
	if err := e.openRecord(&ended, s.Incarnation); err != nil {
		return err
	}
	for _, d := range e.tellCaller(s, s.Status, ended.Payload, ended.Failure) {
		if err := e.sealRecord(&d.Record, d.Incarnation); err != nil {
			return err
		}
		d.Record.Time = s.EndedAt
		if err := e.store.Deliver(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// Resume lifts a hold: the execution is tried again with this engine's code.
func (e *Engine) Resume(ctx context.Context, id string) error {
	if _, err := e.find(ctx, id); err != nil {
		return err
	}
	open := e.whileOpen(ctx)
	defer open.left()
	return e.lookup(id, e.store.Resume(open, id))
}

// Delete removes an execution that has ended; ErrExecutionRunning otherwise. One that is
// damaged can be deleted, too, after Stop if it has not ended.
func (e *Engine) Delete(ctx context.Context, id string) error {
	s, err := e.find(ctx, id)
	if err != nil && !partly(&s, err) {
		return err
	}
	open := e.whileOpen(ctx)
	defer open.left()
	if err = e.store.Delete(open, id); err == nil {
		e.mu.Lock()
		var old *resident
		if x := e.residents[id]; x != nil && x.is(&s) {
			old = e.supersede(id, checkpoint.Incarnation{})
		}
		e.mu.Unlock()
		old.stopNow(ErrStopped)
		e.feed.tell(id)
	}
	return e.lookup(id, err)
}
