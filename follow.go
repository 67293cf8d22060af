package durable

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// Follow yields the events of an execution behind the event after, as History does,
// and then each new one once it is durable, until the execution has ended. What came
// from outside is an event when the execution takes it over, which one that is held
// does when it goes on. When ctx ends, or the engine, the last thing it yields is that
// error; ErrExecutionNotFound when the execution was deleted meanwhile.
//
// It is woken, it does not poll; only on a store that other processes write to does the
// engine also look each second how far all executions are that are followed, and reads of
// those that have got further. Each event is read once, however many there are.
func (e *Engine) Follow(ctx context.Context, id string, after int64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if err := e.given(ctx); err != nil {
			yield(Event{}, err)
			return
		}
		l := e.feed.join(id)
		defer e.feed.leave(id, l)
		e.lookOut()
		f := &follower{e: e, id: id, after: after}
		for {
			// Not only what was there when it was asked: what a read finds on its way counts.
			more, err := f.read(ctx, yield)
			if err != nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if err == nil && more {
				_, err = e.await(ctx, l, nil)
			}
			if err != nil {
				yield(Event{}, err)
				return
			}
			if !more {
				return
			}
		}
	}
}

// follower is how far somebody has followed an execution.
type follower struct {
	e     *Engine
	id    string
	after int64
	inc   checkpoint.Incarnation // zero: nothing was read yet
	seq   uint64
	ops   history.Operations
}

// read yields what is new; more is false when there will be nothing else, or nobody
// wants it.
func (f *follower) read(ctx context.Context, yield func(Event, error) bool) (more bool, err error) {
	s, err := f.e.find(ctx, f.id)
	switch {
	case err != nil:
		return false, err
	case f.inc.IsZero():
		f.inc, f.ops = s.Incarnation, history.New(s.Tail)
	case f.inc != s.Incarnation:
		return false, fmt.Errorf("%w: %s was deleted, another one has the ID", ErrExecutionNotFound, f.id)
	}
	for rec, err := range f.e.store.Records(ctx, f.id, f.seq) {
		if err == nil {
			err = f.e.openRecord(&rec, f.inc)
		}
		var failure *fault.Failure
		if err == nil {
			failure, err = fault.Decode(rec.Failure)
		}
		if err != nil {
			return false, fmt.Errorf("durable: history of execution %s: %w", f.id, f.e.lookup(f.id, err))
		}
		f.seq = rec.Seq
		o := f.ops.Apply(&rec, failure)
		if rec.Type >= checkpoint.ScopeCancelled || rec.Flags&checkpoint.FlagSilent != 0 {
			continue
		}
		if int64(rec.EventID)+int64(rec.Events)-1 > f.after {
			for _, ev := range f.e.eventsOf(&rec, o, &s) {
				if ev.EventID > f.after && !yield(ev, nil) {
					return false, nil
				}
			}
		}
		if history.IsFinal(rec.Type) {
			return false, nil
		}
	}
	return true, nil
}

// Changes yields the IDs of executions that something happened to since the call: they
// were created, came into memory or left it, got further, were sent something, ended, or
// were deleted by Delete. So a list that is read after the call, and before what it
// returns is ranged over, misses nothing. One that much happens to is yielded once for
// all of it, in no order; a slow receiver delays nobody and misses none. It ends when ctx
// ends, or the engine, and can be ranged over once; until then the IDs are kept, unless
// ctx has ended.
//
// What other processes do on a store they share is seen when the store hints at it,
// and otherwise by a look at the newest executions, and the newest that run, each
// second.
func (e *Engine) Changes(ctx context.Context) iter.Seq[string] {
	if err := e.given(ctx); err != nil {
		panic(err) // there is no other way to tell
	}
	l := e.feed.join("")
	leave := sync.OnceFunc(func() { e.feed.leave("", l) })
	unwatch := context.AfterFunc(ctx, leave)
	ticks, stop := e.ticks()
	var seen glances
	if ticks != nil {
		seen.look(ctx, e)
	}
	return func(yield func(string) bool) {
		defer leave()
		defer unwatch()
		defer stop()
		for {
			tick, err := e.await(ctx, l, ticks)
			if err != nil {
				return
			}
			ids := e.feed.taken(l)
			if tick {
				for _, id := range seen.look(ctx, e) {
					if _, told := ids[id]; !told && !yield(id) {
						return
					}
				}
			}
			for id := range ids {
				if !yield(id) {
					return
				}
			}
		}
	}
}

// glances are what was last seen of executions.
type glances struct {
	of map[uint64]glance // by number
	// The lowest number in sight, of any status and of those that run; 0: all are.
	down [checkpoint.Running + 1]uint64
}

// glance is what tells that an execution has changed.
type glance struct {
	id                 string
	tail, inbox, epoch uint64
	status             checkpoint.Status
	owned              bool
	held               int
}

// glanceAt is how many executions a look looks at, of all and of those that run.
const glanceAt = 200

// look returns the executions that are not as they were, or not there any more. Those
// that came into its sight, or left it, because others did are as they were.
func (g *glances) look(ctx context.Context, e *Engine) (changed []string) {
	now := glances{of: make(map[uint64]glance, len(g.of))}
	for _, status := range []checkpoint.Status{0, checkpoint.Running} {
		n := 0
		for s, err := range e.store.List(ctx, checkpoint.Query{Status: status, Limit: glanceAt}) {
			if err != nil && !partly(&s, err) {
				return changed // the next look is soon
			}
			if n++; n == glanceAt {
				now.down[status] = s.Number
			}
			if _, again := now.of[s.Number]; again {
				continue
			}
			now.of[s.Number] = glance{s.ID, s.Tail, s.InboxTail, s.Epoch, s.Status, s.Owned, len(s.HeldBuilds)}
			if was, known := g.of[s.Number]; was != now.of[s.Number] && (known || s.Number > g.down[0]) {
				changed = append(changed, s.ID)
			}
		}
	}
	for number, was := range g.of {
		if _, still := now.of[number]; !still && (number > now.down[0] || was.status == checkpoint.Running && number > now.down[checkpoint.Running]) {
			changed = append(changed, was.id)
		}
	}
	*g = now
	return changed
}
