// Package journal numbers what happens in an execution, in order, and knows what of it is
// durable.
//
// A record is numbered before any goroutine sees what it says, and is durable before
// anything that depends on it leaves the process. A start carries nothing that an effect
// depends on, so it may wait unnumbered ("lazy") until something else is numbered: a step
// that ends first is one record of two events.
//
//	call        from                 to
//	Start       nothing              lazy
//	Join        lazy                 part of the record of its outcome
//	Number      nothing, or lazy     pending, and folded into its operation
//	Close       pending              ready: one append, with all else that is to be done with it
//	Hand        ready                asked
//	Answered    asked                answered, in the order of the appends
//	Reached                          durable, and all that was numbered before
//	Reserve     nothing              the slot: numbered and folded later, what is closed waits behind it
//	Fill, Free  the slot             ready, or durable with the transaction
//	Back        numbered             nothing: the store has refused it
//
// A Journal keeps no time, waits for nobody, calls nobody and has no lock: it belongs to
// whoever may change the execution. Below it is package history, into whose operations it
// folds what it numbers.
//
// testdata/journal.txt tells by cases, which are tests, what becomes of what an execution does.
package journal

import (
	"slices"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/line"
)

// Journal is the end of a journal, where records are added.
type Journal struct {
	mark    Mark
	durable uint64 // last number known to be durable

	lazy    []*history.Operation // whose start has no number yet
	spare   *checkpoint.Record   // a start that became one record with its outcome
	pending []checkpoint.Record
	close   []string              // callbacks to close with the pending records
	deliver []checkpoint.Delivery // to deliver with the pending records

	ready line.Line[sending] // to be handed to the host
	asked line.Line[Asked]   // appends that the host has not answered, in its order
	slot  *Slot              // of a transaction that commits; nil: none does
}

// Mark is how far a journal has got.
type Mark struct {
	Seq   uint64 // last number given
	Event uint64 // last event number given
	Sent  uint64 // last number closed
}

// Asked is an append that the host has not answered yet.
type Asked struct {
	Seq   uint64          // of its last record
	Opens bool            // a callback
	Done  func(err error) // of Close; nil: there is none
}

// sending is an append on its way to the host.
type sending struct {
	a     checkpoint.Append
	asked Asked
}

// New goes on behind a record and an event, which are durable.
func New(tail, event uint64) Journal {
	return Journal{mark: Mark{tail, event, tail}, durable: tail}
}

// Mark is how far it has got.
func (j *Journal) Mark() Mark { return j.mark }

// Seq is the last number that was given.
func (j *Journal) Seq() uint64 { return j.mark.Seq }

// Durable is the last number that is durable.
func (j *Journal) Durable() uint64 { return j.durable }

// IsDurable reports whether everything is durable that has a number.
func (j *Journal) IsDurable() bool { return j.durable >= j.mark.Seq }

// CloseCallback closes a callback with the records that are pending.
func (j *Journal) CloseCallback(id string) { j.close = append(j.close, id) }

// Deliver delivers with the records that are pending.
func (j *Journal) Deliver(d checkpoint.Delivery) { j.deliver = append(j.deliver, d) }

// NewStart is a record for Start.
func (j *Journal) NewStart() *checkpoint.Record {
	if rec := j.spare; rec != nil {
		j.spare = nil
		return rec
	}
	return new(checkpoint.Record)
}

// Start enters the start of o without a number.
func (j *Journal) Start(o *history.Operation, rec *checkpoint.Record, now int64) {
	rec.Time, rec.Events = now, 1
	o.Start = rec
	o.Status, o.Attempt = history.Started, max(o.Attempt, rec.Attempt)
	if o.StartedAt == 0 { // not that of a later attempt
		o.StartedAt = rec.Time
	}
	j.lazy = append(j.lazy, o)
}

// Join makes rec one record with the start of o, if that is still lazy. A context's start
// stays before the starts inside it.
func (j *Journal) Join(o *history.Operation, rec *checkpoint.Record) {
	if o.Start == nil || rec.Type >= checkpoint.ScopeCancelled || o.Type == history.Context && j.lazy[len(j.lazy)-1] != o {
		return
	}
	j.spare = j.takeStart(o, rec)
}

