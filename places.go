package durable

import (
	"context"
	"maps"
	"slices"
	"time"
)

// Places bound the executions in memory. One that waits for another one's result
// lends its place.

// freePlaces is how many places nobody has. e.mu is held.
func (e *Engine) freePlaces() int {
	return e.opts.MaxResident + max(e.extra, e.lapsed) - len(e.residents) - e.apart - e.reserved + e.lending
}

// reserve takes a place for an execution that is about to be created. admit
// takes it over, or else it is given back.
func (e *Engine) reserve() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.retiring || e.starved.Load() || e.freePlaces() <= 0 {
		return false
	}
	e.reserved++
	e.starting.Add(1)
	return true
}

// reserveForClaims takes as many places as there are, up to most, for what is
// about to be claimed.
func (e *Engine) reserveForClaims(most int) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := max(min(e.freePlaces(), most), 0)
	e.reserved += n
	return n
}

// unreserve gives back reserved places that were not needed.
func (e *Engine) unreserve(n int) {
	e.mu.Lock()
	e.reserved -= n
	e.mu.Unlock()
	if n > 0 && e.starved.Load() {
		e.wake()
	}
}

// wanted reports whether work waits for a place, to one who could give one up:
// one at a time is asked.
func (e *Engine) wanted() bool { return e.hungry.CompareAndSwap(true, false) }

// stuckAfter is how long all places must be held by code that makes no progress
// before the bound is exceeded.
const stuckAfter = 10 * time.Second

// leaveWithin is how long one that was asked to leave is waited for before the next one is.
const leaveWithin = time.Second

// makePlace suspends the execution that has been idle longest; if none is, the
// next one that becomes idle is. Those that are as good as gone, but for code that goes
// on, lose their places after a while, and if all have been stuck in the user's code, the
// bound is exceeded: by a tenth in all.
func (e *Engine) makePlace() {
	if e.leaving != nil && time.Since(e.asked) < leaveWithin && e.leaving.onItsWay() {
		return
	}
	e.mu.Lock()
	free := e.freePlaces() > 0
	e.mu.Unlock()
	if free || e.lapse() { // it has gone since a place was looked for
		e.wake()
		return
	}
	for {
		longest := e.parked.longest()
		if longest == nil {
			break
		}
		if longest.leave() {
			e.leaving, e.asked = longest, time.Now()
			return
		}
	}
	e.hungry.Store(true)
	e.mu.Lock()
	exceeded := e.extra != 0
	e.mu.Unlock()
	if exceeded || !e.stuck() {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.extra == 0 && e.reserved == 0 {
		e.extra = e.tenth()
		e.log.Error("durable: all places are held by code that makes no progress: the bound is exceeded by a tenth; move what blocks into steps, or raise Options.MaxResident",
			"maxResident", e.opts.MaxResident)
		e.wake()
	}
}

// leave suspends a parked execution; false if it can't be suspended just now, and is not
// parked any more, as far as makePlace goes.
func (x *residency) leave() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.idleSince.IsZero() {
		x.suspend()
	}
	x.e.parked.remove(x)
	return x.phase == phaseReleasing
}

// stuck reports whether all places have been held by code that makes no progress. It is
// the claim loop's.
func (e *Engine) stuck() bool {
	if m := e.moving; m != nil && e.resident(m.id) == m && !m.stuck() { // it most likely still is not
		return false
	}
	e.moving = nil
	residents := e.lockedResidents()
	for _, x := range residents {
		if !x.stuck() {
			e.moving = x
			return false
		}
	}
	return len(residents) > 0
}

// stuck reports whether code of the execution holds its place, and makes no progress.
func (x *residency) stuck() bool {
	_, stuck := x.stuckFrom()
	return stuck
}

// stuckFrom is from when on the execution is stuck, if nothing happens until then, and
// whether it is by now.
func (x *residency) stuckFrom() (at time.Time, stuck bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	at = x.progress.Add(stuckAfter)
	return at, (x.isOver() || x.phase == phaseRunning && x.running > 0 && len(x.bodies) == 0) && !time.Now().Before(at)
}

// isOver reports whether nothing of the residency will be recorded, or it can't begin,
// because code goes on whose stay is over. x.mu is held.
func (x *residency) isOver() bool { return x.phase == phaseClosed || x.earlier != nil }

// tenth is by how much the bound may be exceeded.
func (e *Engine) tenth() int { return max(e.opts.MaxResident/10, 1) }

