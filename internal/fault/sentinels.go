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

// Sentinel is an error of the engine's own, and the name that it is recorded under. A
// failure of the engine's making has the name as its Type.
type Sentinel struct {
	Name string
	Err  error
}

// Sentinels are those that may be in a record.
var Sentinels = []Sentinel{
	{"Timeout", ErrTimeout},
	{"HeartbeatTimeout", ErrHeartbeatTimeout},
	{"Canceled", ErrCanceled},
	{"Stopped", ErrStopped},
	{"Interrupted", ErrInterrupted},
	{"Panic", ErrPanic},
	{"CallbackFailed", ErrCallbackFailed},
	{"FailureToleranceExceeded", ErrFailureToleranceExceeded},
	{"MinSuccessfulNotReached", ErrMinSuccessfulNotReached},
	{"PayloadTooLarge", ErrPayloadTooLarge},
	{"Codec", ErrCodec},
	{"NonDeterministic", ErrNonDeterministic},
	{"ConcurrentUse", ErrConcurrentUse},
	{"FunctionNotFound", ErrFunctionNotFound},
	{"InvalidID", ErrInvalidID},
}

// NameOf is the name of the first of Sentinels that an error of the engine's own is; "" if it
// is none.
func NameOf(err error) string {
	for _, s := range Sentinels {
		if errors.Is(err, s.Err) {
			return s.Name
		}
	}
	return ""
}
