package durable

import (
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// Future is the result of a function that Go started.
type Future[O any] struct {
	o  *history.Operation
	s  settings
	fn contextFunc
}

// Go runs fn in a child context of its own, on its own goroutine, and returns at
// once. It is RunInChildContext otherwise, and takes the same options. A future
// that is not awaited before the function that started it returns is cancelled.
func Go[O any](ctx *Context, name string, fn func(*Context) (O, error), opts ...ChildOption) *Future[O] {
	s := childSettings(opts)
	run := encoding(s.codec, fn, nil)
	return &Future[O]{o: ctx.spawn(name, &s, run), s: s, fn: run}
}

func (c *Context) spawn(name string, s *settings, fn contextFunc) *history.Operation {
	f, x := c.f, c.f.x
	if err := s.check(); err != nil {
		return failedOperation(c, history.Context, name, x.misused(f, history.Context, name, err, ""))
	}
	o, err := c.enter(history.Context, checkpoint.RunInChildContext, name)
	if err != nil {
		return failedOperation(c, history.Context, name, err)
	}
	defer c.leave()
	f.futures = append(f.futures, o)
	if !o.Settled() && !f.rebuild {
		if err := c.startContext(o, s); err != nil {
			return failedOperation(c, history.Context, name, err)
		}
		below := x.newFrame(o, f)
		f.r.identify()
		x.spawn(below, func() {
			x.mu.Lock()
			below.r.identify()
			x.mu.Unlock()
			x.runContext(below, s, fn)
		})
	}
	x.mu.Unlock()
	return o
}

// failedOperation stands for one that could not be entered.
func failedOperation(c *Context, typ history.Type, name string, err error) *history.Operation {
	return &history.Operation{Name: name, Type: typ, Status: history.Failed, EndSeq: 1, Live: history.Live{Refused: err, Noted: true}, Failure: c.f.x.e.errs.record(err)}
}

// Name is the name given to Go.
func (f *Future[O]) Name() string { return f.o.Name }

// Await returns the result. It may be called more than once, and from another
// context than the one that started it. Of a future that the cancel of ctx's scope
// reaches, too, it waits for what that comes to; to wait for any other, it returns
// ErrCanceled or ErrTimeout when the scope of ctx is cancelled before that has an outcome.
func (f *Future[O]) Await(ctx *Context) (O, error) {
	var out O
	err := ctx.awaitContext(f.o, &f.s, f.fn, &out)
	return out, err
}

func (f *Future[O]) operation() *history.Operation {
	if f == nil {
		return nil
	}
	return f.o
}

// awaitAndDecode waits for an operation that is not at a position of its own.
func (c *Context) awaitAndDecode(o *history.Operation, codec Codec, out any) error {
	if err := c.awaitSettled(o); err != nil {
		return err
	}
	defer c.leave()
	return c.outcome(o, codec, out)
}

func (c *Context) awaitContext(o *history.Operation, s *settings, fn contextFunc, out any) error {
	if err := c.awaitSettled(o); err != nil {
		return err
	}
	defer c.leave()
	return c.contextOutcome(o, s, fn, out)
}

// awaitSettled waits until o is settled. If it returns no error, the
// residency's mu is held, and c.leave must be deferred.
func (c *Context) awaitSettled(o *history.Operation) error {
	f, x := c.f, c.f.x
	if !f.inUse.CompareAndSwap(false, true) {
		return x.misused(f, o.Type, o.Name, ErrConcurrentUse, "another operation of this context is in progress: await with the context of the function that runs")
	}
	left := false
	defer func() {
		if !left {
			f.inUse.Store(false)
		}
	}()
	x.mu.Lock()
	if !x.mayGoOn(f) {
		return x.exit(f)
	}
	if err := x.foreign(f, o); err != nil {
		x.mu.Unlock()
		return err
	}
	if err := c.awaitOne(o); err != nil {
		return err
	}
	left = true
	return nil
}

// anyAbandoned returns an error if one of the operations was abandoned: it will have no
// outcome. While a value is rebuilt, what was left behind by then is as open as it was
// when that was made. x.mu is held.
func (x *residency) anyAbandoned(f *frame, ops ...*history.Operation) error {
	for _, o := range ops {
		if !f.rebuild && o.Dead() && !o.Settled() {
			return x.abandonedError(o)
		}
	}
	return nil
}

func (x *residency) abandonedError(o *history.Operation) error {
	return x.opError(o, fault.Own("Canceled", "the function that started it has returned"))
}

// foreign returns an error if one of the operations is not of this residency.
// x.mu is held.
func (x *residency) foreign(f *frame, ops ...*history.Operation) error {
	for _, o := range ops {
		if x.ops[o.ID] != o && o.Refused == nil {
			return &OpError{Type: history.Context.String(), ExecutionID: x.id, OperationID: f.op.ID, Name: f.op.Name, Err: ErrConcurrentUse,
				Hint: "what is awaited belongs to another execution, or to an earlier invocation of this one: keep futures, callbacks and timers in variables of the handler"}
		}
	}
	return nil
}

// Awaitable is a *Future, a *Callback or a *Timer.
type Awaitable interface {
	Name() string
	operation() *history.Operation
}

// Awaitables makes a slice of one type of awaitables one of Awaitable:
// Settled(ctx, "x", Awaitables(futures)...).
func Awaitables[A Awaitable](as []A) []Awaitable {
	out := make([]Awaitable, len(as))
	for i, a := range as {
		out[i] = a
	}
	return out
}
