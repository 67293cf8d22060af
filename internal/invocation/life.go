package invocation

import (
	"fmt"
	"strconv"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// The life of an operation, the same for every primitive:
//
//	enter   claim the next position of the context, look up what is recorded
//	        there, check that it is what the code asks for
//	        -> settled: return the recorded outcome
//	        -> open:    go on with it
//	        -> none:    start it, unless the scope is cancelled
//	settle  record the outcome, wake who waits for it
//	outcome return the value as decoded from the record, or the error rebuilt
//	        from it, on the first run as on replay
//	leave   give the context back to its goroutine

// enter claims the next position of c. If it returns no error, the invocation's
// mu is held, and c.leave must be deferred.
func (c Context) enter(typ history.Type, sub checkpoint.SubType, name string) (*history.Operation, error) {
	f := c.f
	x := f.x
	if err := history.CheckName(name); err != nil {
		return nil, x.misused(f, typ, name, err, "give it a name that can be read in a log")
	}
	x.host.KeepPace()
	if !f.inUse.CompareAndSwap(false, true) {
		return nil, x.misused(f, typ, name, fault.ErrConcurrentUse, hintInUse)
	}
	x.mu.Lock()
	if !x.mayGoOn(f) {
		f.inUse.Store(false)
		return nil, x.exit(f)
	}
	if f.ended {
		f.inUse.Store(false)
		x.mu.Unlock()
		return nil, x.misused(f, typ, name, fault.ErrConcurrentUse, hintReturned)
	}
	f.counter++
	f.within, f.looks = false, 0
	id := f.id(f.counter)
	o := x.ops[id]
	if o != nil && o.Status != "" {
		if problem := history.Mismatch(o, typ, sub, name); problem != "" {
			return nil, x.mismatched(f, o, history.Describe(typ, sub, name))
		}
		if o.Refusal {
			f.refused++
			f.passed(o)
			f.showCancel()
			f.inUse.Store(false)
			x.mu.Unlock()
			return nil, x.opError(o, o.Failure)
		}
		f.refused = 0
		f.within = true
		return o, nil
	}
	var flags checkpoint.Flags
	parent := ""
	if c.shielded {
		flags |= checkpoint.FlagShielded
	}
	if f.op.Silent() {
		flags |= checkpoint.FlagParent
		parent = f.op.Parent
	}
	if o == nil {
		o = x.ops.Add(id, name, typ, sub, flags, parent)
	}
	if by := o.CancelledBy(); by != nil {
		f.refused++
		f.replaying = false
		if f.refused >= refusalLimit {
			x.finish(checkpoint.Failed, nil, fault.Own("Canceled", fmt.Sprintf("canceled, and the handler went on calling operations: %d in a row were refused: return when an operation returns fault.ErrCanceled", f.refused)))
			f.inUse.Store(false)
			return nil, x.exit(f)
		}
		if x.replay != nil && !f.rebuild {
			return nil, x.beyond(f, id, history.Describe(typ, sub, name))
		}
		err := x.refuse(o, by)
		f.inUse.Store(false)
		return nil, err
	}
	if x.replay != nil && !f.rebuild {
		return nil, x.beyond(f, id, history.Describe(typ, sub, name))
	}
	if f.rebuild {
		o.DropOpen()
		delete(x.ops, id)
		return nil, x.diverged(f, id, "nothing", history.Describe(typ, sub, name))
	}
	f.replaying = false
	f.refused = 0
	f.within = true
	x.progress = time.Now()
	return o, nil
}

const hintInUse = "another operation of this context is in progress: inside a step use the step's context.Context and plain code, inside a child or a branch its own *durable.Context, and durable.Go for concurrent operations"

const hintReturned = "the function of this context has returned: use the context of the function that runs"

// refuse is the error of an operation that began after a cancel: it has taken its
// position, and is no part of the history. That it was there is recorded
// silently: on replay the code must get there again before it may see the cancel,
// which on the first run may have come after its last look. x.mu is held, and
// given up.
func (x *Invocation) refuse(o, by *history.Operation) error {
	failure := by.Cancelled()
	x.record(o, &checkpoint.Record{Type: checkpoint.OperationRefused, OperationID: o.ID, ParentID: o.RecordedParent(), SubType: o.SubType, Name: o.Name, Flags: o.Flags, Number: int64(o.Type)}, failure)
	x.mu.Unlock()
	return x.opError(o, failure)
}

// Leave ends an operation that has returned an outcome: until then its context is not free
// for another one, whatever code of the user's looks at the outcome. x.mu is not held.
func (c Context) Leave() {
	f := c.f
	x := f.x
	if x.replay != nil {
		x.replay.tell(f)
	}
	f.inUse.Store(false)
	x.mu.Lock()
	if f.within {
		f.within, f.looks = false, 0
	}
	if x.cancels > 0 {
		f.showCancel()
	}
	x.mu.Unlock()
}

// leaveUnless is Leave, unless whoever called the operation stays in it, to look at its
// outcome. It is deferred: the operation may end its goroutine.
func (c Context) leaveUnless(stays *bool) {
	if !*stays {
		c.Leave()
	}
}

// id is the ID of the operation at a position of f.
func (f *frame) id(position int) string { return f.prefix + strconv.Itoa(position) }

// mismatched holds the execution and ends the goroutine. x.mu is held, and
// given up.
func (x *Invocation) mismatched(f *frame, o *history.Operation, asked string) error {
	recorded := "nothing"
	if o.Status != "" {
		recorded = history.Describe(o.Type, o.SubType, o.Name)
	}
	return x.diverged(f, o.ID, recorded, asked)
}

// diverged is mismatched where what is recorded takes other words.
func (x *Invocation) diverged(f *frame, id, recorded, asked string) error {
	err := &Mismatch{ExecutionID: x.id, OperationID: id, Recorded: recorded, Asked: asked}
	x.holdNow(err)
	f.inUse.Store(false)
	x.mu.Unlock()
	if !onOwnGoroutine() {
		return err
	}
	goexit()
	return err
}

// misused is the error of an operation that was called where it may not be.
func (x *Invocation) misused(f *frame, typ history.Type, name string, err error, hint string) error {
	return &Misuse{Type: typ, ExecutionID: x.id, Name: name, Err: err, Hint: hint}
}

// unanswered holds the execution if err says that an operation was misused that
// can't return an error: its caller must not go on with what it returns instead. Where
// that can't be kept from it, on a goroutine that is not ours, what a body below f makes
// of it is not recorded.
func (x *Invocation) unanswered(f *frame, err error) {
	if fault.Is(err, fault.ErrInvalidID) || fault.Is(err, fault.ErrConcurrentUse) {
		x.mu.Lock()
		f.misled = true
		x.holdNow(err)
		x.exit(f)
	}
}

// isMisled reports whether code of f, or around it, was given what means nothing: see
// unanswered. x.mu is held.
func (f *frame) isMisled() bool {
	for ; f != nil; f = f.up {
		if f.misled {
			return true
		}
	}
	return false
}

// outcome returns the recorded outcome of o. x.mu is held, and given up.
func (c Context) outcome(o *history.Operation) (out Outcome, err error) {
	f, x := c.f, c.f.x
	failure := o.Failure
	out.O, out.Payload = o, o.Payload
	o.Noted = true
	f.passed(o)
	x.mu.Unlock()
	if o.Refused != nil {
		return out, o.Refused
	}
	if failure != nil {
		return out, x.opError(o, failure)
	}
	return out, nil
}

// Undecodable holds the execution because an outcome can't be decoded. c has not been left.
func (c Context) Undecodable(o *history.Operation, err error) error {
	x := c.f.x
	why := x.host.Reason(fmt.Errorf("durable: execution %s, operation %s %q: %w", x.id, o.ID, o.Name, err))
	x.mu.Lock()
	x.holdNow(why)
	return x.exit(c.f)
}

// opError is the error of a failed operation.
func (x *Invocation) opError(o *history.Operation, failure *fault.Failure) error {
	err := &Failed{Type: o.Type, ExecutionID: x.id, OperationID: o.ID, Name: o.Name, Failure: failure}
	if o.Type == history.Step {
		err.Attempts = int(o.Attempt)
	}
	return err
}
