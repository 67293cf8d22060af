package durable

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/durable-go/durable/checkpoint"
)

// Future is the result of a function that Go started.
type Future[O any] struct {
	o  *operation
	s  settings
	fn contextFunc
}

// Go runs fn in a child context of its own, on its own goroutine, and returns at
// once. It is RunInChildContext otherwise, and takes the same options. A future
// that is not awaited before the function that started it returns is cancelled.
func Go[O any](ctx *Context, name string, fn func(*Context) (O, error), opts ...ChildOption) *Future[O] {
	s := childSettings(opts)
	run := encoding(s.codec, fn, nil)
	return &Future[O]{o: ctx.spawn(name, &s, run), s: s, fn: run}
}

func (c *Context) spawn(name string, s *settings, fn contextFunc) *operation {
	f, x := c.f, c.f.x
	if err := s.check(); err != nil {
		return failedOperation(c, typeContext, name, x.misused(f, typeContext, name, err, ""))
	}
	o, err := c.enter(typeContext, checkpoint.RunInChildContext, name)
	if err != nil {
		return failedOperation(c, typeContext, name, err)
	}
	defer c.leave()
	f.futures = append(f.futures, o)
	if !o.settled() && !f.rebuild {
		if err := c.startContext(o, s); err != nil {
			return failedOperation(c, typeContext, name, err)
		}
		below := x.newFrame(o, f)
		f.r.identify()
		x.spawn(below, func() {
			x.mu.Lock()
			below.r.identify()
			x.mu.Unlock()
			x.runContext(below, s, fn)
		})
	}
	x.mu.Unlock()
	return o
}

// failedOperation stands for one that could not be entered.
func failedOperation(c *Context, typ opType, name string, err error) *operation {
	return &operation{name: name, typ: typ, status: OperationFailed, endSeq: 1, refused: err, failure: c.f.x.e.errs.record(err), noted: true}
}

// Name is the name given to Go.
func (f *Future[O]) Name() string { return f.o.name }

// Await returns the result. It may be called more than once, and from another
// context than the one that started it. Of a future that the cancel of ctx's scope
// reaches, too, it waits for what that comes to; to wait for any other, it returns
// ErrCanceled or ErrTimeout when the scope of ctx is cancelled before that has an outcome.
func (f *Future[O]) Await(ctx *Context) (O, error) {
	var out O
	err := ctx.awaitContext(f.o, &f.s, f.fn, &out)
	return out, err
}

func (f *Future[O]) operation() *operation {
	if f == nil {
		return nil
	}
	return f.o
}

// awaitAndDecode waits for an operation that is not at a position of its own.
func (c *Context) awaitAndDecode(o *operation, codec Codec, out any) error {
	if err := c.awaitSettled(o); err != nil {
		return err
	}
	defer c.leave()
	return c.outcome(o, codec, out)
}

func (c *Context) awaitContext(o *operation, s *settings, fn contextFunc, out any) error {
	if err := c.awaitSettled(o); err != nil {
		return err
	}
	defer c.leave()
	return c.contextOutcome(o, s, fn, out)
}

// awaitSettled waits until o is settled. If it returns no error, the
// residency's mu is held, and c.leave must be deferred.
func (c *Context) awaitSettled(o *operation) error {
	f, x := c.f, c.f.x
	if !f.inUse.CompareAndSwap(false, true) {
		return x.misused(f, o.typ, o.name, ErrConcurrentUse, "another operation of this context is in progress: await with the context of the function that runs")
	}
	left := false
	defer func() {
		if !left {
			f.inUse.Store(false)
		}
	}()
	x.mu.Lock()
	if !x.mayGoOn(f) {
		return x.exit(f)
	}
	if err := x.foreign(f, o); err != nil {
		x.mu.Unlock()
		return err
	}
	if err := c.awaitOne(o); err != nil {
		return err
	}
	left = true
	return nil
}

