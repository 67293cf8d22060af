package durable

import (
	"context"
	"errors"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// How a residency ends: suspended, held, finished, lost or closed.

// weigh decides what follows from less of the execution going on than before: whoever
// ends a routine, blocks it, or ends a body or an outside event calls it. x.mu is held.
func (x *residency) weigh() {
	switch x.phase {
	case phaseRunning:
		x.checkIdle()
	case phaseHolding, phaseRetiring:
		x.checkBodies()
	case phaseClosed:
		x.checkGone()
	}
}

func (x *residency) unpark() {
	if x.park != nil {
		x.park.Stop()
	}
	if !x.idleSince.IsZero() {
		x.idleSince = time.Time{}
		x.e.parked.remove(x)
	}
}

// checkIdle suspends or parks the execution if nothing of it can go on. x.mu is held.
func (x *residency) checkIdle() {
	if x.phase != phaseRunning || x.running > 0 || x.busy > 0 || x.alive == 0 {
		return
	}
	if x.replay != nil {
		x.closeNow(errSuspended)
		return
	}
	x.send()
	if x.idleSince.IsZero() {
		x.idleSince = time.Now()
	}
	parkFor := x.e.opts.ParkFor
	next := x.nextDue(true)
	if parkFor < 0 || x.e.wanted() || x.outside == 0 && (next == 0 || next > history.After(x.e.now(), int64(parkFor))) {
		x.suspend()
		return
	}
	x.e.parked.add(x)
	left := parkFor - time.Since(x.idleSince)
	if x.park == nil {
		x.park = time.AfterFunc(left, x.parked)
	} else {
		x.park.Reset(left)
	}
}

func (x *residency) parked() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.idleSince.IsZero() && time.Since(x.idleSince) >= x.e.opts.ParkFor {
		x.suspend()
	}
}

// suspend asks the store to release the execution. x.mu is held.
func (x *residency) suspend() {
	if x.phase != phaseRunning || x.running > 0 || x.busy > 0 {
		return
	}
	x.recordAllLooks()
	x.release(x.nextDue(false))
}

// release asks the store to release the execution until wakeAt. x.mu is held.
func (x *residency) release(wakeAt int64) {
	x.e.parked.remove(x)
	x.send()
	x.phase = phaseReleasing
	x.number(nil, &checkpoint.Record{Type: checkpoint.InvocationCompleted}, nil)
	sent, left := x.sent, x.pending[len(x.pending)-1]
	x.append(&checkpoint.Append{Release: &checkpoint.Release{WakeAt: wakeAt}}, func(err error) {
		if err == nil {
			x.observe(&left, nil)
		}
		x.released(sent, err)
	})
}

// released takes the answer to release. x.mu is held.
func (x *residency) released(sent uint64, err error) {
	switch {
	case x.phase != phaseReleasing:
	case err == nil:
		x.becameDurable(x.seq)
		x.closeNow(errSuspended)
	case errors.Is(err, checkpoint.ErrInboxNews):
		x.seq, x.sent = sent, sent
		x.event--
		x.inboxTail = max(x.inboxTail, x.inboxSeen+1)
		x.phase = phaseRunning
		x.idleSince = time.Time{}
		if x.retiring {
			x.phase, x.retireWake = phaseRetiring, true
		}
		x.armTimer()
		x.takeInbox()
	default:
		x.lost(err)
	}
}

// reason is an error of the user's code that an execution is held for. Its methods were
// called when it was made, so that none needs to be where the execution is locked.
type reason struct {
	err    error
	record *fault.Failure
	logged string // without any text of the user's
}

func (r *reason) Error() string { return r.record.Message }
func (r *reason) Unwrap() error { return r.err }

// reason makes an error one to hold an execution for. x.mu is not held.
func (e *Engine) reason(err error) *reason {
	r := &reason{err: err, record: e.errs.record(err), logged: "Engine.Describe tells"}
	switch {
	case fault.Is(err, errSealer):
		r.logged = "Options.Sealer can't open a value, does it lack a key? Engine.Describe tells more"
	case len(r.record.Is) > 0: // it may wrap an error of the user's codec
		r.logged = r.record.Is[0] + ": Engine.Describe tells more"
	}
	return r
}