// lingers takes note of a residency whose stay is over, or can't begin, while code goes on.
// x.mu is held.
func (e *Engine) lingers(x *residency) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.linger(x)
}

// linger is lingers with e.mu held.
func (e *Engine) linger(x *residency) {
	e.lingering[x] = struct{}{}
	if at := x.progress.Add(stuckAfter); e.lapseAt.After(at) {
		e.lapseAt = at
	}
}

// lingersNoMore takes note that the code has ended. e.mu is held.
func (e *Engine) lingersNoMore(x *residency) {
	delete(e.lingering, x)
	if x.lapsed {
		x.lapsed, x.left = false, false
		e.lapsed--
	}
}

// lapse gives the place of one to others whose stay is over, and whose code has gone on
// for a while. It is the claim loop's.
func (e *Engine) lapse() bool {
	now := time.Now()
	e.mu.Lock()
	if e.lapsed >= e.tenth() {
		e.overdue = nil
	} else if len(e.overdue) == 0 && !now.Before(e.lapseAt) {
		e.overdue = slices.Collect(maps.Keys(e.lingering))
		e.lapseAt = now.Add(stuckAfter) // unless one is found, or lingers, that may be so sooner
	}
	e.mu.Unlock()
	for len(e.overdue) > 0 {
		x := e.overdue[0]
		e.overdue = e.overdue[1:]
		at, stuck := x.stuckFrom()
		if !stuck {
			e.mu.Lock()
			if at.After(now) && e.lapseAt.After(at) {
				e.lapseAt = at
			}
			e.mu.Unlock()
			continue
		}
		e.mu.Lock()
		_, still := e.lingering[x]
		place, former := e.former[x]
		take := still && (place || !former) && !x.left && x.lends == 0
		if take {
			x.lapsed, x.left = true, true
			e.lapsed++
		}
		e.mu.Unlock()
		if take {
			x.logger().Error("durable: an execution that has ended, or left memory, holds its place because its code goes on: the bound is exceeded; make bodies heed their context, and let deferred calls end",
				"maxResident", e.opts.MaxResident, "exceededBy", e.tenth())
			return true
		}
	}
	return false
}

// onItsWay reports whether the residency is being released, but is not gone.
func (x *residency) onItsWay() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return !x.isGone() && (x.phase == phaseReleasing || x.phase == phaseClosed)
}

// givePlaceUp lends the place of the execution whose code waits in Result with
// ctx; the function it returns takes it back.
func (e *Engine) givePlaceUp(ctx context.Context) (takeBack func()) {
	x, ok := ctx.Value(residencyKey{}).(*residency)
	if !ok || x.e != e {
		return func() {}
	}
	change := func(n int) {
		e.mu.Lock()
		defer e.mu.Unlock()
		before := x.lends
		x.lends += n
		if !x.left && (before == 0 || x.lends == 0) {
			e.lending += n
		}
	}
	change(1)
	e.wake()
	return func() { change(-1) }
}

// stalledAfter is how long an execution may be busy outside of operations and
// bodies before it is reported.
const stalledAfter = time.Minute

// stalled is since when code of the execution has been blocked, or busy, outside
// of operations and bodies, if that is long; or since when the stay of the execution is
// over, or it can't be loaded, while code goes on. x.mu is held.
func (x *residency) stalled() (since time.Time, ok bool) {
	if busy := x.phase == phaseRunning && x.running > 0 && len(x.bodies) == 0 && x.journal.waiting.empty(); !busy && !x.isOver() && x.phase != phaseLoading ||
		time.Since(x.progress) < stalledAfter {
		return time.Time{}, false
	}
	return x.progress.UTC(), true
}

// warnOfStalled logs executions that are stalled, each once.
func (e *Engine) warnOfStalled() {
	for _, x := range e.lockedResidents() {
		x.mu.Lock()
		since, ok := x.stalled()
		if ok && !x.warned {
			message := "durable: the handler makes no progress: move what blocks or computes for long into steps"
			switch {
			case x.isOver():
				message = "durable: the execution has ended, or left memory, and its code goes on: make bodies heed their context, and let deferred calls end"
			case x.phase == phaseLoading:
				message = "durable: the execution is being loaded: the store does not answer"
			}
			x.logger().Warn(message, "since", since)
		}
		x.warned = ok
		x.mu.Unlock()
	}
}
