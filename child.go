package durable

import (
	"bytes"
	"context"
	"crypto/sha256"
	"runtime/debug"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// RunInChildContext runs fn with a context of its own, whose operations count
// their own positions, and records its result. Once that is recorded fn is not
// run again, unless the encoded result is larger than Options.InlineResult: then
// only its digest is recorded, and a replay runs fn again, over the recorded
// operations inside, to have the value.
//
// An error that fn returns is an *OpError outside. When fn returns, whatever it
// started with Go and did not await is cancelled and can record nothing more.
//
// Options: WithTimeout (what runs or waits inside is then cancelled with
// ErrTimeout, also a wait for what was started outside, and so the operation ends),
// WithCodec.
func RunInChildContext[O any](ctx *Context, name string, fn func(*Context) (O, error), opts ...ChildOption) (O, error) {
	var out decoded[O]
	s := childSettings(opts)
	err := ctx.child(checkpoint.RunInChildContext, name, &s, encoding(s.codec, fn, &out), &out)
	if err != nil {
		var none O
		return none, err
	}
	return out.value, nil
}

// contextFunc is the function of a context; it returns its encoded value.
type contextFunc func(*Context) ([]byte, error)

// encoding makes a contextFunc of a user's function. What it returned is in
// out, too, if there is one.
func encoding[O any](codec Codec, fn func(*Context) (O, error), out *decoded[O]) contextFunc {
	return func(c *Context) ([]byte, error) {
		if fn == nil {
			panic(errNoBody)
		}
		v, err := fn(c)
		if err != nil {
			return nil, err
		}
		made := out
		if made == nil {
			made = new(decoded[O])
		}
		return made.encode(c.f.x.e, codec, v)
	}
}

// child runs fn in a child context on the caller's goroutine.
func (c *Context) child(sub checkpoint.SubType, name string, s *settings, fn contextFunc, out any) error {
	f, x := c.f, c.f.x
	if err := s.check(); err != nil {
		return x.misused(f, history.Context, name, err, "")
	}
	o, err := c.enter(history.Context, sub, name)
	if err != nil {
		return err
	}
	defer c.leave()
	f.skips(o)
	if !o.Settled() {
		if f.rebuild {
			return x.mismatched(f, o, "its outcome")
		}
		if err := c.startContext(o, s); err != nil {
			return err
		}
		below := x.newFrame(o, f)
		f.called = below
		x.mu.Unlock()
		x.runContext(below, s, fn)
		x.mu.Lock()
		if x.replay != nil && x.mayGoOn(f) && !o.Settled() {
			return x.beyond(f, o.ID, "its outcome")
		}
		if !o.Settled() || !x.mayGoOn(f) {
			return x.exit(f)
		}
	}
	return c.contextOutcome(o, s, fn, out)
}

// startContext records the start of a context, if it is new. A timeout must be
// durable before anything happens inside. The residency's mu is held.
func (c *Context) startContext(o *history.Operation, s *settings) error {
	x := c.f.x
	if o.Status != "" {
		return nil
	}
	rec := &checkpoint.Record{Type: checkpoint.ContextStarted, SubType: o.SubType, OperationID: o.ID, ParentID: o.RecordedParent(), Name: o.Name, Flags: o.Flags}
	if s.timeout == 0 {
		x.startLazily(o, rec)
		return nil
	}
	rec.Time = x.e.now()
	rec.Timeout, rec.TimeoutAt = int64(s.timeout), history.After(rec.Time, int64(s.timeout))
	x.record(o, rec, nil)
	x.addDue(o)
	return x.await(c.f)
}

// runContext calls fn on its goroutine and records what it returned.
func (x *residency) runContext(f *frame, s *settings, fn contextFunc) {
	returned := false
	var payload []byte
	var err error
	defer func() {
		if returned {
			return
		}
		if p := recover(); p != nil {
			err = &panicError{p, debug.Stack()}
		} else {
			err = errGoexit // or the residency unwinds, and nothing is recorded
		}
		x.endContext(f, s, nil, err)
	}()
	payload, err = fn(&Context{f: f})
	returned = true
	x.endContext(f, s, payload, err)
}

// endContext records the outcome of a context and ends its scope.
func (x *residency) endContext(f *frame, s *settings, payload []byte, err error) {
	err = finite(err)
	recorded, ended := x.e.errs.recordAny(err), isContextEnd(err) // the error's methods are the user's code
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
		x.endRebuild(f, payload, err)
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
	if failure := x.contextFailure(o, ended, recorded); failure != nil {
		x.closeOutside(o)
		x.settle(o, &checkpoint.Record{Type: checkpoint.ContextFailed}, failure)
		f.end()
		return
	}
	rec := checkpoint.Record{Type: checkpoint.ContextSucceeded, Codec: x.e.codecName(s.codec)}
	x.settleValue(o, &rec, payload)
	f.end()
}

// settleValue records a context's value, or its digest if it is large.
// x.mu is held.
func (x *residency) settleValue(o *history.Operation, rec *checkpoint.Record, payload []byte) {
	rec.Payload, rec.Flags = payload, rec.Flags|checkpoint.FlagPayload
	if len(payload) > x.e.opts.InlineResult {
		rec.Payload, rec.Flags, rec.Digest = nil, checkpoint.FlagRebuild, digestOf(payload)
	}
	x.closeOutside(o)
	x.settle(o, rec, nil)
	o.Payload = payload
	o.Flags &^= checkpoint.FlagRebuild // the value is at hand
}

// isContextEnd reports whether err says that a standard context has ended.
func isContextEnd(err error) bool {
	return fault.Is(err, context.Canceled) || fault.Is(err, context.DeadlineExceeded)
}

// contextFailure is the failure of a context whose function returned an error,
// recorded by itself; ended: it says that a standard context has ended.
func (x *residency) contextFailure(o *history.Operation, ended bool, recorded *fault.Failure) *fault.Failure {
	by := o.CancelledBy()
	switch {
	case o.CancelSeq != 0 && o.CancelCause == "Timeout":
		return fault.Own("Timeout", "timed out after "+durationOf(o.Timeout).String())
	case recorded == nil:
		return nil
	case by != nil && ended:
		return by.Cancelled()
	}
	return recorded
}

// leftover returns an error if f's function returned although the journal holds
// operations at positions that it never claimed. x.mu is held.
func (x *residency) leftover(f *frame) error {
	var o *history.Operation
	for next := f.counter + 1; next <= f.op.Last && (o == nil || o.FirstSeq == 0); next++ {
		o = x.ops[f.id(next)] // the first; a position may have been refused
	}
	if o == nil || o.FirstSeq == 0 {
		return nil
	}
	return &NonDeterministicError{ExecutionID: x.id, OperationID: o.ID, Recorded: history.Describe(o.Type, o.SubType, o.Name), Asked: "nothing: the function returned"}
}

// contextOutcome returns the recorded outcome of a context, running it again if
// its value is not stored. The residency's mu is held, and given up.
func (c *Context) contextOutcome(o *history.Operation, s *settings, fn contextFunc, out any) error {
	f, x := c.f, c.f.x
	if o.Rebuilds() {
		below := x.newFrame(o, f)
		below.rebuild = true
		f.called = below
		x.mu.Unlock()
		x.runContext(below, s, fn)
		x.mu.Lock()
		if !x.mayGoOn(f) {
			return x.exit(f)
		}
	}
	return c.outcome(o, s.codec, out)
}

// endRebuild compares a value that was computed again with what is recorded.
// x.mu is held.
func (x *residency) endRebuild(f *frame, payload []byte, err error) {
	o := f.op
	f.end()
	switch {
	case err != nil:
		x.holdNow(&NonDeterministicError{ExecutionID: x.id, OperationID: o.ID, Recorded: "success", Asked: "an error while its value was rebuilt"})
	case !bytes.Equal(digestOf(payload), o.Digest):
		x.holdNow(&NonDeterministicError{ExecutionID: x.id, OperationID: o.ID, Recorded: "a large value by its digest", Asked: "another value when it was rebuilt: make the function deterministic, or store the value elsewhere and return a reference"})
	default:
		o.Payload = payload
		o.Flags &^= checkpoint.FlagRebuild
	}
}

func digestOf(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}
