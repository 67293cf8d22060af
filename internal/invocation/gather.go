package invocation

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// gather is a CONTEXT operation that chooses among others: All, Any, Race, Select. The
// choice is recorded and returned: the index of the first one to settle that keep
// accepts; -1 if all have settled and it accepts none.
func (c Context) gather(sub checkpoint.SubType, name string, ops []*history.Operation, keep func(*history.Operation) bool) (int, error) {
	f, x := c.f, c.f.x
	o, err := c.enter(history.Context, sub, name)
	if err != nil {
		return 0, err
	}
	defer c.Leave()
	f.skips(o)
	if !o.Settled() {
		if err := cmp.Or(x.anyAbandoned(f, ops...), x.foreign(f, ops...)); err != nil {
			x.mu.Unlock()
			return 0, err
		}
		if f.rebuild {
			return 0, x.mismatched(f, o, "its outcome")
		}
		if err := c.startContext(o, &Settings{}); err != nil {
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
			rec.Payload = strconv.AppendInt(nil, int64(choice), 10)
			rec.Flags, rec.Codec = checkpoint.FlagPayload, "json"
		}
		for _, op := range ops {
			op.Noted = op.Noted || op.Settled()
		}
		x.settle(o, &rec, failure)
	}
	choice := -1 // null leaves it so
	out, err := c.outcome(o)
	if err != nil {
		return 0, err
	}
	if len(out.Payload) > 0 {
		if err := json.Unmarshal(out.Payload, &choice); err != nil {
			return 0, c.Undecodable(o, err)
		}
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
func (c Context) choose(o *history.Operation, ops []*history.Operation, keep func(*history.Operation) bool) (choice int, failure *fault.Failure, err error) {
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
func (x *Invocation) choseOther(f *frame, o *history.Operation, choice, given int) error {
	what := history.Describe(o.Type, o.SubType, o.Name)
	return x.diverged(f, o.ID, fmt.Sprintf("%s that chose awaitable %d", what, choice+1), fmt.Sprintf("%s of %d awaitables", what, given))
}

func any1(*history.Operation) bool         { return true }
func failedOnly(o *history.Operation) bool { return o.Failure != nil || !o.Settled() } // or it was abandoned
func succeeded(o *history.Operation) bool  { return !failedOnly(o) }

// Select is the index of the operation that settles first, for Select and Race.
func (c Context) Select(sub checkpoint.SubType, name string, ps []Pending) (int, error) {
	return c.gather(sub, name, operationsOf(ps), any1)
}

// All is the index of the first operation that fails, -1 when all have succeeded.
func (c Context) All(name string, ps []Pending) (int, error) {
	return c.gather(checkpoint.All, name, operationsOf(ps), failedOnly)
}

// Any is the index of the first operation that succeeds, -1 when all have failed.
func (c Context) Any(name string, ps []Pending) (int, error) {
	return c.gather(checkpoint.Any, name, operationsOf(ps), succeeded)
}

func operationsOf(ps []Pending) []*history.Operation {
	ops := make([]*history.Operation, len(ps))
	for i, p := range ps {
		ops[i] = p.o
	}
	return ops
}