// takeStart makes rec one record with the start of o, which is lazy no more.
func (j *Journal) takeStart(o *history.Operation, rec *checkpoint.Record) (start *checkpoint.Record) {
	start, o.Start = o.Start, nil
	merge(rec, start)
	if i := slices.Index(j.lazy, o); i >= 0 {
		j.lazy = slices.Delete(j.lazy, i, i+1)
	}
	return start
}

// merge makes rec a record of two events, the start and what rec says.
func merge(rec, start *checkpoint.Record) {
	rec.Events, rec.StartedAt = 2, start.Time
	rec.Name, rec.SubType, rec.Attempt = start.Name, start.SubType, start.Attempt
	rec.Flags |= start.Flags
	rec.ParentID = start.ParentID
	if rec.Timeout == 0 {
		rec.Timeout, rec.TimeoutAt = start.Timeout, start.TimeoutAt
	}
}

// Lazy are the operations whose starts have no number yet, in order. They are numbered by
// Number with what Begin returns, all of them; then ClearLazy.
func (j *Journal) Lazy() []*history.Operation {
	if len(j.lazy) > 0 {
		j.pending = slices.Grow(j.pending, len(j.lazy)+1)
	}
	return j.lazy
}

// Begin takes the start of o out, to be numbered.
func (j *Journal) Begin(o *history.Operation) (start *checkpoint.Record) {
	start, o.Start = o.Start, nil
	return start
}

// ClearLazy forgets what was lazy, and has its numbers now.
func (j *Journal) ClearLazy() {
	clear(j.lazy)
	j.lazy = j.lazy[:0]
}

// Number gives rec, of o or of the execution, its place, folds it into o and leaves it for
// Close. now stamps it, unless it has a time.
func (j *Journal) Number(o *history.Operation, rec *checkpoint.Record, failure *fault.Failure, now int64) {
	rec.Failure = fault.Encode(failure)
	j.place(o, rec, now)
	if o != nil {
		o.Apply(rec, failure)
	}
	n := len(j.pending)
	j.pending = slices.Grow(j.pending, 1)[:n+1]
	j.pending[n] = *rec
}

// place gives rec its numbers.
func (j *Journal) place(o *history.Operation, rec *checkpoint.Record, now int64) {
	j.mark.Seq++
	rec.Seq = j.mark.Seq
	switch {
	case o != nil && o.Silent():
		rec.Flags |= checkpoint.FlagSilent
	case rec.Events == 0 && rec.Type < checkpoint.ScopeCancelled:
		rec.Events = 1
	}
	if rec.Events > 0 {
		rec.EventID = j.mark.Event + 1
		j.mark.Event += uint64(rec.Events)
	}
	if rec.Time == 0 {
		rec.Time = now
	}
}

// Pending are the records that are numbered, and not closed.
func (j *Journal) Pending() []checkpoint.Record { return j.pending }

// Close makes an append of the pending records and of what a says, to be handed on. a has
// its ID and its epoch, and how much of the inbox has been taken over. done is the caller's.
func (j *Journal) Close(a checkpoint.Append, done func(err error)) {
	a.Tail, a.Records = j.mark.Sent, j.pending
	a.CloseCallbacks, a.Deliver = j.close, append(a.Deliver, j.deliver...)
	j.pending, j.close, j.deliver = nil, nil, nil
	j.mark.Sent = j.mark.Seq
	opens := false
	for i := range a.Records {
		opens = opens || a.Records[i].Type == checkpoint.CallbackStarted
	}
	s := sending{a, Asked{j.mark.Seq, opens, done}}
	if j.slot != nil {
		j.slot.behind = append(j.slot.behind, s)
		return
	}
	j.ready.Add(s)
}

// Hand is the next append for the host, which answers it; ok is false if there is none.
func (j *Journal) Hand() (a checkpoint.Append, ok bool) {
	if j.ready.Empty() {
		return a, false
	}
	s := j.ready.Take()
	j.asked.Add(s.asked)
	return s.a, true
}

// Answered takes out the oldest append that the host had not answered.
func (j *Journal) Answered() Asked { return j.asked.Take() }

// Reached takes note that everything up to a number is durable.
func (j *Journal) Reached(seq uint64) { j.durable = max(j.durable, seq) }

// Back goes back to a mark: what was numbered since was refused.
func (j *Journal) Back(m Mark) { j.mark = m }
