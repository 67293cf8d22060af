package durable

import (
	"errors"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

// lookout looks, in a store that other processes write to, at the executions that somebody
// waits for or follows. Hints tell who waits for one what happens to that one; but they
// get lost, as with a process that dies before it has sent them, and not all that happens
// is hinted at. So a while after the store has given a hint of something due, as it does
// each time that it looks by itself, and as long as somebody follows, all of them are
// asked for at once, and those are woken whose execution has changed.
type lookout struct {
	coming bool // a look is to come, or goes on; under Engine.mu

	// Of the look that goes on.
	turn []string                     // those that it is the turn of, until all were asked for
	was  map[string]checkpoint.Glance // what they were in the turn before
	is   map[string]checkpoint.Glance // what those are that were asked for in this turn
}

// lookAgain is how often a store is looked at that other processes write to.
const lookAgain = time.Second

// lookOut has all that is waited for looked at, in a while.
func (e *Engine) lookOut() {
	if !e.shared {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.lookout.coming {
		e.lookout.coming = true
		time.AfterFunc(lookAgain, e.look)
	}
}

func (e *Engine) look() {
	more := e.glance()
	e.mu.Lock()
	defer e.mu.Unlock()
	// Who follows from here on finds that no look is to come.
	e.lookout.coming = e.life.Err() == nil && (more || e.feed.follows())
	if e.lookout.coming {
		time.AfterFunc(lookAgain, e.look)
	}
}

// glance asks for those whose turn it is, as many as one look may; more says that some
// are left.
func (e *Engine) glance() (more bool) {
	l := &e.lookout
	if len(l.turn) == 0 {
		l.turn = e.awaited()
		l.was, l.is = l.is, make(map[string]checkpoint.Glance, len(l.turn))
	}
	questions, executions := 1, 64 // of a store that has to be asked for each one
	if e.glancer != nil {
		questions, executions = 4, 1000
	}
	for ; questions > 0 && len(l.turn) > 0; questions-- {
		ids := l.turn[:min(len(l.turn), executions)]
		found, err := e.glancesAt(ids)
		if err != nil {
			return true
		}
		l.turn = l.turn[len(ids):]
		for _, g := range found {
			l.is[g.ID] = g
		}
		for _, id := range ids {
			is, there := l.is[id]
			was, known := l.was[id]
			switch {
			case !there, is.Status != checkpoint.Running, known && is.Incarnation != was.Incarnation, is.Held && !was.Held:
				e.mayHaveEnded(id)
			case !known, is.Tail != was.Tail:
				e.changed(id)
			}
		}
	}
	return len(l.turn) > 0
}

// awaited are the executions that somebody waits for or follows. Of those in memory all is
// told.
func (e *Engine) awaited() []string {
	ids := e.feed.followed()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, waiting := range []watchers{e.results, e.callbacks} {
		for id := range waiting {
			ids[id] = struct{}{}
		}
	}
	list := make([]string, 0, len(ids))
	for id := range ids {
		if e.residents[id] == nil {
			list = append(list, id)
		}
	}
	return list
}

// glancesAt asks the store.
func (e *Engine) glancesAt(ids []string) (found []checkpoint.Glance, err error) {
	if e.glancer != nil {
		return e.glancer.Glance(e.life, ids)
	}
	for _, id := range ids {
		s, err := e.store.Get(e.life, id)
		switch {
		case err == nil, partly(&s, err):
			found = append(found, checkpoint.Glance{ID: id, Incarnation: s.Incarnation, Status: s.Status, Tail: s.Tail, Held: isHeld(&s)})
		case errors.Is(err, checkpoint.ErrNotFound), errors.Is(err, checkpoint.ErrCorrupt): // who waits finds it
		default:
			return nil, err
		}
	}
	return found, nil
}
