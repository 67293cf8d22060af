package durable

import (
	"errors"
	"maps"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

// The claim loop: one goroutine that claims what is due as long as there are
// places, and sleeps until the next due time or a hint. Nothing polls; the loop
// looks at the clock again every clockCheck because clocks jump and processes
// are stopped.

const claimBite = 64

func (e *Engine) run() {
	defer close(e.loop)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var store trouble
	var rings time.Time // when the alarm wakes the loop
	lookedAt := time.Now()
	for {
		select {
		case <-e.life.Done():
			return
		case <-e.kick:
		case <-timer.C:
		}
		if e.retired() {
			return
		}
		err := e.claimDue()
		var next time.Duration
		if err == nil {
			next, err = e.untilNext()
		}
		switch {
		case err != nil:
			next = store.troubled(e, "the store can't be asked for work", err)
		case next <= 0:
			// It came due since the claim. A store that says so again and again,
			// and gives nothing, is asked less often.
			next = store.pause
			store.pause = min(max(2*store.pause, time.Microsecond), clockCheck)
		default:
			store = trouble{}
		}
		if time.Since(lookedAt) >= clockCheck {
			lookedAt = time.Now()
			e.warnOfStalled()
		}
		if 0 < next && next <= e.early {
			if at := time.Now().Add(next); !time.Now().Before(rings) || at.Before(rings) {
				rings = at
				e.alarm.After(next, e.wake)
			}
			next = e.clockCheck
		}
		if next < e.clockCheck {
			next -= e.early
		}
		timer.Reset(max(next, 0))
	}
}

// claimDue claims what is due and starts it, as long as there are places.
func (e *Engine) claimDue() error {
	for !e.retired() && len(e.defs) > 0 {
		places := e.reserveForClaims(claimBite)
		if places == 0 {
			at, err := e.store.NextDue(e.life, e.claims)
			starved := err == nil && !at.IsZero() && !at.After(e.store.Now())
			e.starved.Store(starved)
			if starved {
				e.makePlace()
			}
			return err
		}
		e.hungry.Store(false)
		r := e.claims
		r.Max = places
		from := e.vantage()
		claims, err := e.store.Claim(e.life, r)
		if err != nil {
			e.arrived()
			e.unreserve(places)
			return err
		}
		e.unreserve(places - len(claims))
		for i := range claims {
			e.admit(&claims[i], from)
		}
		e.arrived()
		if len(claims) < places { // nothing else is due
			e.starved.Store(false)
			return nil
		}
	}
	return nil
}

// untilNext is how long the loop may sleep.
func (e *Engine) untilNext() (time.Duration, error) {
	if e.starved.Load() {
		return time.Second, nil // a kick comes when a place is free
	}
	if len(e.defs) == 0 {
		return e.clockCheck, nil
	}
	at, err := e.store.NextDue(e.life, e.claims)
	if err != nil || at.IsZero() {
		return e.clockCheck, err
	}
	return min(at.Sub(e.store.Now()), e.clockCheck), nil
}

// troubled notes an error of the store and returns how long to leave it alone.
func (t *trouble) troubled(e *Engine, what string, err error) time.Duration {
	if e.life.Err() != nil {
		return clockCheck
	}
	t.pause = min(max(2*t.pause, 10*time.Millisecond), clockCheck)
	if text := e.outward(err).Error(); text != t.text || time.Since(t.logged) > time.Minute {
		t.text, t.logged = text, time.Now()
		e.log.Error("durable: "+what, "error", text)
	}
	return t.pause
}

// trouble is what a loop remembers of a store that fails.
type trouble struct {
	pause  time.Duration
	text   string
	logged time.Time
}

// admit makes a claimed execution, for which a place is reserved, resident and
// runs it. If an earlier resident of it still has goroutines, it waits for them; of
// those of another execution that had its ID it is independent.
// from is from before the claim. If no hint went astray since then, and no earlier
// resident got them, all news that came were for this one.
func (e *Engine) admit(c *checkpoint.Claim, from vantage) {
	r := e.newResident(c, nil)
	e.mu.Lock()
	other := e.supersede(c.ID, c.Incarnation)
	earlier := e.residents[c.ID]
	if e.residents[c.ID] = r; earlier != nil {
		e.former[earlier] = false
		r.earlier, r.progress = earlier, time.Now()
		e.linger(r)
	}
	r.x.Quiet = earlier == nil && other == nil && e.astray == from.astray && (c.InboxTail == c.InboxSeen || len(c.Inbox) > 0)
	e.watchLease(r, from.lease)
	e.reserved--
	e.invocations++
	closing, retiring := e.shut, e.retiring
	_, stopped := e.stopped[c.Incarnation]
	_, ended := e.ended[c.ID]
	ended = ended || e.unlisted != from.unlisted
	r.troubled = e.disowned[c.ID].incarnation == c.Incarnation
	e.mu.Unlock()
	e.feed.tell(c.ID)
	switch {
	case closing:
		r.stopNow(ErrClosed)
	case stopped:
		r.stopNow(ErrStopped)
	case ended:
		go e.checkEnded(r)
	}
	if retiring {
		r.x.Retire()
	}
	go func() {
		other.stopNow(ErrStopped) // it may not have heard
		if earlier != nil {
			select {
			case <-earlier.gone:
			case <-e.life.Done():
			}
			r.waitedFor()
		}
		e.letCallerLeave(c.Caller)
		r.x.Run()
	}()
}

// vantage is what must be looked at before an execution is claimed: what came, or was
// lost, between the store's answer and admit can't be told afterwards.
type vantage struct {
	astray   uint64 // Engine.astray
	unlisted uint64 // Engine.unlisted
	lease    int64  // number of the lease
}

// arrived must be called behind vantage, when what was claimed is admitted.
func (e *Engine) arrived() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.arriving--; e.arriving == 0 {
		clear(e.stopped)
		clear(e.ended)
	}
}

