package durable

import (
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
	ctx.note(checkpoint.Now, &ns, func(_ *history.Operation, now int64) any { return now })
	return timeOf(ns)
}

// NewUUID returns a random UUID, the same on every replay. It is recorded with
// the next checkpoint and costs no flush of its own. In a cancelled scope it is
// uuid.Nil: draw what compensation needs on WithoutCancel.
func NewUUID(ctx *Context) uuid.UUID {
	var id uuid.UUID
	ctx.note(checkpoint.UUID, &id, func(o *history.Operation, _ int64) any { return ctx.newUUID(o) })
	return id
}

// note records a value that is made at once, as a step that has run.
func (c *Context) note(sub checkpoint.SubType, out any, value func(o *history.Operation, now int64) any) {
	result, ok := c.in.Note(sub, JSON.Name(), func(o *history.Operation, now int64) []byte {
		payload, _ := JSON.Encode(value(o, now))
		return payload
	})
	if !ok {
		return
	}
	defer c.in.Leave()
	_ = c.decode(&result, JSON, out)
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
	return ctx.in.Version(change, latest)
}
