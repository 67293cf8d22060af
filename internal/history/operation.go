package history

import (
	"strconv"
	"strings"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
)

// Type is the type of an operation.
type Type uint8

// The types of operations.
const (
	Execution Type = iota
	Step
	Wait
	Callback
	Invoke
	Context
)

var typeNames = [...]string{"EXECUTION", "STEP", "WAIT", "CALLBACK", "CHAINED_INVOKE", "CONTEXT"}

// String is its name as AWS durable functions have it.
func (t Type) String() string { return typeNames[t] }

// Operation is one durable thing that an execution does: the fold of its records. There are
// many: it fits into 512 bytes, what is larger costs the garbage collector more.
//
//	              +------------------ retry or poll delay over ------+
//	              v                                                  |
//	(none) --> STARTED --> SUCCEEDED | FAILED | TIMED_OUT ...     PENDING
//	              |                                                  ^
//	              +------------- attempt failed, or poll goes on ----+
//
// An outcome is final: no record changes it. READY is PENDING whose delay is over.
type Operation struct {
	ID, Parent, Name string
	Type             Type
	SubType          checkpoint.SubType
	Flags            checkpoint.Flags
	Refusal          bool       // it began in a cancelled scope
	CancelTold       bool       // of a context: who is shown its cancel is recorded
	Up               *Operation // the context around it; nil: it is the root

	Status    Status // "": no record yet
	Attempt   uint32
	Failures  int32  // attempts that failed since the last one that did not
	FirstSeq  uint64 // journal sequence of its first record; 0: none is numbered
	EndSeq    uint64 // journal sequence of its outcome; 0: open
	StartedAt int64
	EndedAt   int64

	Duration, Timeout, Heartbeat int64
	Delay                        int64 // before the next attempt
	WakeAt, TimeoutAt            int64

	Codec    string
	Payload  []byte // state or result; of an open invoke: the input
	Failure  *fault.Failure
	Batch    []byte
	Digest   []byte
	Function string // of an invoke
	Target   string // execution that an invoke started

	// Of a context.
	Last         int              // highest recorded position in it
	Choices      []int64          // of Settled
	Versions     map[string]int64 // what Version answered
	CancelSeq    uint64           // sequence of its ScopeCancelled
	CancelCause  string
	CancelReason string
	Looked       *Looks     // how far its code has looked whether it is cancelled; nil: not recorded
	Open         *Operation // one that is open in it, see open.go
	next, prev   *Operation // open in the same context

	Live
}

// Live is what an invocation keeps of an operation as long as it is in memory; no record
// tells of it.
type Live struct {
	Start      *checkpoint.Record // its start, when it is not numbered yet
	Frame      any                // of a context that runs: the invocation's
	Waiters    []any              // the invocation's, who wait for it
	OnSettled  []func()
	Cancel     func(cause error) // ends the context of its body
	Refused    error             // why it could not be entered; nothing is recorded of it
	BodyAt     int32             // where it stands among the bodies that run, from 1; 0: none of it does
	Noted      bool              // its failure was seen by the handler
	Gone       bool              // the function that started it has returned, without its outcome
	Outside    bool              // an open callback, or an invoke: somebody outside is waited for
	TurnedAway bool              // its body asked for what the engine does not do any more; of the root, the handler
}

// Running reports whether a body of it runs.
func (o *Operation) Running() bool { return o.BodyAt != 0 }

// Settled reports whether the operation has its outcome.
func (o *Operation) Settled() bool { return o.EndSeq != 0 }

// Silent reports whether the operation is no part of the history.
func (o *Operation) Silent() bool { return o.Flags&checkpoint.FlagSilent != 0 }

// Rebuilds reports whether the result is not stored but rebuilt.
func (o *Operation) Rebuilds() bool { return o.Flags&checkpoint.FlagRebuild != 0 }

// Dead reports whether a context around o has ended, so that o matters no more.
func (o *Operation) Dead() bool {
	if o.Gone {
		return true
	}
	for up := o.Up; up != nil; up = up.Up {
		if up.Settled() {
			return true
		}
	}
	return false
}

// Within reports whether o is, or is inside, context.
func (o *Operation) Within(context *Operation) bool {
	for ; o != nil; o = o.Up {
		if o == context {
			return true
		}
	}
	return false
}

// Operations are the operations of an execution by ID, "" being the execution.
type Operations map[string]*Operation

// New makes room for what a journal of so many records tells of.
func New(records uint64) Operations {
	ops := make(Operations, min(records, 1<<16))
	ops[""] = &Operation{Type: Context, Status: Started}
	return ops
}

// Apply folds a record into the operations. The failure of the record, if it
// has one, is given decoded.
func (ops Operations) Apply(rec *checkpoint.Record, failure *fault.Failure) *Operation {
	switch rec.Type {
	case checkpoint.InvocationCompleted, checkpoint.CancelRequested,
		checkpoint.ExecutionSucceeded, checkpoint.ExecutionFailed, checkpoint.ExecutionTimedOut, checkpoint.ExecutionStopped:
		return nil
	case checkpoint.ExecutionStarted:
		root := ops[""]
		root.StartedAt, root.TimeoutAt, root.Timeout = rec.Time, rec.TimeoutAt, rec.Timeout
		root.FirstSeq = rec.Seq
		return root
	}
	o := ops[rec.OperationID]
	if o == nil {
		o = ops.Add(rec.OperationID, rec.Name, TypeOf(rec.Type), rec.SubType, rec.Flags, rec.ParentID)
	}
	o.Apply(rec, failure)
	return o
}

