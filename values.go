package durable

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"

	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/invocation"
)

// values turns Go values and errors into what is recorded, and back: all that a handler
// needs of what it was registered with.
type values struct {
	codec       Codec
	limit       int // bytes of a payload
	errs        *errorRegistry
	interceptor Interceptor
	observer    *Observer
	logger      *slog.Logger // the user's, for handlers
	log         *slog.Logger // for own lines
	engine      *Engine      // nil: it is not one that hosts the execution
}

// public is an error of an invocation as handlers see it.
func (v *values) public(err error) error {
	switch e := err.(type) {
	case *invocation.Failed:
		return v.failed(e)
	case *invocation.Misuse:
		return &OpError{Type: e.Type.String(), ExecutionID: e.ExecutionID, OperationID: e.OperationID, Name: history.Truncated(e.Name), Err: e.Err, Hint: e.Hint}
	case *invocation.Mismatch:
		return &NonDeterministicError{ExecutionID: e.ExecutionID, OperationID: e.OperationID, Recorded: e.Recorded, Asked: e.Asked}
	}
	return err
}

func (v *values) failed(e *invocation.Failed) error {
	return &OpError{Type: e.Type.String(), ExecutionID: e.ExecutionID, OperationID: e.OperationID, Name: e.Name, Attempts: e.Attempts, Err: v.errs.rebuild(e.Failure)}
}

// returned is what code has returned, as it is recorded. The methods of an error are the
// user's code.
func (v *values) returned(payload []byte, err error) invocation.Return {
	if err == nil {
		return invocation.Return{Payload: payload}
	}
	err = finite(err)
	return invocation.Return{Failure: v.errs.record(err), Ended: isContextEnd(err), CutOff: v.retired() && fault.Is(err, ErrClosed)}
}

// recovered makes a panic of code what it has returned. It is deferred.
func (v *values) recovered(r *invocation.Return) {
	if p := recover(); p != nil {
		*r = v.returned(nil, &panicError{p, debug.Stack()})
	}
}

// isContextEnd reports whether err says that a standard context has ended.
func isContextEnd(err error) bool {
	return fault.Is(err, context.Canceled) || fault.Is(err, context.DeadlineExceeded)
}

// reason makes an error one to hold an execution for.
func (v *values) reason(err error) *invocation.Reason {
	r := &invocation.Reason{Err: err, Record: v.errs.record(v.public(err)), Logged: "Engine.Describe tells"}
	switch {
	case fault.Is(err, errSealer):
		r.Logged = "Options.Sealer can't open a value, does it lack a key? Engine.Describe tells more"
	case len(r.Record.Is) > 0: // it may wrap an error of the user's codec
		r.Logged = r.Record.Is[0] + ": Engine.Describe tells more"
	}
	return r
}

// codecFor is the codec to decode with: the operation's, or the engine's, or
// json, whichever is recorded.
func (v *values) codecFor(codec Codec, recorded string) (Codec, error) {
	if codec == nil {
		codec = v.codec
	}
	switch recorded {
	case "", codec.Name():
		return codec, nil
	case v.codec.Name():
		return v.codec, nil
	case JSON.Name():
		return JSON, nil
	}
	return nil, fmt.Errorf("%w: the payload was recorded with %q, which is neither the operation's codec (%q), nor the engine's (%q), nor json: give the operation that codec again",
		ErrCodec, recorded, codec.Name(), v.codec.Name())
}

// accepts is why what was recorded with a codec can't be decoded; nil: it can.
func (v *values) accepts(codec string) error {
	_, err := v.codecFor(nil, codec)
	return err
}

// codecName is the name that is recorded with what codec encodes.
func (v *values) codecName(codec Codec) string {
	if codec == nil {
		codec = v.codec
	}
	return codec.Name()
}

// encode encodes a value with a codec, or with the engine's.
func (v *values) encode(codec Codec, value any) ([]byte, error) {
	if codec == nil {
		codec = v.codec
	}
	return v.encodeWith(codec, value)
}

// decode decodes the outcome of an operation that c has not left.
func (c *Context) decode(out *invocation.Outcome, codec Codec, value any) error {
	o := out.O
	outside := o.Type == history.Callback || o.Type == history.Invoke
	recorded := o.Codec
	if outside {
		recorded = "" // the sender's affair
	}
	chosen, err := c.v.codecFor(codec, recorded)
	if err == nil {
		if err = decodeWith(chosen, out.Payload, value); err == nil {
			return nil
		}
		if outside { // what was sent is not what is awaited: the same error on each replay
			return &OpError{Type: o.Type.String(), ExecutionID: c.ExecutionID(), OperationID: o.ID, Name: o.Name, Err: c.v.errs.rebuild(c.v.errs.record(err))}
		}
	}
	return c.v.public(c.in.Undecodable(o, err))
}

// misused is the error of an operation that was given what it does not take.
func (c *Context) misused(typ history.Type, name string, err error, hint string) error {
	return &OpError{Type: typ.String(), ExecutionID: c.ExecutionID(), Name: history.Truncated(name), Err: err, Hint: hint}
}

// attempts is what bodies have in common.
type attempts struct {
	c         *Context
	retry     *RetryPolicy
	byDefault int
}

func (b *attempts) Begin(ctx context.Context, i *invocation.Info) context.Context {
	return b.c.v.attemptStarted(ctx, i)
}

func (b *attempts) End(ctx context.Context, i *invocation.Info, a invocation.Attempt) invocation.Attempt {
	v := b.c.v
	v.attemptEnded(ctx, i, a.Err)
	if a.Err == nil {
		return a
	}
	if ctx.Err() != nil && context.Cause(ctx) == ErrTimeout && !fault.Is(a.Err, ErrTimeout) {
		a.Err = fmt.Errorf("%w: %w", ErrTimeout, a.Err)
	}
	if !a.Recorded() {
		judged := b.Judge(a.Err, int(i.Failures))
		a.Failure, a.Again, a.Delay = judged.Failure, judged.Again, judged.Delay
	}
	a.CutOff = v.retired() && fault.Is(a.Err, ErrClosed) // it may have asked with another context
	return a
}

// Judge decides what follows a failed attempt. It calls the user's code: the policy's
// Retryable, and the error's methods.
func (b *attempts) Judge(err error, failures int) (a invocation.Attempt) {
	a = invocation.Attempt{Err: err, Failure: b.c.v.errs.record(err)}
	defer func() {
		if p := recover(); p != nil {
			a.Again, a.Delay = false, 0
			b.c.in.Invocation().Logger().Error("durable: RetryPolicy.Retryable panicked, the error is not retried", "panic", fmt.Sprintf("%T", p))
		}
	}()
	a.Delay, a.Again = b.retry.decide(err, failures, b.byDefault)
	return a
}

// retired reports whether the engine that hosts the execution takes no new work any more.
func (v *values) retired() bool { return v.engine != nil && v.engine.retired() }

// called makes a panic of a body an error with its stack. It is deferred.
func called(a *invocation.Attempt) {
	if p := recover(); p != nil {
		*a = invocation.Attempt{Err: &panicError{p, debug.Stack()}}
	}
	a.Err = finite(a.Err)
}
