package storetest

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

// ErrInjected is the error of the calls that a FlakyStore lets fail. What calls
// it knows nothing about whether the change was made.
var ErrInjected = errors.New("storetest: injected failure")

// FlakyStore is a store some of whose calls fail, see Flaky.
type FlakyStore struct {
	checkpoint.Store

	mu     sync.Mutex
	random *rand.Rand
	rate   float64
}

// Flaky wraps a store. Of all calls that can fail, the share rate does, half of
// them without having done anything, the other half after they have succeeded.
// The same seed and the same order of calls give the same failures. Claims bring what
// they may bring along, or parts of it, whether or not the store does that.
//
// Append keeps its promises: done is called once for each append of an
// execution, in their order. Secret, Now, Watch and Close never fail.
func Flaky(store checkpoint.Store, seed uint64, rate float64) *FlakyStore {
	return &FlakyStore{Store: store, random: rand.New(rand.NewPCG(seed, seed)), rate: rate}
}

// SetRate sets the share of calls that fail from now on; 0 ends the failures.
func (f *FlakyStore) SetRate(rate float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rate = rate
}

type fate uint8

const (
	works fate = iota
	failsBefore
	failsAfter
)

func (f *FlakyStore) draw() fate {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch x := f.random.Float64(); {
	case x >= f.rate:
		return works
	case x < f.rate/2:
		return failsBefore
	}
	return failsAfter
}

// call makes a call as its fate wants it.
func (f *FlakyStore) call(call func() error) error {
	fate := f.draw()
	if fate == failsBefore {
		return ErrInjected
	}
	if err := call(); err != nil || fate == works {
		return err
	}
	return ErrInjected
}

// Append of checkpoint.Store.
func (f *FlakyStore) Append(a checkpoint.Append, done func(error)) {
	switch f.draw() {
	case failsBefore:
		// An append that the store refuses keeps its place in the order.
		a.Epoch = ^a.Epoch
		f.Store.Append(a, func(error) { done(ErrInjected) })
	case failsAfter:
		f.Store.Append(a, func(err error) {
			if err == nil {
				err = ErrInjected
			}
			done(err)
		})
	default:
		f.Store.Append(a, done)
	}
}

// Create of checkpoint.Store. What was claimed although the call failed is
// disowned, see Claim.
func (f *FlakyStore) Create(ctx context.Context, c checkpoint.Creation) (s checkpoint.Summary, created bool, err error) {
	err = f.call(func() (err error) {
		s, created, err = f.Store.Create(ctx, c)
		return err
	})
	if err == nil {
		return s, created, nil
	}
	if created && s.Owned {
		if err := f.Store.Disown(ctx, s.ID, s.Epoch); err != nil {
			return checkpoint.Summary{}, false, err
		}
	}
	return checkpoint.Summary{}, false, err
}

// Claim of checkpoint.Store. What was claimed although the call failed has an
// owner who does not know it; it is disowned, as a store would have to do that
// can't tell whether its answer arrived.
func (f *FlakyStore) Claim(ctx context.Context, r checkpoint.ClaimRequest) (claims []checkpoint.Claim, err error) {
	err = f.call(func() (err error) {
		claims, err = f.Store.Claim(ctx, r)
		return err
	})
	if err == nil {
		for i := range claims {
			f.bring(ctx, &claims[i])
		}
		return claims, nil
	}
	for _, c := range claims {
		if err := f.Store.Disown(ctx, c.ID, c.Epoch); err != nil {
			return nil, err
		}
	}
	return nil, err
}

// bring adds to a claim what a store may have read along: none, some or all of it.
func (f *FlakyStore) bring(ctx context.Context, c *checkpoint.Claim) {
	f.mu.Lock()
	records, inbox := f.random.Uint64N(c.Tail+2), f.random.IntN(2) == 0
	f.mu.Unlock()
	if len(c.Records) == 0 && records > 0 {
		for r, err := range f.Store.Records(ctx, c.ID, 0) {
			if err != nil || r.Seq > min(records, c.Tail) {
				break
			}
			c.Records = append(c.Records, r)
		}
	}
	if len(c.Inbox) == 0 && inbox && c.InboxTail > c.InboxSeen {
		entries, err := f.Store.Inbox(ctx, c.ID, c.InboxSeen)
		if n := c.InboxTail - c.InboxSeen; err == nil && uint64(len(entries)) >= n {
			c.Inbox = entries[:n]
		}
	}
}

