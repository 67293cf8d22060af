package durable

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

// enter claims the next position of c. If it returns no error, the residency's
// mu is held, and c.leave must be deferred.
func (c *Context) enter(typ history.Type, sub checkpoint.SubType, name string) (*history.Operation, error) {
	f := c.f
	x := f.x
	if err := history.CheckName(name); err != nil {
		return nil, x.misused(f, typ, name, err, "give it a name that can be read in a log")
	}
	if x.e.teller.Untold() > maxUntold {
		x.e.teller.Wait(x.id, maxUntold, x.context().Done())
	}
	if !f.inUse.CompareAndSwap(false, true) {
		return nil, x.misused(f, typ, name, ErrConcurrentUse, hintInUse)
	}
	x.mu.Lock()
	if !x.mayGoOn(f) {
		f.inUse.Store(false)
		return nil, x.exit(f)
	}
	if f.ended {
		f.inUse.Store(false)
		x.mu.Unlock()
		return nil, x.misused(f, typ, name, ErrConcurrentUse, hintReturned)
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
			x.finish(checkpoint.Failed, nil, fault.Own("Canceled", fmt.Sprintf("canceled, and the handler went on calling operations: %d in a row were refused: return when an operation returns ErrCanceled", f.refused)))
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
func (x *residency) refuse(o, by *history.Operation) error {
	failure := by.Cancelled()
	x.record(o, &checkpoint.Record{Type: checkpoint.OperationRefused, OperationID: o.ID, ParentID: o.RecordedParent(), SubType: o.SubType, Name: o.Name, Flags: o.Flags, Number: int64(o.Type)}, failure)
	x.mu.Unlock()
	return x.opError(o, failure)
}

// leave ends what enter began. x.mu is not held.
func (c *Context) leave() {
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

// id is the ID of the operation at a position of f.
func (f *frame) id(position int) string { return f.prefix + strconv.Itoa(position) }

// mismatched holds the execution and ends the goroutine. x.mu is held, and
// given up.
func (x *residency) mismatched(f *frame, o *history.Operation, asked string) error {
	recorded := "nothing"
	if o.Status != "" {
		recorded = history.Describe(o.Type, o.SubType, o.Name)
	}
	return x.diverged(f, o.ID, recorded, asked)
}

// diverged is mismatched where what is recorded takes other words.
func (x *residency) diverged(f *frame, id, recorded, asked string) error {
	err := &NonDeterministicError{ExecutionID: x.id, OperationID: id, Recorded: recorded, Asked: asked}
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
func (x *residency) misused(f *frame, typ history.Type, name string, err error, hint string) error {
	return &OpError{Type: typ.String(), ExecutionID: x.id, Name: history.Truncated(name), Err: err, Hint: hint}
}

// unanswered holds the execution if err says that an operation was misused that
// can't return an error: its caller must not go on with what it returns instead. Where
// that can't be kept from it, on a goroutine that is not ours, what a body below f makes
// of it is not recorded.
func (x *residency) unanswered(f *frame, err error) {
	if fault.Is(err, ErrInvalidID) || fault.Is(err, ErrConcurrentUse) {
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

// outcome returns the recorded outcome of o: it decodes the value into v, a pointer or a
// decoding, or rebuilds the error. x.mu is held, and given up.
func (c *Context) outcome(o *history.Operation, codec Codec, v any) error {
	f, x := c.f, c.f.x
	failure, payload, recordedCodec := o.Failure, o.Payload, o.Codec
	o.Noted = true
	f.passed(o)
	x.mu.Unlock()
	if o.Refused != nil {
		return o.Refused
	}
	if failure != nil {
		return x.opError(o, failure)
	}
	if v == nil {
		return nil
	}
	if d, ok := v.(decoding); ok {
		if d.holds(payload) {
			return nil
		}
		v = d.target()
	}
	outside := o.Type == history.Callback || o.Type == history.Invoke
	if outside {
		recordedCodec = "" // the sender's affair
	}
	chosen, err := x.e.codecFor(codec, recordedCodec)
	if err == nil {
		if err = decodeWith(chosen, payload, v); err == nil {
			return nil
		}
		if outside { // what was sent is not what is awaited: the same error on each replay
			return &OpError{Type: o.Type.String(), ExecutionID: x.id, OperationID: o.ID, Name: o.Name, Err: x.e.errs.rebuild(x.e.errs.record(err))}
		}
	}
	why := x.e.reason(fmt.Errorf("durable: execution %s, operation %s %q: %w", x.id, o.ID, o.Name, err))
	x.mu.Lock()
	x.holdNow(why)
	return x.exit(f)
}

// codecFor is the codec to decode with: the operation's, or the engine's, or
// json, whichever is recorded.
func (e *Engine) codecFor(codec Codec, recorded string) (Codec, error) {
	if codec == nil {
		codec = e.opts.Codec
	}
	switch recorded {
	case "", codec.Name():
		return codec, nil
	case e.opts.Codec.Name():
		return e.opts.Codec, nil
	case JSON.Name():
		return JSON, nil
	}
	return nil, fmt.Errorf("%w: the payload was recorded with %q, which is neither the operation's codec (%q), nor the engine's (%q), nor json: give the operation that codec again",
		ErrCodec, recorded, codec.Name(), e.opts.Codec.Name())
}

// opError rebuilds the error of a failed operation.
func (x *residency) opError(o *history.Operation, failure *fault.Failure) error {
	err := &OpError{Type: o.Type.String(), ExecutionID: x.id, OperationID: o.ID, Name: o.Name, Err: x.e.errs.rebuild(failure)}
	if o.Type == history.Step {
		err.Attempts = int(o.Attempt)
	}
	return err
}

// codecName is the name that is recorded with what codec encodes.
func (e *Engine) codecName(codec Codec) string {
	if codec == nil {
		codec = e.opts.Codec
	}
	return codec.Name()
}

func (e *Engine) encode(codec Codec, v any) ([]byte, error) {
	if codec == nil {
		codec = e.opts.Codec
	}
	return e.encodeWith(codec, v)
}
