package durable

import (
	"context"
	"fmt"
	"slices"

	"github.com/durable-go/durable/checkpoint"
)

// RestartFrom starts a new execution of the same function with the same input, which
// begins with what an ended one had recorded before the operation operationID began;
// with "" as operationID it begins with nothing. It returns the ID of the new one,
// whose ExecutionInfo.RestartOf names the old one. The old one stays as it is.
//
// What had an outcome by then keeps it: its body does not run again. What had begun and
// had no outcome yet begins anew, with all its attempts and its whole time: steps,
// waits, polls, invokes, and callbacks, which get a new ID. A callback that
// CreateCallback made may have been open while a later step told somebody its ID, and
// that step does not run again: choose the operation of the callback then.
// (WaitForCallback runs its submitter again with the new ID.) Contexts around the
// operation go on where they were, with a new timeout, if they have one. An
// execution that was cancelled before the operation is so again.
//
// The new one runs with the code of now: it is held like any other if that does not fit
// what it begins with. It has its own start time and deadline, which is as far off as
// that of the old one was, unless WithExecutionTimeout is given. With WithExecutionID
// the restart is idempotent. It has no caller, also if the old one was invoked, and
// engines without the function may start it for those that have it.
//
// ErrExecutionRunning if the old one has not ended, ErrOperationNotFound if it has no
// such operation. It returns once the new one is durable; costs reading the old
// journal, and one flush.
func (e *Engine) RestartFrom(ctx context.Context, id, operationID string, opts ...StartOption) (newID string, err error) {
	j, err := e.endedJournal(ctx, id)
	if err != nil {
		return "", err
	}
	var kept []checkpoint.Record
	if operationID != "" {
		o := j.ops[operationID]
		if o == nil || o.firstSeq == 0 || o.refusal {
			return "", fmt.Errorf("%w: execution %s has no operation %q: use an ID that Operations tells", ErrOperationNotFound, id, truncated(operationID))
		}
		kept = j.records[1 : o.firstSeq-1]
	}
	return e.restart(ctx, j, kept, "restart "+operationID, opts)
}

// Retry is RestartFrom for an execution that FAILED, was STOPPED or TIMED_OUT: the new
// one keeps what succeeded, and what failed or did not end runs again.
//
// What made the execution fail is looked for from the outside in: the operation whose
// failure is the one that the handler returned, as it is or wrapped with its text, or,
// when the handler returned another one, the last operation that ended, if it failed.
// That operation runs again, and what its context did after it has ended is dropped with
// it. If it is a context, all it holds is kept but what failed there in the same way;
// of a batch all failed items run again. Branches that ran beside it keep what they
// have, but failures that came later. Failures that the handler had handled before,
// and gone on, stay as they are: with another outcome it might have done something else.
//
// When no operation made it fail, because the handler returned an error of its own after
// operations that succeeded, nothing is dropped: the handler runs again over all that is
// recorded, and today's code decides anew. Of one that was stopped or timed out, all
// outcomes stay; of one that was cancelled, all from before the cancel.
//
// ErrExecutionSucceeded if there is nothing to retry; all else as of RestartFrom.
func (e *Engine) Retry(ctx context.Context, id string, opts ...StartOption) (newID string, err error) {
	j, err := e.endedJournal(ctx, id)
	if err != nil {
		return "", err
	}
	if j.sum.Status == checkpoint.Succeeded {
		return "", fmt.Errorf("%w: %s: Retry is for those that have not, see RestartFrom", ErrExecutionSucceeded, id)
	}
	return e.restart(ctx, j, j.withoutFailure(), "retry", opts)
}

// endedJournal is the journal of an execution that has ended, opened.
type endedJournal struct {
	sum     checkpoint.Summary
	records []checkpoint.Record
	ops     operations
}

func (e *Engine) endedJournal(ctx context.Context, id string) (*endedJournal, error) {
	s, err := e.find(ctx, id)
	if err != nil {
		return nil, err
	}
	if s.Status == checkpoint.Running {
		return nil, fmt.Errorf("%w: %s: stop it before", ErrExecutionRunning, id)
	}
	j := &endedJournal{sum: s, records: make([]checkpoint.Record, 0, s.Tail)}
	for rec, err := range e.store.Records(ctx, id, 0) {
		if err == nil {
			err = e.openRecord(&rec, s.Incarnation)
		}
		if err != nil {
			return nil, fmt.Errorf("durable: restart of execution %s: %w", id, e.lookup(id, err))
		}
		j.records = append(j.records, rec)
	}
	j.ops, err = fold(j.records)
	if err != nil {
		return nil, fmt.Errorf("durable: restart of execution %s: %w", id, err)
	}
	return j, nil
}