// foreign returns an error if one of the operations is not of this residency.
// x.mu is held.
func (x *residency) foreign(f *frame, ops ...*operation) error {
	for _, o := range ops {
		if o.dead() && !o.settled() {
			return x.opError(o, ownFailure("Canceled", "the function that started it has returned"))
		}
		if x.ops[o.id] != o && o.refused == nil {
			return &OpError{Type: typeContext.String(), ExecutionID: x.id, OperationID: f.op.id, Name: f.op.name, Err: ErrConcurrentUse,
				Hint: "what is awaited belongs to another execution, or to an earlier invocation of this one: keep futures, callbacks and timers in variables of the handler"}
		}
	}
	return nil
}

// Awaitable is a *Future, a *Callback or a *Timer.
type Awaitable interface {
	Name() string
	operation() *operation
}

// Awaitables makes a slice of one type of awaitables one of Awaitable:
// Settled(ctx, "x", Awaitables(futures)...).
func Awaitables[A Awaitable](as []A) []Awaitable {
	out := make([]Awaitable, len(as))
	for i, a := range as {
		out[i] = a
	}
	return out
}

// gather is a CONTEXT operation that chooses among others: All, Any, Race, Select. The
// choice is recorded and returned: the index of the first one to settle that keep
// accepts; -1 if all have settled and it accepts none.
func (c *Context) gather(sub checkpoint.SubType, name string, ops []*operation, keep func(*operation) bool) (int, error) {
	f, x := c.f, c.f.x
	if slices.Contains(ops, nil) {
		panic(errNilAwaited)
	}
	o, err := c.enter(typeContext, sub, name)
	if err != nil {
		return 0, err
	}
	defer c.leave()
	f.skips(o)
	if !o.settled() {
		if err := x.foreign(f, ops...); err != nil {
			x.mu.Unlock()
			return 0, err
		}
		if f.rebuild {
			return 0, x.mismatched(f, o, "its outcome")
		}
		if err := c.startContext(o, &settings{}); err != nil {
			return 0, err
		}
		if x.replay != nil {
			return 0, x.beyond(f, o.id, "its outcome")
		}
		rec := checkpoint.Record{Type: checkpoint.ContextSucceeded}
		choice, failure, err := c.choose(o, ops, keep)
		switch {
		case err != nil:
			return 0, err
		case failure != nil:
			rec.Type = checkpoint.ContextFailed
		case choice >= 0:
			rec.Payload, _ = json.Marshal(choice)
			rec.Flags, rec.Codec = checkpoint.FlagPayload, JSON.Name()
		}
		for _, op := range ops {
			op.noted = op.noted || op.settled()
		}
		x.settle(o, &rec, failure)
	}
	choice := -1 // null leaves it so
	if err := c.outcome(o, JSON, &choice); err != nil {
		return 0, err
	}
	if choice >= len(ops) {
		x.mu.Lock()
		return 0, x.choseOther(f, o, choice, len(ops))
	}
	return choice, nil
}

// choose waits for the choice of the operation o. A cancel that reaches o before it could
// be made is its failure. What settles behind the cancel is not chosen: a timer that was
// cancelled has not fired. But what the cancel reaches, too, is waited for: futures may be
// compensating, and would be abandoned if the caller returned. x.mu is held.
func (c *Context) choose(o *operation, ops []*operation, keep func(*operation) bool) (choice int, failure *failureRecord, err error) {
	f, x := c.f, c.f.x
	by := o.cancelledBy()
	w := &waiter{r: f.r}
	choice, open := -1, 0
	for i, op := range ops {
		switch {
		case !op.settled() && by == nil:
			open++
			op.onSettled = append(op.onSettled, func() {
				if choice >= 0 || o.cancelledBy() != nil {
					return
				}
				open--
				if keep(op) {
					choice = i
				}
				if choice >= 0 || open == 0 {
					x.wake(w)
				}
			})
		case !op.settled() || by != nil && op.endSeq > by.cancelSeq:
			open++
		case keep(op) && (choice < 0 || op.endSeq < ops[choice].endSeq):
			choice = i
		}
	}
	for choice < 0 && open > 0 {
		if by := o.cancelledBy(); by != nil {
			for _, op := range ops {
				for !op.settled() && !op.dead() && op.reachedBy(by) {
					if err := x.waitFor(f, op); err != nil {
						return 0, nil, err
					}
				}
			}
			return 0, by.cancelled(), nil
		}
		w = &waiter{r: f.r}
		if err := x.block(f, w); err != nil {
			return 0, nil, err
		}
	}
	return choice, nil, nil
}

