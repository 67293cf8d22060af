package durable

import (
	"fmt"

	"github.com/durable-go/durable/checkpoint"
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
	e := ctx.f.x.e
	made := make([]decoded[O], n) // by items that ran now
	decode := func(res *batchResult) (*Batch[O], error) {
		b := &Batch[O]{reason: BatchReason(res.record.Reason)}
		var values []O
		if res.values != nil {
			if err := decodeWith(s.batchCodec, res.values, &values); err != nil {
				return nil, err
			}
		}
		for i := range res.record.Items {
			item := BatchItem[O]{Index: i, Name: res.names[i]}
			switch res.record.Items[i] {
			case 'S':
				item.Status = ItemSucceeded
				var err error
				if res.values == nil && made[i].holds(res.payloads[i]) {
					item.Value = made[i].value
				} else if res.values == nil {
					var codec Codec
					if codec, err = e.codecFor(s.codec, res.codecs[i]); err == nil {
						err = decodeWith(codec, res.payloads[i], &item.Value)
					}
				} else if len(values) > 0 {
					item.Value, values = values[0], values[1:]
				}
				if err != nil {
					return nil, fmt.Errorf("item %d: %w", i, err)
				}
			case 'F':
				item.Status, item.Err = ItemFailed, res.failures[i]
			case 'T':
				item.Status = ItemStarted
			default:
				continue
			}
			b.items = append(b.items, item)
		}
		return b, nil
	}
	res, err := ctx.batch(sub, itemSub, name, n, s, itemName,
		func(c *Context, i int) ([]byte, error) {
			v, err := fn(c, i)
			if err != nil {
				return nil, err
			}
			return made[i].encode(e, s.codec, v)
		},
		func(res *batchResult) ([]byte, error) {
			b, err := decode(res)
			if err != nil {
				return nil, err
			}
			return new(decoded[[]O]).encode(e, s.batchCodec, b.Values())
		})
	if err != nil {
		return nil, err
	}
	b, err := decode(res)
	if err != nil { // it could be decoded when it was recorded
		x := ctx.f.x
		x.mu.Lock()
		x.holdNow(fmt.Errorf("durable: execution %s, batch %q: %w", x.id, name, err))
		return nil, x.exit(ctx.f)
	}
	return b, res.err
}
