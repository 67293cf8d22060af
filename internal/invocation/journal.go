package invocation

import (
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/journal"
	"github.com/durable-go/durable/internal/line"
)

// What an invocation records goes through its journal, and from there to the host. The code
// between operations runs ahead of the disk; only effects wait, in await.

// records is the journal of an invocation, and who waits for it.
type records struct {
	journal.Journal
	waiting    line.Line[durableWaiter] // by seq
	committing []*routine               // wait for the slot of another transaction
	flush      Timer
	armed      time.Duration // 0: not armed
}

// durableWaiter is a routine that waits until seq is durable.
type durableWaiter struct {
	seq uint64
	r   *routine
}

const (
	// outcomeDelay is how long an outcome may wait for company before it is
	// sent. Whatever comes first, the next effect or the end, takes it along.
	outcomeDelay = time.Millisecond
	// startDelay is how long a lazy start may stay out of the journal.
	startDelay = 50 * time.Millisecond
)

// later makes sure that what waits is sent within d. x.mu is held.
func (x *Invocation) later(d time.Duration) {
	j := &x.journal
	if j.armed != 0 && j.armed <= d {
		return
	}
	j.armed = d
	if j.flush == nil {
		j.flush = x.afterFunc(d, x.flushLate)
	} else {
		j.flush.Reset(d)
	}
}

func (x *Invocation) flushLate() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.journal.armed = 0
	if x.phase.lets(letEvents) {
		x.send()
	}
}

// startLazily enters the start of o without a number. x.mu is held.
func (x *Invocation) startLazily(o *history.Operation, rec *checkpoint.Record) {
	x.journal.Start(o, rec, x.host.Now())
	x.later(startDelay)
}

// record numbers rec, folds it into its operation and leaves it for send. A
// start of the same operation that is still lazy becomes one record with it.
// x.mu is held.
func (x *Invocation) record(o *history.Operation, rec *checkpoint.Record, failure *fault.Failure) {
	if s := x.journal.Slot(); s != nil && s.O == o {
		x.journal.Fill(x.toAppend(), rec, failure, x.host.Now())
		x.tell(o, rec)
		x.freed()
		return
	}
	x.journal.Join(o, rec)
	x.numberStarts()
	x.number(o, rec, failure)
	x.later(outcomeDelay)
}

// numberStarts gives the lazy starts their numbers. x.mu is held.
func (x *Invocation) numberStarts() {
	for _, o := range x.journal.Lazy() {
		x.number(o, x.journal.Begin(o), nil)
	}
	x.journal.ClearLazy()
}

// number gives rec, of o or of the execution, its place and leaves it for send.
// x.mu is held.
func (x *Invocation) number(o *history.Operation, rec *checkpoint.Record, failure *fault.Failure) {
	now := rec.Time
	if now == 0 {
		now = x.host.Now()
	}
	x.journal.Number(o, rec, failure, now)
	x.tell(o, rec)
}

// tell tells the watcher of a record that has its place. x.mu is held.
func (x *Invocation) tell(o *history.Operation, rec *checkpoint.Record) {
	if o != nil && o.EndSeq == rec.Seq {
		x.host.Settled(o)
	}
	if x.Watched && rec.Events != 0 && (rec.Type != checkpoint.InvocationCompleted || x.phase != phaseReleasing) { // that one may be refused
		x.tellRecord(rec, o)
	}
}

// tellRecord is tell for who is told of each record. What it gets is a copy: a pointer
// to a record on the stack would move each of them to the heap. x.mu is held.
func (x *Invocation) tellRecord(rec *checkpoint.Record, o *history.Operation) {
	told := *rec
	x.host.Recorded(&told, o)
}

// send hands everything that is numbered or lazy to the host. x.mu is held.
func (x *Invocation) send() {
	x.numberStarts()
	if len(x.journal.Pending()) > 0 {
		x.append(x.toAppend(), nil)
	}
}

// toAppend is an append of the execution. x.mu is held.
func (x *Invocation) toAppend() checkpoint.Append {
	return checkpoint.Append{ID: x.id, Epoch: x.Execution.Epoch}
}

// append hands the pending records to the host as a says. done is called, with
// x.mu held, when it has answered; without it, that is all. x.mu is held.
func (x *Invocation) append(a checkpoint.Append, done func(err error)) {
	if x.phase == phaseClosed {
		return
	}
	a.InboxSeen = x.inboxSeen
	x.journal.Close(a, done)
	x.hand()
}

// hand hands to the host what is ready. x.mu is held.
func (x *Invocation) hand() {
	for x.phase != phaseClosed {
		a, ok := x.journal.Hand()
		if !ok {
			return
		}
		x.host.Append(a, x.answer)
	}
}

// freed hands on what waited for a slot. x.mu is held.
func (x *Invocation) freed() {
	x.hand()
	for _, r := range x.journal.committing {
		x.rouse(r)
	}
	x.journal.committing = nil
}

// answered takes the host's answer to the oldest append.
func (x *Invocation) answered(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	a := x.journal.Answered()
	switch {
	case a.Done != nil:
		a.Done(err)
	case err != nil:
		x.lost(err)
	default:
		x.becameDurable(a.Seq)
	}
	if a.Opens {
		x.host.Opened() // somebody may wait for its ID
	}
}

// becameDurable lets the effects go on that waited for seq. x.mu is held.
func (x *Invocation) becameDurable(seq uint64) {
	j := &x.journal
	j.Reached(seq)
	x.host.Durable(j.Durable())
	for !j.waiting.Empty() && j.waiting.First().seq <= j.Durable() {
		x.rouse(j.waiting.Take().r)
	}
}

// await returns when everything numbered so far is durable: an effect of f's
// code may start. It ends the goroutine if the invocation closes meanwhile.
// x.mu is held, and is given up while waiting.
func (x *Invocation) await(f *frame) error {
	j := &x.journal
	if !x.mayGoOn(f) {
		return x.exit(f)
	}
	if j.IsDurable() {
		return nil
	}
	x.send()
	seq, r := j.Seq(), f.r
	j.waiting.Add(durableWaiter{seq, r})
	for j.Durable() < seq && !r.quitting {
		x.wait(r)
	}
	if r.quitting || !x.mayGoOn(f) && !x.hasBegun(f) {
		return x.exit(f)
	}
	return nil
}

// hasBegun reports whether code of f counts as in its body, and is waited for. x.mu is held.
func (x *Invocation) hasBegun(f *frame) bool {
	return f.r.inBody && x.phase.lets(letRecords) && !f.r.abandoned && !f.abandoned
}
