package invocation

import (
	"cmp"
	"slices"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// Settled hands out operations in the order in which they settle. nil: nothing is handed out,
// in a cancelled scope or where it was misused.
func (c Context) Settled(name string, ps []Pending) *Queue {
	f, x := c.f, c.f.x
	ops := operationsOf(ps)
	o, err := c.enter(history.Context, checkpoint.Settled, name)
	if err != nil {
		x.unanswered(f, err)
		return nil
	}
	defer c.Leave()
	if err := cmp.Or(x.anyAbandoned(f, ops...), x.foreign(f, ops...)); err != nil {
		x.holdNow(err)
		x.exit(f)
		return nil
	}
	if err := c.startContext(o, &Settings{}); err != nil {
		return nil
	}
	q := &Queue{c: c, o: o, ops: ops}
	f.r.identify()
	q.watch()
	if len(ps) == 0 && !o.Settled() && x.replay == nil {
		x.settle(o, &checkpoint.Record{Type: checkpoint.ContextSucceeded}, nil)
	}
	x.mu.Unlock()
	return q
}

// Queue hands out operations in the order in which they settle.
type Queue struct {
	c     Context
	o     *history.Operation // the Settled operation
	ops   []*history.Operation
	ready []int // settled, not handed out
	over  int   // behind a cancel: what stands before it in ops is not waited for
	w     *waiter
}

// watch enters what has settled and waits for the rest. x.mu is held.
func (q *Queue) watch() {
	out := make([]bool, len(q.ops))
	for _, choice := range q.o.Choices {
		if uint64(choice) < uint64(len(out)) {
			out[choice] = true
		}
	}
	for i, op := range q.ops {
		switch {
		case out[i]: // handed out
		case op.Settled():
			q.ready = append(q.ready, i)
		default:
			op.OnSettled = append(op.OnSettled, func() {
				q.ready = append(q.ready, i)
				if q.w != nil {
					q.c.f.x.wake(q.w)
				}
			})
		}
	}
	slices.SortStableFunc(q.ready, func(a, b int) int { return cmp.Compare(q.ops[a].EndSeq, q.ops[b].EndSeq) })
}

// Begin reports whether whoever ranges over q is the one who may: what it would miss
// otherwise, nobody would be told.
func (q *Queue) Begin() bool {
	f, x := q.c.f, q.c.f.x
	x.mu.Lock()
	others := x.mayGoOn(f) && (f.ended || !f.r.onItsGoroutine())
	x.mu.Unlock()
	if others {
		q.misused()
	}
	return !others
}

func (q *Queue) misused() {
	f, x := q.c.f, q.c.f.x
	x.unanswered(f, x.misused(f, history.Context, q.o.Name, fault.ErrConcurrentUse, hintSettled))
}

const hintSettled = "range over what Settled returns in the function whose context it was called with, while that one runs and does nothing else: inside a child or a branch call Settled with its own *durable.Context"

// Choice is the k-th index that is handed out, recorded when it is new.
func (q *Queue) Choice(k int) (int, bool) {
	f, x := q.c.f, q.c.f.x
	if !f.inUse.CompareAndSwap(false, true) {
		q.misused()
		return 0, false
	}
	defer f.inUse.Store(false)
	x.mu.Lock()
	if !x.mayGoOn(f) {
		return 0, x.exit(f) == nil
	}
	for k >= len(q.o.Choices) {
		if q.o.Settled() { // a cancel ended it
			f.passed(q.o)
			x.mu.Unlock()
			return 0, false
		}
		if f.rebuild {
			return 0, x.mismatched(f, q.o, "another choice") == nil
		}
		if x.replay != nil {
			return 0, x.beyond(f, q.o.ID, "another choice") == nil
		}
		by := q.o.CancelledBy()
		switch {
		case len(q.ready) > 0:
			f.replaying = false
			x.record(q.o, &checkpoint.Record{Type: checkpoint.AwaitableChosen, OperationID: q.o.ID, Number: int64(q.ready[0])}, nil)
			q.ready = q.ready[1:]
			if len(q.o.Choices) == len(q.ops) {
				x.settle(q.o, &checkpoint.Record{Type: checkpoint.ContextSucceeded}, nil)
			}
		case by != nil && !q.reaches(by):
			x.settle(q.o, &checkpoint.Record{Type: checkpoint.ContextFailed}, by.Cancelled())
		default:
			q.w = &waiter{r: f.r}
			if err := x.block(f, q.w); err != nil {
				return 0, false
			}
			q.w = nil
		}
	}
	choice := int(q.o.Choices[k])
	if choice >= len(q.ops) {
		x.choseOther(f, q.o, choice, len(q.ops))
		return 0, false
	}
	x.mu.Unlock()
	return choice, true
}

// reaches reports whether something is open that the cancel of by reaches, too.
// x.mu is held.
func (q *Queue) reaches(by *history.Operation) bool {
	for ; q.over < len(q.ops); q.over++ {
		if op := q.ops[q.over]; !op.Settled() && !op.Dead() && op.ReachedBy(by) {
			return true
		}
	}
	return false
}