// supersede takes what has an ID, and is not the execution of that incarnation, for one of
// the past, and returns it; nil: there is none. e.mu is held.
func (e *Engine) supersede(id string, inc checkpoint.Incarnation) *resident {
	x := e.residents[id]
	if x == nil || x.x.Summary().Incarnation == inc {
		return nil
	}
	delete(e.residents, id)
	e.former[x] = true
	e.apart++
	return x
}

func (e *Engine) vantage() (v vantage) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.leased != nil {
		v.lease, _ = e.leased.Lease()
		e.sawLease(v.lease)
	}
	e.arriving++
	v.astray, v.unlisted = e.astray, e.unlisted
	return v
}

// maxEnded bounds Engine.ended: where there are always some that arrive, it is never empty.
const maxEnded = 1024

// endedMeanwhile notes that an execution has ended, in case that it is about to be
// admitted: another process may end it before this one knows that it has it. e.mu is held.
func (e *Engine) endedMeanwhile(id string) {
	if !e.shared || e.arriving == 0 {
		return
	}
	if len(e.ended) == maxEnded {
		clear(e.ended)
		e.unlisted++
	}
	e.ended[id] = struct{}{}
}

// letCallerLeave waits a moment for the caller of an execution to leave memory,
// when that is what executions do at once: so its invocation ends before the
// answer comes, as on AWS Lambda, however quick that is.
func (e *Engine) letCallerLeave(c *checkpoint.Caller) {
	if c == nil || e.opts.ParkFor >= 0 {
		return
	}
	e.mu.Lock()
	caller := e.residents[c.ID]
	e.mu.Unlock()
	if caller == nil {
		return
	}
	moment := time.NewTimer(10 * time.Millisecond)
	defer moment.Stop()
	select {
	case <-caller.gone:
	case <-moment.C:
	case <-e.life.Done():
	}
}

// residentGone is called when nothing of a resident runs any more.
func (e *Engine) residentGone(x *resident) {
	e.mu.Lock()
	if e.residents[x.id] == x {
		delete(e.residents, x.id)
	}
	if e.former[x] {
		e.apart--
	}
	delete(e.former, x)
	if x.lends > 0 && !x.left {
		e.lending--
	}
	e.lingersNoMore(x)
	x.left = true
	e.mu.Unlock()
	close(x.gone)
	e.feed.tell(x.id)
	x.observeInvocation(false, false)
	if e.starved.Load() {
		e.wake()
	}
}

// writtenOff is an execution whose last append was not made, for a reason that may pass:
// nobody knows what it did last, so it is claimed again and replayed.
type writtenOff struct {
	times       int // in a row
	incarnation checkpoint.Incarnation
	number      uint64
	epoch       uint64
}

// disown gives an execution up that was written off, so that it is claimed again; the
// more often in a row, the later.
func (e *Engine) disown(x *resident) {
	e.mu.Lock()
	s := x.x.Summary()
	w := writtenOff{e.disowned[x.id].times + 1, s.Incarnation, s.Number, s.Epoch}
	e.disowned[x.id] = w
	e.mu.Unlock()
	delay := min(20*time.Millisecond<<min(w.times, 10), clockCheck)
	time.AfterFunc(delay, func() {
		select {
		case <-x.gone:
		case <-e.life.Done():
			return
		}
		mine, err := e.giveUp(x.id, w)
		if err != nil && e.life.Err() == nil {
			if errors.Is(e.outward(err), ErrStoreFailed) {
				return
			}
			e.disown(x)
			return
		}
		if !mine {
			e.goneOn(x.id, w)
		}
		e.wake()
	})
}

// giveUp disowns an execution, unless somebody has gone on with it since it was written
// off, or ended it, or another one has its ID. mine says that nobody has.
func (e *Engine) giveUp(id string, w writtenOff) (mine bool, err error) {
	s, err := e.store.Get(e.life, id)
	if err == nil && w.isOver(&s) {
		return false, nil
	}
	// Also when it is not found: what was read may be from before it was there.
	return !errors.Is(err, checkpoint.ErrNotFound), e.store.Disown(e.life, id, w.epoch)
}

// giveAllUp gives up what was written off and was not gone on with, and returns how many
// executions lost what they did last.
func (e *Engine) giveAllUp() (lost int) {
	e.mu.Lock()
	lost = e.unwritten
	all := maps.Clone(e.disowned)
	e.mu.Unlock()
	for id, w := range all {
		if mine, err := e.giveUp(id, w); mine || err != nil {
			lost++
		}
	}
	return lost
}

// goneOn forgets what was written off, and is not this process's to go on with.
func (e *Engine) goneOn(id string, w writtenOff) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.disowned[id] == w {
		delete(e.disowned, id)
	}
}

// recovered forgets that an execution was disowned.
func (e *Engine) recovered(id string) {
	e.mu.Lock()
	delete(e.disowned, id)
	e.mu.Unlock()
}

// resident returns the execution in memory that has the ID, or nil.
func (e *Engine) resident(id string) *resident {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.residents[id]
}
