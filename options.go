package durable

import (
	"errors"
	"fmt"
	"time"

	"github.com/durable-go/durable/internal/invocation"
)

// settings is what the options of one operation add up to.
type settings struct {
	invocation.Settings

	retry       *RetryPolicy
	codec       Codec
	transaction *TransactionOption
	itemName    func(int) string
	batchCodec  Codec
}

// named are the settings for an invocation, which knows codecs by their names.
func (s *settings) named(v *values) *invocation.Settings {
	s.Codec = v.codecName(s.codec)
	if s.batchCodec != nil {
		s.BatchCodec = s.batchCodec.Name()
	}
	return &s.Settings
}

// Options of operations. Each fits just the operations that it makes sense for.
type (
	// StepOption is an option of Step, Do, Call, AsStep and TransactionalStep.
	StepOption interface{ applyStep(*settings) }
	// ConditionOption is an option of WaitForCondition.
	ConditionOption interface{ applyCondition(*settings) }
	// CallbackOption is an option of CreateCallback and WaitForCallback.
	CallbackOption interface{ applyCallback(*settings) }
	// BatchOption is an option of Parallel and Map.
	BatchOption interface{ applyBatch(*settings) }
	// ChildOption is an option of RunInChildContext and Go.
	ChildOption interface{ applyChild(*settings) }
	// InvokeOption is an option of Invoke and InvokeByName.
	InvokeOption interface{ applyInvoke(*settings) }
)

// TimeoutOption is what WithTimeout returns.
type TimeoutOption struct{ d time.Duration }

// WithTimeout bounds the whole operation, all attempts and waits included. It is
// durable: the clock goes on while the process is down, and an operation found
// unfinished after its time fails without running. It fails with ErrTimeout.
// Costs a step one more flush, because its start must be durable first. In a
// child context or a batch, what runs or waits inside is cancelled with
// ErrTimeout.
func WithTimeout(d time.Duration) TimeoutOption { return TimeoutOption{d} }

func (o TimeoutOption) applyStep(s *settings)      { s.Timeout = o.d }
func (o TimeoutOption) applyCondition(s *settings) { s.Timeout = o.d }
func (o TimeoutOption) applyCallback(s *settings)  { s.Timeout = o.d }
func (o TimeoutOption) applyBatch(s *settings)     { s.Timeout = o.d }
func (o TimeoutOption) applyChild(s *settings)     { s.Timeout = o.d }
func (o TimeoutOption) applyInvoke(s *settings)    { s.Timeout = o.d }

// AttemptTimeoutOption is what WithAttemptTimeout returns.
type AttemptTimeoutOption struct{ d time.Duration }

// WithAttemptTimeout ends the context of one call of a body (of a step, a check
// or a submitter) after d. The attempt ends when its body returns; if it then
// returns an error, it failed with ErrTimeout and may be tried again.
func WithAttemptTimeout(d time.Duration) AttemptTimeoutOption { return AttemptTimeoutOption{d} }

func (o AttemptTimeoutOption) applyStep(s *settings)      { s.AttemptTimeout = o.d }
func (o AttemptTimeoutOption) applyCondition(s *settings) { s.AttemptTimeout = o.d }
func (o AttemptTimeoutOption) applyCallback(s *settings)  { s.AttemptTimeout = o.d }

// HeartbeatOption is what WithHeartbeatTimeout returns.
type HeartbeatOption struct{ d time.Duration }

// WithHeartbeatTimeout fails a callback with ErrHeartbeatTimeout when neither an
// outcome nor a heartbeat came for d.
func WithHeartbeatTimeout(d time.Duration) HeartbeatOption { return HeartbeatOption{d} }

func (o HeartbeatOption) applyCallback(s *settings) { s.Heartbeat = o.d }

// RetryOption is what WithRetry returns.
type RetryOption struct{ p RetryPolicy }

// WithRetry sets the retry policy of a step, of a submitter, or of a condition's
// check, whose errors fail the operation at once without it; there it counts the
// failures since the last check that did not fail.
func WithRetry(p RetryPolicy) RetryOption { return RetryOption{p} }

func (o RetryOption) applyStep(s *settings)      { s.retry = &o.p }
func (o RetryOption) applyCondition(s *settings) { s.retry = &o.p }
func (o RetryOption) applyCallback(s *settings)  { s.retry = &o.p }

