package durable

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/durable-go/durable/internal/invocation"
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
		on := longest.x.Leave()
		e.parked.remove(longest) // as far as this goes, also if it can't be suspended just now
		if on {
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
func (r *resident) stuck() bool {
	_, stuck := r.stuckFrom()
	return stuck
}

// stuckFrom is from when on the execution is stuck, if nothing happens until then, and
// whether it is by now.
func (r *resident) stuckFrom() (at time.Time, stuck bool) {
	s := r.state()
	at = s.Progress.Add(stuckAfter)
	return at, (s.over || s.Busy) && !time.Now().Before(at)
}

// residentState is what is seen of a resident.
type residentState struct {
	invocation.State
	over bool // nothing of it will be recorded, or it can't begin, because code goes on whose stay is over
}

func (r *resident) state() residentState {
	s := residentState{State: r.x.State()}
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	s.over = s.Closed || r.earlier != nil
	if r.progress.After(s.Progress) {
		s.Progress = r.progress
	}
	return s
}

// tenth is by how much the bound may be exceeded.
func (e *Engine) tenth() int { return max(e.opts.MaxResident/10, 1) }

// linger takes note of a resident whose stay is over, or can't begin, while code goes on.
// e.mu is held.
func (e *Engine) linger(r *resident) {
	e.lingering[r] = struct{}{}
	if at := r.progress.Add(stuckAfter); e.lapseAt.After(at) {
		e.lapseAt = at
	}
}

// lingersNoMore takes note that the code has ended. e.mu is held.
func (e *Engine) lingersNoMore(x *resident) {
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
			x.x.Logger().Error("durable: an execution that has ended, or left memory, holds its place because its code goes on: the bound is exceeded; make bodies heed their context, and let deferred calls end",
				"maxResident", e.opts.MaxResident, "exceededBy", e.tenth())
			return true
		}
	}
	return false
}

// onItsWay reports whether the resident is being released, but is not gone.
func (r *resident) onItsWay() bool {
	s := r.x.State()
	return !r.isGone() && (s.Leaving || s.Closed)
}

func (r *resident) isGone() bool {
	select {
	case <-r.gone:
		return true
	default:
		return false
	}
}

// givePlaceUp lends the place of the execution whose code waits in Result with
// ctx; the function it returns takes it back.
func (e *Engine) givePlaceUp(ctx context.Context) (takeBack func()) {
	x := e.hostOf(ctx)
	if x == nil {
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
// over, or it can't be loaded, while code goes on.
func (s *residentState) stalled() (since time.Time, ok bool) {
	if !(s.Busy && !s.Flushing) && !s.over && !s.Loading || time.Since(s.Progress) < stalledAfter {
		return time.Time{}, false
	}
	return s.Progress.UTC(), true
}

// warnOfStalled logs executions that are stalled, each once.
func (e *Engine) warnOfStalled() {
	for _, r := range e.lockedResidents() {
		s := r.state()
		since, ok := s.stalled()
		e.mu.Lock()
		warn := ok && !r.warned
		r.warned = ok
		e.mu.Unlock()
		if !warn {
			continue
		}
		message := "durable: the handler makes no progress: move what blocks or computes for long into steps"
		switch {
		case s.over:
			message = "durable: the execution has ended, or left memory, and its code goes on: make bodies heed their context, and let deferred calls end"
		case s.Loading:
			message = "durable: the execution is being loaded: the store does not answer"
		}
		r.x.Logger().Warn(message, "since", since)
	}
}
