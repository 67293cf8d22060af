package history

import (
	"fmt"
	"slices"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
)

// Fold makes operations of records that are open.
func Fold(records []checkpoint.Record) (Operations, error) {
	ops := New(uint64(len(records)))
	for i := range records {
		failure, err := fault.Decode(records[i].Failure)
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", records[i].Seq, err)
		}
		ops.Apply(&records[i], failure)
	}
	return ops, nil
}

// BeginAnew makes of records that were kept of a journal those that another execution
// begins with: of what has no outcome only contexts are left, to go on in; invocations
// are not part of it. Numbers and events have no gaps afterwards. closed are callbacks
// without an outcome that nobody waits for.
func BeginAnew(kept []checkpoint.Record, now int64) (records []checkpoint.Record, closed []string, err error) {
	ops, err := Fold(kept)
	if err != nil {
		return nil, nil, err
	}
	stays := make(map[*Operation]bool, len(ops))
	for _, o := range ops {
		stays[o] = o.stays(ops)
		if stays[o] && o.Type == Callback && !o.Settled() && o.Dead() {
			closed = append(closed, o.ID)
		}
	}
	slices.SortFunc(closed, CompareIDs)
	seq, event := uint64(1), uint64(1) // of what starts the execution
	for _, rec := range kept {
		o := ops[rec.OperationID]
		if rec.Type == checkpoint.InvocationCompleted || IsFinal(rec.Type) || !stays[o] {
			continue
		}
		if !o.Settled() && !o.Dead() {
			if rec.TimeoutAt != 0 {
				rec.TimeoutAt = After(now, rec.Timeout)
			}
			if rec.Type == checkpoint.CallbackStarted {
				rec.Time = now // its heartbeats count from then
			}
		}
		seq++
		rec.Seq = seq
		if rec.Events > 0 {
			rec.EventID = event + 1
			event += uint64(rec.Events)
		}
		records = append(records, rec)
	}
	return records, closed, nil
}

// Stayers are the operations, by ID, of records that were kept which have an outcome that
// stays, or are contexts.
func Stayers(kept []checkpoint.Record) (map[string]bool, error) {
	ops, err := Fold(kept)
	stays := make(map[string]bool, len(ops))
	for _, o := range ops {
		stays[o.ID] = o.stays(ops)
	}
	return stays, err
}

// stays reports whether what is recorded of o is part of a new beginning.
func (o *Operation) stays(ops Operations) bool {
	if !o.Dead() {
		for up := o.Up; up != nil; up = up.Up {
			// Who was told the ID of a callback must be told the new one.
			if up.SubType == checkpoint.WaitForCallback {
				if cb := ops[up.ID+"-1"]; cb == nil || cb.Status != Succeeded {
					return false
				}
			}
		}
	}
	return o.Settled() || o.Dead() || o.Type == Context || o.Type == Callback && o.passedBy()
}

// passedBy reports whether the code of the context around o has got further. A callback
// that it had got by then is there from the beginning, under its new ID: made only by the
// code, it would be refused if the execution was cancelled before, and the code would go
// another way than what is recorded behind it.
func (o *Operation) passedBy() bool {
	_, position := placeOf(o.ID)
	return o.Up.Last > position
}
