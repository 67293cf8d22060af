package durable

import (
	"cmp"
	"iter"
	"slices"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
)

// Settled yields the awaitables in the order in which they settled; the order is
// recorded. It claims its position when it is called, not when it is ranged
// over; ranging again yields the recorded order and then goes on.
//
// When its scope is cancelled, it goes on with what that cancel reaches, too, as it
// settles, whose Await returns the error, and then it ends: it does not wait for what is
// outside of the scope. So a loop that looks at each error, or at
// ctx.Context().Err() behind it, knows. Called in a cancelled scope it yields nothing.
//
// Like its context, what it returns belongs to the function that called it, and to
// that one's goroutine: ranged over in a child, a branch, a step's body or behind the
// function's return, it holds the execution (ErrConcurrentUse).
func Settled(ctx *Context, name string, as ...Awaitable) iter.Seq[Awaitable] {
	x := ctx.f.x
	ops := operationsOf(as)
	if slices.Contains(ops, nil) {
		panic(errNilAwaited)
	}
	o, err := ctx.enter(history.Context, checkpoint.Settled, name)
	if err != nil {
		x.unanswered(ctx.f, err)
		return func(func(Awaitable) bool) {}
	}
	defer ctx.leave()
	if err := cmp.Or(x.anyAbandoned(ctx.f, ops...), x.foreign(ctx.f, ops...)); err != nil {
		x.holdNow(err)
		x.exit(ctx.f)
		return func(func(Awaitable) bool) {}
	}
	if err := ctx.startContext(o, &settings{}); err != nil {
		return func(func(Awaitable) bool) {}
	}
	q := &settledQueue{c: ctx, o: o, ops: ops}
	ctx.f.r.identify()
	q.watch()
	if len(as) == 0 && !o.Settled() && x.replay == nil {
		x.settle(o, &checkpoint.Record{Type: checkpoint.ContextSucceeded}, nil)
	}
	x.mu.Unlock()
	return func(yield func(Awaitable) bool) {
		if !q.begin() {
			return
		}
		for k := range as {
			i, ok := q.choice(k)
			if !ok || !yield(as[i]) {
				return
			}
		}
	}
}

// settledQueue hands out operations in the order in which they settle.
type settledQueue struct {
	c     *Context
	o     *history.Operation // the Settled operation
	ops   []*history.Operation
	ready []int // settled, not handed out
	over  int   // behind a cancel: what stands before it in ops is not waited for
	w     *waiter
}

// watch enters what has settled and waits for the rest. x.mu is held.
func (q *settledQueue) watch() {
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

// begin reports whether whoever ranges over q is the one who may: what it would miss
// otherwise, nobody would be told.
func (q *settledQueue) begin() bool {
	f, x := q.c.f, q.c.f.x
	x.mu.Lock()
	others := x.mayGoOn(f) && (f.ended || !f.r.onItsGoroutine())
	x.mu.Unlock()
	if others {
		q.misused()
	}
	return !others
}

func (q *settledQueue) misused() {
	f, x := q.c.f, q.c.f.x
	x.unanswered(f, x.misused(f, history.Context, q.o.Name, ErrConcurrentUse, hintSettled))
}

const hintSettled = "range over what Settled returns in the function whose context it was called with, while that one runs and does nothing else: inside a child or a branch call Settled with its own *durable.Context"

// choice is the k-th index that is handed out, recorded when it is new.
func (q *settledQueue) choice(k int) (int, bool) {
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
func (q *settledQueue) reaches(by *history.Operation) bool {
	for ; q.over < len(q.ops); q.over++ {
		if op := q.ops[q.over]; !op.Settled() && !op.Dead() && op.ReachedBy(by) {
			return true
		}
	}
	return false
}
