package invocation

import (
	"context"
	"errors"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/journal"
)

// How a invocation ends: suspended, held, finished, lost or closed.

// weigh decides what follows from less of the execution going on than before: whoever
// ends a routine, blocks it, or ends a body or an outside event calls it. x.mu is held.
func (x *Invocation) weigh() {
	switch x.phase {
	case phaseRunning:
		x.checkIdle()
	case phaseHolding, phaseRetiring:
		x.checkBodies()
	case phaseClosed:
		x.checkGone()
	}
}

func (x *Invocation) unpark() {
	if x.park != nil {
		x.park.Stop()
	}
	if !x.idleSince.IsZero() {
		x.idleSince = time.Time{}
		x.host.Parked(false)
	}
}

// checkIdle suspends or parks the execution if nothing of it can go on. x.mu is held.
func (x *Invocation) checkIdle() {
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
	parkFor := x.ParkFor
	next := x.nextDue(true)
	if parkFor < 0 || x.host.Wanted() || x.outside == 0 && (next == 0 || next > history.After(x.host.Now(), int64(parkFor))) {
		x.suspend()
		return
	}
	x.host.Parked(true)
	left := parkFor - time.Since(x.idleSince)
	if x.park == nil {
		x.park = x.afterFunc(left, x.parked)
	} else {
		x.park.Reset(left)
	}
}

func (x *Invocation) parked() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.idleSince.IsZero() && time.Since(x.idleSince) >= x.ParkFor {
		x.suspend()
	}
}

// suspend asks the store to release the execution. x.mu is held.
func (x *Invocation) suspend() {
	if x.phase != phaseRunning || x.running > 0 || x.busy > 0 {
		return
	}
	x.recordAllLooks()
	x.release(x.nextDue(false))
}

// release asks the store to release the execution until wakeAt. x.mu is held.
func (x *Invocation) release(wakeAt int64) {
	x.host.Parked(false)
	x.send()
	x.phase = phaseReleasing
	before := x.journal.Mark()
	x.number(nil, &checkpoint.Record{Type: checkpoint.InvocationCompleted}, nil)
	var left *checkpoint.Record // what the watcher is told when it is not refused
	if x.Watched {
		pending := x.journal.Pending()
		last := pending[len(pending)-1]
		left = &last
	}
	a := x.toAppend()
	a.Release = &checkpoint.Release{WakeAt: wakeAt}
	x.append(a, func(err error) {
		if err == nil && left != nil {
			x.host.Recorded(left, nil)
		}
		x.released(before, err)
	})
}

