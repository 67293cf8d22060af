package durable

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
)

// Now returns the time, the same on every replay, in UTC wherever the process runs:
// an hour, a weekday or a date of another zone needs its time.Location. It is recorded
// with the next checkpoint and costs no flush of its own. In a cancelled scope it is
// zero.
func Now(ctx *Context) time.Time {
	var ns int64
	ctx.note(checkpoint.Now, &ns, func(*history.Operation) any { return ctx.f.x.e.now() })
	return timeOf(ns)
}

// NewUUID returns a random UUID, the same on every replay. It is recorded with
// the next checkpoint and costs no flush of its own. In a cancelled scope it is
// uuid.Nil: draw what compensation needs on WithoutCancel.
func NewUUID(ctx *Context) uuid.UUID {
	var id uuid.UUID
	ctx.note(checkpoint.UUID, &id, func(o *history.Operation) any { return ctx.f.x.newUUID(o) })
	return id
}

// note records a value that is made at once, as a step that has run.
func (c *Context) note(sub checkpoint.SubType, out any, value func(*history.Operation) any) {
	x := c.f.x
	o, err := c.enter(history.Step, sub, "")
	if err != nil {
		x.unanswered(c.f, err)
		return
	}
	defer c.leave()
	if !o.Settled() {
		now := x.e.now()
		payload, _ := JSON.Encode(value(o))
		x.settle(o, &checkpoint.Record{Type: checkpoint.StepSucceeded, Events: 2, StartedAt: now, Time: now, ParentID: o.RecordedParent(), Attempt: 1,
			Flags: o.Flags | checkpoint.FlagPayload, Payload: payload, Codec: JSON.Name()}, nil)
	}
	_ = c.outcome(o, JSON, out)
}

// Version guards a change of code that runs under executions that began before
// it. It returns latest in executions that come to this point first with the
// changed code, and records it; executions that passed this point before get 0
// for ever:
//
//	if durable.Version(ctx, "charge twice", 1) >= 1 { … the new way … } else { … the old … }
//
// It takes no position. The first call of a change in a context decides for that
// context. A recorded version newer than latest, by a binary newer than this
// one, holds the execution.
func Version(ctx *Context, change string, latest int) int {
	f, x := ctx.f, ctx.f.x
	if err := history.CheckName(change); err != nil {
		x.unanswered(f, x.misused(f, history.Context, change, err, "give the change a name that can be read in a log"))
		return 0
	}
	if !f.inUse.CompareAndSwap(false, true) {
		x.unanswered(f, x.misused(f, history.Context, change, ErrConcurrentUse, hintInUse))
		return 0
	}
	defer f.inUse.Store(false)
	x.mu.Lock()
	if !x.mayGoOn(f) {
		x.exit(f)
		return 0
	}
	if f.ended {
		x.mu.Unlock()
		x.unanswered(f, x.misused(f, history.Context, change, ErrConcurrentUse, hintReturned))
		return 0
	}
	recorded, ok := f.op.Versions[change]
	if ok && recorded > int64(latest) {
		x.diverged(f, f.op.ID, fmt.Sprintf("version %d of change %q", recorded, change), fmt.Sprintf("version %d at most", latest))
		return 0
	}
	if !ok && !f.rebuild {
		// The first call decides, also for 0: a later one, at the end of the
		// journal, must not decide otherwise.
		if next := x.ops[f.id(f.counter+1)]; next == nil || next.Status == "" {
			recorded = int64(latest)
		}
		if x.replay != nil {
			f.op.Answered(change, recorded)
		} else {
			x.record(f.op, &checkpoint.Record{Type: checkpoint.VersionChosen, OperationID: f.op.ID, Key: change, Number: recorded}, nil)
		}
	}
	x.mu.Unlock()
	return int(recorded)
}
