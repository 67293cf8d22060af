package durable_test

import (
	"errors"
	"fmt"
	"strings"

	"github.com/durable-go/durable"
)

// sentinels are all errors that a handler may compare with.
var sentinels = map[string]error{
	"ErrClosed": durable.ErrClosed, "ErrStoreFailed": durable.ErrStoreFailed,
	"ErrInvalidID": durable.ErrInvalidID, "ErrExecutionExists": durable.ErrExecutionExists, "ErrExecutionNotFound": durable.ErrExecutionNotFound,
	"ErrExecutionRunning": durable.ErrExecutionRunning, "ErrFunctionNotFound": durable.ErrFunctionNotFound,
	"ErrTimeout": durable.ErrTimeout, "ErrCanceled": durable.ErrCanceled, "ErrStopped": durable.ErrStopped, "ErrInterrupted": durable.ErrInterrupted,
	"ErrPanic": durable.ErrPanic, "ErrFailureToleranceExceeded": durable.ErrFailureToleranceExceeded,
	"ErrMinSuccessfulNotReached": durable.ErrMinSuccessfulNotReached, "ErrPayloadTooLarge": durable.ErrPayloadTooLarge, "ErrCodec": durable.ErrCodec,
	"ErrCallbackNotFound": durable.ErrCallbackNotFound, "ErrCallbackCompleted": durable.ErrCallbackCompleted,
	"ErrCallbackAmbiguous": durable.ErrCallbackAmbiguous, "ErrCallbackFailed": durable.ErrCallbackFailed, "ErrHeartbeatTimeout": durable.ErrHeartbeatTimeout,
	"ErrNonDeterministic": durable.ErrNonDeterministic, "ErrConcurrentUse": durable.ErrConcurrentUse,
}

// described is all that a handler can learn from an error.
type described struct {
	text    string
	matches map[string]bool
	op      durable.OpError
	failure durable.Failure
}

func describeError(err error) described {
	d := described{matches: map[string]bool{}}
	if err == nil {
		return d
	}
	d.text = err.Error()
	for name, sentinel := range sentinels {
		if errors.Is(err, sentinel) {
			d.matches[name] = true
		}
	}
	if op, ok := errors.AsType[*durable.OpError](err); ok {
		d.op = *op
		d.op.Err = nil
	}
	if f, ok := errors.AsType[*durable.Failure](err); ok {
		d.failure = durable.Failure{Type: f.Type, Message: f.Message, Data: f.Data}
		if f.Stack != "" {
			d.failure.Stack = "some"
		}
	}
	return d
}

// matching are the names of the sentinels that err matches.
func matching(err error) string {
	var names []string
	for name := range describeError(err).matches {
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// opError is the *OpError of err, which must have one.
func opError(err error) *durable.OpError {
	op, ok := errors.AsType[*durable.OpError](err)
	if !ok {
		panic(fmt.Sprintf("no *OpError in %v", err))
	}
	return op
}

// failure is the *Failure of err, which must have one.
func failure(err error) *durable.Failure {
	f, ok := errors.AsType[*durable.Failure](err)
	if !ok {
		panic(fmt.Sprintf("no *Failure in %v", err))
	}
	return f
}

// hidden is an error whose text does not survive JSON.
type hidden struct{ text string }

func (h *hidden) Error() string { return h.text }
