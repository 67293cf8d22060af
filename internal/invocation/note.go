package invocation

import (
	"fmt"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// Note records a value that is made at once, as a step that has run. ok is false in a
// cancelled scope. c is left by Leave if it is true.
func (c Context) Note(sub checkpoint.SubType, codec string, value func(o *history.Operation, now int64) []byte) (out Outcome, ok bool) {
	x := c.f.x
	o, err := c.enter(history.Step, sub, "")
	if err != nil {
		x.unanswered(c.f, err)
		return out, false
	}
	if !o.Settled() {
		now := x.host.Now()
		x.settle(o, &checkpoint.Record{Type: checkpoint.StepSucceeded, Events: 2, StartedAt: now, Time: now, ParentID: o.RecordedParent(), Attempt: 1,
			Flags: o.Flags | checkpoint.FlagPayload, Payload: value(o, now), Codec: codec}, nil)
	}
	if out, err = c.outcome(o); err != nil {
		c.Leave()
	}
	return out, err == nil
}

// Version is what a change answers in the context: latest, if its code comes to this point
// for the first time, and that is recorded; what is recorded on replay.
func (c Context) Version(change string, latest int) int {
	f, x := c.f, c.f.x
	if err := history.CheckName(change); err != nil {
		x.unanswered(f, x.misused(f, history.Context, change, err, "give the change a name that can be read in a log"))
		return 0
	}
	if !f.inUse.CompareAndSwap(false, true) {
		x.unanswered(f, x.misused(f, history.Context, change, fault.ErrConcurrentUse, hintInUse))
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
		x.unanswered(f, x.misused(f, history.Context, change, fault.ErrConcurrentUse, hintReturned))
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
