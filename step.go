package durable

import (
	"context"
	"log/slog"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
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
	codec := s.codec
	v, err := ctx.step(checkpoint.Step, name, &s, func(c context.Context) (encoded, error) {
		if fn == nil {
			panic(errNoBody)
		}
		v, err := fn(c)
		if err != nil {
			return encoded{}, err
		}
		made := new(decoded[O])
		payload, err := made.encode(ctx.f.x.e, codec, v)
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
	codec := s.codec
	_, err := ctx.step(checkpoint.Step, name, &s, func(c context.Context) (encoded, error) {
		if fn == nil {
			panic(errNoBody)
		}
		return ctx.f.x.e.none(codec, fn(c))
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
		return Call(ctx, ctx.f.op.Name, fn, in, opts...)
	}
}

// none is the encoded result of a body that has none.
func (e *Engine) none(codec Codec, err error) (encoded, error) {
	if err != nil {
		return encoded{}, err
	}
	payload, err := e.encode(codec, None{})
	return encoded{payload: payload}, err
}

// step is the life of a step with body. It returns its value, in what none makes; with
// none nil it has no value.
func (c *Context) step(sub checkpoint.SubType, name string, s *settings, body func(context.Context) (encoded, error), none func() decoding) (decoding, error) {
	x, codec, transact := c.f.x, s.codec, s.transact // s would leave the stack with body
	if err := s.check(); err != nil {
		return nil, x.misused(c.f, history.Step, name, err, "")
	}
	o, err := c.enter(history.Step, sub, name)
	if err != nil {
		return nil, err
	}
	defer c.leave()
	retry, byDefault := defaultRetry, defaultMaxAttempts
	if s.atMostOnce {
		retry = NoRetry()
	}
	if s.retry != nil {
		retry = *s.retry
	}
	made, err := c.runSteps(o, s, retry, byDefault, func(ctx context.Context, _ []byte, _ int) (a attempt) {
		a.encoded, a.err = x.e.intercepted(ctx, codec, body, none)
		if a.err != nil && transact != nil {
			transact.rollback()
		}
		return a
	})
	if err != nil {
		return nil, err
	}
	if none == nil {
		return nil, c.outcome(o, codec, nil)
	}
	if made == nil || !made.holds(o.Payload) {
		made = none()
	}
	return made, c.outcome(o, codec, made)
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
	info, ok := ctx.Value(stepInfoKey{}).(*stepInfo)
	if !ok {
		return StepInfo{}, false
	}
	return info.public(), true
}

// stepInfo is StepInfo before anybody asks for it.
type stepInfo struct {
	x       *residency
	o       *history.Operation
	attempt int
	told    *StepInfo // to an observer, before the body ran
}

func (i *stepInfo) public() StepInfo {
	return StepInfo{
		ExecutionID: i.x.id, OperationID: i.o.ID, Name: i.o.Name, Attempt: i.attempt, Engine: i.x.e,
		Logger:         i.x.e.opts.Logger.With("execution", i.x.id, "function", i.x.sum.Function, "operation", i.o.ID, "attempt", i.attempt),
		IdempotencyKey: i.idempotencyKey(),
	}
}

func (i *stepInfo) idempotencyKey() string {
	return history.DerivedID("idem-", i.x.keys.Origin(i.o, i.x.sum.Incarnation), i.o.ID)
}

type stepInfoKey struct{}

// bodyContext is the context of a body: its frame's, made when the body asks for it. It
// tells when a durable timeout will end it, which the frame's does not: code of a handler
// that looks at a deadline would take another way on a replay that comes later.
type bodyContext struct {
	f        *frame
	shielded bool
	info     stepInfo
	endsAt   int64 // by the clock of the process; 0: no timeout
}

// bodyContext makes the context for an attempt of o. x.mu is held.
func (c *Context) bodyContext(o *history.Operation, attempt int) *bodyContext {
	f, x := c.f, c.f.x
	b := &bodyContext{f: f, shielded: c.shielded || o.Flags&checkpoint.FlagShielded != 0, info: stepInfo{x: x, o: o, attempt: attempt}}
	if due := history.Earliest(o.TimesOutAt(b.shielded), x.sum.Deadline); due != 0 {
		b.endsAt = due - x.e.now() + time.Now().UnixNano() // due is by the store's clock
	}
	return b
}

func (c *bodyContext) standard() context.Context { return c.f.context(c.shielded) }

func (c *bodyContext) Deadline() (time.Time, bool) { return timeOf(c.endsAt), c.endsAt != 0 }
func (c *bodyContext) Done() <-chan struct{}       { return c.standard().Done() }
func (c *bodyContext) Err() error                  { return c.standard().Err() }

func (c *bodyContext) Value(key any) any {
	if _, ok := key.(stepInfoKey); ok {
		return &c.info
	}
	return c.standard().Value(key)
}
