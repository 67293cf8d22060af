package durable

import (
	"time"

	"github.com/durable-go/durable/internal/invocation"
)

// Wait returns d later. The execution leaves memory meanwhile, if d is longer
// than Options.ParkFor, and goes on after a restart even if the time has passed
// by then; it never returns early. With d ≤ 0 it is recorded and returns at once.
// It returns ErrCanceled, or ErrTimeout, when its scope is cancelled.
func Wait(ctx *Context, name string, d time.Duration) error {
	return ctx.wait(name, func(int64) time.Duration { return d })
}

// WaitUntil is Wait until t.
func WaitUntil(ctx *Context, name string, t time.Time) error {
	return ctx.wait(name, func(now int64) time.Duration { return t.Sub(timeOf(now)) })
}

func (c *Context) wait(name string, d func(now int64) time.Duration) error {
	return c.v.public(c.in.Wait(name, d))
}

// Timer is a wait that was started by After.
type Timer struct {
	p invocation.Pending
}

// After starts a wait of d and returns at once. Await it, or give it to Select
// or Settled beside other awaitables. One that is cancelled has not fired: Await returns
// the error, and Select does not choose it.
func After(ctx *Context, name string, d time.Duration) *Timer {
	return &Timer{ctx.in.After(name, d)}
}

// Name is the name given to After.
func (t *Timer) Name() string { return t.p.Name() }

// Await returns when the time has come, or ErrCanceled or ErrTimeout when its scope, or
// that of ctx, is cancelled before.
func (t *Timer) Await(ctx *Context) error { return ctx.awaitAndDecode(t.p, nil, nil) }

func (t *Timer) pending() (p invocation.Pending) {
	if t == nil {
		return p
	}
	return t.p
}
