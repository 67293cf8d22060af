package invocation

import (
	"context"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
)

// Info is what is known of a call of a body.
type Info struct {
	x        *Invocation
	o        *history.Operation
	Number   int32  // of the attempt, from 1
	Failures int32  // in a row, this one included if it fails
	State    []byte // of a condition
	Told     any    // the caller's
}

// Operation is what the body is of.
func (i *Info) Operation() *history.Operation { return i.o }

// Invocation is where.
func (i *Info) Invocation() *Invocation { return i.x }

// IdempotencyKey is the same for all attempts of the operation.
func (i *Info) IdempotencyKey() string {
	return history.DerivedID("idem-", i.x.keys.Origin(i.o, i.x.Execution.Incarnation), i.o.ID)
}

// InfoFrom returns what is known of the call that ctx belongs to, nil if it is of none.
func InfoFrom(ctx context.Context) *Info {
	info, _ := ctx.Value(infoKey{}).(*Info)
	return info
}

type infoKey struct{}

// bodyContext is the context of a body: its frame's, made when the body asks for it. It
// tells when a durable timeout will end it, which the frame's does not: code of a handler
// that looks at a deadline would take another way on a replay that comes later.
type bodyContext struct {
	f        *frame
	shielded bool
	info     Info
	endsAt   int64 // by the clock of the process; 0: no timeout
}

// bodyContext makes the context for an attempt of o. x.mu is held.
func (c Context) bodyContext(o *history.Operation, attempt int32) *bodyContext {
	f, x := c.f, c.f.x
	b := &bodyContext{f: f, shielded: c.shielded || o.Flags&checkpoint.FlagShielded != 0, info: Info{x: x, o: o, Number: attempt, State: o.Payload, Failures: o.Failures + 1}}
	if due := history.Earliest(o.TimesOutAt(b.shielded), x.Execution.Deadline); due != 0 {
		b.endsAt = due - x.host.Now() + time.Now().UnixNano() // due is by the store's clock
	}
	return b
}

func (c *bodyContext) standard() context.Context { return c.f.context(c.shielded) }

func (c *bodyContext) Deadline() (at time.Time, ok bool) {
	if c.endsAt == 0 {
		return at, false
	}
	return time.Unix(0, c.endsAt).UTC(), true
}

func (c *bodyContext) Done() <-chan struct{} { return c.standard().Done() }
func (c *bodyContext) Err() error            { return c.standard().Err() }

func (c *bodyContext) Value(key any) any {
	if _, ok := key.(infoKey); ok {
		return &c.info
	}
	return c.standard().Value(key)
}
