package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/durable-go/durable/checkpoint"
)

// LaggingStore is a store that may show what it held some time ago, see Lagging.
type LaggingStore struct {
	checkpoint.Store

	mu        sync.Mutex
	shown     []shown // newest first; nil: what the store holds
	summaries bool    // they are old, too
}

// shown is an execution as it was.
type shown struct {
	sum     checkpoint.Summary
	records []checkpoint.Record
	inbox   []checkpoint.Record
}

// Lagging wraps a store. What is changed is changed in the store; what is read is, from
// Freeze to Thaw, what it held at Freeze, as if that were asked of a replica that is
// behind. So it is no Store that keeps the contract. NextDue is asked of the store; what a
// claim brings along is left out, so that it is read.
func Lagging(store checkpoint.Store) *LaggingStore { return &LaggingStore{Store: store} }

// Freeze lets summaries, journals and inboxes be shown as they are now.
func (l *LaggingStore) Freeze(ctx context.Context) error { return l.freeze(ctx, true) }

// FreezeJournals is Freeze without the summaries, as if those were asked of another
// server.
func (l *LaggingStore) FreezeJournals(ctx context.Context) error { return l.freeze(ctx, false) }

func (l *LaggingStore) freeze(ctx context.Context, summaries bool) error {
	all := []shown{}
	for s, err := range l.Store.List(ctx, checkpoint.Query{}) {
		if err != nil {
			return err
		}
		one := shown{sum: s}
		for r, err := range l.Store.Records(ctx, s.ID, 0) {
			if err != nil {
				return err
			}
			one.records = append(one.records, r)
		}
		var err error
		if one.inbox, err = l.Store.Inbox(ctx, s.ID, 0); err != nil {
			return err
		}
		all = append(all, one)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shown, l.summaries = all, summaries
	return nil
}

// Thaw lets everything be shown as it is.
func (l *LaggingStore) Thaw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shown = nil
}

// old is what is shown of an execution; frozen is false if that is what the store holds.
func (l *LaggingStore) old(summary bool, is func(*shown) bool) (one shown, frozen bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shown == nil || summary && !l.summaries {
		return shown{}, false, nil
	}
	i := slices.IndexFunc(l.shown, func(s shown) bool { return is(&s) })
	if i < 0 {
		return shown{}, true, fmt.Errorf("storetest: it was not there yet: %w", checkpoint.ErrNotFound)
	}
	return l.shown[i], true, nil
}

// Claim of checkpoint.Store.
func (l *LaggingStore) Claim(ctx context.Context, r checkpoint.ClaimRequest) ([]checkpoint.Claim, error) {
	claims, err := l.Store.Claim(ctx, r)
	for i := range claims {
		claims[i].Records, claims[i].Inbox = nil, nil
	}
	return claims, err
}

func byID(id string) func(*shown) bool { return func(s *shown) bool { return s.sum.ID == id } }

// Get of checkpoint.Store.
func (l *LaggingStore) Get(ctx context.Context, id string) (checkpoint.Summary, error) {
	if one, frozen, err := l.old(true, byID(id)); frozen {
		return one.sum, err
	}
	return l.Store.Get(ctx, id)
}

// Find of checkpoint.Store.
func (l *LaggingStore) Find(ctx context.Context, number uint64) (checkpoint.Summary, error) {
	if one, frozen, err := l.old(true, func(s *shown) bool { return s.sum.Number == number }); frozen {
		return one.sum, err
	}
	return l.Store.Find(ctx, number)
}

// List of checkpoint.Store. Frozen, it knows only the Status and the Limit of a query.
func (l *LaggingStore) List(ctx context.Context, q checkpoint.Query) iter.Seq2[checkpoint.Summary, error] {
	l.mu.Lock()
	all, summaries := l.shown, l.summaries
	l.mu.Unlock()
	if all == nil || !summaries {
		return l.Store.List(ctx, q)
	}
	return func(yield func(checkpoint.Summary, error) bool) {
		n := 0
		for _, one := range all {
			if q.Status != 0 && one.sum.Status != q.Status {
				continue
			}
			if n++; !yield(one.sum, nil) || n == q.Limit {
				return
			}
		}
	}
}

// Records of checkpoint.Store.
func (l *LaggingStore) Records(ctx context.Context, id string, after uint64) iter.Seq2[checkpoint.Record, error] {
	one, frozen, err := l.old(false, byID(id))
	if !frozen {
		return l.Store.Records(ctx, id, after)
	}
	return func(yield func(checkpoint.Record, error) bool) {
		if err != nil {
			yield(checkpoint.Record{}, err)
			return
		}
		for _, r := range one.records {
			if r.Seq > after && !yield(r, nil) {
				return
			}
		}
	}
}

