package durable

import (
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/invocation"
)

// Future is the result of a function that Go started.
type Future[O any] struct {
	p    invocation.Pending
	s    settings
	code invocation.Code
}

// Go runs fn in a child context of its own, on its own goroutine, and returns at
// once. It is RunInChildContext otherwise, and takes the same options. A future
// that is not awaited before the function that started it returns is cancelled.
func Go[O any](ctx *Context, name string, fn func(*Context) (O, error), opts ...ChildOption) *Future[O] {
	f := &Future[O]{s: childSettings(opts)}
	f.code = ctx.v.code(encoding(f.s.codec, fn, nil))
	if err := f.s.check(); err != nil {
		f.p = invocation.Refused(history.Context, name, ctx.misused(history.Context, name, err, ""))
		return f
	}
	f.p = ctx.in.Go(name, f.s.named(ctx.v), f.code)
	return f
}

// Name is the name given to Go.
func (f *Future[O]) Name() string { return f.p.Name() }

// Await returns the result. It may be called more than once, and from another
// context than the one that started it. Of a future that the cancel of ctx's scope
// reaches, too, it waits for what that comes to; to wait for any other, it returns
// ErrCanceled or ErrTimeout when the scope of ctx is cancelled before that has an outcome.
func (f *Future[O]) Await(ctx *Context) (O, error) {
	var out O
	result, err := ctx.in.Await(f.p, &f.s.Settings, f.code)
	if err != nil {
		return out, ctx.v.public(err)
	}
	defer ctx.in.Leave()
	return out, ctx.decode(&result, f.s.codec, &out)
}

func (f *Future[O]) pending() (p invocation.Pending) {
	if f == nil {
		return p
	}
	return f.p
}

// awaitAndDecode waits for an operation that is not at a position of its own; out nil: it has
// no value.
func (c *Context) awaitAndDecode(p invocation.Pending, codec Codec, out any) error {
	result, err := c.in.Await(p, nil, nil)
	if err != nil {
		return c.v.public(err)
	}
	defer c.in.Leave()
	if out == nil {
		return nil
	}
	return c.decode(&result, codec, out)
}

// Awaitable is a *Future, a *Callback or a *Timer.
type Awaitable interface {
	Name() string
	pending() invocation.Pending
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
