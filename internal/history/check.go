package history

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
)

// Check looks whether records can be a journal, one after another. That it begins with the
// start of the execution, and what ends it, is for who knows what the execution is to see to.
type Check struct {
	Ops        Operations
	seq, event uint64
	Most       int // the highest position that an operation may have in its context
}

const knownFlags = checkpoint.FlagParent | checkpoint.FlagShielded | checkpoint.FlagRebuild | checkpoint.FlagAtMostOnce | checkpoint.FlagPayload | checkpoint.FlagSilent

// Next checks the next record and folds it.
func (c *Check) Next(rec *checkpoint.Record) error {
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
	if err := cmp.Or(CheckName(rec.Name), CheckName(rec.Key)); err != nil {
		return err
	}
	failure, err := fault.Decode(rec.Failure)
	if err != nil {
		return err
	}
	var decision Batch
	if len(rec.Batch) > 0 {
		if err := json.Unmarshal(rec.Batch, &decision); err != nil || strings.Trim(decision.Items, "SFT-") != "" || len(decision.Items) > decision.Total {
			return fmt.Errorf("its batch is %.100q", rec.Batch)
		}
	}
	if err := c.operation(rec, failure); err != nil {
		return err
	}
	c.Ops.Apply(rec, failure)
	return nil
}

// operation checks that a record fits what was recorded of its operation before.
func (c *Check) operation(rec *checkpoint.Record, failure *fault.Failure) error {
	o, known := c.Ops[rec.OperationID]
	switch t := rec.Type; {
	case t == checkpoint.CancelRequested:
		return errors.New("it belongs into an inbox")
	case t <= checkpoint.ExecutionStopped || t == checkpoint.InvocationCompleted:
		if rec.OperationID != "" {
			return errors.New("it is not of an operation")
		}
		return nil
	case t == checkpoint.ContextLooked && (known && (o.Looked != nil && o.Looked.Shown || o.Type != Context) || rec.Number < 0 || rec.Number > 2*int64(c.Most)+1):
		return errors.New("it is of code that looks whether it is cancelled, and there is none")
	case t == checkpoint.ScopeCancelled && known && o.CancelSeq != 0:
		return errors.New("what it cancels is cancelled already")
	case (t == checkpoint.ScopeCancelled || t == checkpoint.VersionChosen || t == checkpoint.ContextLooked) && rec.OperationID == "":
		return nil
	case rec.OperationID == "":
		return errors.New("it has no operation")
	}
	if err := c.id(rec.OperationID); err != nil {
		return err
	}
	// An item of a flat batch is known by what it holds, before a record of its own.
	begun := known && o.Status != "" && !(o.Type == Context && o.StartedAt == 0)
	switch t := rec.Type; {
	case known && o.Settled():
		return errors.New("its operation has an outcome already")
	case t == checkpoint.ScopeCancelled && !begun, (t == checkpoint.ScopeCancelled || t == checkpoint.VersionChosen) && known && o.Type != Context:
		return errors.New("it is of a context, and there is none")
	case t == checkpoint.ScopeCancelled || t == checkpoint.VersionChosen || t == checkpoint.ContextLooked:
	case t == checkpoint.AwaitableChosen:
		if !begun || o.SubType != checkpoint.Settled || rec.Number < 0 || rec.Number > 1<<30 {
			return errors.New("it is a choice, and there is none to make")
		}
	case t == checkpoint.OperationRefused:
		if known || rec.Number < int64(Step) || rec.Number > int64(Context) || failure == nil {
			return errors.New("it is of an operation that was not begun")
		}
	case begun && (o.Type != TypeOf(t) || o.SubType != rec.SubType && rec.SubType != checkpoint.SubTypeNone):
		return fmt.Errorf("its operation is a %s", Describe(o.Type, o.SubType, o.Name))
	case known && !begun && (TypeOf(t) != Context || IsStart(t)):
		return errors.New("there are operations in it already")
	case IsStart(t):
		if begun && (t != checkpoint.StepStarted || o.Status != Pending) {
			return errors.New("its operation has begun already")
		}
	case !begun && rec.Events != 2 && rec.Flags&checkpoint.FlagSilent == 0:
		return errors.New("its operation has not begun")
	}
	return nil
}

// id checks the ID of an operation, and that what is around it are contexts.
func (c *Check) id(id string) error {
	const deepest = 1024
	if len(id) > deepest {
		return fmt.Errorf("its ID has %d bytes", len(id))
	}
	for at, part := range strings.Split(id, "-") {
		if n, err := strconv.Atoi(part); err != nil || n < 1 || n > c.Most || part != strconv.Itoa(n) {
			return fmt.Errorf("part %d of its ID is not a position", at+1)
		}
	}
	for around := id; ; {
		i := strings.LastIndexByte(around, '-')
		if i < 0 {
			return nil
		}
		around = around[:i]
		if o := c.Ops[around]; o != nil && o.Type != Context {
			return fmt.Errorf("operation %s around it is a %s", around, o.Type)
		}
	}
}
