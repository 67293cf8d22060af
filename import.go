package durable

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
)

// Import makes an execution of a recording, under its ID unless WithExecutionID says
// otherwise. One that had ended stays as it ended, and is kept until its retention has
// passed since it was imported. One that had not goes on where the recording ends, as
// after a crash: waits and timeouts whose time has passed are over, and so is its
// deadline, unless WithExecutionTimeout gives it another one. Do not let one go on that
// still runs where it was recorded.
//
// An operation that is made again, or that comes only now, has the idempotency key that it
// has, or would have, where it was recorded (see StepInfo), unless WithNewIdempotencyKeys
// is given: so what was under way there is not done twice, by receivers that heed keys.
// All else that derives from an execution is another one's: its callbacks have new IDs,
// and an invoke without an outcome starts its execution anew, which has keys of its own.
// Its caller, if it had one, is
// not told of its end. Importing the same recording again under the same ID changes
// nothing, nor does importing one where it was recorded, as long as it is as it was;
// ErrExecutionExists if the ID is taken otherwise. A recording that can't be
// the journal of an execution is refused with an error that matches ErrCorrupt and says
// which record it is. The engine need not have the function. Costs one flush.
func (e *Engine) Import(ctx context.Context, r *Recording, opts ...StartOption) (id string, err error) {
	if err := e.given(ctx); err != nil {
		return "", err
	}
	if e.retired() {
		return "", e.refuse(ctx)
	}
	ops, status, err := r.check()
	if err != nil {
		return "", err
	}
	var s startSettings
	if id, err = s.take(ctx, e, r.ID, opts); err == nil && s.allowDrop {
		err = errors.New("durable: AllowDrop is an option of Retry: an import drops nothing")
	}
	if err != nil {
		return "", fmt.Errorf("import of execution %s: %w", history.Truncated(r.ID), err)
	}
	data, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("import of execution %s: %w", id, err)
	}
	kind := "import"
	if s.freshKeys {
		kind += " with new keys"
	}
	c := checkpoint.Creation{ID: id, Incarnation: e.newIncarnation(id), Digest: e.mac(kind, data),
		Started: r.records[0], Records: slices.Clone(r.records[1:]), Status: status}
	if status == checkpoint.Running {
		c.Status = 0
		c.Started.Number = int64(len(c.Records))
		if s.timeout > 0 {
			c.Started.Timeout, c.Started.TimeoutAt = int64(s.timeout), history.After(e.now(), int64(s.timeout))
		}
	}
	for i := range c.Records {
		rec := &c.Records[i]
		switch o := ops[rec.OperationID]; {
		case o == nil || o.Settled():
		case rec.Type == checkpoint.CallbackStarted && o.Dead():
			c.CloseCallbacks = append(c.CloseCallbacks, o.ID)
		case rec.Type == checkpoint.ChainedInvokeStarted && !o.Dead():
			rec.TargetID = history.DerivedID(history.InvokedPrefix, c.Incarnation, o.ID)
		}
	}
	if c.Started.Keys, err = r.keysOfNext(s.freshKeys); err != nil {
		return "", fmt.Errorf("durable: import of execution %s: %w", id, err)
	}
	if err := e.sealAll(&c); err != nil {
		return "", fmt.Errorf("durable: import of execution %s: %w", id, err)
	}
	err = e.put(ctx, &c, nil, false)
	if errors.Is(err, ErrExecutionExists) && id == r.ID && !s.freshKeys {
		if there, reading := e.Recording(ctx, id); reading == nil {
			if is, encoding := json.Marshal(there); encoding == nil && bytes.Equal(is, data) {
				return id, nil // it is the one that was recorded
			}
		}
	}
	if errors.Is(err, ErrExecutionExists) {
		return "", fmt.Errorf("durable: import of execution %s: %w: %s is not what was recorded, or has gone on since: import it under another ID, see WithExecutionID", history.Truncated(r.ID), err, id)
	}
	return id, err
}

// check reports whether r can be the journal of an execution, and returns its fold.
func (r *Recording) check() (history.Operations, checkpoint.Status, error) {
	if r == nil || len(r.records) == 0 {
		return nil, 0, &checkpoint.CorruptError{Where: "recording", What: "it has no records"}
	}
	where := "recording of execution " + history.Truncated(r.ID)
	status, err := parseStatus(r.Status)
	if err == nil {
		err = cmp.Or(history.CheckID("execution ID", r.ID), history.CheckID("function name", r.Function))
	}
	if err == nil && status == 0 {
		err = errors.New("it has no status")
	}
	if err != nil {
		return nil, 0, &checkpoint.CorruptError{Where: where, What: "its head can't be read", Err: err}
	}
	_, badKeys := history.DecodeKeys(r.records[0].Keys)
	c := &history.Check{Ops: history.New(uint64(len(r.records))), Most: max(1<<20, 4*len(r.records))}
	for i := range r.records {
		rec := &r.records[i]
		err := c.Next(rec)
		switch end := history.IsFinal(rec.Type); {
		case err != nil:
		case i == 0 && badKeys != nil:
			err = badKeys
		case (i == 0) != (rec.Type == checkpoint.ExecutionStarted):
			err = errors.New("an execution begins with its start, and has one")
		case i == 0 && (rec.Function != r.Function || rec.Number < 0 || rec.Number >= int64(len(r.records))):
			err = fmt.Errorf("it starts %q, with %d records of another one", history.Truncated(rec.Function), rec.Number)
		case end != (status != checkpoint.Running && i == len(r.records)-1),
			end && checkpoint.ExecutionSucceeded+checkpoint.EventType(status-checkpoint.Succeeded) != rec.Type:
			err = fmt.Errorf("the status is %s", status)
		}
		if err != nil {
			return nil, 0, &checkpoint.CorruptError{Where: fmt.Sprintf("%s, record %d (%s of operation %q)", where, i+1, rec.Type, history.Truncated(rec.OperationID)), What: "it can't stand there", Err: err}
		}
	}
	return c.Ops, status, nil
}

// keysOfNext are the recorded keys of an execution that a recording is imported as.
func (r *Recording) keysOfNext(fresh bool) (string, error) {
	k, err := history.DecodeKeys(r.records[0].Keys)
	if err != nil || fresh {
		return "", err
	}
	if k == nil {
		k = history.NewKeys(checkpoint.Incarnation{})
	}
	k.Base = k.BaseOf(r.incarnation)
	for _, o := range k.Known {
		o.Invoked, o.Retry = "", false // that is where it was recorded
	}
	return k.Encode(), nil
}
