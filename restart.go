package durable

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
)

// RestartFrom starts a new execution of the same function with the same input, which
// begins with what an ended one had recorded before the operation operationID began;
// with "" as operationID it begins with nothing. It returns the ID of the new one,
// whose ExecutionInfo.RestartOf names the old one. The old one stays as it is. It is for
// who knows from where on the work is to be done again, also if it had succeeded; Retry
// finds what failed by itself.
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
// All that is made again keeps its idempotency key (see StepInfo): that of the execution
// which came to the operation first, however often it is restarted or retried, also in
// what is invoked again. So a receiver that heeds keys, and has done it before, does not
// do it twice. If it is to be done once more, because it was undone in between (a charge
// that was refunded), give WithNewIdempotencyKeys. An operation of another type or name
// at the same position has a key of its own.
//
// The new one runs with the code of now: it is held like any other if that does not fit
// what it begins with. It has its own start time and deadline, which is as far off as
// that of the old one was, unless WithExecutionTimeout is given. With WithExecutionID
// the restart is idempotent. It has no caller, also if the old one was invoked, and
// engines without the function may start it for those that have it.
//
// ErrExecutionRunning if the old one, or one that it had invoked and that would be invoked
// again, has not ended (those that are being cancelled are waited for, for 10 s),
// ErrOperationNotFound if it has no such operation. It returns once the new one is
// durable; costs reading the old journal, and one flush.
func (e *Engine) RestartFrom(ctx context.Context, id, operationID string, opts ...StartOption) (newID string, err error) {
	j, err := e.endedJournal(ctx, id)
	if err != nil {
		return "", err
	}
	var kept []checkpoint.Record
	if operationID != "" {
		o := j.Ops[operationID]
		if o == nil || o.FirstSeq == 0 || o.Refusal {
			return "", fmt.Errorf("%w: execution %s has no operation %q: use an ID that Operations tells", ErrOperationNotFound, id, history.Truncated(operationID))
		}
		kept = j.Records[1 : o.FirstSeq-1]
	}
	s, newID, err := e.restartSettings(ctx, j, opts)
	if err != nil {
		return "", err
	}
	return e.restart(ctx, j, newID, kept, nil, "restart "+operationID, &s)
}

// Retry is RestartFrom for an execution that FAILED, was STOPPED or TIMED_OUT: the new
// one keeps what succeeded, and what failed or did not end runs again.
//
// What made the execution fail is looked for from the outside in: the operation whose
// failure is the one that the handler returned, as it is or wrapped with its text, or,
// when the handler returned another one, the last operation that ended, if it failed.
// That operation runs again. If it is a context, all it holds is kept but what failed
// there in the same way; of a batch all failed items run again; an invoke starts a
// retry of the execution that it had started. Branches that ran beside it keep what they
// have, but failures that came later. Failures that the handler had handled before,
// and gone on, stay as they are: with another outcome it might have done something else.
//
// What the context of that operation did after it has ended came of the failure, and would
// be forgotten: it would be wrong to ship what was refunded. So Retry refuses with a
// *DropError that lists it, if that is more than waits, and nothing is started; the same
// for what came of a cancel. AllowDrop says that it may be forgotten. If it undid what
// others did, use RestartFrom from the first operation that was undone, with
// WithNewIdempotencyKeys. What failed keeps its idempotency key, as of RestartFrom, so a
// charge that is in doubt is not made twice. Branches beside it, which keep what they
// have, are not asked about: compensate in the context in which it failed, or around it.
//
// When no operation made it fail, because the handler returned an error of its own after
// operations that succeeded, nothing is dropped: the handler runs again over all that is
// recorded, and today's code decides anew. Of one that was stopped or timed out, all
// outcomes stay; of one that was cancelled, all from before the cancel, and what was
// under way then and succeeded.
//
// An execution that was invoked is retried by a retry of its caller, which keeps what it
// has finished: an *InvokedError names it.
//
// ErrExecutionSucceeded if there is nothing to retry; all else as of RestartFrom.
func (e *Engine) Retry(ctx context.Context, id string, opts ...StartOption) (newID string, err error) {
	j, err := e.endedJournal(ctx, id)
	if err != nil {
		return "", err
	}
	if j.Summary.Status == checkpoint.Succeeded {
		return "", fmt.Errorf("%w: %s: Retry is for those that have not, see RestartFrom", ErrExecutionSucceeded, id)
	}
	if err := e.invokedBy(ctx, &j.Summary); err != nil {
		return "", err
	}
	s, newID, err := e.restartSettings(ctx, j, opts)
	if err != nil {
		return "", err
	}
	kept, b := j.WithoutFailure()
	dropped, err := e.forgotten(ctx, j, kept, b, nil)
	if err != nil {
		return "", err
	}
	if len(dropped) > 0 && !s.allowDrop {
		return "", &DropError{ExecutionID: id, Operations: dropped}
	}
	return e.restart(ctx, j, newID, kept, b, "retry", &s)
}

