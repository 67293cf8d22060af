package invocation

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// frame is a context while its function runs: it counts positions, and it is
// the scope of cancellation of what happens in it.
//
// A scope is cancelled by a record, ordered against outcomes like any other:
// what was open gets its outcome right behind it, what begins later takes its
// position, records nothing, and returns the same. A scope ends when its
// function returns, or a batch decides: what still runs below is abandoned, it
// can record nothing more, and nothing waits for it.
type frame struct {
	x      *Invocation
	op     *history.Operation // the context operation
	up     *frame             // nil: the handler's
	r      *routine
	prefix string // of the IDs in it: "", "2-", "2-1-"

	counter   int
	within    bool   // its code is in the operation at counter, not behind it
	looks     uint32 // at its standard context, at this place
	called    *frame // whose function its code is in; nil: none
	refused   int    // operations refused in a row
	ended     bool
	abandoned bool
	replaying bool
	rebuild   bool // its outcome is known, only its value is computed again
	misled    bool // an operation that can't return an error was misused
	watched   bool // its code has the channel of its standard context
	inUse     atomic.Bool

	onEnd   func()               // of a batch's item: called when it has ended, x.mu held
	waits   *waiter              // what its code waits for; nil: it does not wait
	below   []*frame             // frames that have not ended
	at      int                  // where f stands in the one above it
	futures []*history.Operation // started by Go, After and CreateCallback in it
	skipped uint64               // where the last of those contexts ended that its code waited for before, and that a replay does not run again
	unseen  unseen

	ctx      lazyContext // ends with the scope's cancel
	shielded lazyContext // of WithoutCancel
}

// newFrame enters a frame for op below up. x.mu is held.
func (x *Invocation) newFrame(op *history.Operation, up *frame) *frame {
	f := &frame{x: x, op: op, up: up, replaying: op.FirstSeq != 0 && op.FirstSeq <= x.lastInvocation}
	if op.ID != "" {
		f.prefix = op.ID + "-"
	}
	if up != nil {
		f.r = up.r
		f.rebuild = up.rebuild
		f.at = len(up.below)
		up.below = append(up.below, f)
	}
	op.Frame = f
	return f
}

// passed takes note that f's code gets the outcome of o: if that is new in this
// invocation, what follows has not run before. x.mu is held.
func (f *frame) passed(o *history.Operation) {
	if o.EndSeq > f.x.lastInvocation {
		f.replaying = false
	}
}

// skips takes note that f's code waits for a context, which may have its outcome.
// x.mu is held.
func (f *frame) skips(o *history.Operation) { f.skipped = max(f.skipped, o.EndSeq) }

// context is the standard context of f's bodies, and what is behind that of its code. It
// is not a child of that of the context around it: on replay that one may have got
// further, and show a cancel that this one must not see yet.
func (f *frame) context(shielded bool) context.Context {
	if shielded {
		return f.shielded.below(f.x.context)
	}
	return f.ctx.below(f.x.context)
}

// end ends the scope of f: what runs below is abandoned, its callbacks are
// closed and its invoked executions cancelled with the records that are pending.
// x.mu is held.
func (f *frame) end() {
	if f.ended {
		return
	}
	f.ended = true
	f.ctx.end(context.Canceled)
	f.shielded.end(context.Canceled)
	for _, below := range f.below {
		below.abandon(f.r)
	}
	f.below = nil
	if f.up != nil && !f.up.ended {
		last := len(f.up.below) - 1
		f.up.below[f.at] = f.up.below[last]
		f.up.below[f.at].at = f.at
		f.up.below[last] = nil
		f.up.below = f.up.below[:last]
	}
	if frameOf(f.op) == f {
		f.op.Frame = nil
	}
	if f.up != nil && f.up.called == f {
		f.up.called = nil
	}
	for _, o := range f.futures {
		if !o.Settled() {
			o.Gone = true
			f.x.wakeAll(o) // who waits for it from elsewhere finds it abandoned
		}
	}
	f.warnOfUnseen()
}

func (f *frame) abandon(by *routine) {
	f.abandoned = f.r != by
	if f.r != nil && f.r != by {
		f.x.abandon(f.r)
	}
	f.up = nil
	f.end()
}

// closeOutside closes the callbacks and cancels the invoked executions that are
// open below context, with the record that ends it. x.mu is held.
func (x *Invocation) closeOutside(context *history.Operation) {
	if x.outside == 0 {
		return
	}
	context.EachOpen(true, func(o *history.Operation) {
		switch {
		case !o.Outside:
			return
		case o.Type == history.Callback:
			x.journal.CloseCallback(o.ID)
		default:
			x.journal.Deliver(CancelDelivery(o.Target, "the operation that invoked it was abandoned"))
		}
		x.waitsNoMore(o)
	})
}

// warnOfUnseen logs failures of futures that nobody awaited; no cancels, and not those
// that a child or a batch may have awaited that a replay does not run again. One that was
// awaited in a branch that it does not run again may be logged, too.
func (f *frame) warnOfUnseen() {
	for _, o := range f.futures {
		if o.Settled() && o.Failure != nil && !o.Noted && !f.rebuild && o.EndSeq > f.skipped && !o.EndedByCancel() {
			f.x.Logger().Warn("durable: the error of a concurrent operation was never awaited", "operation", o.ID, "name", o.Name, "type", o.Failure.LoggedType())
		}
	}
}

