package durable

import (
	"fmt"
	"strings"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/invocation"
)

// Errors of opening and closing.
var (
	// ErrLocked: another process, or another engine of this one, has the file open.
	ErrLocked = checkpoint.ErrLocked
	// ErrCorrupt: the file is not ours, or damaged; the message says where.
	ErrCorrupt = checkpoint.ErrCorrupt
	// ErrClosed: the engine has been closed or shut down.
	ErrClosed = checkpoint.ErrClosed
	// ErrStoreFailed: a write to stable storage failed. Nothing more is written
	// until the store is opened again, which recovers.
	ErrStoreFailed = checkpoint.ErrFailed
)

// Errors of starting and finding executions.
var (
	// ErrInvalidID: an execution ID or a name breaks the rules of its kind.
	ErrInvalidID = fault.ErrInvalidID
	// ErrExecutionExists: the ID is taken by an execution of another function or
	// with another input.
	ErrExecutionExists = checkpoint.ErrExists
	// ErrExecutionNotFound: there is no execution with this ID, or it was deleted.
	ErrExecutionNotFound = fault.ErrExecutionNotFound
	// ErrExecutionRunning: the execution has not ended, so it can't be deleted, retried
	// or restarted.
	ErrExecutionRunning = checkpoint.ErrRunning
	// ErrExecutionSucceeded: the execution has succeeded, there is nothing to retry.
	ErrExecutionSucceeded = fault.ErrExecutionSucceeded
	// ErrWouldDrop: a retry would forget operations that have happened; see DropError.
	ErrWouldDrop = fault.ErrWouldDrop
	// ErrInvoked: the execution was invoked, so its caller is to be retried; see InvokedError.
	ErrInvoked = fault.ErrInvoked
	// ErrOperationNotFound: the execution has no operation with this ID.
	ErrOperationNotFound = fault.ErrOperationNotFound
	// ErrFunctionNotFound: the engine has no function with this name.
	ErrFunctionNotFound = fault.ErrFunctionNotFound
)

// Outcomes of operations and executions. They do not match the errors of the
// context package: those say that the caller stopped waiting, these that the
// operation ended so. They are matched on the first run as on replay.
var (
	// ErrTimeout: a timeout of the operation or the execution passed.
	ErrTimeout = fault.ErrTimeout
	// ErrCanceled: the operation or the execution was cancelled.
	ErrCanceled = fault.ErrCanceled
	// ErrStopped: the execution was stopped.
	ErrStopped = fault.ErrStopped
	// ErrInterrupted: an at-most-once attempt was cut off by a crash.
	ErrInterrupted = fault.ErrInterrupted
	// ErrPanic: the user's code panicked.
	ErrPanic = fault.ErrPanic
	// ErrFailureToleranceExceeded: more items of a batch failed than tolerated.
	ErrFailureToleranceExceeded = fault.ErrFailureToleranceExceeded
	// ErrMinSuccessfulNotReached: fewer items succeeded than WithMinSuccessful asks for.
	ErrMinSuccessfulNotReached = fault.ErrMinSuccessfulNotReached
	// ErrPayloadTooLarge: an encoded value is larger than Options.MaxPayload.
	ErrPayloadTooLarge = fault.ErrPayloadTooLarge
	// ErrCodec: a value could not be encoded or decoded.
	ErrCodec = fault.ErrCodec
)

// Errors of callbacks.
var (
	// ErrCallbackNotFound: the callback ID is not one of ours, or its execution is gone.
	ErrCallbackNotFound = fault.ErrCallbackNotFound
	// ErrCallbackCompleted: the callback has an outcome, or nobody waits for it any more.
	ErrCallbackCompleted = fault.ErrCallbackCompleted
	// ErrCallbackAmbiguous: several open callbacks have the name; use the operation ID.
	ErrCallbackAmbiguous = fault.ErrCallbackAmbiguous
	// ErrCallbackFailed: the external system reported failure.
	ErrCallbackFailed = fault.ErrCallbackFailed
	// ErrHeartbeatTimeout: no heartbeat came in time.
	ErrHeartbeatTimeout = fault.ErrHeartbeatTimeout
)

// Errors of the handler's code.
var (
	// ErrNonDeterministic: what the code asked for is not what is recorded.
	ErrNonDeterministic = fault.ErrNonDeterministic
	// ErrConcurrentUse: a *Context was used where it may not be: inside a step's
	// body, from another goroutine, or after its function had returned.
	ErrConcurrentUse = fault.ErrConcurrentUse
)

// OpError is the error of a failed operation, or, from Result and Run, of a
// failed execution (Type "EXECUTION"). It is rebuilt from the record, on the
// first run as on replay. It matches the sentinel of its outcome by errors.Is,
// and its *Failure by errors.AsType.
type OpError struct {
	Type        string // STEP, WAIT, CALLBACK, CHAINED_INVOKE, CONTEXT or EXECUTION
	ExecutionID string
	OperationID string
	Name        string // of the operation, or of the execution's function
	Attempts    int    // made of a step, a check or a submitter
	Err         error  // a *Failure, or the joined errors of a batch's items
	Hint        string // what to do about it, may be empty
}

func (e *OpError) Error() string {
	var b strings.Builder
	b.WriteString("durable: ")
	if e.Type == history.Execution.String() {
		fmt.Fprintf(&b, "execution %s of %q", e.ExecutionID, e.Name)
	} else {
		b.WriteString(strings.ToLower(e.Type))
		if e.Name != "" {
			fmt.Fprintf(&b, " %q", e.Name)
		}
		if e.OperationID != "" {
			fmt.Fprintf(&b, " (operation %s of %s)", e.OperationID, e.ExecutionID)
		}
	}
	if e.Attempts > 1 {
		fmt.Fprintf(&b, " failed after %d attempts", e.Attempts)
	}
	b.WriteString(": ")
	b.WriteString(strings.TrimPrefix(e.Err.Error(), "durable: "))
	if e.Hint != "" {
		b.WriteString(": " + e.Hint)
	}
	return b.String()
}

func (e *OpError) Unwrap() error { return e.Err }

// NonDeterministicError says what is recorded and what the code asked for. An
// execution that meets one is held: see Options.FailOnMismatch and Engine.Resume.
type NonDeterministicError struct {
	ExecutionID string
	OperationID string
	Recorded    string
	Asked       string
}

func (e *NonDeterministicError) Error() string {
	m := invocation.Mismatch{ExecutionID: e.ExecutionID, OperationID: e.OperationID, Recorded: e.Recorded, Asked: e.Asked}
	return m.Error()
}

// Is reports whether target is ErrNonDeterministic.
func (e *NonDeterministicError) Is(target error) bool { return target == ErrNonDeterministic }

// panicError is what a panic of the user's code becomes.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string        { return fmt.Sprintf("panic: %v", e.value) }
func (e *panicError) Is(target error) bool { return target == ErrPanic }
func (e *panicError) Unwrap() error {
	err, _ := e.value.(error)
	return err
}