// CodecOption is what WithCodec returns.
type CodecOption struct{ c Codec }

// WithCodec sets the codec of a step's result, a condition's state, a child's
// result, each item of a batch, or a callback's payload as it was sent. On an
// invoke it encodes the input and decodes the result; the invoked function
// decodes and encodes with its engine's.
func WithCodec(c Codec) CodecOption { return CodecOption{knownByName(c)} }

func (o CodecOption) applyStep(s *settings)      { s.codec = o.c }
func (o CodecOption) applyCondition(s *settings) { s.codec = o.c }
func (o CodecOption) applyCallback(s *settings)  { s.codec = o.c }
func (o CodecOption) applyBatch(s *settings)     { s.codec = o.c }
func (o CodecOption) applyChild(s *settings)     { s.codec = o.c }
func (o CodecOption) applyInvoke(s *settings)    { s.codec = o.c }

// AtMostOnceOption is what AtMostOnce returns.
type AtMostOnceOption struct{}

// AtMostOnce makes each attempt of a step run at most once: its start is durable
// before the body begins, and an attempt that a crash cut off is a failed one,
// with ErrInterrupted. There is one attempt unless WithRetry is given too (AWS
// uses its default policy here). Costs one more flush.
func AtMostOnce() AtMostOnceOption { return AtMostOnceOption{} }

func (AtMostOnceOption) applyStep(s *settings) { s.AtMostOnce = true }

type batchOption func(*settings)

func (o batchOption) applyBatch(s *settings) { o(s) }

// WithMaxConcurrency bounds how many items run at once; the default is all. It
// must be at least 1. Items start in the order of their index.
func WithMaxConcurrency(n int) BatchOption {
	return batchOption(func(s *settings) { s.MaxConcurrency = &n })
}

// WithMinSuccessful ends the batch as soon as n items have succeeded. What still
// runs is cancelled. Failures do not end it early, but when fewer than n
// succeeded in the end, the error is ErrMinSuccessfulNotReached.
func WithMinSuccessful(n int) BatchOption {
	return batchOption(func(s *settings) { s.MinSuccessful = &n })
}

// WithToleratedFailures ends the batch when more than n items have failed.
func WithToleratedFailures(n int) BatchOption {
	return batchOption(func(s *settings) { s.ToleratedFailures = &n })
}

// WithToleratedFailurePercent ends the batch when more than p percent (0 to 100)
// of all its items have failed.
func WithToleratedFailurePercent(p float64) BatchOption {
	return batchOption(func(s *settings) { s.ToleratedPercent = &p })
}

// WithItemNames names the items of a batch; the default is the operation's name
// of a branch, and "" for the items of a Map. Names are checked on replay.
func WithItemNames(name func(index int) string) BatchOption {
	return batchOption(func(s *settings) { s.itemName = name })
}

// Flat keeps the items out of the history: operations inside an item stand
// directly under the batch there. It saves two events and one record an item;
// the item's outcome is recorded all the same.
func Flat() BatchOption {
	return batchOption(func(s *settings) { s.Flat = true })
}

// WithBatchCodec records the values of the succeeded items as one value, a
// []O in the order of the index, encoded by c, in the batch's own record.
func WithBatchCodec(c Codec) BatchOption {
	c = knownByName(c)
	return batchOption(func(s *settings) { s.batchCodec = c })
}

func stepSettings(opts []StepOption) settings {
	if len(opts) == 0 {
		return settings{} // stays on the stack
	}
	var s settings
	for _, o := range opts {
		if o == nil {
			panic(errNilOption)
		}
		o.applyStep(&s)
	}
	return s
}

func conditionSettings(opts []ConditionOption) (s settings) {
	for _, o := range opts {
		if o == nil {
			panic(errNilOption)
		}
		o.applyCondition(&s)
	}
	return s
}

func callbackSettings(opts []CallbackOption) (s settings) {
	for _, o := range opts {
		if o == nil {
			panic(errNilOption)
		}
		o.applyCallback(&s)
	}
	return s
}

func batchSettings(opts []BatchOption) (s settings) {
	for _, o := range opts {
		if o == nil {
			panic(errNilOption)
		}
		o.applyBatch(&s)
	}
	return s
}