// holdNow stops the execution because its code does not fit what is recorded.
// Nothing new begins; bodies that run end and are recorded. An error that may have
// methods of the user's is a reason. x.mu is held.
func (x *residency) holdNow(err error) {
	if x.phase != phaseLoading && !x.phase.lets(letEnd) {
		return
	}
	if x.e.opts.FailOnMismatch && x.phase.lets(letEnd) {
		x.finish(checkpoint.Failed, nil, x.e.errs.record(err))
		return
	}
	if x.replay != nil {
		x.replay.problem = err
		x.closeNow(err)
		return
	}
	x.held = err
	if x.inBodies > 0 {
		x.logger().Warn("durable: the execution is to be held, when the bodies that it runs have ended", "bodies", x.inBodies, "reason", x.heldFor())
	}
	x.waitForBodies(phaseHolding)
}

// waitForBodies lets nothing begin any more: what runs a body ends it, the others end
// now. x.mu is held.
func (x *residency) waitForBodies(p phase) {
	x.phase = p
	x.unpark()
	for r := range x.routines {
		if !r.inBody {
			x.dismiss(r)
		}
	}
	x.weigh()
}

// checkBodies releases an execution that is to be held, or whose engine shuts down, when
// no body runs any more. x.mu is held.
func (x *residency) checkBodies() {
	if x.inBodies > 0 || x.busy > 0 {
		return
	}
	switch {
	case x.phase == phaseHolding:
		x.releaseHeld()
	case x.retireWake:
		x.release(x.e.now())
	default:
		x.release(x.nextDue(false))
	}
}

// releaseHeld releases an execution with a note on it that says why it is held, until its
// deadline. x.mu is held.
func (x *residency) releaseHeld() {
	x.e.log.Error("durable: execution held: deploy code that fits what is recorded, or call Engine.Resume", "execution", x.id, "function", x.sum.Function, "build", x.e.opts.Build, "reason", x.heldFor())
	x.send()
	x.phase = phaseEnding
	hold := &checkpoint.Hold{Build: x.e.claims.Build, Failure: encodeHold(x.e.errs.record(x.held))}
	x.append(&checkpoint.Append{Release: &checkpoint.Release{WakeAt: x.sum.Deadline, Hold: hold}}, func(err error) {
		switch {
		case x.phase != phaseEnding: // closed meanwhile
		case err == nil:
			x.closeNow(x.held)
		default:
			x.lost(err)
		}
	})
}

// heldFor is why the execution is held, without any text of the user's.
func (x *residency) heldFor() string {
	if err, ok := x.held.(*NonDeterministicError); ok {
		return err.Error()
	}
	if r, ok := x.held.(*reason); ok {
		return r.logged
	}
	for _, own := range ownSentinels {
		if errors.Is(x.held, own.err) {
			return own.name + ": Engine.Describe tells more"
		}
	}
	return "Engine.Describe tells"
}

// finish ends the execution. x.mu is held.
func (x *residency) finish(status checkpoint.Status, payload []byte, failure *fault.Failure) {
	if !x.phase.lets(letEnd) {
		return
	}
	if x.replay != nil {
		x.replay.problem = x.replay.compare(status, payload, failure)
		x.closeNow(nil)
		return
	}
	x.numberStarts()
	x.phase = phaseEnding
	x.stopTimers()
	x.number(nil, &checkpoint.Record{Type: checkpoint.InvocationCompleted}, nil)
	final := checkpoint.Record{Type: checkpoint.ExecutionSucceeded, Payload: payload, Flags: checkpoint.FlagPayload, Codec: x.e.opts.Codec.Name()}
	if status == checkpoint.Failed {
		final = checkpoint.Record{Type: checkpoint.ExecutionFailed}
	}
	x.number(nil, &final, failure)
	at := final.Time
	for r := range x.routines {
		x.abandon(r)
	}
	x.life.end(ErrConcurrentUse)
	x.append(&checkpoint.Append{Status: status, Deliver: x.e.tellCaller(&x.sum, status, payload, failure)}, func(err error) {
		if err != nil {
			x.lost(err)
			return
		}
		x.becameDurable(x.seq)
		x.ended = &outcome{payload, failure}
		x.e.executionEnded(&x.sum, status, at, failure)
		x.closeNow(nil)
	})
}