// Add enters an operation without a record.
func (ops Operations) Add(id, name string, typ Type, sub checkpoint.SubType, flags checkpoint.Flags, parent string) *Operation {
	around, position := placeOf(id)
	if flags&checkpoint.FlagParent == 0 {
		parent = around
	}
	o := &Operation{ID: id, Parent: parent, Name: name, Type: typ, SubType: sub, Flags: flags & (checkpoint.FlagShielded | checkpoint.FlagParent | checkpoint.FlagAtMostOnce | checkpoint.FlagSilent)}
	if o.Up = ops[around]; o.Up == nil { // an item of a flat batch: its start is not recorded
		o.Up = ops.Add(around, "", Context, checkpoint.SubTypeNone, checkpoint.FlagSilent, "")
		o.Up.Status = Started
	}
	o.Up.Last = max(o.Up.Last, position)
	o.addOpen()
	ops[id] = o
	return o
}

// placeOf is the context that an operation is in, and its position there.
func placeOf(id string) (around string, position int) {
	i := strings.LastIndexByte(id, '-')
	position, _ = strconv.Atoi(id[i+1:])
	return id[:max(i, 0)], position
}

// Answered takes note of what Version answered for a change in the context o.
func (o *Operation) Answered(change string, version int64) {
	if o.Versions == nil {
		o.Versions = make(map[string]int64)
	}
	o.Versions[change] = version
}

// begun takes note of a record that the code of the context o has made: the start of an
// item of a flat batch is not recorded.
func (o *Operation) begun(seq uint64) {
	if o.Status == "" {
		o.Status = Started
	}
	if o.FirstSeq == 0 {
		o.FirstSeq = seq
	}
}

// Apply folds a record of o into it.
func (o *Operation) Apply(rec *checkpoint.Record, failure *fault.Failure) {
	if o.Up != nil && o.Up.FirstSeq == 0 {
		o.Up.FirstSeq = rec.Seq
	}
	switch rec.Type {
	case checkpoint.ScopeCancelled:
		o.CancelSeq, o.CancelCause, o.CancelReason, o.CancelTold = rec.Seq, rec.Key, string(rec.Payload), rec.Number > 0
		return
	case checkpoint.ContextLooked:
		o.Looked = &Looks{uint32(rec.Number), rec.Attempt, rec.Key != ""}
		o.begun(rec.Seq)
		return
	case checkpoint.VersionChosen:
		o.Answered(rec.Key, rec.Number)
		o.begun(rec.Seq)
		return
	case checkpoint.AwaitableChosen:
		o.Choices = append(o.Choices, rec.Number)
		return
	case checkpoint.OperationRefused:
		o.Type, o.SubType, o.Name, o.Refusal = Type(rec.Number), rec.SubType, rec.Name, true
		o.Flags |= checkpoint.FlagSilent
		o.FirstSeq, o.EndSeq, o.Status, o.Failure = rec.Seq, rec.Seq, Cancelled, failure
		o.DropOpen()
		return
	}
	if o.FirstSeq == 0 {
		o.FirstSeq = rec.Seq
		o.Flags |= rec.Flags & (checkpoint.FlagShielded | checkpoint.FlagAtMostOnce)
		o.StartedAt = rec.Time
		if rec.Events == 2 {
			o.StartedAt = rec.StartedAt
		}
	}
	if rec.Attempt > 0 {
		o.Attempt = rec.Attempt
	}
	if rec.TimeoutAt > 0 {
		o.TimeoutAt, o.Timeout = rec.TimeoutAt, rec.Timeout
	}
	if rec.HeartbeatTimeout > 0 {
		o.Heartbeat = rec.HeartbeatTimeout
	}
	if rec.Duration > 0 {
		o.Duration = rec.Duration
	}
	o.WakeAt, o.Delay = rec.WakeAt, rec.NextAttemptDelay
	if rec.Codec != "" {
		o.Codec = rec.Codec
	}
	if rec.Function != "" {
		o.Function, o.Target = rec.Function, rec.TargetID
	}
	switch rec.Type {
	case checkpoint.ContextStarted, checkpoint.StepStarted, checkpoint.WaitStarted, checkpoint.CallbackStarted, checkpoint.ChainedInvokeStarted:
		o.Status = Started
		if rec.Flags&checkpoint.FlagPayload != 0 {
			o.Payload = rec.Payload
		}
		return
	case checkpoint.StepSucceeded, checkpoint.StepFailed:
		if rec.NextAttemptDelay > 0 || rec.WakeAt > 0 {
			o.Status = Pending
			o.Failures++
			if rec.Type == checkpoint.StepSucceeded {
				o.Failures = 0
			}
			if rec.Flags&checkpoint.FlagPayload != 0 {
				o.Payload = append([]byte{}, rec.Payload...)
			}
			return
		}
	}
	o.EndSeq, o.EndedAt = rec.Seq, rec.Time
	o.DropOpen()
	o.Payload, o.Failure, o.Batch, o.Digest = rec.Payload, failure, rec.Batch, rec.Digest
	o.Flags |= rec.Flags & checkpoint.FlagRebuild
	o.Status = outcomeStatus(rec.Type)
	if o.Type == Step && failure != nil && failure.Type == "Timeout" && rec.TimeoutAt > 0 {
		o.Status = TimedOut
	}
}

// Awaits reports whether an inbox entry will become an event: its operation is
// open, and no context around it has ended.
func (ops Operations) Awaits(rec *checkpoint.Record) bool {
	o := ops[rec.OperationID]
	return o != nil && !o.Settled() && !o.Dead()
}
