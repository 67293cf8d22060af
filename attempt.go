package durable

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// attempt is one call of a body, and what became of it.
type attempt struct {
	encoded
	goesOn  bool // a condition goes on
	err     error
	failure *fault.Failure // of err
	retried bool           // err is tried again
	delay   time.Duration  // before it goes on or is tried again

	recorded bool // with its transaction
}

// bodyOf is a body as the life of an operation sees it: it returns its encoded
// result. state is the recorded state of a condition, nil at its first check.
type bodyOf func(ctx context.Context, state []byte, attempt int) attempt

// runSteps carries a step, or a condition, from where it is to its outcome. made is what
// the last attempt made, nil if none did.
// x.mu is held, also on return without error.
func (c *Context) runSteps(o *history.Operation, s *settings, retry RetryPolicy, byDefault int, body bodyOf) (made decoding, err error) {
	f, x := c.f, c.f.x
	for !o.Settled() {
		interrupted := o.Status == history.Started
		switch {
		case x.replay != nil:
			return nil, x.beyond(f, o.ID, "its outcome")
		case o.Status == history.Pending:
			if err := x.waitFor(f, o); err != nil {
				return nil, err
			}
			continue
		case interrupted && o.Flags&checkpoint.FlagAtMostOnce != 0:
			failures := o.Failures
			x.mu.Unlock()
			a := x.judge(attempt{err: ErrInterrupted}, retry, failures+1, byDefault)
			x.mu.Lock()
			if !x.mayGoOn(f) {
				return nil, x.exit(f)
			}
			if !o.Settled() {
				x.failAttempt(o, a)
			}
			continue
		}
		if err := x.await(f); err != nil {
			return nil, err
		}
		if o.Settled() {
			continue
		}
		if by := o.CancelledBy(); by != nil {
			if o.Status == "" { // the cancel came while it waited for the disk
				return nil, x.refuse(o, by)
			}
			x.failStep(o, by.Cancelled())
			continue
		}
		if !interrupted {
			x.startAttempt(o, s)
			if s.atMostOnce || s.timeout > 0 || s.transact != nil && s.transact.snapshot {
				x.numberStarts()
				if s.atMostOnce { // it has begun: who does not let it on now, has it fail as interrupted
					x.enterBody(f.r)
				}
				err := x.await(f)
				if err != nil || o.Settled() {
					x.leaveBody(f.r)
				}
				if err != nil {
					return nil, err
				}
				if o.Settled() {
					x.weigh()
					continue
				}
			}
		}
		a, err := c.runBody(o, s, body, func(a attempt, failures int) attempt { return x.judge(a, retry, failures+1, byDefault) })
		if err != nil {
			return nil, err
		}
		if a.recorded || !o.Settled() {
			made = a.value
		}
		if !a.recorded && !o.Settled() {
			x.takeAttempt(o, a, s)
		}
		x.weigh()
	}
	return made, nil
}

// startAttempt enters the start of the next attempt. x.mu is held.
func (x *residency) startAttempt(o *history.Operation, s *settings) {
	rec := x.newStart()
	*rec = checkpoint.Record{Type: checkpoint.StepStarted, SubType: o.SubType, OperationID: o.ID, ParentID: o.RecordedParent(), Name: o.Name, Attempt: o.Attempt + 1, Flags: o.Flags}
	if s.atMostOnce {
		rec.Flags |= checkpoint.FlagAtMostOnce
	}
	if s.timeout > 0 && o.TimeoutAt == 0 {
		rec.Timeout, rec.TimeoutAt = int64(s.timeout), history.After(x.e.now(), int64(s.timeout))
		o.Timeout, o.TimeoutAt = rec.Timeout, rec.TimeoutAt
		x.addDue(o)
	}
	x.startLazily(o, rec)
}

// takeAttempt records what became of an attempt. x.mu is held.
func (x *residency) takeAttempt(o *history.Operation, a attempt, s *settings) {
	if a.err != nil {
		x.failAttempt(o, a)
		return
	}
	rec := x.success(a, s)
	switch by := o.CancelledBy(); {
	case !a.goesOn:
		x.settle(o, &rec, nil)
	case by != nil:
		x.failStep(o, by.Cancelled())
	default:
		x.pend(o, &rec, a.delay, nil)
	}
}

