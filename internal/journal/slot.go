package journal

import (
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// Slot is a place in the journal for the outcome of an attempt whose transaction is
// committing: its success if the transaction commits, its failure if it does not. Both
// are as many events, so what comes behind it can be numbered; it is handed on when the slot
// is filled.
type Slot struct {
	O       *history.Operation
	Seq     uint64
	eventID uint64
	start   *checkpoint.Record // of O, if it had no number: it becomes one record with the outcome
	behind  []sending
}

// Slot is the one of a transaction that commits; nil: none does.
func (j *Journal) Slot() *Slot { return j.slot }

// TakeStart makes rec, the success of o, one record with the start of o, if that is lazy.
// What is lazy else is numbered and closed next, and then rec gets its place by Reserve.
func (j *Journal) TakeStart(o *history.Operation, rec *checkpoint.Record) (start *checkpoint.Record) {
	if o.Start == nil {
		return nil
	}
	return j.takeStart(o, rec)
}

// Reserve makes a slot for rec, the success of o, and gives rec its numbers.
func (j *Journal) Reserve(o *history.Operation, rec, start *checkpoint.Record, now int64) *Slot {
	j.place(o, rec, now)
	j.mark.Sent = j.mark.Seq
	j.slot = &Slot{O: o, Seq: rec.Seq, eventID: rec.EventID, start: start}
	return j.slot
}

// Fill records in the slot what became of the attempt instead, in the execution and epoch
// that a says, and lets go what had to wait behind it.
func (j *Journal) Fill(a checkpoint.Append, rec *checkpoint.Record, failure *fault.Failure, now int64) {
	s := j.slot
	if s.start != nil {
		merge(rec, s.start)
	}
	rec.Failure = fault.Encode(failure)
	mark := j.mark
	j.mark.Seq, j.mark.Event = s.Seq-1, s.eventID-1
	j.place(s.O, rec, now)
	j.mark = mark
	s.O.Apply(rec, failure)
	a.Tail, a.Records = s.Seq-1, []checkpoint.Record{*rec}
	j.ready.Add(sending{a, Asked{Seq: s.Seq}})
	j.Free()
}

// Free gives the slot up, and lets go what had to wait behind it: it is durable with its
// transaction, or filled.
func (j *Journal) Free() {
	for _, s := range j.slot.behind {
		j.ready.Add(s)
	}
	j.slot = nil
}
