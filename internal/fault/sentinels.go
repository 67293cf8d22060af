package fault

import "errors"

// What the exported names of package durable stand for.
var (
	ErrInvalidID                = errors.New("durable: invalid ID")
	ErrExecutionNotFound        = errors.New("durable: execution not found")
	ErrExecutionSucceeded       = errors.New("durable: the execution has succeeded")
	ErrWouldDrop                = errors.New("durable: the retry would drop operations")
	ErrInvoked                  = errors.New("durable: the execution was invoked by another one")
	ErrOperationNotFound        = errors.New("durable: operation not found")
	ErrFunctionNotFound         = errors.New("durable: function not found")
	ErrTimeout                  = errors.New("durable: timed out")
	ErrCanceled                 = errors.New("durable: canceled")
	ErrStopped                  = errors.New("durable: stopped")
	ErrInterrupted              = errors.New("durable: the attempt was interrupted")
	ErrPanic                    = errors.New("durable: panic")
	ErrFailureToleranceExceeded = errors.New("durable: failure tolerance exceeded")
	ErrMinSuccessfulNotReached  = errors.New("durable: minimum of successful items not reached")
	ErrPayloadTooLarge          = errors.New("durable: payload too large")
	ErrCodec                    = errors.New("durable: codec")
	ErrCallbackNotFound         = errors.New("durable: callback not found")
	ErrCallbackCompleted        = errors.New("durable: callback already completed")
	ErrCallbackAmbiguous        = errors.New("durable: several open callbacks match")
	ErrCallbackFailed           = errors.New("durable: the callback failed")
	ErrHeartbeatTimeout         = errors.New("durable: heartbeat timed out")
	ErrNonDeterministic         = errors.New("durable: non-deterministic code")
	ErrConcurrentUse            = errors.New("durable: context used concurrently")
)