// released takes the answer to release. x.mu is held.
func (x *Invocation) released(before journal.Mark, err error) {
	switch {
	case x.phase != phaseReleasing:
	case err == nil:
		x.becameDurable(x.journal.Seq())
		x.closeNow(errSuspended)
	case errors.Is(err, checkpoint.ErrInboxNews):
		x.journal.Back(before)
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

// holdNow stops the execution because its code does not fit what is recorded.
// Nothing new begins; bodies that run end and are recorded. An error that may have
// methods of the user's is a Reason. x.mu is held.
func (x *Invocation) holdNow(err error) {
	if x.phase != phaseLoading && !x.phase.lets(letEnd) {
		return
	}
	if x.replay == nil && x.phase.lets(letEnd) {
		if fails := x.host.Held(err).Fails; fails != nil {
			x.finish(checkpoint.Failed, nil, fails)
			return
		}
	}
	if x.replay != nil {
		x.replay.problem = err
		x.closeNow(err)
		return
	}
	x.held = err
	if x.inBodies > 0 {
		x.Logger().Warn("durable: the execution is to be held, when the bodies that it runs have ended", "bodies", x.inBodies, "reason", x.heldFor())
	}
	x.waitForBodies(phaseHolding)
}

// waitForBodies lets nothing begin any more: what runs a body ends it, the others end
// now. x.mu is held.
func (x *Invocation) waitForBodies(p phase) {
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
func (x *Invocation) checkBodies() {
	if x.inBodies > 0 || x.busy > 0 {
		return
	}
	switch {
	case x.phase == phaseHolding:
		x.releaseHeld()
	case x.retireWake:
		x.release(x.host.Now())
	default:
		x.release(x.nextDue(false))
	}
}

// releaseHeld releases an execution with a note on it that says why it is held, until its
// deadline. x.mu is held.
func (x *Invocation) releaseHeld() {
	x.Logger().Error("durable: execution held: deploy code that fits what is recorded, or call Engine.Resume", "build", x.Build, "reason", x.heldFor())
	x.send()
	x.phase = phaseEnding
	hold := x.host.Held(x.held).Note
	a := x.toAppend()
	a.Release = &checkpoint.Release{WakeAt: x.Execution.Deadline, Hold: hold}
	x.append(a, func(err error) {
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
func (x *Invocation) heldFor() string {
	switch err := x.held.(type) {
	case *Mismatch:
		return err.Error()
	case *Reason:
		return err.Logged
	case *Misuse:
		if name := fault.NameOf(err.Err); name != "" {
			return name + ": Engine.Describe tells more"
		}
	}
	return "Engine.Describe tells"
}

// finish ends the execution. x.mu is held.
func (x *Invocation) finish(status checkpoint.Status, payload []byte, failure *fault.Failure) {
	if !x.phase.lets(letEnd) {
		return
	}
	if x.replay != nil {
		x.replay.end(status, payload, failure)
		x.closeNow(nil)
		return
	}
	x.numberStarts()
	x.phase = phaseEnding
	x.stopTimers()
	x.number(nil, &checkpoint.Record{Type: checkpoint.InvocationCompleted}, nil)
	final := checkpoint.Record{Type: checkpoint.ExecutionSucceeded, Payload: payload, Flags: checkpoint.FlagPayload, Codec: x.Codec}
	if status == checkpoint.Failed {
		final = checkpoint.Record{Type: checkpoint.ExecutionFailed}
	}
	x.number(nil, &final, failure)
	at := final.Time
	for r := range x.routines {
		x.abandon(r)
	}
	x.life.end(fault.ErrConcurrentUse)
	a := x.toAppend()
	a.Status = status
	x.append(a, func(err error) {
		if err != nil {
			x.lost(err)
			return
		}
		x.becameDurable(x.journal.Seq())
		x.ended = &Final{payload, failure}
		x.host.Ended(status, at, failure)
		x.closeNow(nil)
	})
}

// Final is how an execution ended. Nobody changes it.
type Final struct {
	Payload []byte
	Failure *fault.Failure
}

// Final is how the execution ended, once that is durable, if it did so here; running
// says that it has not, and that the host is told when it does.
func (x *Invocation) Final() (ended *Final, running bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ended, x.phase != phaseClosed
}

// lost closes the invocation after an append that failed or whose fate is
// unknown. Nothing is tried again from memory: the execution is claimed anew and
// replayed from what the store has. x.mu is held.
func (x *Invocation) lost(err error) {
	if x.phase == phaseClosed {
		return
	}
	x.replayed = true
	x.host.Lost(err)
	x.closeNow(err)
}

// lostUnlessEnded is lost for an error that may be there because the invocation, or its
// execution, has ended meanwhile. x.mu is held.
func (x *Invocation) lostUnlessEnded(err error) {
	if !x.life.ended() {
		x.lost(err)
	}
}

// closeNow takes no record any more and ends every goroutine of ours. x.mu is held.
func (x *Invocation) closeNow(cause error) {
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
	for _, w := range x.journal.waiting.Waiting() { // a goroutine of the user's may wait in place of a routine that has ended
		x.dismiss(w.r)
	}
	x.watchBodies()
	x.unpark()
	x.host.Closed(cause == errSuspended, !x.isOver())
	x.checkGone()
}

func (x *Invocation) stopTimers() {
	for _, t := range []Timer{x.park, x.journal.flush} {
		if t != nil {
			t.Stop()
		}
	}
}

// isOver reports whether nothing of a closed invocation runs any more. A body of an
// operation whose end was not written may be run again, so it must have returned before.
// x.mu is held.
func (x *Invocation) isOver() bool {
	return x.phase == phaseClosed && x.alive == 0 && !(x.replayed && len(x.bodies)+len(x.strays) > 0)
}

// checkGone tells the host once nothing of it runs any more. x.mu is held.
func (x *Invocation) checkGone() {
	if !x.gone && x.isOver() {
		x.gone = true
		if x.replay != nil {
			close(x.replay.over)
		}
		x.host.Gone()
	}
}

// Close closes the invocation, whose execution was ended from outside, or is owned by
// somebody else, or whose host closes.
func (x *Invocation) Close(cause error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closeNow(cause)
}

// Lost closes an invocation of which nobody knows what it did last: it is claimed anew and
// replayed.
func (x *Invocation) Lost(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.lost(err)
}

// Retire lets running bodies end and then releases the execution.
func (x *Invocation) Retire() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.retireNow()
}

// Leave suspends the execution if nothing of it can go on, and reports whether it is on its
// way.
func (x *Invocation) Leave() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.idleSince.IsZero() {
		x.suspend()
	}
	return x.phase == phaseReleasing
}

// TurnAway takes note that the code that ctx belongs to asked for what the host does not do
// any more: what it makes of that is no result of its.
func (x *Invocation) TurnAway(ctx context.Context) {
	o := x.root
	if info := InfoFrom(ctx); info != nil && info.x == x {
		o = info.o
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	o.TurnedAway = true
	x.retireNow()
}

// retireNow lets running bodies end and then releases the execution. It is claimed
// at once when the store is opened again, unless it was idle. x.mu is held.
func (x *Invocation) retireNow() {
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
