package durable

import (
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
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
	o, err := c.enter(history.Wait, checkpoint.Wait, name)
	if err != nil {
		return err
	}
	defer c.leave()
	c.startWait(o, d)
	if err := c.awaitOne(o); err != nil {
		return err
	}
	return c.outcome(o, nil, nil)
}

// startWait records a wait, if it is new. The residency's mu is held.
func (c *Context) startWait(o *history.Operation, duration func(now int64) time.Duration) {
	x := c.f.x
	if o.Status != "" || c.f.rebuild {
		return
	}
	now := x.e.now()
	d := duration(now)
	rec := checkpoint.Record{Type: checkpoint.WaitStarted, SubType: checkpoint.Wait, OperationID: o.ID, ParentID: o.RecordedParent(), Name: o.Name, Flags: o.Flags,
		Time: now, Duration: max(int64(d), 0), WakeAt: history.After(now, int64(d))}
	if d <= 0 {
		rec.Type, rec.Events, rec.StartedAt, rec.WakeAt = checkpoint.WaitSucceeded, 2, now, 0
		x.record(o, &rec, nil)
		return
	}
	x.record(o, &rec, nil)
	x.addDue(o)
}

// awaitOne blocks until o is settled, or a cancel ends the wait. The residency's mu is
// held, but not on return with an error.
func (c *Context) awaitOne(o *history.Operation) error {
	for {
		if by := c.cutOff(o); by != nil {
			if by.CancelSeq > c.f.x.lastInvocation {
				c.f.replaying = false
			}
			c.f.x.mu.Unlock()
			return c.f.x.opError(o, by.Cancelled())
		}
		if o.Settled() {
			return nil
		}
		if o.Dead() {
			c.f.x.mu.Unlock()
			return c.f.x.abandonedError(o)
		}
		if c.f.rebuild {
			return c.f.x.mismatched(c.f, o, "its outcome")
		}
		if x := c.f.x; x.replay != nil {
			return x.beyond(c.f, o.ID, "its outcome")
		}
		if err := c.f.x.waitFor(c.f, o); err != nil {
			return err
		}
	}
}

// cutOff returns the scope around c whose cancel ends a wait for o: one that o is not in,
// as what is in it has an outcome of its own, behind the cancel. It counts, if o had none
// before: so by the order of the journal, on each replay. nil: none does. x.mu is held.
func (c *Context) cutOff(o *history.Operation) (by *history.Operation) {
	if c.f.x.cancels == 0 || c.shielded {
		return nil
	}
	for at := c.f.op; at != nil; at = at.Up {
		if at.CancelTold && (by == nil || at.CancelSeq < by.CancelSeq) && !o.Within(at) {
			by = at
		}
		if at.Flags&checkpoint.FlagShielded != 0 {
			break
		}
	}
	if by != nil && o.Settled() && o.EndSeq < by.CancelSeq {
		return nil
	}
	return by
}

// Timer is a wait that was started by After.
type Timer struct {
	o *history.Operation
}

// After starts a wait of d and returns at once. Await it, or give it to Select
// or Settled beside other awaitables. One that is cancelled has not fired: Await returns
// the error, and Select does not choose it.
func After(ctx *Context, name string, d time.Duration) *Timer {
	o, err := ctx.enter(history.Wait, checkpoint.Wait, name)
	if err != nil {
		return &Timer{o: failedOperation(ctx, history.Wait, name, err)}
	}
	defer ctx.leave()
	ctx.startWait(o, func(int64) time.Duration { return d })
	ctx.f.futures = append(ctx.f.futures, o)
	ctx.f.x.mu.Unlock()
	return &Timer{o: o}
}

// Name is the name given to After.
func (t *Timer) Name() string { return t.o.Name }

// Await returns when the time has come, or ErrCanceled or ErrTimeout when its scope, or
// that of ctx, is cancelled before.
func (t *Timer) Await(ctx *Context) error { return ctx.awaitAndDecode(t.o, nil, nil) }

func (t *Timer) operation() *history.Operation {
	if t == nil {
		return nil
	}
	return t.o
}
