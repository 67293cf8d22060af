package checkpoint

import (
	"encoding/hex"
	"strconv"
)

// Record is one entry of an execution's journal, or of its inbox: what an
// operation, an invocation or the execution itself became. The journal is
// append-only, and the state of an operation is the fold of its records.
//
// A record that is an event of the history carries the number of its first
// event and how many events it stands for; a step that started and succeeded
// in one commit is one record of two events. Fields that a type of record does
// not use are zero and take no space in the binary form.
type Record struct {
	Seq     uint64    // place in the journal, or in the inbox, from 1 without gaps
	EventID uint64    // number of the first event in the history; 0: no event
	Events  uint8     // how many events: 0, 1, or 2 (started and ended in one)
	Type    EventType // of the last event
	SubType SubType
	Flags   Flags
	Time    int64 // of the last event, Unix nanoseconds by the store's clock

	StartedAt   int64  // with two events: when the first one was
	OperationID string // "1", "2-1"; "" is the execution itself
	ParentID    string // only under FlagParent, when it is not OperationID without its last number
	Name        string // of the operation
	Attempt     uint32 // of a step or a check, from 1; ContextLooked: the looks

	Duration         int64 // of a wait, nanoseconds
	Timeout          int64 // of an operation or the execution, nanoseconds; 0: none
	HeartbeatTimeout int64 // of a callback, nanoseconds; 0: none
	NextAttemptDelay int64 // until the next attempt or check, nanoseconds
	WakeAt           int64 // when a wait or a retry delay is over, Unix nanoseconds
	TimeoutAt        int64 // when Timeout is over, Unix nanoseconds

	Function string // ExecutionStarted, ChainedInvokeStarted
	TargetID string // ChainedInvokeStarted: ID of the invoked execution
	Codec    string // name of the codec of Payload
	Payload  []byte // input, result or state; sealed under FlagSealed
	Failure  []byte // encoded by the engine; sealed under FlagSealed
	Batch    []byte // a batch's reason and the status of each item
	Digest   []byte // of a result that is not stored but rebuilt
	Key      string // VersionChosen: the change; ScopeCancelled, ContextLooked: the cause
	Number   int64  // VersionChosen: the version; AwaitableChosen: the index; ExecutionStarted: how many records behind it were copied; ContextLooked: the place

	RestartOf string // ExecutionStarted: ID of the execution whose records it began with
	Trace     string // ExecutionStarted: the trace context of who started it
	Keys      string // ExecutionStarted: the idempotency keys that it has of the one it began as, encoded by the engine
}

// Flags of a record.
type Flags uint8

const (
	// FlagSealed: Payload and Failure went through a Sealer.
	FlagSealed Flags = 1 << iota
	// FlagParent: the parent is ParentID, not OperationID without its last number.
	FlagParent
	// FlagShielded: the operation is not reached by a cancel of the scopes around it.
	FlagShielded
	// FlagRebuild: the result was too large to be stored inline; it is rebuilt by
	// running the context again, and Digest tells whether it is the same.
	FlagRebuild
	// FlagAtMostOnce: an interrupted attempt is a failed one.
	FlagAtMostOnce
	// FlagPayload: Payload is present even when it is empty.
	FlagPayload
	// FlagSilent: the operation is no part of the history, and none of its records
	// an event: an item of a flat batch.
	FlagSilent
)

// EventType says what happened. Values are part of the binary form: new ones
// are added at the end of their group's range, none is ever reused.
type EventType uint8

// Events of the history, under the names of AWS durable functions.
const (
	ExecutionStarted EventType = 1 + iota
	ExecutionSucceeded
	ExecutionFailed
	ExecutionTimedOut
	ExecutionStopped
	ContextStarted
	ContextSucceeded
	ContextFailed
	StepStarted
	StepSucceeded
	StepFailed
	WaitStarted
	WaitSucceeded
	WaitCancelled
	CallbackStarted
	CallbackSucceeded
	CallbackFailed
	CallbackTimedOut
	ChainedInvokeStarted
	ChainedInvokeSucceeded
	ChainedInvokeFailed
	ChainedInvokeTimedOut
	ChainedInvokeStopped
	InvocationCompleted
)

