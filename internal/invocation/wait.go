package invocation

import (
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
)

// Wait waits until d, counted from now, has passed.
func (c Context) Wait(name string, d func(now int64) time.Duration) error {
	o, err := c.enter(history.Wait, checkpoint.Wait, name)
	if err != nil {
		return err
	}
	defer c.Leave()
	c.startWait(o, d)
	if err := c.awaitOne(o); err != nil {
		return err
	}
	_, err = c.outcome(o)
	return err
}

// startWait records a wait, if it is new. The invocation's mu is held.
func (c Context) startWait(o *history.Operation, duration func(now int64) time.Duration) {
	x := c.f.x
	if o.Status != "" || c.f.rebuild {
		return
	}
	now := x.host.Now()
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

// awaitOne blocks until o is settled, or a cancel ends the wait. The invocation's mu is
// held, but not on return with an error.
func (c Context) awaitOne(o *history.Operation) error {
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
func (c Context) cutOff(o *history.Operation) (by *history.Operation) {
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

// After starts a wait.
func (c Context) After(name string, d time.Duration) Pending {
	o, err := c.enter(history.Wait, checkpoint.Wait, name)
	if err != nil {
		return Refused(history.Wait, name, err)
	}
	defer c.Leave()
	c.startWait(o, func(int64) time.Duration { return d })
	c.f.futures = append(c.f.futures, o)
	c.f.x.mu.Unlock()
	return Pending{o}
}