// success is the record of an attempt that did well.
func (x *residency) success(a attempt, s *settings) checkpoint.Record {
	return checkpoint.Record{Type: checkpoint.StepSucceeded, Payload: a.payload, Flags: checkpoint.FlagPayload, Codec: x.e.codecName(s.codec)}
}

// failStep records that a step, or a condition, has failed. x.mu is held.
//
//go:noinline
func (x *residency) failStep(o *history.Operation, failure *fault.Failure) {
	x.settle(o, &checkpoint.Record{Type: checkpoint.StepFailed}, failure)
}

// failAttempt records a failed attempt: the next one is due later, or the
// operation has failed. x.mu is held.
func (x *residency) failAttempt(o *history.Operation, a attempt) {
	if by := o.CancelledBy(); by != nil {
		canceled := by.Cancelled()
		canceled.Message += ": " + a.failure.Message
		x.failStep(o, canceled)
		return
	}
	if !a.retried {
		x.failStep(o, a.failure)
		return
	}
	x.logger().Warn("durable: an attempt failed and is made again", "operation", o.ID, "name", o.Name, "attempt", o.Attempt, "in", a.delay, "type", a.failure.LoggedType())
	x.pend(o, &checkpoint.Record{Type: checkpoint.StepFailed}, a.delay, a.failure)
}

// judge decides what follows a failed attempt. It calls the user's code (the
// policy's Retryable, the error's methods), so x.mu is not held.
func (x *residency) judge(a attempt, retry RetryPolicy, number, byDefault int) (judged attempt) {
	if a.err == nil {
		return a
	}
	a.failure = x.e.errs.record(a.err)
	judged = a
	defer func() {
		if p := recover(); p != nil {
			x.logger().Error("durable: RetryPolicy.Retryable panicked, the error is not retried", "panic", fmt.Sprintf("%T", p))
		}
	}()
	a.delay, a.retried = retry.decide(a.err, number, byDefault)
	return a
}

// pend records that o goes on after delay. x.mu is held.
func (x *residency) pend(o *history.Operation, rec *checkpoint.Record, delay time.Duration, failure *fault.Failure) {
	rec.OperationID, rec.SubType, rec.Attempt = o.ID, o.SubType, o.Attempt
	rec.Time = x.e.now()
	rec.NextAttemptDelay, rec.WakeAt = int64(delay), history.After(rec.Time, int64(delay))
	x.record(o, rec, failure)
	x.due.add(dueTime{o.WakeAt, dueWake, o})
	x.armTimer()
}

// runBody calls a body once. x.mu is held, and given up meanwhile.
func (c *Context) runBody(o *history.Operation, s *settings, body bodyOf, judge func(attempt, int) attempt) (attempt, error) {
	f, x := c.f, c.f.x
	if !x.e.holdsLease(x.lease) {
		x.lost(errLeaseOver)
		return attempt{}, x.exit(f)
	}
	f.showCancel()
	bodyCtx := c.bodyContext(o, int(o.Attempt))
	info, ctx := &bodyCtx.info, context.Context(bodyCtx)
	if s.timeout > 0 {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		defer cancel(nil)
		o.Cancel = cancel
	}
	if s.attemptTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.attemptTimeout, ErrTimeout)
		defer cancel()
	}
	state, number, failures := o.Payload, info.attempt, o.Failures
	o.Running, o.TurnedAway, f.replaying = true, false, false
	x.enterBody(f.r)
	x.bodies.add(o)
	x.mu.Unlock()
	x.e.bodies.Add(1)
	x.tally.attempts.Add(1)

	if s.transact != nil {
		defer s.transact.attempt(f.context(true))()
	}
	returned := false
	defer func() {
		if !returned { // the user's code called runtime.Goexit
			x.mu.Lock()
			x.bodyEnded(f, o)
			x.weigh()
			x.mu.Unlock()
		}
	}()
	ctx = x.e.attemptStarted(ctx, info)
	var a attempt
	if s.timeout > 0 {
		a = x.runApart(f, o, func() attempt { return callBody(ctx, body, state, number) })
	} else {
		a = callBody(ctx, body, state, number)
	}
	if s.transact != nil && a.err == nil {
		a = x.commitAttempt(f, o, a, s, func(a attempt) attempt { return judge(a, failures) })
	}
	if a.err != nil {
		x.tally.failedAttempts.Add(1)
	}
	x.e.attemptEnded(ctx, info, a.err)
	if a.err != nil && ctx.Err() != nil && context.Cause(ctx) == ErrTimeout && !fault.Is(a.err, ErrTimeout) {
		a.err = fmt.Errorf("%w: %w", ErrTimeout, a.err)
	}
	if !a.recorded {
		a = judge(a, failures)
	}
	cutOff := fault.Is(a.err, ErrClosed) && x.e.retired() // it may have asked with another context
	returned = true
	x.mu.Lock()
	x.bodyEnded(f, o)
	if cutOff = cutOff || o.TurnedAway; cutOff {
		x.retireNow()
	}
	if cutOff || !x.phase.lets(letRecords) || f.r.abandoned || f.abandoned || f.isMisled() {
		x.weigh()
		return a, x.exit(f)
	}
	return a, nil
}