// invokedBy is the error of a retry of an execution that was invoked, if its caller is
// still there.
func (e *Engine) invokedBy(ctx context.Context, s *checkpoint.Summary) error {
	var refusal *InvokedError
	for at := s; at.Caller != nil; {
		caller, err := e.store.Get(ctx, at.Caller.ID)
		if errors.Is(err, checkpoint.ErrNotFound) || err == nil && caller.Incarnation != at.Caller.Incarnation {
			break
		}
		if err != nil {
			return e.outward(err)
		}
		if refusal == nil {
			refusal = &InvokedError{ExecutionID: s.ID, Caller: caller.ID, OperationID: at.Caller.OperationID}
		}
		refusal.Retry = caller.ID
		at = &caller
	}
	if refusal == nil {
		return nil
	}
	return refusal
}

// forgotten adds what a retry would forget of an execution, and of those that it had
// invoked and would invoke again, to a list.
func (e *Engine) forgotten(ctx context.Context, j *history.Ended, kept []checkpoint.Record, b *history.Blame, list []DroppedOperation) ([]DroppedOperation, error) {
	stays, err := history.Stayers(kept)
	if err != nil {
		return nil, fmt.Errorf("durable: retry of execution %s: %w", j.Summary.ID, err)
	}
	for _, o := range j.Sorted() {
		dropped := DroppedOperation{ExecutionID: j.Summary.ID, OperationID: o.ID, Type: o.Type.String(), Name: o.Name, Status: OperationStatus(o.Status)}
		if b.Forgets(o) {
			list = append(list, dropped)
			continue
		}
		if !o.InvokedAgain(stays) {
			continue
		}
		_, err := e.endOf(ctx, o.Target)
		if err == nil {
			var invoked *history.Ended
			if invoked, err = e.endedJournal(ctx, o.Target); err == nil {
				kept, b := invoked.WithoutFailure()
				list, err = e.forgotten(ctx, invoked, kept, b, list)
			}
		}
		switch {
		case errors.Is(err, ErrExecutionNotFound):
			dropped.InvokedID = o.Target
			list = append(list, dropped)
		case err != nil:
			return nil, err
		}
	}
	return list, nil
}

// endPatience is how long executions that were invoked, and are being cancelled, are
// waited for.
const endPatience = 10 * time.Second

// endOf waits, for a moment, until an execution has ended.
func (e *Engine) endOf(ctx context.Context, id string) (s checkpoint.Summary, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, endPatience, fmt.Errorf("%w: %s, which was invoked: stop it before", ErrExecutionRunning, id))
	defer cancel()
	err = e.until(ctx, e.results, id, func() (bool, error) {
		s, err = e.find(ctx, id)
		return err == nil && s.Status != checkpoint.Running, err
	})
	return s, err
}