// Inbox of checkpoint.Store.
func (l *LaggingStore) Inbox(ctx context.Context, id string, after uint64) ([]checkpoint.Record, error) {
	one, frozen, err := l.old(false, byID(id))
	if !frozen {
		return l.Store.Inbox(ctx, id, after)
	}
	return slices.DeleteFunc(slices.Clone(one.inbox), func(r checkpoint.Record) bool { return r.Seq <= after }), err
}

// showsAllOf is an error unless a store shows all of an execution that its claim knows.
func showsAllOf(ctx context.Context, s checkpoint.Store, c *checkpoint.Claim) error {
	tail := uint64(0)
	for _, r := range c.Records {
		if tail++; r.Seq != tail {
			return fmt.Errorf("%s was claimed with record %d in place of %d", c.ID, r.Seq, tail)
		}
	}
	if n := len(c.Inbox); n > 0 && (c.Inbox[0].Seq != c.InboxSeen+1 || c.Inbox[n-1].Seq != c.InboxTail) {
		return fmt.Errorf("%s was claimed with entries %d to %d of an inbox from %d to %d", c.ID, c.Inbox[0].Seq, c.Inbox[n-1].Seq, c.InboxSeen+1, c.InboxTail)
	}
	tail = 0
	for r, err := range s.Records(ctx, c.ID, 0) {
		if err != nil {
			return err
		}
		tail = r.Seq
	}
	inbox, err := s.Inbox(ctx, c.ID, c.InboxSeen)
	if err != nil {
		return err
	}
	last := c.InboxSeen
	if len(inbox) > 0 {
		last = inbox[len(inbox)-1].Seq
	}
	sum, err := s.Get(ctx, c.ID)
	if err != nil {
		return err
	}
	if tail < c.Tail || last < c.InboxTail || sum.Epoch < c.Epoch {
		return fmt.Errorf("%s was claimed with %d records, inbox up to %d and epoch %d: %d records, inbox up to %d and epoch %d are shown",
			c.ID, c.Tail, c.InboxTail, c.Epoch, tail, last, sum.Epoch)
	}
	return nil
}

var laggingTests = []test{
	{"AClaimIsNotAheadOfWhatIsRead", func(p *probe) {
		const owners, turns = 8, 25
		for _, id := range numbered("x", owners) {
			p.create(id)
		}
		together(owners, func(int) {
			for range turns {
				r := request("f")
				r.Max = 1
				claims, err := p.s.Claim(p.ctx, r)
				if err != nil {
					p.Error(err)
					return
				}
				for i := range claims {
					c := &claims[i]
					if err := showsAllOf(p.ctx, p.s, c); err != nil {
						p.Error(err)
					}
					o := p.ownerOf(c.Summary)
					o.seen = c.InboxTail
					p.start(o.next(checkpoint.Record{Type: checkpoint.StepSucceeded, OperationID: "1"}, checkpoint.Record{Type: checkpoint.StepSucceeded, OperationID: "2"}))
					a := o.next()
					a.Release = &checkpoint.Release{WakeAt: p.now()}
					err := <-p.start(a)
					if errors.Is(err, checkpoint.ErrInboxNews) { // of who had it before
						err = p.s.Disown(p.ctx, c.ID, c.Epoch)
					}
					if err != nil {
						p.Error(err)
					}
					if err := p.s.Deliver(p.ctx, invokeOutcome(c.ID)); err != nil {
						p.Error(err)
					}
				}
			}
		})
	}},
	{"ALaggingStoreIsFound", func(p *probe) {
		l := Lagging(p.s)
		o := p.own("a")
		o.append(checkpoint.Record{Type: checkpoint.StepSucceeded, OperationID: "1"})
		o.release(p.now())
		p.ok(l.Freeze(p.ctx))
		c := p.claims(request("f"), "a")["a"]
		p.fails(showsAllOf(p.ctx, l, &c)) // the epoch
		l.Thaw()
		p.ok(showsAllOf(p.ctx, l, &c))
		o = p.ownerOf(c.Summary)
		for _, change := range []func(){
			func() { o.append(checkpoint.Record{Type: checkpoint.StepSucceeded, OperationID: "2"}) },
			func() { p.ok(p.s.Deliver(p.ctx, invokeOutcome("a"))) },
		} {
			p.ok(l.FreezeJournals(p.ctx))
			change()
			known := checkpoint.Claim{Summary: p.get("a")}
			p.fails(showsAllOf(p.ctx, l, &known))
			l.Thaw()
			p.ok(showsAllOf(p.ctx, l, &known))
		}
	}},
}
