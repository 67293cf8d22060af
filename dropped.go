package durable

import (
	"fmt"
	"strings"
)

// DropError is the error of a Retry that would drop operations which have happened: those
// that came behind the failure or the cancel, as compensation does. It matches
// ErrWouldDrop.
type DropError struct {
	ExecutionID string
	Operations  []DroppedOperation
}

// DroppedOperation is one that a Retry would drop.
type DroppedOperation struct {
	ExecutionID string          `json:"executionId"` // an execution that it invoked has operations of its own
	OperationID string          `json:"operationId"`
	Type        string          `json:"type"`
	Name        string          `json:"name,omitempty"`
	Status      OperationStatus `json:"status"`
	// InvokedID, of an invoke that is made again, is the execution that it had started,
	// which has been deleted: all that it did is done again, with other idempotency keys.
	InvokedID string `json:"invokedId,omitempty"`
}

func (o DroppedOperation) String() string {
	s := fmt.Sprintf("operation %s of %s, %s", o.OperationID, o.ExecutionID, strings.ToLower(o.Type))
	if o.Name != "" {
		s += fmt.Sprintf(" %q", o.Name)
	}
	if o.InvokedID != "" {
		return s + ", of whose execution " + o.InvokedID + " nothing is left"
	}
	return s + ", " + string(o.Status)
}

func (e *DropError) Error() string {
	const most = 10
	var list []string
	for i, o := range e.Operations {
		if i == most {
			list = append(list, fmt.Sprintf("and %d more", len(e.Operations)-most))
			break
		}
		list = append(list, o.String())
	}
	return fmt.Sprintf("durable: retry of execution %s: it would forget what happened: %s: "+
		"if that undid what others did, use RestartFrom from the first operation that was undone, with WithNewIdempotencyKeys; "+
		"if it may be forgotten, give AllowDrop", e.ExecutionID, strings.Join(list, "; "))
}

// Is reports whether target is ErrWouldDrop.
func (e *DropError) Is(target error) bool { return target == ErrWouldDrop }

// InvokedError is the error of a Retry of an execution that was invoked: its result is
// its caller's, which would not get that of another one. It matches ErrInvoked.
type InvokedError struct {
	ExecutionID string
	Caller      string // the execution that invoked it
	OperationID string // the invoke
	// Retry is the execution to retry instead: the caller, or if that was invoked, too,
	// its own, and so on. It keeps what this one has finished.
	Retry string
}

func (e *InvokedError) Error() string {
	return fmt.Sprintf("durable: execution %s was invoked by %s (operation %s), and nobody would take the result of another one: "+
		"retry %s, which keeps what this one has finished, or use RestartFrom for one that stands alone", e.ExecutionID, e.Caller, e.OperationID, e.Retry)
}

// Is reports whether target is ErrInvoked.
func (e *InvokedError) Is(target error) bool { return target == ErrInvoked }
