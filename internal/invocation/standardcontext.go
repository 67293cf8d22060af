package invocation

import (
	"context"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
)

// Where a cancel is shown to code, and how a replay knows that it was:
//
//	what                                   shown as               on replay
//	an operation that was open             its outcome            recorded behind the cancel
//	an operation that begins later         fault.ErrCanceled, -Timeout  recorded: OperationRefused
//	All, Any, Race, Select, Settled        their outcome          recorded behind the cancel
//	Await of what is in the scope          its outcome            recorded
//	Await of what is outside of it         fault.ErrCanceled, -Timeout  no outcome before the cancel
//	the context of a body                  it ends                the outcome of the body is recorded
//	Err and Done of the standard context   it has ended           recorded: ContextLooked
//
// Only the last one has no place in the journal by itself. Code may look at any time,
// so looks are counted, and the first one that sees the cancel is recorded. On replay the
// context ends when the code has got there. Where there is no such record, a look saw
// nothing, as long as an operation behind it is recorded; when none is, the code is
// where it was never before, and the cancel may be shown to it. But it may have looked,
// and then have waited without an operation of its own (Await, Settled): so an execution
// that leaves memory records what its code has seen nothing of by then.

// place is where f's code is: 2 p in the operation at position p, where code of the user
// may run that looks, too, and 2 p + 1 behind it.
func (f *frame) place() uint32 {
	if f.within {
		return 2 * uint32(f.counter)
	}
	return 2*uint32(f.counter) + 1
}

// standardContext is what a frame's code gets as its standard context. What it sees
// there, it sees again on replay.
type standardContext frame

func (s *standardContext) Deadline() (time.Time, bool) { return s.inner().Deadline() }
func (s *standardContext) Value(key any) any           { return s.inner().Value(key) }

func (s *standardContext) inner() context.Context { return (*frame)(s).context(false) }

func (s *standardContext) Err() error {
	f := (*frame)(s)
	f.x.mu.Lock()
	defer f.x.mu.Unlock()
	f.showCancel()
	err := s.inner().Err()
	f.looked()
	f.showCancel()
	return err
}

func (s *standardContext) Done() <-chan struct{} {
	f := (*frame)(s)
	f.x.mu.Lock()
	defer f.x.mu.Unlock()
	f.watched = true
	f.showCancel()
	f.looked()
	if f.op.Looked != nil && f.op.Looked.Shown && !f.ctx.ended() {
		// The code goes on to see whether it is closed, or to wait until it is.
		f.x.afterFunc(shownLater, func() {
			f.x.mu.Lock()
			defer f.x.mu.Unlock()
			f.showCancel()
		})
	}
	return s.inner().Done()
}

// shownLater is when, on replay, a channel is closed that the code had got when it
// was open.
const shownLater = time.Millisecond

// looked takes note of a look of f's code. x.mu is held.
func (f *frame) looked() {
	if f.ctx.ended() {
		f.recordLooks(true)
		return
	}
	f.looks++
}

// recordLooks records how far f's code has looked, if that is new, and whether it sees
// the cancel from now on. x.mu is held.
func (f *frame) recordLooks(shown bool) {
	now, last := history.Looks{Place: f.place(), Count: f.looks, Shown: shown}, f.op.Looked
	if last != nil && (*last == now || last.Shown) || f.ended || f.rebuild || f.x.replay != nil || !f.x.mayGoOn(f) {
		return
	}
	rec := checkpoint.Record{Type: checkpoint.ContextLooked, OperationID: f.op.ID, Number: int64(now.Place), Attempt: now.Count}
	if shown {
		by := f.op.CancelledBy()
		if by == nil || !by.CancelTold {
			return
		}
		rec.Key = by.CancelCause
	}
	f.x.record(f.op, &rec, nil)
}

// recordAllLooks records how far all code has looked, before it leaves memory. x.mu is held.
func (x *Invocation) recordAllLooks() {
	eachFrame(frameOf(x.root), func(f *frame) {
		if f.looks > 0 && !f.ctx.ended() {
			f.recordLooks(false)
		}
	})
}

// showCancel ends f's standard context if its scope is cancelled and f has got to where
// its code may see that. x.mu is held.
func (f *frame) showCancel() {
	if f.x.cancels == 0 || f.ctx.ended() {
		return
	}
	by := f.op.CancelledBy()
	if by == nil || !f.maySee(by) {
		return
	}
	f.ctx.end(causeOf(by.CancelCause))
	if f.watched {
		f.recordLooks(true)
	}
}

// maySee reports whether f's code is where it may see that by was cancelled. x.mu is held.
func (f *frame) maySee(by *history.Operation) bool {
	switch last := f.op.Looked; {
	case last != nil && (f.place() < last.Place || f.place() == last.Place && f.looks < last.Count):
		return false
	case last != nil && last.Shown:
		return true
	case !by.CancelTold:
		return f.consumed(by)
	}
	return f.x.replay == nil && f.new()
}

// new reports whether f's code, and that of a context whose function it waits for, is
// where it was never before. x.mu is held.
func (f *frame) new() bool {
	for ; f != nil; f = f.called {
		if f.rebuild || f.counter < f.op.Last {
			return false
		}
	}
	return true
}

// consumed is how it was told, before looks were recorded, whether f's code may see that
// by was cancelled: when f has consumed every operation that was recorded before, has
// awaited what was open then, and has got past those that were refused. x.mu is held.
func (f *frame) consumed(by *history.Operation) bool {
	if f.rebuild && f.op.EndSeq < by.CancelSeq {
		return false
	}
	if f.replaying && f.unseen.any(f.futures, by.CancelSeq) {
		return false
	}
	next := f.x.ops[f.id(f.counter+1)]
	return next == nil || next.FirstSeq == 0 || next.FirstSeq >= by.CancelSeq && !next.Refusal
}

// unseen is how far the futures of a frame are known to have been awaited, those that
// were open when a cancel came: what is known once stays so.
type unseen struct {
	cancel uint64 // sequence of the cancel
	from   int    // all before it have been
}

// any reports whether one has not been awaited.
func (u *unseen) any(futures []*history.Operation, cancel uint64) bool {
	if u.cancel != cancel {
		*u = unseen{cancel: cancel}
	}
	for ; u.from < len(futures); u.from++ {
		o := futures[u.from]
		if !o.Noted && o.FirstSeq < cancel && (o.EndSeq == 0 || o.EndSeq > cancel) {
			return true
		}
	}
	return false
}
