package durable

import (
	"context"
	"slices"
	"time"
)

// Places bound the executions in memory. One that waits for another one's result
// lends its place.

func (e *Engine) freePlaces() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.opts.MaxResident + e.extra - len(e.residents) - e.reserved + e.lending
}

// reserve takes a place for an execution that is about to be created.
func (e *Engine) reserve() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.retiring || e.hungry.Load() || e.opts.MaxResident+e.extra-len(e.residents)-e.reserved+e.lending <= 0 {
		return false
	}
	e.reserved++
	return true
}

func (e *Engine) unreserve() {
	e.mu.Lock()
	e.reserved--
	e.mu.Unlock()
}

// wanted reports whether work waits for a place.
func (e *Engine) wanted() bool { return e.hungry.Load() }

// stuckAfter is how long all places must be held by code that makes no progress
// before the bound is exceeded.
const stuckAfter = 10 * time.Second

// makePlaces suspends the executions that have been idle longest. If none is
// idle and all have been stuck in the user's code for a while, the bound is
// exceeded by a tenth.
func (e *Engine) makePlaces() {
	type idle struct {
		x     *residency
		since time.Time
	}
	var idles []idle
	stuck := true
	for _, x := range e.lockedResidents() {
		x.mu.Lock()
		if !x.idleSince.IsZero() {
			idles = append(idles, idle{x, x.idleSince})
		}
		if time.Since(x.progress) < stuckAfter {
			stuck = false
		}
		x.mu.Unlock()
	}
	slices.SortFunc(idles, func(a, b idle) int { return a.since.Compare(b.since) })
	for _, i := range idles[:min(len(idles), claimBite)] {
		i.x.mu.Lock()
		if !i.x.idleSince.IsZero() {
			i.x.suspend()
		}
		i.x.mu.Unlock()
	}
	if len(idles) > 0 || !stuck {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.extra == 0 {
		e.extra = max(e.opts.MaxResident/10, 1)
		e.log.Error("durable: all places are held by code that makes no progress: the bound is exceeded by a tenth; move what blocks into steps, or raise Options.MaxResident",
			"maxResident", e.opts.MaxResident)
		e.wake()
	}
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
		if before == 0 || x.lends == 0 {
			e.lending += n
		}
	}
	change(1)
	e.wake()
	return func() { change(-1) }
}
