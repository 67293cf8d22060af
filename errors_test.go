package durable_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// sentinels are all errors that a handler may compare with.
var sentinels = map[string]error{
	"ErrClosed": durable.ErrClosed, "ErrStoreFailed": durable.ErrStoreFailed,
	"ErrInvalidID": durable.ErrInvalidID, "ErrExecutionExists": durable.ErrExecutionExists, "ErrExecutionNotFound": durable.ErrExecutionNotFound,
	"ErrExecutionRunning": durable.ErrExecutionRunning, "ErrExecutionSucceeded": durable.ErrExecutionSucceeded, "ErrOperationNotFound": durable.ErrOperationNotFound, "ErrFunctionNotFound": durable.ErrFunctionNotFound,
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

func TestOpError(t *testing.T) {
	t.Parallel()
	cause := &durable.Failure{Type: "T", Message: "no"}
	for want, err := range map[string]*durable.OpError{
		`durable: step "charge" (operation 2-1 of order-42): no`:                         {Type: "STEP", ExecutionID: "order-42", OperationID: "2-1", Name: "charge", Attempts: 1, Err: cause},
		`durable: step "charge" (operation 2-1 of order-42) failed after 3 attempts: no`: {Type: "STEP", ExecutionID: "order-42", OperationID: "2-1", Name: "charge", Attempts: 3, Err: cause},
		`durable: wait (operation 1 of x): timed out`:                                    {Type: "WAIT", ExecutionID: "x", OperationID: "1", Err: durable.ErrTimeout},
		`durable: callback "cb": no: do this`:                                            {Type: "CALLBACK", Name: "cb", Err: cause, Hint: "do this"},
		`durable: execution order-42 of "checkout": no`:                                  {Type: "EXECUTION", ExecutionID: "order-42", Name: "checkout", Err: cause},
		`durable: chained_invoke "call": no`:                                             {Type: "CHAINED_INVOKE", Name: "call", Err: cause},
		`durable: context "m": durable inside stays: durable: x`:                         {Type: "CONTEXT", Name: "m", Err: errors.New("durable inside stays: durable: x")},
	} {
		require.EqualError(t, err, want)
		require.Equal(t, err.Err, errors.Unwrap(err))
	}
}

func TestSentinels(t *testing.T) {
	t.Parallel()
	texts := map[string]string{}
	for name, err := range sentinels {
		require.True(t, strings.HasPrefix(err.Error(), "durable: "), "%s: %v", name, err)
		require.Empty(t, texts[err.Error()], "%s has the text of another one", name)
		texts[err.Error()] = name
		require.Equal(t, name, matching(err), "it matches itself and no other")
		require.NotErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
	}
}

func TestResult(t *testing.T) {
	t.Parallel()

	t.Run("OfNobody", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := setup(t, echo)
			_, err := echo.Attach(b.engine, "nobody").Result(b.ctx)
			require.ErrorIs(t, err, durable.ErrExecutionNotFound)
			require.ErrorContains(t, err, "nobody")
			_, err = echo.Attach(b.engine, "not an ID").Result(b.ctx)
			require.ErrorIs(t, err, durable.ErrInvalidID)
			_, err = b.engine.ResultJSON(b.ctx, "nobody")
			require.ErrorIs(t, err, durable.ErrExecutionNotFound)
		})
	})

	t.Run("EndOfTheWaitIsNotTheEndOfTheExecution", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			b := setupWith(t, opts, slow)
			x := start(b, slow, "x")
			ctx, cancel := context.WithTimeoutCause(b.ctx, time.Minute, errSoldOut)
			defer cancel()
			_, err := x.Result(ctx)
			require.ErrorIs(t, err, errSoldOut, "the cause says why the wait ended")
			require.Empty(t, matching(err))
			require.Equal(t, durable.ExecutionRunning, b.describe(x.ID()).Status)
			out, err := x.Result(b.ctx)
			require.NoError(t, err)
			require.Equal(t, "x!", out)
		})
	})

	t.Run("EndOfTheEngine", func(t *testing.T) {
		t.Parallel()
		for name, end := range map[string]func(*durable.Engine) error{"Close": (*durable.Engine).Close, "Shutdown": func(e *durable.Engine) error { return e.Shutdown(context.Background()) }} {
			t.Run(name, func(t *testing.T) {
				everyLife(t, func(t *testing.T, opts durable.Options) {
					b := setupWith(t, opts, slow)
					x := start(b, slow, "x")
					go func() { time.Sleep(time.Minute); end(b.engine) }()
					_, err := x.Result(b.ctx)
					require.ErrorIs(t, err, durable.ErrClosed)
					_, err = x.Result(b.ctx)
					require.ErrorIs(t, err, durable.ErrClosed)
				})
			})
		}
	})

	t.Run("Ends", func(t *testing.T) {
		t.Parallel()
		for name, c := range map[string]struct {
			opts    []durable.StartOption
			end     func(b *bundle, id string) error
			status  durable.ExecutionStatus
			failure durable.Failure
			matches string
		}{
			"Stopped":          {nil, func(b *bundle, id string) error { return b.engine.Stop(b.ctx, id, "enough") }, durable.ExecutionStopped, durable.Failure{Type: "Stopped", Message: "stopped: enough"}, "ErrStopped"},
			"StoppedForNoWord": {nil, func(b *bundle, id string) error { return b.engine.Stop(b.ctx, id, "") }, durable.ExecutionStopped, durable.Failure{Type: "Stopped", Message: "stopped"}, "ErrStopped"},
			"Cancelled":        {nil, func(b *bundle, id string) error { return b.engine.Cancel(b.ctx, id, "enough") }, durable.ExecutionFailed, durable.Failure{Type: "Canceled", Message: "canceled: enough"}, "ErrCanceled"},
			"TimedOut":         {[]durable.StartOption{durable.WithExecutionTimeout(2 * time.Minute)}, nil, durable.ExecutionTimedOut, durable.Failure{Type: "Timeout"}, "ErrTimeout"},
		} {
			t.Run(name, func(t *testing.T) {
				everyLife(t, func(t *testing.T, opts durable.Options) {
					b := setupWith(t, opts, slow)
					x := start(b, slow, "x", append(c.opts, durable.WithExecutionID("x"))...)
					time.Sleep(time.Minute)
					if c.end != nil {
						require.NoError(t, c.end(b, "x"))
					}
					_, err := finish(b, x)
					require.Equal(t, c.matches, matching(err))
					require.Equal(t, durable.OpError{Type: "EXECUTION", ExecutionID: "x", Name: "slow"}, describeError(err).op)
					require.Equal(t, c.failure.Type, failure(err).Type)
					if c.failure.Message != "" {
						require.Equal(t, c.failure.Message, failure(err).Message)
					}
					info := b.describe("x")
					require.Equal(t, c.status, info.Status)
					require.Equal(t, c.failure.Type, info.Failure.Type)
					require.Nil(t, info.Result)
					require.False(t, info.EndedAt.IsZero())
				})
			})
		}
	})

	t.Run("OfAPanic", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				if err := durable.Wait(ctx, "w", time.Hour); err != nil {
					return 0, err
				}
				panic("boom")
			})
			b := setupWith(t, opts, f)
			_, err := finish(b, start(b, f, 1))
			require.ErrorIs(t, err, durable.ErrPanic)
			require.Equal(t, "panic: boom", failure(err).Message)
			require.Contains(t, failure(err).Stack, "errors_test.go")
		})
	})

	t.Run("OfAGoexit", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(*durable.Context, int) (int, error) { runtime.Goexit(); return 1, nil })
			b := setupWith(t, opts, f)
			_, err := finish(b, start(b, f, 1))
			require.ErrorContains(t, err, "runtime.Goexit")
		})
	})
}