// cancelScope records that a scope is cancelled, and settles what is open in it.
// Callbacks are closed in the store first, so that a success that was acknowledged is not
// lost; but nothing is taken out of the inbox meanwhile: what the cancel did to a callback
// has its place behind the cancel. seq is the inbox entry that asks for it, or 0.
// x.mu is not held.
func (x *Invocation) cancelScope(context *history.Operation, cause, reason string, seq uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cancelling++
	defer func() { x.cancelling-- }()
	for x.takesRecords() {
		if context.Settled() || context.Dead() || context.CancelSeq != 0 {
			x.inboxSeen = max(x.inboxSeen, seq)
			return
		}
		var open []*history.Operation
		for _, o := range context.OpenIn() {
			if o.Type == history.Callback && o.Outside && !o.Closing() {
				open = append(open, o)
				o.CancelCause = cause
			}
		}
		if len(open) == 0 {
			x.inboxSeen = max(x.inboxSeen, seq)
			x.applyCancel(context, cause, reason)
			return
		}
		x.mu.Unlock()
		closed := true
		for i := 0; i < len(open) && closed; i++ {
			closed = x.deliverToSelf(open[i], checkpoint.Record{Type: checkpoint.CallbackFailed}, history.CancelFailure(cause, reason))
		}
		x.mu.Lock()
		if !closed {
			return
		}
	}
}

func (x *Invocation) applyCancel(context *history.Operation, cause, reason string) {
	x.record(context, &checkpoint.Record{Type: checkpoint.ScopeCancelled, OperationID: context.ID, Key: cause, Payload: []byte(reason), Number: 1}, nil)
	x.cancels++
	failure := history.CancelFailure(cause, reason)
	reached := append(context.OpenIn(), context) // the root may run a body, of a plain function
	for _, o := range reached {
		switch {
		case o == context:
		case o.Type == history.Step && o.Running():
			if o.Cancel != nil {
				o.Cancel(causeOf(cause))
			}
		default:
			x.cancelOpen(o, failure)
		}
	}
	eachReached(frameOf(context), func(f *frame) {
		f.showCancel()
		if f.waits != nil {
			x.wake(f.waits) // what it waits for may not be in the scope, but it is
		}
	})
	for _, o := range reached {
		if o.Running() {
			x.warnIfSlow(o)
		}
	}
	x.later(outcomeDelay)
}

// cancelOpen settles an open operation that a cancel has reached, if that is all it takes.
// x.mu is held.
func (x *Invocation) cancelOpen(o *history.Operation, failure *fault.Failure) {
	switch o.Type {
	case history.Wait:
		x.settle(o, &checkpoint.Record{Type: checkpoint.WaitCancelled}, failure)
	case history.Step:
		x.failStep(o, failure)
	case history.Invoke:
		x.journal.Deliver(CancelDelivery(o.Target, "the execution that invoked it was cancelled"))
		x.settle(o, &checkpoint.Record{Type: checkpoint.ChainedInvokeStopped}, failure)
	}
}

// finishCancels does what a cancel that is recorded has left to do. An append holds all of
// it, but a recording may end behind any record, and an outcome of a callback that was in
// the inbox is not in it. A step that a cancel has cut off is settled by its own life.
// x.mu is not held.
func (x *Invocation) finishCancels() {
	x.mu.Lock()
	var open, callbacks []*history.Operation
	if x.cancels > 0 {
		for _, o := range x.ops {
			if o.Type != history.Context && o.Status != "" && !o.Settled() && !o.Dead() && o.CancelledBy() != nil {
				open = append(open, o)
			}
		}
	}
	slices.SortFunc(open, func(a, b *history.Operation) int { return history.CompareIDs(a.ID, b.ID) })
	for _, o := range open {
		switch {
		case o.Type == history.Callback:
			callbacks = append(callbacks, o)
		case o.Type != history.Step || o.Status == history.Pending:
			x.cancelOpen(o, o.CancelledBy().Cancelled())
		}
	}
	x.mu.Unlock()
	for _, o := range callbacks {
		if !x.deliverToSelf(o, checkpoint.Record{Type: checkpoint.CallbackFailed}, o.CancelledBy().Cancelled()) {
			return
		}
	}
}

// frameOf is the frame of a context that runs; nil: it does not.
func frameOf(o *history.Operation) *frame {
	f, _ := o.Frame.(*frame)
	return f
}

// eachFrame calls f for a frame, if there is one, and those below that have not ended.
// x.mu is held.
func eachFrame(fr *frame, f func(*frame)) {
	if fr == nil {
		return
	}
	f(fr)
	for _, below := range fr.below {
		eachFrame(below, f)
	}
}

// eachReached is eachFrame without what a cancel of the frame's context does not reach.
func eachReached(fr *frame, f func(*frame)) {
	if fr == nil {
		return
	}
	f(fr)
	for _, below := range fr.below {
		if below.op.Flags&checkpoint.FlagShielded == 0 {
			eachReached(below, f)
		}
	}
}

func causeOf(cause string) error {
	if cause == "Timeout" {
		return fault.ErrTimeout
	}
	return fault.ErrCanceled
}

// refusalLimit is how many operations in a row a cancelled context may call
// before its execution is ended.
const refusalLimit = 1000

// SlowBody is how long a body may go on after its context has ended before it
// is logged.
const SlowBody = 10 * time.Second
