package durable

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// gather is a CONTEXT operation that chooses among others: All, Any, Race, Select. The
// choice is recorded and returned: the index of the first one to settle that keep
// accepts; -1 if all have settled and it accepts none.
func (c *Context) gather(sub checkpoint.SubType, name string, ops []*history.Operation, keep func(*history.Operation) bool) (int, error) {
	f, x := c.f, c.f.x
	if slices.Contains(ops, nil) {
		panic(errNilAwaited)
	}
	o, err := c.enter(history.Context, sub, name)
	if err != nil {
		return 0, err
	}
	defer c.leave()
	f.skips(o)
	if !o.Settled() {
		if err := cmp.Or(x.anyAbandoned(f, ops...), x.foreign(f, ops...)); err != nil {
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
			return 0, x.beyond(f, o.ID, "its outcome")
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
			op.Noted = op.Noted || op.Settled()
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
func (c *Context) choose(o *history.Operation, ops []*history.Operation, keep func(*history.Operation) bool) (choice int, failure *fault.Failure, err error) {
	f, x := c.f, c.f.x
	by := o.CancelledBy()
	w := &waiter{r: f.r}
	choice, open := -1, 0
	for i, op := range ops {
		switch {
		case !op.Settled() && by == nil:
			open++
			op.OnSettled = append(op.OnSettled, func() {
				if choice >= 0 || o.CancelledBy() != nil {
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
		case !op.Settled() || by != nil && op.EndSeq > by.CancelSeq:
			open++
		case keep(op) && (choice < 0 || op.EndSeq < ops[choice].EndSeq):
			choice = i
		}
	}
	for choice < 0 && open > 0 {
		if by := o.CancelledBy(); by != nil {
			for _, op := range ops {
				for !op.Settled() && !op.Dead() && op.ReachedBy(by) {
					if err := x.waitFor(f, op); err != nil {
						return 0, nil, err
					}
				}
			}
			return 0, by.Cancelled(), nil
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
func (x *residency) choseOther(f *frame, o *history.Operation, choice, given int) error {
	what := history.Describe(o.Type, o.SubType, o.Name)
	return x.diverged(f, o.ID, fmt.Sprintf("%s that chose awaitable %d", what, choice+1), fmt.Sprintf("%s of %d awaitables", what, given))
}

func any1(*history.Operation) bool         { return true }
func failedOnly(o *history.Operation) bool { return o.Failure != nil || !o.Settled() } // or it was abandoned
func succeeded(o *history.Operation) bool  { return !failedOnly(o) }

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
		return nil, ctx.f.x.misused(ctx.f, history.Context, name, errNothingToAwait, "")
	}
	ops := operationsOf(as)
	i, err := ctx.gather(checkpoint.Select, name, ops, any1)
	if err != nil {
		return nil, err
	}
	return as[i], nil
}

var errNothingToAwait = errors.New("there is nothing to wait for: give it at least one awaitable")

func operationsOf(as []Awaitable) []*history.Operation {
	ops := make([]*history.Operation, len(as))
	for i, a := range as {
		if a != nil {
			ops[i] = a.operation()
		}
	}
	return ops
}

func operationsOfFutures[O any](fs []*Future[O]) []*history.Operation {
	ops := make([]*history.Operation, len(fs))
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
		return zero, ctx.f.x.misused(ctx.f, history.Context, name, errNothingToAwait, "")
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
		return zero, ctx.f.x.misused(ctx.f, history.Context, name, errNothingToAwait, "")
	}
	ops := operationsOfFutures(fs)
	i, err := ctx.gather(checkpoint.Race, name, ops, any1)
	if err != nil {
		return zero, err
	}
	return fs[i].Await(ctx)
}
