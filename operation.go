package durable

import (
	"strconv"
	"strings"

	"github.com/durable-go/durable/checkpoint"
)

// opType is the type of an operation.
type opType uint8

const (
	typeExecution opType = iota
	typeStep
	typeWait
	typeCallback
	typeInvoke
	typeContext
)

var opTypeNames = [...]string{"EXECUTION", "STEP", "WAIT", "CALLBACK", "CHAINED_INVOKE", "CONTEXT"}

func (t opType) String() string { return opTypeNames[t] }

// operation is one durable thing that an execution does: the fold of its
// records, and what is going on with it in this residency.
//
//	              +------------------ retry or poll delay over ------+
//	              v                                                  |
//	(none) --> STARTED --> SUCCEEDED | FAILED | TIMED_OUT ...     PENDING
//	              |                                                  ^
//	              +------------- attempt failed, or poll goes on ----+
//
// An outcome is final: no record changes it. READY is PENDING whose delay is over.
type operation struct {
	id, parent, name string
	typ              opType
	sub              checkpoint.SubType
	flags            checkpoint.Flags
	running          bool // a body of it runs
	refusal          bool // it began in a cancelled scope
	noted            bool // its failure was seen by the handler
	gone             bool // the function that started it has returned, without its outcome
	outside          bool // it is counted in residency.outside
	attempt          uint32
	cancelTold       bool       // of a context: who is shown its cancel is recorded
	turnedAway       bool       // its body asked for what the engine does not do any more, see refuse; of the root, the handler
	up               *operation // the context around it; nil: it is the root
	open             *operation // of a context: one that is open in it, see open.go
	next, prev       *operation // open in the same context

	status   OperationStatus // "": no record yet
	failures int             // attempts that failed since the last one that did not
	firstSeq uint64          // journal sequence of its first record; 0: none is numbered
	endSeq   uint64          // journal sequence of its outcome; 0: open
	started  int64
	ended    int64

	duration, timeout, heartbeat int64
	delay                        int64 // before the next attempt
	wakeAt, timeoutAt            int64

	codec    string
	payload  []byte // state or result; of an open invoke: the input
	failure  *failureRecord
	batch    []byte
	digest   []byte
	function string // of an invoke
	target   string // execution that an invoke started

	choices  []int64          // of Settled
	versions map[string]int64 // of a context: what Version answered
	last     int              // of a context: highest recorded position in it

	cancelSeq    uint64 // of a context: sequence of its ScopeCancelled
	cancelCause  string
	cancelReason string
	looked       *looks // of a context: how far its code has looked whether it is cancelled; nil: not recorded

	// This residency's part.
	start     *checkpoint.Record // its start, when it is not numbered yet
	frame     *frame             // of a context that runs
	waiters   []*waiter
	onSettled []func()
	bodyAt    int               // where it stands in the residency's bodies
	cancel    func(cause error) // ends the context of its body
	refused   error             // why it could not be entered; nothing is recorded of it
}

// settled reports whether the operation has its outcome.
func (o *operation) settled() bool { return o.endSeq != 0 }

// silent reports whether the operation is no part of the history.
func (o *operation) silent() bool { return o.flags&checkpoint.FlagSilent != 0 }

// rebuilds reports whether the result is not stored but rebuilt.
func (o *operation) rebuilds() bool { return o.flags&checkpoint.FlagRebuild != 0 }

// dead reports whether a context around o has ended, so that o matters no more.
func (o *operation) dead() bool {
	if o.gone {
		return true
	}
	for up := o.up; up != nil; up = up.up {
		if up.settled() {
			return true
		}
	}
	return false
}

// within reports whether o is, or is inside, context.
func (o *operation) within(context *operation) bool {
	for ; o != nil; o = o.up {
		if o == context {
			return true
		}
	}
	return false
}

// reachedBy reports whether a cancel of context reaches o.
func (o *operation) reachedBy(context *operation) bool {
	for ; o != nil && o != context; o = o.up {
		if o.flags&checkpoint.FlagShielded != 0 {
			return false
		}
	}
	return o != nil
}

