package durable

import (
	"errors"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

// hint is called by the store.
func (e *Engine) hint(h checkpoint.Hint) {
	switch h.Kind {
	case checkpoint.HintDue:
		e.wake()
		e.lookOut()
		return
	case checkpoint.HintInbox:
		e.mu.Lock()
		x := e.residents[h.ID]
		if x == nil {
			e.astray++
		}
		e.mu.Unlock()
		if x != nil {
			x.x.News()
		}
	case checkpoint.HintEnded:
		if h.ID == "" && e.shared { // any of them
			e.lookOut()
			return
		}
		e.mu.Lock()
		x := e.residents[h.ID]
		e.endedMeanwhile(h.ID)
		e.mu.Unlock()
		if x != nil && !x.x.Ending() {
			go e.checkEnded(x)
		}
		e.mayHaveEnded(h.ID)
		return
	}
	e.changed(h.ID)
}

// checkEnded closes a resident whose execution was ended from outside. Hints
// may be late: another execution may have the ID by now.
func (e *Engine) checkEnded(x *resident) {
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, lookAgain) {
		s, err := e.store.Get(e.life, x.id)
		if partly(&s, err) && s.Status != 0 {
			err = nil // it is known whether it runs
		}
		switch {
		case err == nil && s.Incarnation == x.x.Summary().Incarnation && s.Status == checkpoint.Running:
		case err == nil && s.Number < x.x.Summary().Number: // what is read is behind: its next record tells
		case err == nil:
			x.stopNow(ErrStopped)
		case errors.Is(err, checkpoint.ErrNotFound):
			x.stopNow(ErrStopped)
			e.disown(x) // if what is read is behind
		case errors.Is(err, checkpoint.ErrCorrupt), errors.Is(e.outward(err), ErrStoreFailed):
		default: // nobody tells it again
			select {
			case <-time.After(pause):
				continue
			case <-x.gone:
			case <-e.life.Done():
			}
		}
		return
	}
}

// wake makes the claim loop look for work.
func (e *Engine) wake() {
	select {
	case e.kick <- struct{}{}:
	default:
	}
}

// changed wakes who waits for something about an execution but its end; "" wakes all.
func (e *Engine) changed(id string) {
	e.feed.tell(id)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.callbacks.wake(id)
}

// mayHaveEnded is changed for those, too, who wait for the end of an execution.
func (e *Engine) mayHaveEnded(id string) {
	e.feed.tell(id)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.callbacks.wake(id)
	e.results.wake(id)
}