// choseOther holds the execution because the code does not give what was chosen any
// more. x.mu is held, and given up.
func (x *residency) choseOther(f *frame, o *operation, choice, given int) error {
	what := describeOp(o.typ, o.sub, o.name)
	return x.diverged(f, o.id, fmt.Sprintf("%s that chose awaitable %d", what, choice+1), fmt.Sprintf("%s of %d awaitables", what, given))
}

func any1(*operation) bool         { return true }
func failedOnly(o *operation) bool { return o.failure != nil || !o.settled() } // or it was abandoned
func succeeded(o *operation) bool  { return !failedOnly(o) }

// Select waits for the first of the awaitables that settles and returns it; the
// choice is recorded. Look at the error, then tell which with a switch:
//
//	first, err := durable.Select(ctx, "answer or patience", approval, timer)
//	if err != nil {
//		return err
//	}
//	switch first { case approval: … case timer: … }
//
// What has failed has settled: Await tells its error. When a cancel reaches Select before
// that, its error is ErrCanceled or ErrTimeout, and nothing is chosen, as neither has
// anybody answered nor is the time over. It returns that when the futures that the cancel
// reached, too, have settled: they may be compensating.
func Select(ctx *Context, name string, as ...Awaitable) (Awaitable, error) {
	if len(as) == 0 {
		return nil, ctx.f.x.misused(ctx.f, typeContext, name, errNothingToAwait, "")
	}
	ops := operationsOf(as)
	i, err := ctx.gather(checkpoint.Select, name, ops, any1)
	if err != nil {
		return nil, err
	}
	return as[i], nil
}

var errNothingToAwait = errors.New("there is nothing to wait for: give it at least one awaitable")

func operationsOf(as []Awaitable) []*operation {
	ops := make([]*operation, len(as))
	for i, a := range as {
		if a != nil {
			ops[i] = a.operation()
		}
	}
	return ops
}

func operationsOfFutures[O any](fs []*Future[O]) []*operation {
	ops := make([]*operation, len(fs))
	for i, f := range fs {
		ops[i] = f.operation()
	}
	return ops
}