// outcome is how an execution ended. Nobody changes it.
type outcome struct {
	payload []byte
	failure *fault.Failure
}

// outcome is how the execution ended, once that is durable, if it did so here; running
// says that it has not, and that watchers are told when it does.
func (x *residency) outcome() (ended *outcome, running bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ended, x.phase != phaseClosed
}

// lost closes the residency after an append that failed or whose fate is
// unknown. Nothing is tried again from memory: the execution is claimed anew and
// replayed from what the store has. x.mu is held.
func (x *residency) lost(err error) {
	if x.phase == phaseClosed {
		return
	}
	x.replayed = true
	switch {
	case errors.Is(err, checkpoint.ErrFenced):
		// It was stopped, or timed out, or somebody else owns it.
	case err == errLeaseOver, errors.Is(err, errFollowed): // the store tells
		x.e.disown(x)
	case errors.Is(err, checkpoint.ErrFailed), errors.Is(err, checkpoint.ErrClosed):
		x.e.countUnwritten()
		x.e.storeFailed(err)
	default:
		message := "durable: checkpoint not written, the execution is replayed"
		if _, unread := errors.AsType[*unreadError](err); unread {
			message = "durable: what is recorded was not read, the execution is loaded again"
		}
		x.logger().Error(message, "error", err.Error())
		x.e.disown(x)
	}
	x.closeNow(err)
}

// lostUnlessEnded is lost for an error that may be there because the residency, or its
// execution, has ended meanwhile. x.mu is held.
func (x *residency) lostUnlessEnded(err error) {
	if !x.life.ended() {
		x.lost(err)
	}
}

// closeNow takes no record any more and ends every goroutine of ours. x.mu is held.
func (x *residency) closeNow(cause error) {
	if x.phase == phaseClosed {
		return
	}
	x.phase = phaseClosed
	x.progress = time.Now()
	x.stopTimers()
	if cause == nil {
		cause = context.Canceled
	}
	x.life.end(cause)
	for r := range x.routines {
		x.dismiss(r)
	}
	for _, w := range x.journal.waiting.waiting() { // a goroutine of the user's may wait in place of a routine that has ended
		x.dismiss(w.r)
	}
	x.watchBodies()
	x.unpark()
	if cause == errSuspended {
		x.e.changed(x.id)
	} else {
		x.e.mayHaveEnded(x.id) // who waits for the result asks the store from now on
	}
	if x.checkGone(); !x.isGone() {
		x.e.lingers(x)
	}
}

func (x *residency) isGone() bool {
	select {
	case <-x.gone:
		return true
	default:
		return false
	}
}

func (x *residency) stopTimers() {
	for _, t := range []*time.Timer{x.timer, x.park, x.flush} {
		if t != nil {
			t.Stop()
		}
	}
}

func (x *residency) checkGone() {
	if x.phase != phaseClosed || x.alive > 0 {
		return
	}
	// A body of an operation whose end was not written may be run again, so it
	// must have returned before.
	if x.replayed && len(x.bodies)+len(x.strays) > 0 || x.earlier != nil {
		return
	}
	if !x.isGone() {
		close(x.gone)
		x.e.residencyGone(x)
	}
}

// waitedFor takes note that nothing of the earlier residency runs any more.
func (x *residency) waitedFor() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.earlier, x.progress = nil, time.Now()
	if x.phase != phaseClosed {
		x.e.mu.Lock()
		x.e.lingersNoMore(x)
		x.e.mu.Unlock()
	}
	x.checkGone()
}

// stopNow closes the residency, if there is one, of an execution that was ended from outside.
func (x *residency) stopNow(cause error) {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closeNow(cause)
}

// retire is retireNow, from outside.
func (x *residency) retire() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.retireNow()
}

// retireNow lets running bodies end and then releases the execution. It is claimed
// at once when the store is opened again, unless it was idle. x.mu is held.
func (x *residency) retireNow() {
	x.retiring = true
	switch x.phase {
	case phaseRunning:
		x.recordAllLooks()
		// What is being taken over may wake what waits.
		x.retireWake = x.retireWake || x.running > 0 || x.busy > 0
		x.waitForBodies(phaseRetiring)
	case phaseLoading:
		x.retireWake = true // when it is loaded
	}
}