func childSettings(opts []ChildOption) (s settings) {
	for _, o := range opts {
		if o == nil {
			panic(errNilOption)
		}
		o.applyChild(&s)
	}
	return s
}

func invokeSettings(opts []InvokeOption) (s settings) {
	for _, o := range opts {
		if o == nil {
			panic(errNilOption)
		}
		o.applyInvoke(&s)
	}
	return s
}

// check returns what is wrong with the settings, nil if nothing is.
func (s *settings) check() error {
	switch {
	case s.Timeout < 0:
		return fmt.Errorf("WithTimeout(%s): must be positive", s.Timeout)
	case s.AttemptTimeout < 0:
		return fmt.Errorf("WithAttemptTimeout(%s): must be positive", s.AttemptTimeout)
	case s.Heartbeat < 0:
		return fmt.Errorf("WithHeartbeatTimeout(%s): must be positive", s.Heartbeat)
	case s.transaction != nil && s.Transaction == nil:
		return errors.New("WithTransaction: the step has no transaction: it is an option of TransactionalStep")
	case s.MaxConcurrency != nil && *s.MaxConcurrency < 1:
		return fmt.Errorf("WithMaxConcurrency(%d): must be at least 1", *s.MaxConcurrency)
	case s.MinSuccessful != nil && *s.MinSuccessful < 0:
		return fmt.Errorf("WithMinSuccessful(%d): must not be negative", *s.MinSuccessful)
	case s.ToleratedFailures != nil && *s.ToleratedFailures < 0:
		return fmt.Errorf("WithToleratedFailures(%d): must not be negative", *s.ToleratedFailures)
	case s.ToleratedPercent != nil && !(*s.ToleratedPercent >= 0 && *s.ToleratedPercent <= 100):
		return fmt.Errorf("WithToleratedFailurePercent(%v): must be between 0 and 100", *s.ToleratedPercent)
	}
	return nil
}

// StartOption is an option of Start, Run and StartByName.
type StartOption interface{ applyStart(*startSettings) }

// FunctionOption is an option of Define and DefinePlain.
type FunctionOption interface{ applyFunction(*startSettings) }

type startSettings struct {
	id        *string
	timeout   time.Duration
	allowDrop bool
	freshKeys bool
}

// AllowDrop is an option of Retry: it may drop operations that have happened, which is a
// DropError without it.
func AllowDrop() StartOption { return startOption(func(s *startSettings) { s.allowDrop = true }) }

// WithNewIdempotencyKeys is an option of Retry, RestartFrom and Import: operations that are
// made again get new idempotency keys (see StepInfo), also in what is invoked, so that
// receivers which heed them take them for other ones. Without it they keep the keys that
// they had. It is for what was undone and is to be done once more.
func WithNewIdempotencyKeys() StartOption {
	return startOption(func(s *startSettings) { s.freshKeys = true })
}

type startOption func(*startSettings)

func (o startOption) applyStart(s *startSettings) { o(s) }

// WithExecutionID makes a start idempotent: the same ID with the same function
// and the same input (the same encoded bytes, JSON compacted) attaches to the
// execution that exists, whatever its status; another function or input is
// ErrExecutionExists. An ID has 1 to 128 of A-Z a-z 0-9 . _ : - and is not "."
// or "..", and does not begin with "inv-". After the execution's retention has
// passed, or it was deleted, the same ID starts a new one.
func WithExecutionID(id string) StartOption {
	return startOption(func(s *startSettings) { s.id = &id })
}

// ExecutionTimeoutOption is what WithExecutionTimeout returns.
type ExecutionTimeoutOption struct{ d time.Duration }

// WithExecutionTimeout gives executions a durable deadline, d after their start.
// One that has not ended by then gets the status TIMED_OUT, its contexts end,
// and nothing more is recorded. Given to a function it is the default of its
// executions, given to a start it holds for that one.
func WithExecutionTimeout(d time.Duration) ExecutionTimeoutOption { return ExecutionTimeoutOption{d} }

func (o ExecutionTimeoutOption) applyStart(s *startSettings)    { s.timeout = o.d }
func (o ExecutionTimeoutOption) applyFunction(s *startSettings) { s.timeout = o.d }