// All waits until all futures have succeeded and returns their results in order,
// or until the first one fails and returns its error. A cancel is its error as it is
// that of Select.
func All[O any](ctx *Context, name string, fs ...*Future[O]) ([]O, error) {
	ops := operationsOfFutures(fs)
	i, err := ctx.gather(checkpoint.All, name, ops, failedOnly)
	if err != nil {
		return nil, err
	}
	if i >= 0 {
		_, err := fs[i].Await(ctx)
		return nil, err
	}
	out := make([]O, len(fs))
	for i, f := range fs {
		if out[i], err = f.Await(ctx); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Any waits for the first future that succeeds and returns its result; when all
// have failed, it returns their errors joined. A cancel is its error as it is that of
// Select.
func Any[O any](ctx *Context, name string, fs ...*Future[O]) (O, error) {
	var zero O
	if len(fs) == 0 {
		return zero, ctx.f.x.misused(ctx.f, typeContext, name, errNothingToAwait, "")
	}
	ops := operationsOfFutures(fs)
	i, err := ctx.gather(checkpoint.Any, name, ops, succeeded)
	if err != nil {
		return zero, err
	}
	if i >= 0 {
		return fs[i].Await(ctx)
	}
	var errs []error
	for _, f := range fs {
		_, err := f.Await(ctx)
		errs = append(errs, err)
	}
	return zero, errors.Join(errs...)
}

// Race waits for the first future that settles and returns its result or error.
// The others go on until the function that started them returns. A cancel is its error
// as it is that of Select.
func Race[O any](ctx *Context, name string, fs ...*Future[O]) (O, error) {
	var zero O
	if len(fs) == 0 {
		return zero, ctx.f.x.misused(ctx.f, typeContext, name, errNothingToAwait, "")
	}
	ops := operationsOfFutures(fs)
	i, err := ctx.gather(checkpoint.Race, name, ops, any1)
	if err != nil {
		return zero, err
	}
	return fs[i].Await(ctx)
}

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
	o, err := ctx.enter(typeContext, checkpoint.Settled, name)
	if err != nil {
		x.unanswered(ctx.f, err)
		return func(func(Awaitable) bool) {}
	}
	defer ctx.leave()
	if err := x.foreign(ctx.f, ops...); err != nil {
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
	if len(as) == 0 && !o.settled() && x.replay == nil {
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
	o     *operation // the Settled operation
	ops   []*operation
	ready []int // settled, not handed out
	over  int   // behind a cancel: what stands before it in ops is not waited for
	w     *waiter
}

// watch enters what has settled and waits for the rest. x.mu is held.
func (q *settledQueue) watch() {
	out := make([]bool, len(q.ops))
	for _, choice := range q.o.choices {
		if uint64(choice) < uint64(len(out)) {
			out[choice] = true
		}
	}
	for i, op := range q.ops {
		switch {
		case out[i]: // handed out
		case op.settled():
			q.ready = append(q.ready, i)
		default:
			op.onSettled = append(op.onSettled, func() {
				q.ready = append(q.ready, i)
				if q.w != nil {
					q.c.f.x.wake(q.w)
				}
			})
		}
	}
	slices.SortStableFunc(q.ready, func(a, b int) int { return cmp.Compare(q.ops[a].endSeq, q.ops[b].endSeq) })
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
	x.unanswered(f, x.misused(f, typeContext, q.o.name, ErrConcurrentUse, hintSettled))
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
	for k >= len(q.o.choices) {
		if q.o.settled() { // a cancel ended it
			f.passed(q.o)
			x.mu.Unlock()
			return 0, false
		}
		if f.rebuild {
			return 0, x.mismatched(f, q.o, "another choice") == nil
		}
		if x.replay != nil {
			return 0, x.beyond(f, q.o.id, "another choice") == nil
		}
		by := q.o.cancelledBy()
		switch {
		case len(q.ready) > 0:
			f.replaying = false
			x.record(q.o, &checkpoint.Record{Type: checkpoint.AwaitableChosen, OperationID: q.o.id, Number: int64(q.ready[0])}, nil)
			q.ready = q.ready[1:]
			if len(q.o.choices) == len(q.ops) {
				x.settle(q.o, &checkpoint.Record{Type: checkpoint.ContextSucceeded}, nil)
			}
		case by != nil && !q.reaches(by):
			x.settle(q.o, &checkpoint.Record{Type: checkpoint.ContextFailed}, by.cancelled())
		default:
			q.w = &waiter{r: f.r}
			if err := x.block(f, q.w); err != nil {
				return 0, false
			}
			q.w = nil
		}
	}
	choice := int(q.o.choices[k])
	if choice >= len(q.ops) {
		x.choseOther(f, q.o, choice, len(q.ops))
		return 0, false
	}
	x.mu.Unlock()
	return choice, true
}

// reaches reports whether something is open that the cancel of by reaches, too.
// x.mu is held.
func (q *settledQueue) reaches(by *operation) bool {
	for ; q.over < len(q.ops); q.over++ {
		if op := q.ops[q.over]; !op.settled() && !op.dead() && op.reachedBy(by) {
			return true
		}
	}
	return false
}
