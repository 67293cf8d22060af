package durable

import (
	"context"
	"log/slog"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/invocation"
)

// None is the result of what has none.
type None = struct{}

// Step runs fn and records its result: once that is recorded, fn never runs
// again, and replays return the recorded result or error.
//
// fn runs at least once: an attempt that a crash cut off is made again, with the
// same attempt number; with AtMostOnce it counts as failed instead. An error is
// retried by the default policy (6 attempts, 5 s to 60 s apart, full jitter) or
// the one of WithRetry; between attempts the execution may leave memory. A panic
// is a failed attempt. The value returned is the one decoded from the record,
// also on the first run.
//
// fn gets a plain context.Context, which ends on cancel, timeout and stop. Its
// Deadline is the next timeout that will end it: of the attempt, of the operation, of
// a context around it, or of the execution. StepInfoFrom tells more about the attempt.
// fn must not use the *Context of its handler.
//
// A step that runs costs one flush of the disk, shared with whatever else is
// ready; its result is awaited by the next effect, not by Step.
//
// Options: WithRetry, WithTimeout, WithAttemptTimeout, AtMostOnce, WithCodec.
func Step[O any](ctx *Context, name string, fn func(context.Context) (O, error), opts ...StepOption) (O, error) {
	s := stepSettings(opts)
	codec, vs := s.codec, ctx.v
	v, err := ctx.step(checkpoint.Step, name, &s, func(c context.Context) (encoded, error) {
		if fn == nil {
			panic(errNoBody)
		}
		v, err := fn(c)
		if err != nil {
			return encoded{}, err
		}
		made := new(decoded[O])
		payload, err := made.encode(vs, codec, v)
		return encoded{payload, made}, err
	}, newDecoded[O])
	if err != nil {
		var none O
		return none, err
	}
	return v.(*decoded[O]).value, nil
}

// Do is Step for a function without a result.
func Do(ctx *Context, name string, fn func(context.Context) error, opts ...StepOption) error {
	s := stepSettings(opts)
	codec, vs := s.codec, ctx.v
	_, err := ctx.step(checkpoint.Step, name, &s, func(c context.Context) (encoded, error) {
		if fn == nil {
			panic(errNoBody)
		}
		return vs.none(codec, fn(c))
	}, nil)
	return err
}

// Call is Step for a function with an input.
func Call[I, O any](ctx *Context, name string, fn func(context.Context, I) (O, error), in I, opts ...StepOption) (O, error) {
	return Step(ctx, name, func(c context.Context) (O, error) {
		if fn == nil {
			panic(errNoBody)
		}
		return fn(c, in)
	}, opts...)
}

// AsStep makes a function the body of a Map: each item is one step, named like
// its item.
func AsStep[I, O any](fn func(context.Context, I) (O, error), opts ...StepOption) func(*Context, I, int) (O, error) {
	return func(ctx *Context, in I, _ int) (O, error) {
		_, name := ctx.in.Operation()
		return Call(ctx, name, fn, in, opts...)
	}
}

// none is the encoded result of a body that has none.
func (v *values) none(codec Codec, err error) (encoded, error) {
	if err != nil {
		return encoded{}, err
	}
	payload, err := v.encode(codec, None{})
	return encoded{payload: payload}, err
}

// step is the life of a step that runs the user's code. It returns its value, in what none
// makes; with none nil it has no value.
func (c *Context) step(sub checkpoint.SubType, name string, s *settings, run func(context.Context) (encoded, error), none func() decoding) (decoding, error) {
	if err := s.check(); err != nil {
		return nil, c.misused(history.Step, name, err, "")
	}
	body := &stepBody{attempts: attempts{c: c, retry: &defaultRetry, byDefault: defaultMaxAttempts}, codec: s.codec, run: run, none: none, transaction: s.Transaction}
	if s.AtMostOnce {
		body.retry = &noRetry
	}
	if s.retry != nil {
		body.retry = s.retry
	}
	out, err := c.in.Steps(sub, name, s.named(c.v), body)
	if err != nil {
		return nil, c.v.public(err)
	}
	defer c.in.Leave()
	if none == nil {
		return nil, nil
	}
	made, _ := out.Value.(decoding)
	if made == nil || !made.holds(out.Payload) {
		made = none()
		err = c.decode(&out, s.codec, made.target())
	}
	return made, err
}

var noRetry = NoRetry()

// stepBody is the body of a step.
type stepBody struct {
	attempts
	codec       Codec
	run         func(context.Context) (encoded, error)
	none        func() decoding
	transaction *invocation.Transaction
}

func (b *stepBody) Call(ctx context.Context, _ *invocation.Info) (a invocation.Attempt) {
	defer called(&a)
	made, err := b.c.v.intercepted(ctx, b.codec, b.run, b.none)
	if err != nil && b.transaction != nil {
		b.transaction.Rollback()
	}
	a = invocation.Attempt{Payload: made.payload, Err: err}
	if made.value != nil {
		a.Value = made.value
	}
	return a
}

// Judge is asked about what is not the user's error: an attempt that was cut off, or whose
// transaction did not commit.
func (b *stepBody) Judge(err error, failures int) invocation.Attempt {
	return b.attempts.Judge(ofAttempt(err), failures)
}

// StepInfo is what a body can learn about its attempt.
type StepInfo struct {
	ExecutionID string
	OperationID string // "" in a plain function
	Name        string
	Attempt     int // from 1
	Logger      *slog.Logger
	Engine      *Engine
	// IdempotencyKey is the same for all attempts and replays of this operation
	// and no other, also when the execution is deleted and another one started
	// under its ID. An execution that begins as another one, by Retry, RestartFrom or
	// Import, has the keys of that one, for operations of the same type and name at the
	// same position, unless WithNewIdempotencyKeys is given. It is a valid execution ID.
	IdempotencyKey string
}

// StepInfoFrom returns what is known about the attempt that ctx belongs to: in
// a step's body, a condition's check, a callback's submitter or a plain function.
func StepInfoFrom(ctx context.Context) (StepInfo, bool) {
	if ctx == nil {
		return StepInfo{}, false
	}
	info := invocation.InfoFrom(ctx)
	if info == nil {
		return StepInfo{}, false
	}
	return stepInfo(info), true
}

// stepInfo is what is public of an attempt.
func stepInfo(i *invocation.Info) StepInfo {
	x, o := i.Invocation(), i.Operation()
	info := StepInfo{ExecutionID: x.Summary().ID, OperationID: o.ID, Name: o.Name, Attempt: int(i.Number), IdempotencyKey: i.IdempotencyKey()}
	v := x.Tag.(*values)
	info.Engine = v.engine
	info.Logger = v.logger.With("execution", info.ExecutionID, "function", x.Summary().Function, "operation", o.ID, "attempt", info.Attempt)
	return info
}
