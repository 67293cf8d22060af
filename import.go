package durable

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/durable-go/durable/checkpoint"
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
		return "", fmt.Errorf("import of execution %s: %w", truncated(r.ID), err)
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
			c.Started.Timeout, c.Started.TimeoutAt = int64(s.timeout), after(e.now(), int64(s.timeout))
		}
	}
	for i := range c.Records {
		rec := &c.Records[i]
		switch o := ops[rec.OperationID]; {
		case o == nil || o.settled():
		case rec.Type == checkpoint.CallbackStarted && o.dead():
			c.CloseCallbacks = append(c.CloseCallbacks, o.id)
		case rec.Type == checkpoint.ChainedInvokeStarted && !o.dead():
			rec.TargetID = derivedID(invokedPrefix, c.Incarnation, o.id)
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
		return "", fmt.Errorf("durable: import of execution %s: %w: %s is not what was recorded, or has gone on since: import it under another ID, see WithExecutionID", truncated(r.ID), err, id)
	}
	return id, err
}

// check reports whether r can be the journal of an execution, and returns its fold.
func (r *Recording) check() (operations, checkpoint.Status, error) {
	if r == nil || len(r.records) == 0 {
		return nil, 0, &checkpoint.CorruptError{Where: "recording", What: "it has no records"}
	}
	where := "recording of execution " + truncated(r.ID)
	status, err := parseStatus(r.Status)
	if err == nil {
		err = cmp.Or(checkID("execution ID", r.ID), checkID("function name", r.Function))
	}
	if err == nil && status == 0 {
		err = errors.New("it has no status")
	}
	if err != nil {
		return nil, 0, &checkpoint.CorruptError{Where: where, What: "its head can't be read", Err: err}
	}
	_, badKeys := decodeKeys(r.records[0].Keys)
	c := &recordingCheck{ops: newOperations(uint64(len(r.records))), most: max(1<<20, 4*len(r.records))}
	for i := range r.records {
		rec := &r.records[i]
		err := c.next(rec)
		switch end := isFinal(rec.Type); {
		case err != nil:
		case i == 0 && badKeys != nil:
			err = badKeys
		case (i == 0) != (rec.Type == checkpoint.ExecutionStarted):
			err = errors.New("an execution begins with its start, and has one")
		case i == 0 && (rec.Function != r.Function || rec.Number < 0 || rec.Number >= int64(len(r.records))):
			err = fmt.Errorf("it starts %q, with %d records of another one", truncated(rec.Function), rec.Number)
		case end != (status != checkpoint.Running && i == len(r.records)-1),
			end && checkpoint.ExecutionSucceeded+checkpoint.EventType(status-checkpoint.Succeeded) != rec.Type:
			err = fmt.Errorf("the status is %s", status)
		}
		if err != nil {
			return nil, 0, &checkpoint.CorruptError{Where: fmt.Sprintf("%s, record %d (%s of operation %q)", where, i+1, rec.Type, truncated(rec.OperationID)), What: "it can't stand there", Err: err}
		}
	}
	return c.ops, status, nil
}

// recordingCheck looks at records, one after another.
type recordingCheck struct {
	ops        operations
	seq, event uint64
	most       int // the highest position in a context
}

const knownFlags = checkpoint.FlagParent | checkpoint.FlagShielded | checkpoint.FlagRebuild | checkpoint.FlagAtMostOnce | checkpoint.FlagPayload | checkpoint.FlagSilent

// next checks the next record and folds it.
func (c *recordingCheck) next(rec *checkpoint.Record) error {
	c.seq++
	silent := rec.Type >= checkpoint.ScopeCancelled || rec.Flags&checkpoint.FlagSilent != 0
	switch {
	case rec.Seq != c.seq:
		return fmt.Errorf("its number is %d", rec.Seq)
	case silent && (rec.Events != 0 || rec.EventID != 0):
		return errors.New("it is no event, but has an event's number")
	case !silent && (rec.Events < 1 || rec.Events > 2 || rec.EventID != c.event+1):
		return fmt.Errorf("it stands for %d events from %d on, the next one is %d", rec.Events, rec.EventID, c.event+1)
	case rec.Flags&^knownFlags != 0:
		return fmt.Errorf("its flags are %#x", rec.Flags)
	case min(rec.Duration, rec.Timeout, rec.HeartbeatTimeout, rec.NextAttemptDelay, rec.WakeAt, rec.TimeoutAt, rec.StartedAt) < 0 || rec.Time <= 0:
		return errors.New("it holds a time that can't be")
	}
	c.event += uint64(rec.Events)
	if err := cmp.Or(checkName(rec.Name), checkName(rec.Key)); err != nil {
		return err
	}
	failure, err := decodeFailure(rec.Failure)
	if err != nil {
		return err
	}
	var decision batchRecord
	if len(rec.Batch) > 0 {
		if err := json.Unmarshal(rec.Batch, &decision); err != nil || strings.Trim(decision.Items, "SFT-") != "" || len(decision.Items) > decision.Total {
			return fmt.Errorf("its batch is %.100q", rec.Batch)
		}
	}
	if err := c.operation(rec, failure); err != nil {
		return err
	}
	c.ops.apply(rec, failure)
	return nil
}