// fold makes operations of records that are open.
func fold(records []checkpoint.Record) (operations, error) {
	ops := newOperations(uint64(len(records)))
	for i := range records {
		failure, err := decodeFailure(records[i].Failure)
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", records[i].Seq, err)
		}
		ops.apply(&records[i], failure)
	}
	return ops, nil
}

// restart makes an execution that begins with the records kept of j.
func (e *Engine) restart(ctx context.Context, j *endedJournal, kept []checkpoint.Record, what string, opts []StartOption) (string, error) {
	if e.retired() {
		return "", e.refuse(ctx)
	}
	started := j.records[0]
	s := startSettings{timeout: durationOf(started.Timeout)}
	id, err := s.take(ctx, e, "", opts)
	if err != nil {
		return "", fmt.Errorf("restart of execution %s: %w", j.sum.ID, err)
	}
	now := e.now()
	// Of an old incarnation, one digest a place; never that of a mere start.
	digest := e.mac("restart", slices.Concat(j.sum.Incarnation[:], []byte(what)))
	c := checkpoint.Creation{ID: id, Incarnation: e.newIncarnation(id), Digest: digest}
	c.Records, c.CloseCallbacks, err = beginAnew(kept, now)
	if err != nil {
		return "", fmt.Errorf("durable: restart of execution %s: %w", j.sum.ID, err)
	}
	input := started.Payload
	started.Time, started.Timeout, started.TimeoutAt = now, int64(s.timeout), 0
	if s.timeout > 0 {
		started.TimeoutAt = after(now, started.Timeout)
	}
	started.RestartOf, started.Number, started.Trace = j.sum.ID, int64(len(c.Records)), e.inject(ctx, id, started.Function)
	c.Started = started
	if err := e.sealAll(&c); err != nil {
		return "", fmt.Errorf("durable: restart of execution %s: %w", j.sum.ID, err)
	}
	return id, e.put(ctx, &c, input, true)
}

// sealAll seals all records of a creation in its incarnation.
func (e *Engine) sealAll(c *checkpoint.Creation) error {
	err := e.sealRecord(&c.Started, c.Incarnation)
	for i := 0; i < len(c.Records) && err == nil; i++ {
		err = e.sealRecord(&c.Records[i], c.Incarnation)
	}
	return err
}

// beginAnew makes of records that were kept of a journal those that another execution
// begins with: of what has no outcome only contexts are left, to go on in; invocations
// are not part of it. Numbers and events have no gaps afterwards. closed are callbacks
// without an outcome that nobody waits for.
func beginAnew(kept []checkpoint.Record, now int64) (records []checkpoint.Record, closed []string, err error) {
	ops, err := fold(kept)
	if err != nil {
		return nil, nil, err
	}
	stays := make(map[*operation]bool, len(ops))
	for _, o := range ops {
		stays[o] = o.stays(ops)
		if stays[o] && o.typ == typeCallback && !o.settled() {
			closed = append(closed, o.id)
		}
	}
	slices.SortFunc(closed, compareIDs)
	seq, event := uint64(1), uint64(1) // of what starts the execution
	for _, rec := range kept {
		o := ops[rec.OperationID]
		if rec.Type == checkpoint.InvocationCompleted || isFinal(rec.Type) || !stays[o] {
			continue
		}
		if rec.TimeoutAt != 0 && !o.settled() && !o.dead() {
			rec.TimeoutAt = after(now, rec.Timeout)
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

// stays reports whether what is recorded of o is part of a new beginning.
func (o *operation) stays(ops operations) bool {
	if !o.dead() {
		for up := o.up; up != nil; up = up.up {
			// Who was told the ID of a callback must be told the new one.
			if up.sub == checkpoint.WaitForCallback {
				if cb := ops[up.id+"-1"]; cb == nil || cb.status != OperationSucceeded {
					return false
				}
			}
		}
	}
	return o.settled() || o.dead() || o.typ == typeContext
}
