package durable

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/invocation"
	"github.com/durable-go/durable/internal/jsonform"
)

// Definition is a function that an engine can run: a *Function.
type Definition interface {
	definition() *definition
}

// definition is a function without its types.
type definition struct {
	name     string
	missing  bool // it has no code
	plain    bool
	sample   func() json.RawMessage // see FunctionInfo
	settings startSettings
	run      func(c *Context, codec Codec, input []byte) (result []byte, err error)
}

// Function is a handler with its name, made by Define or DefinePlain and
// registered by Options.Functions. It holds no state and may be a global.
type Function[I, O any] struct {
	name string
	def  *definition
}

func (f *Function[I, O]) definition() *definition {
	if f == nil {
		return nil
	}
	return f.def
}

// Name is the name of the function.
func (f *Function[I, O]) Name() string { return f.name }

// Define makes h a durable function under name (1 to 128 of A-Z a-z 0-9 . _ : -).
//
// h is run from the top whenever its execution comes back into memory: its
// operations then return what they returned before, so h must ask for the same
// operations in the same order, given the same results. Everything that may
// differ (time, randomness, the outside world) belongs into operations. Deferred
// calls of h run at every suspension, not only at its end.
//
// What h returns ends the execution: SUCCEEDED, or FAILED with the error.
func Define[I, O any](name string, h func(*Context, I) (O, error), opts ...FunctionOption) *Function[I, O] {
	return define(name, h == nil, opts, h)
}

// DefinePlain makes an ordinary function one that can be started and invoked. It
// runs at least once, as one attempt: a call that a crash cut off is made again,
// an error ends the execution. StepInfoFrom tells about the execution.
func DefinePlain[I, O any](name string, f func(context.Context, I) (O, error), opts ...FunctionOption) *Function[I, O] {
	p := define(name, f == nil, opts, func(c *Context, in I) (v O, err error) {
		c.plain(func(ctx context.Context) error {
			v, err = f(ctx, in)
			return err
		})
		return v, err
	})
	p.def.plain = true
	return p
}

func define[I, O any](name string, missing bool, opts []FunctionOption, h func(*Context, I) (O, error)) *Function[I, O] {
	def := &definition{name: name, missing: missing, sample: sampleOf[I]}
	for _, o := range opts {
		if o == nil {
			panic(errNilOption)
		}
		o.applyFunction(&def.settings)
	}
	def.run = func(c *Context, codec Codec, input []byte) ([]byte, error) {
		var in I
		if err := decodeWith(codec, input, &in); err != nil {
			return nil, &inputError{err}
		}
		v, err := h(c, in)
		if err != nil {
			return nil, err
		}
		return encodeReadable(c.v, v)
	}
	return &Function[I, O]{name: name, def: def}
}

// inputError is the error of an input that can't be decoded.
type inputError struct{ err error }

func (e *inputError) Error() string { return "input: " + e.err.Error() }
func (e *inputError) Unwrap() error { return e.err }

// Start starts an execution, or attaches to the one that has the ID given by
// WithExecutionID. It returns once the execution is durable; from then on it
// runs to its end, whatever happens to this process. Costs one flush.
//
// If the engine does not have the function, the error is ErrFunctionNotFound; but
// on a store that processes share (PostgreSQL), the execution waits for one that
// has it. So a process without functions can be a client.
func (f *Function[I, O]) Start(ctx context.Context, e *Engine, in I, opts ...StartOption) (*Execution[O], error) {
	if f == nil {
		return nil, fmt.Errorf("durable: start: %w", errNoFunction)
	}
	if err := e.given(ctx); err != nil {
		return nil, err
	}
	input, err := encodeInput(&e.v, f.name, in)
	if err != nil {
		return nil, fmt.Errorf("durable: start %q: input: %w", history.Truncated(f.name), err)
	}
	id, err := e.start(ctx, f.name, f.def, input, opts)
	if err != nil {
		return nil, err
	}
	return f.Attach(e, id), nil
}

// Run is Start, then Result.
func (f *Function[I, O]) Run(ctx context.Context, e *Engine, in I, opts ...StartOption) (O, error) {
	x, err := f.Start(ctx, e, in, opts...)
	if err != nil {
		var zero O
		return zero, err
	}
	return x.Result(ctx)
}

// Attach returns a handle on an execution of f. It asks nothing of the store.
func (f *Function[I, O]) Attach(e *Engine, id string) *Execution[O] {
	return &Execution[O]{e: e, id: id}
}