// bodyEnded takes note that a body has returned. x.mu is held.
func (x *residency) bodyEnded(f *frame, o *history.Operation) {
	x.e.bodies.Add(-1)
	x.bodies.remove(o)
	o.Running, o.Cancel = false, nil
	x.leaveBody(f.r)
	x.progress = time.Now()
}

// callBody calls the user's code; a panic is an error with its stack.
func callBody(ctx context.Context, body bodyOf, state []byte, number int) (a attempt) {
	defer func() {
		if p := recover(); p != nil {
			a = attempt{err: &panicError{p, debug.Stack()}}
		}
		a.err = finite(a.err)
	}()
	return body(ctx, state, number)
}

// runApart runs a body on a goroutine of its own, so that the operation can end
// at its timeout while a body that ignores its context runs on, unrecorded.
func (x *residency) runApart(f *frame, o *history.Operation, call func() attempt) attempt {
	var result *attempt
	w := &waiter{r: f.r}
	x.mu.Lock()
	defer x.mu.Unlock()
	o.Waiters = append(o.Waiters, w)
	go func() {
		a := attempt{err: errGoexit}
		defer func() {
			x.mu.Lock()
			defer x.mu.Unlock()
			result = &a
			f.r.woken.Broadcast()
			if _, ok := x.strays[o]; ok {
				delete(x.strays, o)
				x.e.bodies.Add(-1)
				x.checkGone()
			}
		}()
		a = call()
	}()
	for result == nil && !w.fired {
		f.r.woken.Wait()
	}
	if result != nil {
		return *result
	}
	if x.strays == nil {
		x.strays = make(map[*history.Operation]struct{})
	}
	x.strays[o] = struct{}{}
	x.e.bodies.Add(1)
	x.warnIfSlow(o)
	return attempt{err: ErrTimeout}
}

// warnIfSlow logs a body that goes on long after its context has ended.
// x.mu is held.
func (x *residency) warnIfSlow(o *history.Operation) {
	time.AfterFunc(slowBody, func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		_, stray := x.strays[o]
		if stray || o.Running && (x.phase == phaseClosed || o.Dead() || o.CancelledBy() != nil) {
			x.logger().Warn("durable: a body goes on although its context has ended: make it heed its context", "operation", o.ID, "name", o.Name)
		}
	})
}

// watchBodies does so for all bodies. x.mu is held.
func (x *residency) watchBodies() {
	for _, o := range x.bodies {
		x.warnIfSlow(o)
	}
}

var errGoexit = errors.New("durable: the user's code ended its goroutine with runtime.Goexit (t.FailNow in a test?)")

// bodies are the operations whose body runs.
type bodies []*history.Operation

func (b *bodies) add(o *history.Operation) {
	o.BodyAt = len(*b)
	*b = append(*b, o)
}

func (b *bodies) remove(o *history.Operation) {
	last := (*b)[len(*b)-1]
	last.BodyAt = o.BodyAt
	(*b)[o.BodyAt] = last
	(*b)[len(*b)-1] = nil
	*b = (*b)[:len(*b)-1]
}
