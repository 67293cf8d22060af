package history

import "github.com/durable-go/durable/checkpoint"

// IsFinal reports whether a record of that type ends an execution.
func IsFinal(t checkpoint.EventType) bool {
	return t >= checkpoint.ExecutionSucceeded && t <= checkpoint.ExecutionStopped
}

// IsStart reports whether t is the start of an operation.
func IsStart(t checkpoint.EventType) bool {
	switch t {
	case checkpoint.ContextStarted, checkpoint.StepStarted, checkpoint.WaitStarted, checkpoint.CallbackStarted, checkpoint.ChainedInvokeStarted:
		return true
	}
	return false
}

// IsOutside reports whether t is an outcome that comes from outside.
func IsOutside(t checkpoint.EventType) bool {
	switch t {
	case checkpoint.CallbackSucceeded, checkpoint.CallbackFailed, checkpoint.CallbackTimedOut,
		checkpoint.ChainedInvokeSucceeded, checkpoint.ChainedInvokeFailed, checkpoint.ChainedInvokeTimedOut, checkpoint.ChainedInvokeStopped:
		return true
	}
	return false
}

// FromInbox reports whether a record has come from outside and was not taken over yet.
func FromInbox(rec *checkpoint.Record) bool { return rec.EventID == 0 && IsOutside(rec.Type) }

// TypeOf is the type of the operations that records of a type are of. Those of contexts and of
// the execution are of a Context; what was refused has its type as the record's number.
func TypeOf(t checkpoint.EventType) Type {
	switch t {
	case checkpoint.StepStarted, checkpoint.StepSucceeded, checkpoint.StepFailed:
		return Step
	case checkpoint.WaitStarted, checkpoint.WaitSucceeded, checkpoint.WaitCancelled:
		return Wait
	case checkpoint.CallbackStarted, checkpoint.CallbackSucceeded, checkpoint.CallbackFailed, checkpoint.CallbackTimedOut:
		return Callback
	case checkpoint.ChainedInvokeStarted, checkpoint.ChainedInvokeSucceeded, checkpoint.ChainedInvokeFailed,
		checkpoint.ChainedInvokeTimedOut, checkpoint.ChainedInvokeStopped:
		return Invoke
	default:
		return Context
	}
}

func outcomeStatus(t checkpoint.EventType) Status {
	switch t {
	case checkpoint.WaitCancelled:
		return Cancelled
	case checkpoint.CallbackTimedOut, checkpoint.ChainedInvokeTimedOut:
		return TimedOut
	case checkpoint.ChainedInvokeStopped:
		return Stopped
	case checkpoint.ContextFailed, checkpoint.StepFailed, checkpoint.CallbackFailed, checkpoint.ChainedInvokeFailed:
		return Failed
	default:
		return Succeeded
	}
}

func isGathering(t checkpoint.SubType) bool {
	switch t {
	case checkpoint.All, checkpoint.Any, checkpoint.Race, checkpoint.Select, checkpoint.Settled:
		return true
	}
	return false
}

// StartOf is the start of what a record that stands for two events ends.
func StartOf(t checkpoint.EventType) string {
	start := checkpoint.ContextStarted
	switch TypeOf(t) {
	case Step:
		start = checkpoint.StepStarted
	case Wait:
		start = checkpoint.WaitStarted
	case Callback:
		start = checkpoint.CallbackStarted
	case Invoke:
		start = checkpoint.ChainedInvokeStarted
	}
	return start.String()
}