// Execution is a handle on an execution whose result is an O.
type Execution[O any] struct {
	e  *Engine
	id string
}

// ID is the execution's ID.
func (x *Execution[O]) ID() string { return x.id }

// Result waits for the execution's end and returns its result, or an *OpError
// with what it failed of: ErrStopped, ErrTimeout (its deadline), ErrCanceled, or
// the error of its handler. It returns ctx's error when that ends first, which
// changes nothing for the execution. It is woken, it does not poll. It waits
// through a hold (see ExecutionInfo.Held), and logs that it does.
func (x *Execution[O]) Result(ctx context.Context) (O, error) {
	var out O
	payload, codec, err := x.e.result(ctx, x.id)
	if err != nil {
		return out, err
	}
	c, err := x.e.v.codecFor(nil, codec)
	if err == nil {
		err = decodeWith(c, payload, &out)
	}
	if err != nil {
		return out, fmt.Errorf("durable: result of execution %s: %w", x.id, err)
	}
	return out, nil
}

// start starts an execution from outside. Where processes share the store, another
// one may have the function; def is what the caller knows of it then, if anything.
func (e *Engine) start(ctx context.Context, function string, def *definition, input []byte, opts []StartOption) (string, error) {
	if e.has(function) {
		def = e.defs[function]
	} else if !e.shared {
		return "", fmt.Errorf("%w: %q is not in Options.Functions of this engine", ErrFunctionNotFound, history.Truncated(function))
	} else if err := history.CheckID("function name", function); err != nil {
		return "", err
	}
	var s startSettings
	if def != nil {
		s.timeout = def.settings.timeout
	}
	id, err := s.take(ctx, e, "", opts)
	if err == nil && (s.allowDrop || s.freshKeys) {
		err = errors.New("durable: AllowDrop and WithNewIdempotencyKeys are options of Retry and the like: a start has nothing to drop, and its keys are new")
	}
	if err != nil {
		return "", fmt.Errorf("start %q: %w", function, err)
	}
	err = e.create(ctx, id, function, input, s.timeout, nil, e.inject(ctx, id, function))
	e.answering(id, ctx.Done())
	return id, err
}

// take applies options and returns the ID of the execution that is to be made: id, or a
// new one if that is "", unless an option says otherwise.
func (s *startSettings) take(ctx context.Context, e *Engine, id string, opts []StartOption) (string, error) {
	for _, o := range opts {
		if o == nil {
			panic(errNilOption)
		}
		o.applyStart(s)
	}
	if s.id != nil {
		if id = *s.id; strings.HasPrefix(id, history.InvokedPrefix) {
			return "", fmt.Errorf("%w: execution ID %q: the prefix %q is for invoked executions", ErrInvalidID, history.Truncated(id), history.InvokedPrefix)
		}
	} else if id == "" {
		id = e.newExecutionID(ctx)
	}
	if err := history.CheckNewID(id); err != nil {
		return "", err
	}
	if s.timeout < 0 {
		return "", fmt.Errorf("durable: WithExecutionTimeout(%s): must be positive", s.timeout)
	}
	return id, nil
}

// create creates an execution, unless there is the same one.
func (e *Engine) create(ctx context.Context, id, function string, input []byte, timeout time.Duration, caller *checkpoint.Caller, trace string) error {
	c, err := e.creation(ctx, id, function, input, timeout, caller, trace)
	if err != nil {
		return err
	}
	if err := e.sealRecord(&c.Started, c.Incarnation); err != nil {
		return fmt.Errorf("durable: start %q: %w", function, err)
	}
	err = e.put(ctx, &c, input, true)
	if errors.Is(err, ErrExecutionExists) {
		return fmt.Errorf("%w: its function or its input is another one", err)
	}
	return err
}

// creation is what creates an execution, not sealed yet.
func (e *Engine) creation(ctx context.Context, id, function string, input []byte, timeout time.Duration, caller *checkpoint.Caller, trace string) (c checkpoint.Creation, err error) {
	if e.retired() {
		return c, e.refuse(ctx)
	}
	if caller != nil {
		if def := e.defs[function]; def != nil {
			timeout = def.settings.timeout
		}
	}
	now := e.now()
	c = checkpoint.Creation{ID: id, Incarnation: e.newIncarnation(id), Digest: e.inputDigest(input), Caller: caller}
	c.Started = checkpoint.Record{Seq: 1, EventID: 1, Events: 1, Type: checkpoint.ExecutionStarted, Time: now, Function: function,
		Payload: input, Flags: checkpoint.FlagPayload, Codec: e.opts.Codec.Name(), Timeout: int64(timeout), Trace: trace}
	if timeout > 0 {
		c.Started.TimeoutAt = history.After(now, int64(timeout))
	}
	return c, nil
}