// cancelledBy returns the context whose cancel reached o first, or nil. It is the first
// by the journal, so that another cancel, which comes later, changes nothing.
func (o *operation) cancelledBy() (by *operation) {
	for ; o != nil; o = o.up {
		if o.cancelSeq != 0 && (by == nil || o.cancelSeq < by.cancelSeq) {
			by = o
		}
		if o.flags&checkpoint.FlagShielded != 0 {
			break
		}
	}
	return by
}

// timesOutAt is when the next timeout passes that ends a body of o: its own, or, unless
// it is shielded, that of a context around it; 0: none.
func (o *operation) timesOutAt(shielded bool) int64 {
	at := o.timeoutAt
	for ; !shielded && o != nil; o = o.up {
		at = earliest(at, o.timeoutAt)
		shielded = o.flags&checkpoint.FlagShielded != 0
	}
	return at
}

// earliest is the earlier of two times, of which 0 is none.
func earliest(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// endedByCancel reports whether o failed because a cancel reached it.
func (o *operation) endedByCancel() bool {
	by := o.cancelledBy()
	return by != nil && o.endSeq > by.cancelSeq && o.failure != nil && (o.failure.Type == "Canceled" || o.failure.Type == "Timeout")
}

// operations are the operations of an execution by ID, "" being the execution.
type operations map[string]*operation

// newOperations makes room for what a journal of so many records tells of.
func newOperations(records uint64) operations {
	ops := make(operations, min(records, 1<<16))
	ops[""] = &operation{typ: typeContext, status: OperationStarted}
	return ops
}

// apply folds a record into the operations. The failure of the record, if it
// has one, is given decoded.
func (ops operations) apply(rec *checkpoint.Record, failure *failureRecord) *operation {
	switch rec.Type {
	case checkpoint.InvocationCompleted, checkpoint.CancelRequested,
		checkpoint.ExecutionSucceeded, checkpoint.ExecutionFailed, checkpoint.ExecutionTimedOut, checkpoint.ExecutionStopped:
		return nil
	case checkpoint.ExecutionStarted:
		root := ops[""]
		root.started, root.timeoutAt, root.timeout = rec.Time, rec.TimeoutAt, rec.Timeout
		root.firstSeq = rec.Seq
		return root
	}
	o := ops[rec.OperationID]
	if o == nil {
		o = ops.add(rec.OperationID, rec.Name, typeOf(rec.Type), rec.SubType, rec.Flags, rec.ParentID)
	}
	o.apply(rec, failure)
	return o
}

// add enters an operation without a record.
func (ops operations) add(id, name string, typ opType, sub checkpoint.SubType, flags checkpoint.Flags, parent string) *operation {
	around, position := placeOf(id)
	if flags&checkpoint.FlagParent == 0 {
		parent = around
	}
	o := &operation{id: id, parent: parent, name: name, typ: typ, sub: sub, flags: flags & (checkpoint.FlagShielded | checkpoint.FlagParent | checkpoint.FlagAtMostOnce | checkpoint.FlagSilent)}
	if o.up = ops[around]; o.up == nil { // an item of a flat batch: its start is not recorded
		o.up = ops.add(around, "", typeContext, checkpoint.SubTypeNone, checkpoint.FlagSilent, "")
		o.up.status = OperationStarted
	}
	o.up.last = max(o.up.last, position)
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

// answered takes note of what Version answered for a change in the context o.
func (o *operation) answered(change string, version int64) {
	if o.versions == nil {
		o.versions = make(map[string]int64)
	}
	o.versions[change] = version
}

// begun takes note that the code of the context o has run: the start of an item of a
// flat batch is not recorded.
func (o *operation) begun() {
	if o.status == "" {
		o.status = OperationStarted
	}
}

// apply folds a record of o into it.
func (o *operation) apply(rec *checkpoint.Record, failure *failureRecord) {
	if o.up != nil && o.up.firstSeq == 0 {
		o.up.firstSeq = rec.Seq
	}
	switch rec.Type {
	case checkpoint.ScopeCancelled:
		o.cancelSeq, o.cancelCause, o.cancelReason, o.cancelTold = rec.Seq, rec.Key, string(rec.Payload), rec.Number > 0
		return
	case checkpoint.ContextLooked:
		o.looked = &looks{uint32(rec.Number), rec.Attempt, rec.Key != ""}
		o.begun()
		return
	case checkpoint.VersionChosen:
		o.answered(rec.Key, rec.Number)
		o.begun()
		return
	case checkpoint.AwaitableChosen:
		o.choices = append(o.choices, rec.Number)
		return
	case checkpoint.OperationRefused:
		o.typ, o.sub, o.name, o.refusal = opType(rec.Number), rec.SubType, rec.Name, true
		o.flags |= checkpoint.FlagSilent
		o.firstSeq, o.endSeq, o.status, o.failure = rec.Seq, rec.Seq, OperationCancelled, failure
		o.dropOpen()
		return
	}
	if o.firstSeq == 0 {
		o.firstSeq = rec.Seq
		o.flags |= rec.Flags & (checkpoint.FlagShielded | checkpoint.FlagAtMostOnce)
		o.started = rec.Time
		if rec.Events == 2 {
			o.started = rec.StartedAt
		}
	}
	if rec.Attempt > 0 {
		o.attempt = rec.Attempt
	}
	if rec.TimeoutAt > 0 {
		o.timeoutAt, o.timeout = rec.TimeoutAt, rec.Timeout
	}
	if rec.HeartbeatTimeout > 0 {
		o.heartbeat = rec.HeartbeatTimeout
	}
	if rec.Duration > 0 {
		o.duration = rec.Duration
	}
	o.wakeAt, o.delay = rec.WakeAt, rec.NextAttemptDelay
	if rec.Codec != "" {
		o.codec = rec.Codec
	}
	if rec.Function != "" {
		o.function, o.target = rec.Function, rec.TargetID
	}
	switch rec.Type {
	case checkpoint.ContextStarted, checkpoint.StepStarted, checkpoint.WaitStarted, checkpoint.CallbackStarted, checkpoint.ChainedInvokeStarted:
		o.status = OperationStarted
		if rec.Flags&checkpoint.FlagPayload != 0 {
			o.payload = rec.Payload
		}
		return
	case checkpoint.StepSucceeded, checkpoint.StepFailed:
		if rec.NextAttemptDelay > 0 || rec.WakeAt > 0 {
			o.status = OperationPending
			o.failures++
			if rec.Type == checkpoint.StepSucceeded {
				o.failures = 0
			}
			if rec.Flags&checkpoint.FlagPayload != 0 {
				o.payload = append([]byte{}, rec.Payload...)
			}
			return
		}
	}
	o.endSeq, o.ended = rec.Seq, rec.Time
	o.dropOpen()
	o.payload, o.failure, o.batch, o.digest = rec.Payload, failure, rec.Batch, rec.Digest
	o.flags |= rec.Flags & checkpoint.FlagRebuild
	o.status = outcomeStatus(rec.Type)
	if o.typ == typeStep && failure != nil && failure.Type == "Timeout" && rec.TimeoutAt > 0 {
		o.status = OperationTimedOut
	}
}

func outcomeStatus(t checkpoint.EventType) OperationStatus {
	switch t {
	case checkpoint.WaitCancelled:
		return OperationCancelled
	case checkpoint.CallbackTimedOut, checkpoint.ChainedInvokeTimedOut:
		return OperationTimedOut
	case checkpoint.ChainedInvokeStopped:
		return OperationStopped
	case checkpoint.ContextFailed, checkpoint.StepFailed, checkpoint.CallbackFailed, checkpoint.ChainedInvokeFailed:
		return OperationFailed
	default:
		return OperationSucceeded
	}
}

func typeOf(t checkpoint.EventType) opType {
	switch t {
	case checkpoint.StepStarted, checkpoint.StepSucceeded, checkpoint.StepFailed:
		return typeStep
	case checkpoint.WaitStarted, checkpoint.WaitSucceeded, checkpoint.WaitCancelled:
		return typeWait
	case checkpoint.CallbackStarted, checkpoint.CallbackSucceeded, checkpoint.CallbackFailed, checkpoint.CallbackTimedOut:
		return typeCallback
	case checkpoint.ChainedInvokeStarted, checkpoint.ChainedInvokeSucceeded, checkpoint.ChainedInvokeFailed,
		checkpoint.ChainedInvokeTimedOut, checkpoint.ChainedInvokeStopped:
		return typeInvoke
	default:
		return typeContext
	}
}