// Disown of checkpoint.Store.
func (f *FlakyStore) Disown(ctx context.Context, id string, epoch uint64) error {
	return f.call(func() error { return f.Store.Disown(ctx, id, epoch) })
}

// Deliver of checkpoint.Store.
func (f *FlakyStore) Deliver(ctx context.Context, d checkpoint.Delivery) error {
	return f.call(func() error { return f.Store.Deliver(ctx, d) })
}

// Heartbeat of checkpoint.Store.
func (f *FlakyStore) Heartbeat(ctx context.Context, c checkpoint.CallbackRef) error {
	return f.call(func() error { return f.Store.Heartbeat(ctx, c) })
}

// End of checkpoint.Store.
func (f *FlakyStore) End(ctx context.Context, e checkpoint.Ending) (ended bool, err error) {
	err = f.call(func() (err error) {
		ended, err = f.Store.End(ctx, e)
		return err
	})
	return ended && err == nil, err
}

// Resume of checkpoint.Store.
func (f *FlakyStore) Resume(ctx context.Context, id string) error {
	return f.call(func() error { return f.Store.Resume(ctx, id) })
}

// Get of checkpoint.Store.
func (f *FlakyStore) Get(ctx context.Context, id string) (s checkpoint.Summary, err error) {
	err = f.call(func() (err error) {
		s, err = f.Store.Get(ctx, id)
		return err
	})
	return s, err
}

// Find of checkpoint.Store.
func (f *FlakyStore) Find(ctx context.Context, number uint64) (s checkpoint.Summary, err error) {
	err = f.call(func() (err error) {
		s, err = f.Store.Find(ctx, number)
		return err
	})
	return s, err
}

// List of checkpoint.Store. It fails before or behind its first summary.
func (f *FlakyStore) List(ctx context.Context, q checkpoint.Query) iter.Seq2[checkpoint.Summary, error] {
	return flakySeq(f.draw(), f.Store.List(ctx, q))
}

// Records of checkpoint.Store. It fails before or behind its first record.
func (f *FlakyStore) Records(ctx context.Context, id string, after uint64) iter.Seq2[checkpoint.Record, error] {
	return flakySeq(f.draw(), f.Store.Records(ctx, id, after))
}

func flakySeq[T any](fate fate, seq iter.Seq2[T, error]) iter.Seq2[T, error] {
	if fate == works {
		return seq
	}
	return func(yield func(T, error) bool) {
		var zero T
		if fate == failsAfter {
			for v, err := range seq {
				if !yield(v, err) {
					return
				}
				break
			}
		}
		yield(zero, ErrInjected)
	}
}

// Inbox of checkpoint.Store.
func (f *FlakyStore) Inbox(ctx context.Context, id string, after uint64) (entries []checkpoint.Record, err error) {
	err = f.call(func() (err error) {
		entries, err = f.Store.Inbox(ctx, id, after)
		return err
	})
	return entries, err
}

// Delete of checkpoint.Store.
func (f *FlakyStore) Delete(ctx context.Context, id string) error {
	return f.call(func() error { return f.Store.Delete(ctx, id) })
}

// Expire of checkpoint.Store.
func (f *FlakyStore) Expire(ctx context.Context, t time.Time, limit int) (n int, err error) {
	err = f.call(func() (err error) {
		n, err = f.Store.Expire(ctx, t, limit)
		return err
	})
	return n, err
}

// NextDue of checkpoint.Store.
func (f *FlakyStore) NextDue(ctx context.Context, r checkpoint.ClaimRequest) (at time.Time, err error) {
	err = f.call(func() (err error) {
		at, err = f.Store.NextDue(ctx, r)
		return err
	})
	return at, err
}
