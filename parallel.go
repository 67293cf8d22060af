package durable

import (
	"fmt"
	"strings"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/invocation"
)

// Branch is one branch of a Parallel.
type Branch[O any] struct {
	Name string
	Run  func(*Context) (O, error)
}

// Parallel runs branches at the same time, each in a child context of its own,
// and records the outcome of each and of the whole.
//
// Without options it fails fast: the first failure ends the batch, what still
// runs is cancelled, and the error is ErrFailureToleranceExceeded, which matches
// the failed branches' errors too. With WithMinSuccessful or the tolerances it
// goes on as they say. The batch is filled whenever it is not nil, also beside
// an error; see BatchReason for when it ended and why. It is never decided
// again: a replay returns the recorded statuses.
//
// When its scope is cancelled, or WithTimeout passes, no branch starts any more, those
// that run are cancelled and waited for, as they may be compensating, and the error is
// ErrCanceled or ErrTimeout. The batch beside it has what had succeeded by then: "ask
// fifty suppliers, take who answered within ten minutes".
//
// Options: WithMaxConcurrency, WithMinSuccessful, WithToleratedFailures,
// WithToleratedFailurePercent, WithItemNames, Flat, WithTimeout, WithCodec (of
// each branch's result), WithBatchCodec.
func Parallel[O any](ctx *Context, name string, branches []Branch[O], opts ...BatchOption) (*Batch[O], error) {
	s := batchSettings(opts)
	return runBatch(ctx, checkpoint.Parallel, checkpoint.ParallelBranch, name, len(branches), &s,
		func(i int) string { return branches[i].Name },
		func(c *Context, i int) (O, error) {
			if branches[i].Run == nil {
				var zero O
				return zero, Permanent(fmt.Errorf("branch %d (%q) has no Run", i, branches[i].Name))
			}
			return branches[i].Run(c)
		})
}

// runBatch runs a batch and decodes its values.
func runBatch[O any](ctx *Context, sub, itemSub checkpoint.SubType, name string, n int, s *settings,
	itemName func(int) string, fn func(*Context, int) (O, error)) (*Batch[O], error) {
	v := ctx.v
	if err := s.check(); err != nil {
		return nil, ctx.misused(history.Context, name, err, "")
	}
	if s.itemName != nil {
		itemName = s.itemName
	}
	names := make([]string, n)
	for i := range names {
		names[i] = itemName(i)
	}
	d := &batchDecoder[O]{v: v, s: s, made: make([]decoded[O], n)}
	item := func(in invocation.Context, i int) (r invocation.Return) {
		defer v.recovered(&r)
		value, err := fn(&Context{in, v}, i)
		if err != nil {
			return v.returned(nil, err)
		}
		return v.returned(d.made[i].encode(v, s.codec, value))
	}
	collect := func(res *invocation.BatchResult) (r invocation.Return) {
		defer v.recovered(&r)
		b, _, err := d.decode(res)
		if err != nil {
			return v.returned(nil, err)
		}
		return v.returned(new(decoded[[]O]).encode(v, s.batchCodec, b.Values()))
	}
	res, err := ctx.in.Batch(sub, itemSub, name, names, s.named(v), item, collect)
	if err != nil {
		return nil, v.public(err)
	}
	if res.ID == "" { // it began in a cancelled scope
		return &Batch[O]{}, v.public(res.Err)
	}
	defer ctx.in.Leave()
	b, failures, err := d.decode(res)
	if err != nil { // it could be decoded when it was recorded
		return nil, v.public(ctx.in.Hold(v.reason(fmt.Errorf("durable: execution %s, batch %q: %w", ctx.ExecutionID(), name, err))))
	}
	if res.Err != nil {
		return b, v.public(res.Err)
	}
	return b, batchError(res, failures)
}

// batchDecoder makes batches of what is recorded of them.
type batchDecoder[O any] struct {
	v    *values
	s    *settings
	made []decoded[O] // by items that ran now
}

// decode makes a batch; failures are the errors of its failed items, in order.
func (d *batchDecoder[O]) decode(res *invocation.BatchResult) (b *Batch[O], failures []error, err error) {
	b = &Batch[O]{reason: BatchReason(res.Record.Reason)}
	var values []O
	if res.Values != nil {
		if err := decodeWith(d.s.batchCodec, res.Values, &values); err != nil {
			return nil, nil, err
		}
	}
	for i, status := range []byte(res.Record.Items) {
		item := BatchItem[O]{Index: i, Name: res.Names[i]}
		switch status {
		case 'S':
			item.Status = ItemSucceeded
			switch {
			case len(values) > 0:
				item.Value, values = values[0], values[1:]
			case res.Values == nil:
				if item.Value, err = d.value(res, i); err != nil {
					return nil, nil, fmt.Errorf("item %d: %w", i, err)
				}
			}
		case 'F':
			item.Status, item.Err = ItemFailed, d.v.failed(res.Failed[i])
			failures = append(failures, item.Err)
		case 'T':
			item.Status = ItemStarted
		default:
			continue
		}
		b.items = append(b.items, item)
	}
	return b, failures, nil
}

// value is that of an item that has its own.
func (d *batchDecoder[O]) value(res *invocation.BatchResult, i int) (value O, err error) {
	if d.made[i].holds(res.Payloads[i]) {
		return d.made[i].value, nil
	}
	codec, err := d.v.codecFor(d.s.codec, res.Codecs[i])
	if err == nil {
		err = decodeWith(codec, res.Payloads[i], &value)
	}
	return value, err
}

// batchError is what Parallel and Map return beside a batch that was decided.
func batchError(res *invocation.BatchResult, failures []error) error {
	var failure *Failure
	succeeded := strings.Count(res.Record.Items, "S")
	switch {
	case res.Record.Reason == history.FailureToleranceExceeded:
		failure = &Failure{Type: "FailureToleranceExceeded", matches: []error{ErrFailureToleranceExceeded},
			Message: fmt.Sprintf("%d of %d items failed, first: %s", len(failures), len(res.Names), failures[0])}
	case succeeded < res.Record.Min:
		failure = &Failure{Type: "MinSuccessfulNotReached", matches: []error{ErrMinSuccessfulNotReached},
			Message: fmt.Sprintf("%d items succeeded, %d were asked for", succeeded, res.Record.Min)}
	default:
		return nil
	}
	failure.matches = append(failure.matches, failures...)
	return &OpError{Type: history.Context.String(), ExecutionID: res.ExecutionID, OperationID: res.ID, Name: res.Name, Err: failure}
}