// operation checks that a record fits what was recorded of its operation before.
func (c *recordingCheck) operation(rec *checkpoint.Record, failure *failureRecord) error {
	o, known := c.ops[rec.OperationID]
	switch t := rec.Type; {
	case t == checkpoint.CancelRequested:
		return errors.New("it belongs into an inbox")
	case t <= checkpoint.ExecutionStopped || t == checkpoint.InvocationCompleted:
		if rec.OperationID != "" {
			return errors.New("it is not of an operation")
		}
		return nil
	case t == checkpoint.ContextLooked && (known && (o.looked != nil && o.looked.shown || o.typ != typeContext) || rec.Number < 0 || rec.Number > 2*int64(c.most)+1):
		return errors.New("it is of code that looks whether it is cancelled, and there is none")
	case (t == checkpoint.ScopeCancelled || t == checkpoint.VersionChosen || t == checkpoint.ContextLooked) && rec.OperationID == "":
		return nil
	case rec.OperationID == "":
		return errors.New("it has no operation")
	}
	if err := c.id(rec.OperationID); err != nil {
		return err
	}
	// An item of a flat batch is known by what it holds, before a record of its own.
	begun := known && o.status != "" && !(o.typ == typeContext && o.started == 0)
	switch t := rec.Type; {
	case known && o.settled():
		return errors.New("its operation has an outcome already")
	case t == checkpoint.ScopeCancelled && !begun, t == checkpoint.VersionChosen && known && o.typ != typeContext:
		return errors.New("it is of a context, and there is none")
	case t == checkpoint.ScopeCancelled || t == checkpoint.VersionChosen || t == checkpoint.ContextLooked:
	case t == checkpoint.AwaitableChosen:
		if !begun || o.sub != checkpoint.Settled || rec.Number < 0 || rec.Number > 1<<30 {
			return errors.New("it is a choice, and there is none to make")
		}
	case t == checkpoint.OperationRefused:
		if known || rec.Number < int64(typeStep) || rec.Number > int64(typeContext) || failure == nil {
			return errors.New("it is of an operation that was not begun")
		}
	case begun && (o.typ != typeOf(t) || o.sub != rec.SubType && rec.SubType != checkpoint.SubTypeNone):
		return fmt.Errorf("its operation is a %s", describeOp(o.typ, o.sub, o.name))
	case known && !begun && (typeOf(t) != typeContext || isStart(t)):
		return errors.New("there are operations in it already")
	case isStart(t):
		if begun && (t != checkpoint.StepStarted || o.status != OperationPending) {
			return errors.New("its operation has begun already")
		}
	case !begun && rec.Events != 2 && rec.Flags&checkpoint.FlagSilent == 0:
		return errors.New("its operation has not begun")
	}
	return nil
}

// id checks the ID of an operation, and that what is around it are contexts.
func (c *recordingCheck) id(id string) error {
	const deepest = 1024
	if len(id) > deepest {
		return fmt.Errorf("its ID has %d bytes", len(id))
	}
	for at, part := range strings.Split(id, "-") {
		if n, err := strconv.Atoi(part); err != nil || n < 1 || n > c.most || part != strconv.Itoa(n) {
			return fmt.Errorf("part %d of its ID is not a position", at+1)
		}
	}
	for around := id; ; {
		i := strings.LastIndexByte(around, '-')
		if i < 0 {
			return nil
		}
		around = around[:i]
		if o := c.ops[around]; o != nil && o.typ != typeContext {
			return fmt.Errorf("operation %s around it is a %s", around, o.typ)
		}
	}
}

// isStart reports whether t is the start of an operation.
func isStart(t checkpoint.EventType) bool {
	switch t {
	case checkpoint.ContextStarted, checkpoint.StepStarted, checkpoint.WaitStarted, checkpoint.CallbackStarted, checkpoint.ChainedInvokeStarted:
		return true
	}
	return false
}