// put makes an execution and, if there is a place for it, runs it. Unless there is the
// same one, the observer is told before it runs, if told says so; with input, which may
// be sealed in c.
func (e *Engine) put(ctx context.Context, c *checkpoint.Creation, input []byte, told bool) error {
	id, function := c.ID, c.Started.Function
	admitted := false
	if c.Claim = c.Status == 0 && e.has(function) && e.reserve(); c.Claim {
		defer func() { // also when the store panics, on a nil ctx for example
			if !admitted {
				e.unreserve(1)
			}
			e.starting.Done()
		}()
	}
	var claim checkpoint.Claim
	var created bool
	var err error
	from := e.vantage()
	defer e.arrived()
	open := e.whileOpen(ctx)
	defer open.left()
	claim.Summary, created, err = e.store.Create(open, *c)
	if err != nil {
		return fmt.Errorf("start execution %s of %q: %w", id, function, e.outward(err))
	}
	if created {
		if told {
			e.observeStart(&claim.Summary, input)
		}
		e.feed.tell(id)
	}
	if created && c.Claim {
		admitted = true
		e.admit(&claim, from)
		return nil
	}
	if c.Caller != nil && claim.Status != checkpoint.Running {
		if err := e.tellAgain(open, &claim.Summary); err != nil {
			return fmt.Errorf("start execution %s of %q: %w", id, function, e.outward(err))
		}
	}
	e.mu.Lock()
	other := e.supersede(id, claim.Incarnation)
	e.mu.Unlock()
	other.stopNow(ErrStopped)
	return nil
}

// handler is the code of a function as an invocation runs it.
func (v *values) handler(def *definition) invocation.Handler {
	return func(in invocation.Context, input []byte, codecName string) (r invocation.Return) {
		defer v.recovered(&r)
		codec, err := v.codecFor(nil, codecName)
		if err != nil {
			return v.returned(nil, err)
		}
		c := &Context{in, v}
		payload, err := def.run(c, codec, input)
		if err == nil {
			return invocation.Return{Payload: payload}
		}
		err = finite(err)
		unreadable, ok := err.(*inputError)
		if ok {
			err = fmt.Errorf("input: %w", unreadable.err)
		}
		r = v.returned(nil, err)
		if ok {
			r.Unreadable = v.reason(fmt.Errorf("durable: execution %s: %w", c.ExecutionID(), err))
		}
		return r
	}
}

// plain calls an ordinary function as the only body of its execution.
func (c *Context) plain(call func(context.Context) error) {
	c.in.Plain(&plainBody{attempts: attempts{c: c, retry: &noRetry, byDefault: 1}, call: call})
}

// plainBody is the body of a plain function. It may panic: its handler does.
type plainBody struct {
	attempts
	call func(context.Context) error
}

func (b *plainBody) Call(ctx context.Context, _ *invocation.Info) invocation.Attempt {
	return invocation.Attempt{Err: b.call(ctx)}
}

func (b *plainBody) End(ctx context.Context, i *invocation.Info, a invocation.Attempt) invocation.Attempt {
	b.c.v.attemptEnded(ctx, i, a.Err)
	return a
}

// StartByName is Function.Start by the name of the function, with the input as
// JSON ("null" for none), which is the caller's again when it returns. It returns the ID
// of the execution. Whether the input is of the right type is found out by the
// function: if not, the execution fails.
// A function that this engine does not have is as for Function.Start; a timeout
// that was given to Define is not known then.
func (e *Engine) StartByName(ctx context.Context, function string, in json.RawMessage, opts ...StartOption) (id string, err error) {
	if err := e.given(ctx); err != nil {
		return "", err
	}
	if !json.Valid(in) {
		return "", fmt.Errorf("durable: start %q: %w: the input is not JSON", history.Truncated(function), ErrCodec)
	}
	if len(in) > e.opts.MaxPayload {
		return "", fmt.Errorf("durable: start %q: %w: the input is %s, the limit is %s", history.Truncated(function), ErrPayloadTooLarge, formatBytes(len(in)), formatBytes(e.opts.MaxPayload))
	}
	return e.start(ctx, function, nil, jsonform.Compact(in), opts)
}
