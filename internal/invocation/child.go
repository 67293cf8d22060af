package invocation

import (
	"bytes"
	"crypto/sha256"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// Child runs code in a child context on the caller's goroutine. c is left by Leave if there
// is no error.
func (c Context) Child(sub checkpoint.SubType, name string, s *Settings, fn Code) (out Outcome, err error) {
	f, x := c.f, c.f.x
	o, err := c.enter(history.Context, sub, name)
	if err != nil {
		return out, err
	}
	stays := false
	defer c.leaveUnless(&stays)
	f.skips(o)
	if !o.Settled() {
		if f.rebuild {
			return out, x.mismatched(f, o, "its outcome")
		}
		if err := c.startContext(o, s); err != nil {
			return out, err
		}
		below := x.newFrame(o, f)
		f.called = below
		x.mu.Unlock()
		x.runContext(below, s, fn)
		x.mu.Lock()
		if x.replay != nil && x.mayGoOn(f) && !o.Settled() {
			return out, x.beyond(f, o.ID, "its outcome")
		}
		if !o.Settled() || !x.mayGoOn(f) {
			return out, x.exit(f)
		}
	}
	out, err = c.contextOutcome(o, s, fn)
	stays = err == nil
	return out, err
}

// startContext records the start of a context, if it is new. A timeout must be
// durable before anything happens inside. The invocation's mu is held.
func (c Context) startContext(o *history.Operation, s *Settings) error {
	x := c.f.x
	if o.Status != "" {
		return nil
	}
	rec := &checkpoint.Record{Type: checkpoint.ContextStarted, SubType: o.SubType, OperationID: o.ID, ParentID: o.RecordedParent(), Name: o.Name, Flags: o.Flags}
	if s.Timeout == 0 {
		x.startLazily(o, rec)
		return nil
	}
	rec.Time = x.host.Now()
	rec.Timeout, rec.TimeoutAt = int64(s.Timeout), history.After(rec.Time, int64(s.Timeout))
	x.record(o, rec, nil)
	x.addDue(o)
	return x.await(c.f)
}

// runContext calls fn on its goroutine and records what it returned.
func (x *Invocation) runContext(f *frame, s *Settings, fn Code) {
	returned := false
	defer func() {
		if !returned { // or the invocation unwinds, and nothing is recorded
			x.endContext(f, s, exited())
		}
	}()
	r := fn(Context{f: f})
	returned = true
	x.endContext(f, s, r)
}

// exited is what code has returned that ended its goroutine.
func exited() Return {
	return Return{Failure: &fault.Failure{Type: "error", Message: ErrGoexit.Error()}, exited: true}
}

// endContext records the outcome of a context and ends its scope.
func (x *Invocation) endContext(f *frame, s *Settings, r Return) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.mayGoOn(f) || f.ended {
		return
	}
	o := f.op
	if problem := x.leftover(f); problem != nil {
		x.holdNow(problem)
		return
	}
	if f.rebuild {
		x.endRebuild(f, r)
		return
	}
	if x.replay != nil {
		return
	}
	defer func() {
		if f.onEnd != nil {
			f.onEnd()
		}
	}()
	if failure := x.contextFailure(o, r.Ended, r.Failure); failure != nil {
		x.closeOutside(o)
		x.settle(o, &checkpoint.Record{Type: checkpoint.ContextFailed}, failure)
		f.end()
		return
	}
	rec := checkpoint.Record{Type: checkpoint.ContextSucceeded, Codec: s.Codec}
	x.settleValue(o, &rec, r.Payload)
	f.end()
}

// settleValue records a context's value, or its digest if it is large.
// x.mu is held.
func (x *Invocation) settleValue(o *history.Operation, rec *checkpoint.Record, payload []byte) {
	rec.Payload, rec.Flags = payload, rec.Flags|checkpoint.FlagPayload
	if len(payload) > x.Inline {
		rec.Payload, rec.Flags, rec.Digest = nil, checkpoint.FlagRebuild, digestOf(payload)
	}
	x.closeOutside(o)
	x.settle(o, rec, nil)
	o.Payload = payload
	o.Flags &^= checkpoint.FlagRebuild // the value is at hand
}

// contextFailure is the failure of a context whose function returned an error,
// recorded by itself; ended: it says that a standard context has ended.
func (x *Invocation) contextFailure(o *history.Operation, ended bool, recorded *fault.Failure) *fault.Failure {
	by := o.CancelledBy()
	switch {
	case o.CancelSeq != 0 && o.CancelCause == "Timeout":
		return fault.Own("Timeout", "timed out after "+time.Duration(o.Timeout).String())
	case recorded == nil:
		return nil
	case by != nil && ended:
		return by.Cancelled()
	}
	return recorded
}

// leftover returns an error if f's function returned although the journal holds
// operations at positions that it never claimed. x.mu is held.
func (x *Invocation) leftover(f *frame) error {
	var o *history.Operation
	for next := f.counter + 1; next <= f.op.Last && (o == nil || o.FirstSeq == 0); next++ {
		o = x.ops[f.id(next)] // the first; a position may have been refused
	}
	if o == nil || o.FirstSeq == 0 {
		return nil
	}
	return &Mismatch{ExecutionID: x.id, OperationID: o.ID, Recorded: history.Describe(o.Type, o.SubType, o.Name), Asked: "nothing: the function returned"}
}

// contextOutcome returns the recorded outcome of a context, running it again if
// its value is not stored. The invocation's mu is held, and given up.
func (c Context) contextOutcome(o *history.Operation, s *Settings, fn Code) (Outcome, error) {
	f, x := c.f, c.f.x
	if o.Rebuilds() {
		below := x.newFrame(o, f)
		below.rebuild = true
		f.called = below
		x.mu.Unlock()
		x.runContext(below, s, fn)
		x.mu.Lock()
		if !x.mayGoOn(f) {
			return Outcome{}, x.exit(f)
		}
	}
	return c.outcome(o)
}

// endRebuild compares a value that was computed again with what is recorded.
// x.mu is held.
func (x *Invocation) endRebuild(f *frame, r Return) {
	o := f.op
	f.end()
	switch {
	case r.Failure != nil:
		x.holdNow(&Mismatch{ExecutionID: x.id, OperationID: o.ID, Recorded: "success", Asked: "an error while its value was rebuilt"})
	case !bytes.Equal(digestOf(r.Payload), o.Digest):
		x.holdNow(&Mismatch{ExecutionID: x.id, OperationID: o.ID, Recorded: "a large value by its digest", Asked: "another value when it was rebuilt: make the function deterministic, or store the value elsewhere and return a reference"})
	default:
		o.Payload = r.Payload
		o.Flags &^= checkpoint.FlagRebuild
	}
}

func digestOf(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}