func (e *Engine) endedJournal(ctx context.Context, id string) (*history.Ended, error) {
	s, err := e.find(ctx, id)
	if err != nil {
		return nil, err
	}
	if s.Status == checkpoint.Running {
		return nil, fmt.Errorf("%w: %s: stop it before", ErrExecutionRunning, id)
	}
	j := &history.Ended{Summary: s, Records: make([]checkpoint.Record, 0, s.Tail)}
	for rec, err := range e.journalOf(ctx, &s, 0) {
		if err == nil {
			err = e.openRecord(&rec, s.Incarnation)
		}
		if err != nil {
			return nil, fmt.Errorf("durable: restart of execution %s: %w", id, e.lookup(id, err))
		}
		j.Records = append(j.Records, rec)
	}
	j.Ops, err = history.Fold(j.Records)
	if err == nil {
		j.Keys, err = history.DecodeKeys(j.Records[0].Keys)
	}
	if err != nil {
		return nil, fmt.Errorf("durable: restart of execution %s: %w", id, err)
	}
	return j, nil
}

// restartSettings are what the options say about an execution that begins as the one of j.
func (e *Engine) restartSettings(ctx context.Context, j *history.Ended, opts []StartOption) (s startSettings, id string, err error) {
	if e.retired() {
		return s, "", e.refuse(ctx)
	}
	s.timeout = time.Duration(j.Records[0].Timeout)
	if id, err = s.take(ctx, e, "", opts); err != nil {
		return s, "", fmt.Errorf("restart of execution %s: %w", j.Summary.ID, err)
	}
	return s, id, nil
}

// restart makes an execution that begins with the records kept of j. b is what a retry
// blames; nil: it is none.
func (e *Engine) restart(ctx context.Context, j *history.Ended, id string, kept []checkpoint.Record, b *history.Blame, what string, s *startSettings) (string, error) {
	if s.freshKeys {
		what += " with new keys"
	}
	started := j.Records[0]
	input, now := started.Payload, e.now()
	// Of an old incarnation, one digest a place; never that of a mere start.
	digest := e.mac("restart", slices.Concat(j.Summary.Incarnation[:], []byte(what)))
	c := checkpoint.Creation{ID: id, Incarnation: e.newIncarnation(id), Digest: digest, Started: started}
	c.Started.Time, c.Started.Timeout, c.Started.TimeoutAt = now, int64(s.timeout), 0
	if s.timeout > 0 {
		c.Started.TimeoutAt = history.After(now, c.Started.Timeout)
	}
	c.Started.Trace = e.inject(ctx, id, started.Function)
	err := e.beginAs(ctx, &c, j, kept, b, s.freshKeys)
	if err == nil {
		err = e.sealAll(&c)
	}
	if err != nil {
		return "", fmt.Errorf("durable: restart of execution %s: %w", j.Summary.ID, err)
	}
	if err := e.put(ctx, &c, input, true); err != nil {
		return "", err
	}
	e.answering(id, ctx.Done())
	return id, nil
}

// beginAs lets an execution that is to be created begin with the records kept of j.
func (e *Engine) beginAs(ctx context.Context, c *checkpoint.Creation, j *history.Ended, kept []checkpoint.Record, b *history.Blame, freshKeys bool) (err error) {
	c.Records, c.CloseCallbacks, err = history.BeginAnew(kept, c.Started.Time)
	if err != nil {
		return err
	}
	stays, err := history.Stayers(c.Records)
	if err != nil {
		return err
	}
	again := make(map[*history.Operation]*history.Known)
	for _, o := range j.Ops {
		if !o.InvokedAgain(stays) {
			continue
		}
		s, err := e.endOf(ctx, o.Target)
		if errors.Is(err, ErrExecutionNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		k, err := history.DecodeKeys(s.Started.Keys)
		if err != nil {
			return err
		}
		again[o] = &history.Known{ID: o.ID, Kind: o.SubType, Name: o.Name, Invoked: o.Target, Base: history.Incarnation(k.BaseOf(s.Incarnation)), Retry: b != nil && !b.Forgets(o)}
	}
	c.Started.RestartOf, c.Started.Number = j.Summary.ID, int64(len(c.Records))
	c.Started.Keys = j.KeysOfNext(stays, again, freshKeys).Encode()
	return nil
}

// sealAll seals all records of a creation in its incarnation.
func (e *Engine) sealAll(c *checkpoint.Creation) error {
	err := e.sealRecord(&c.Started, c.Incarnation)
	for i := 0; i < len(c.Records) && err == nil; i++ {
		err = e.sealRecord(&c.Records[i], c.Incarnation)
	}
	return err
}
