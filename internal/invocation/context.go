package invocation

import (
	"context"

	"github.com/durable-go/durable/checkpoint"
)

// Context is where code runs in an invocation: what it performs its operations through. It
// belongs to one goroutine.
type Context struct {
	f        *frame
	shielded bool
}

// Standard is the standard context of the code: what it sees there, it sees again on replay.
func (c Context) Standard() context.Context {
	if c.shielded {
		return c.f.context(true)
	}
	return (*standardContext)(c.f)
}

// WithoutCancel is c for compensation: no cancel reaches what is done through it.
func (c Context) WithoutCancel() Context { return Context{f: c.f, shielded: true} }

// Replaying reports whether the code that runs now has run before.
func (c Context) Replaying() bool {
	c.f.x.mu.Lock()
	defer c.f.x.mu.Unlock()
	return c.f.replaying || c.f.rebuild
}

// Invocation is where.
func (c Context) Invocation() *Invocation { return c.f.x }

// Operation is the ID and the name of the context's operation.
func (c Context) Operation() (id, name string) { return c.f.op.ID, c.f.op.Name }

// Hold holds the execution, and ends the goroutine.
func (c Context) Hold(err error) error {
	x := c.f.x
	x.mu.Lock()
	x.holdNow(err)
	return x.exit(c.f)
}

// Summary is the execution as it was claimed, completed by what its journal tells.
func (x *Invocation) Summary() *checkpoint.Summary { return &x.Execution }

// Replays reports whether it is one that begins nothing.
func (x *Invocation) Replays() bool { return x.replay != nil }

// Done is closed when nothing is recorded any more.
func (x *Invocation) Done() <-chan struct{} { return x.context().Done() }
