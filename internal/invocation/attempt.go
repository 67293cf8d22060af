package invocation

import (
	"context"
	"errors"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// Attempt is one call of a body, and what became of it.
type Attempt struct {
	Payload []byte
	Value   any            // what Payload was made of
	GoesOn  bool           // a condition goes on
	Err     error          // as the body returned it; nil: it did well
	Failure *fault.Failure // of Err
	Again   bool           // it is tried again
	Delay   time.Duration  // before it goes on or is tried again
	CutOff  bool           // Err came of the host's closing

	recorded bool // with its transaction
}

// Recorded reports whether what became of it is recorded already.
func (a *Attempt) Recorded() bool { return a.recorded }

// Body is the user's code of a step or a condition. It is called without any lock.
type Body interface {
	// Begin is called before Call; the context that it returns is the body's.
	Begin(ctx context.Context, i *Info) context.Context
	// Call calls the body. It does not panic.
	Call(ctx context.Context, i *Info) Attempt
	// End is called with what Call returned, or made of it: it judges an error.
	End(ctx context.Context, i *Info, a Attempt) Attempt
	// Judge decides what follows an error after a number of failures in a row.
	Judge(err error, failures int) Attempt
}

// Steps carries a step, or a condition, from its beginning to its outcome. c is left by
// Leave if there is no error.
func (c Context) Steps(sub checkpoint.SubType, name string, s *Settings, body Body) (out Outcome, err error) {
	o, err := c.enter(history.Step, sub, name)
	if err != nil {
		return out, err
	}
	if o.Settled() { // nothing can end the goroutine
		if out, err = c.outcome(o); err != nil {
			c.Leave()
		}
		return out, err
	}
	return c.stepsToOutcome(o, s, body)
}

func (c Context) stepsToOutcome(o *history.Operation, s *Settings, body Body) (out Outcome, err error) {
	stays := false
	defer c.leaveUnless(&stays)
	made, err := c.runSteps(o, s, body)
	if err == nil {
		out, err = c.outcome(o)
		out.Value = made
	}
	stays = err == nil
	return out, err
}

// runSteps carries a step, or a condition, from where it is to its outcome. made is what
// the last attempt made, nil if none did.
// x.mu is held, also on return without error.
func (c Context) runSteps(o *history.Operation, s *Settings, body Body) (made any, err error) {
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
			a := body.Judge(fault.ErrInterrupted, int(failures)+1)
			x.mu.Lock()
			if !x.mayGoOn(f) {
				return nil, x.exit(f)
			}
			if !o.Settled() {
				x.failAttempt(o, &a)
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
			if s.AtMostOnce || s.Timeout > 0 || s.Transaction != nil && s.Transaction.Snapshot {
				x.numberStarts()
				if s.AtMostOnce { // it has begun: who does not let it on now, has it fail as interrupted
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
		a, err := c.runBody(o, s, body)
		if err != nil {
			return nil, err
		}
		if a.recorded || !o.Settled() {
			made = a.Value
		}
		if !a.recorded && !o.Settled() {
			x.takeAttempt(o, &a, s)
		}
		x.weigh()
	}
	return made, nil
}

// startAttempt enters the start of the next attempt. x.mu is held.
func (x *Invocation) startAttempt(o *history.Operation, s *Settings) {
	rec := x.journal.NewStart()
	*rec = checkpoint.Record{Type: checkpoint.StepStarted, SubType: o.SubType, OperationID: o.ID, ParentID: o.RecordedParent(), Name: o.Name, Attempt: o.Attempt + 1, Flags: o.Flags}
	if s.AtMostOnce {
		rec.Flags |= checkpoint.FlagAtMostOnce
	}
	if s.Timeout > 0 && o.TimeoutAt == 0 {
		rec.Timeout, rec.TimeoutAt = int64(s.Timeout), history.After(x.host.Now(), int64(s.Timeout))
		o.Timeout, o.TimeoutAt = rec.Timeout, rec.TimeoutAt
		x.addDue(o)
	}
	x.startLazily(o, rec)
}

// takeAttempt records what became of an attempt. x.mu is held.
func (x *Invocation) takeAttempt(o *history.Operation, a *Attempt, s *Settings) {
	if a.Err != nil {
		x.failAttempt(o, a)
		return
	}
	rec := x.success(a, s)
	switch by := o.CancelledBy(); {
	case !a.GoesOn:
		x.settle(o, &rec, nil)
	case by != nil:
		x.failStep(o, by.Cancelled())
	default:
		x.pend(o, &rec, a.Delay, nil)
	}
}

// success is the record of an attempt that did well.
func (x *Invocation) success(a *Attempt, s *Settings) checkpoint.Record {
	return checkpoint.Record{Type: checkpoint.StepSucceeded, Payload: a.Payload, Flags: checkpoint.FlagPayload, Codec: s.Codec}
}

// failStep records that a step, or a condition, has failed. x.mu is held.
//
//go:noinline
func (x *Invocation) failStep(o *history.Operation, failure *fault.Failure) {
	x.settle(o, &checkpoint.Record{Type: checkpoint.StepFailed}, failure)
}

// failAttempt records a failed attempt: the next one is due later, or the
// operation has failed. x.mu is held.
func (x *Invocation) failAttempt(o *history.Operation, a *Attempt) {
	if by := o.CancelledBy(); by != nil {
		canceled := by.Cancelled()
		canceled.Message += ": " + a.Failure.Message
		x.failStep(o, canceled)
		return
	}
	if !a.Again {
		x.failStep(o, a.Failure)
		return
	}
	x.Logger().Warn("durable: an attempt failed and is made again", "operation", o.ID, "name", o.Name, "attempt", o.Attempt, "in", a.Delay, "type", a.Failure.LoggedType())
	x.pend(o, &checkpoint.Record{Type: checkpoint.StepFailed}, a.Delay, a.Failure)
}

// pend records that o goes on after delay. x.mu is held.
func (x *Invocation) pend(o *history.Operation, rec *checkpoint.Record, delay time.Duration, failure *fault.Failure) {
	rec.OperationID, rec.SubType, rec.Attempt = o.ID, o.SubType, o.Attempt
	rec.Time = x.host.Now()
	rec.NextAttemptDelay, rec.WakeAt = int64(delay), history.After(rec.Time, int64(delay))
	x.record(o, rec, failure)
	x.due.add(dueTime{o.WakeAt, dueWake, o})
	x.armTimer()
}

// runBody calls a body once. x.mu is held, and given up meanwhile.
func (c Context) runBody(o *history.Operation, s *Settings, body Body) (a Attempt, err error) {
	f, x := c.f, c.f.x
	if !x.host.MayBegin() {
		x.lost(ErrLeaseOver)
		return Attempt{}, x.exit(f)
	}
	f.showCancel()
	bodyCtx := c.bodyContext(o, int32(o.Attempt))
	info, ctx := &bodyCtx.info, context.Context(bodyCtx)
	if s.Timeout > 0 {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		defer cancel(nil)
		o.Cancel = cancel
	}
	if s.AttemptTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.AttemptTimeout, fault.ErrTimeout)
		defer cancel()
	}
	o.TurnedAway, f.replaying = false, false
	x.enterBody(f.r)
	x.bodies.add(o)
	x.mu.Unlock()
	x.host.Bodies(1)
	x.host.Attempt(false)

	if s.Transaction != nil {
		defer s.Transaction.attempt(f.context(true))()
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
	ctx = body.Begin(ctx, info)
	if s.Timeout > 0 {
		a = x.runApart(f, o, func() Attempt { return body.Call(ctx, info) })
	} else {
		a = body.Call(ctx, info)
	}
	if s.Transaction != nil && a.Err == nil {
		x.commitAttempt(f, o, &a, s, body, info)
	}
	if a.Err != nil {
		x.host.Attempt(true)
	}
	a = body.End(ctx, info, a)
	returned = true
	x.mu.Lock()
	x.bodyEnded(f, o)
	cutOff := a.CutOff || o.TurnedAway
	if cutOff {
		x.retireNow()
	}
	if cutOff || !x.phase.lets(letRecords) || f.r.abandoned || f.abandoned || f.isMisled() {
		x.weigh()
		return a, x.exit(f)
	}
	return a, nil
}

// bodyEnded takes note that a body has returned. x.mu is held.
func (x *Invocation) bodyEnded(f *frame, o *history.Operation) {
	x.host.Bodies(-1)
	x.bodies.remove(o)
	o.Cancel = nil
	x.leaveBody(f.r)
	x.progress = time.Now()
}

// runApart runs a body on a goroutine of its own, so that the operation can end
// at its timeout while a body that ignores its context runs on, unrecorded.
func (x *Invocation) runApart(f *frame, o *history.Operation, call func() Attempt) Attempt {
	var result *Attempt
	w := &waiter{r: f.r}
	x.mu.Lock()
	defer x.mu.Unlock()
	o.Waiters = append(o.Waiters, w)
	x.start(func() {
		a := Attempt{Err: ErrGoexit}
		defer func() {
			x.mu.Lock()
			defer x.mu.Unlock()
			result = &a
			x.rouse(f.r)
			if _, ok := x.strays[o]; ok {
				delete(x.strays, o)
				x.host.Bodies(-1)
				x.checkGone()
			}
		}()
		a = call()
	})
	for result == nil && !w.fired {
		x.wait(f.r)
	}
	if result != nil {
		return *result
	}
	if x.strays == nil {
		x.strays = make(map[*history.Operation]struct{})
	}
	x.strays[o] = struct{}{}
	x.host.Bodies(1)
	x.warnIfSlow(o)
	return Attempt{Err: fault.ErrTimeout}
}

// warnIfSlow logs a body that goes on long after its context has ended.
// x.mu is held.
func (x *Invocation) warnIfSlow(o *history.Operation) {
	x.afterFunc(SlowBody, func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		_, stray := x.strays[o]
		if stray || o.Running() && (x.phase == phaseClosed || o.Dead() || o.CancelledBy() != nil) {
			x.Logger().Warn("durable: a body goes on although its context has ended: make it heed its context", "operation", o.ID, "name", o.Name)
		}
	})
}

// watchBodies does so for all bodies. x.mu is held.
func (x *Invocation) watchBodies() {
	for _, o := range x.bodies {
		x.warnIfSlow(o)
	}
}

// ErrGoexit is the error of code that ended its goroutine.
var ErrGoexit = errors.New("durable: the user's code ended its goroutine with runtime.Goexit (t.FailNow in a test?)")

// ErrLeaseOver is what an invocation is lost of that its host owns no more.
var ErrLeaseOver = errors.New("durable: the lease has run out before it was renewed")

// bodies are the operations whose body runs.
type bodies []*history.Operation

func (b *bodies) add(o *history.Operation) {
	*b = append(*b, o)
	o.BodyAt = int32(len(*b))
}

func (b *bodies) remove(o *history.Operation) {
	end := len(*b) - 1
	last := (*b)[end]
	(*b)[o.BodyAt-1] = last
	last.BodyAt, o.BodyAt = o.BodyAt, 0
	(*b)[end] = nil
	*b = (*b)[:end]
}