// Records that are no event of the history.
const (
	// ScopeCancelled: the scope of OperationID ("" is the whole execution) was
	// cancelled; Key is the cause, "Canceled" or "Timeout". Number is 1 if ContextLooked
	// tells who saw it, 0 in journals from before there was that record.
	ScopeCancelled EventType = 100 + iota
	// VersionChosen: Version of the change Key answered Number.
	VersionChosen
	// AwaitableChosen: the awaitable with index Number was handed out by the
	// Settled operation OperationID.
	AwaitableChosen
	// CancelRequested stands in inboxes only: somebody asked to cancel the execution.
	CancelRequested
	// OperationRefused: the operation began in a cancelled scope. It took its
	// position and is no part of the history; Number is its type.
	OperationRefused
	// ContextLooked: the code of the context OperationID has looked at its standard
	// context Attempt times at a place, and has seen no cancel there. Number is the place:
	// 2 p in the operation at position p, 2 p + 1 behind it. Key is the cause if the code
	// sees one from then on, else empty.
	ContextLooked
)

var eventNames = [...]string{
	ExecutionStarted:       "ExecutionStarted",
	ExecutionSucceeded:     "ExecutionSucceeded",
	ExecutionFailed:        "ExecutionFailed",
	ExecutionTimedOut:      "ExecutionTimedOut",
	ExecutionStopped:       "ExecutionStopped",
	ContextStarted:         "ContextStarted",
	ContextSucceeded:       "ContextSucceeded",
	ContextFailed:          "ContextFailed",
	StepStarted:            "StepStarted",
	StepSucceeded:          "StepSucceeded",
	StepFailed:             "StepFailed",
	WaitStarted:            "WaitStarted",
	WaitSucceeded:          "WaitSucceeded",
	WaitCancelled:          "WaitCancelled",
	CallbackStarted:        "CallbackStarted",
	CallbackSucceeded:      "CallbackSucceeded",
	CallbackFailed:         "CallbackFailed",
	CallbackTimedOut:       "CallbackTimedOut",
	ChainedInvokeStarted:   "ChainedInvokeStarted",
	ChainedInvokeSucceeded: "ChainedInvokeSucceeded",
	ChainedInvokeFailed:    "ChainedInvokeFailed",
	ChainedInvokeTimedOut:  "ChainedInvokeTimedOut",
	ChainedInvokeStopped:   "ChainedInvokeStopped",
	InvocationCompleted:    "InvocationCompleted",
	ScopeCancelled:         "ScopeCancelled",
	VersionChosen:          "VersionChosen",
	AwaitableChosen:        "AwaitableChosen",
	CancelRequested:        "CancelRequested",
	OperationRefused:       "OperationRefused",
	ContextLooked:          "ContextLooked",
}

func (t EventType) String() string {
	if int(t) < len(eventNames) && eventNames[t] != "" {
		return eventNames[t]
	}
	return "EventType(" + strconv.Itoa(int(t)) + ")"
}

// SubType says which primitive an operation is. Values are part of the binary
// form: new ones are added at the end, none is ever reused.
type SubType uint8

// The sub-types, under the names of AWS durable functions where it has them.
const (
	SubTypeNone SubType = iota
	Step
	Wait
	Callback
	ChainedInvoke
	RunInChildContext
	WaitForCallback
	WaitForCondition
	Map
	MapIteration
	Parallel
	ParallelBranch
	Now
	UUID
	All
	Any
	Race
	Select
	Settled
)

var subTypeNames = [...]string{
	"", "Step", "Wait", "Callback", "ChainedInvoke", "RunInChildContext", "WaitForCallback",
	"WaitForCondition", "Map", "MapIteration", "Parallel", "ParallelBranch", "Now", "UUID",
	"All", "Any", "Race", "Select", "Settled",
}

func (t SubType) String() string {
	if int(t) < len(subTypeNames) {
		return subTypeNames[t]
	}
	return "SubType(" + strconv.Itoa(int(t)) + ")"
}

// Status of an execution.
type Status uint8

// The statuses of an execution. All but Running are final.
const (
	Running Status = 1 + iota
	Succeeded
	Failed
	TimedOut
	Stopped
)

var statusNames = [...]string{"", "RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "STOPPED"}

func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return "Status(" + strconv.Itoa(int(s)) + ")"
}

// Incarnation is drawn at random when an execution is created. Whatever must
// not survive the deletion of an execution and the start of another one under
// the same ID (callback IDs, IDs of invoked executions, idempotency keys)
// derives from it and never from the ID.
type Incarnation [16]byte

func (i Incarnation) String() string { return hex.EncodeToString(i[:]) }

// IsZero reports whether i was never drawn.
func (i Incarnation) IsZero() bool { return i == Incarnation{} }
