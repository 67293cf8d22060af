package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

var concurrencyTests = []test{
	{"ManyAppendAtOnce", func(p *probe) {
		const executions, appends = 24, 60
		var owners []*owner
		for _, id := range numbered("x", executions) {
			owners = append(owners, p.own(id))
		}
		together(executions, func(i int) {
			o := owners[i]
			for n := range appends {
				err := <-p.start(o.next(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: fmt.Sprint(i, "-", n)},
					checkpoint.Record{Type: checkpoint.StepSucceeded, OperationID: fmt.Sprint(i, "-", n)}))
				if err != nil {
					p.Errorf("%s: append %d: %v", o.id, n, err)
					return
				}
			}
		})
		for i, o := range owners {
			records := p.journal(o.id, 1)
			same(p, "records", len(records), 2*appends)
			for n, r := range records {
				same(p, "operation", r.OperationID, fmt.Sprint(i, "-", n/2))
			}
		}
	}},
	{"NothingWaitsForDone", func(p *probe) {
		// What is called back may wait for a lock that is held while the store is called.
		o := p.own("a")
		begun, release, returned := make(chan struct{}), make(chan struct{}), make(chan struct{})
		defer func() { <-returned }()
		defer close(release)
		p.s.Append(o.next(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"}), func(error) {
			close(begun)
			<-release
			close(returned)
		})
		<-begun
		made := make(chan struct{})
		go func() {
			defer close(made)
			for i := range 300 { // the next calls would wake up those of a round that were forgotten
				together(4, func(g int) { p.make(creation(fmt.Sprint(g, "-", i), "f")) })
			}
		}()
		select {
		case <-made:
		case <-time.After(time.Minute):
			p.Fatal("calls wait until done has returned")
		}
	}},
	{"ClaimsGiveEachOnce", func(p *probe) {
		const executions = 200
		for i, id := range numbered("x", executions) {
			p.make(creation(id, []string{"f", "g", "h"}[i%3]))
		}
		var mu sync.Mutex
		owners := make(map[string]int)
		together(8, func(int) {
			for {
				r := request("f", "g", "h")
				r.Max = 7
				claims, err := p.s.Claim(p.ctx, r)
				if err != nil {
					p.Error(err)
				}
				if len(claims) == 0 {
					return
				}
				mu.Lock()
				for _, c := range claims {
					owners[c.ID]++
				}
				mu.Unlock()
			}
		})
		same(p, "claimed", len(owners), executions)
		for id, n := range owners {
			if n != 1 {
				p.Fatalf("%s was claimed %d times", id, n)
			}
		}
	}},
	{"OneOutcomeOfACallback", func(p *probe) {
		const callbacks = 25
		now := p.now()
		var starts []checkpoint.Record
		for i := range callbacks {
			starts = append(starts, callback(fmt.Sprint(i), now, 0, 0))
		}
		p.waiting(starts...)
		wins := make([]atomic.Int32, callbacks)
		together(16, func(g int) {
			for i := range callbacks {
				d := outcome("a", fmt.Sprint(i))
				d.Record.Payload = fmt.Append(nil, g)
				switch err := p.s.Deliver(p.ctx, d); {
				case err == nil:
					wins[i].Add(1)
				case !errors.Is(err, checkpoint.ErrCallbackClosed):
					p.Error(err)
				}
			}
		})
		for i := range wins {
			same(p, "outcomes", wins[i].Load(), 1)
		}
		same(p, "entries", len(p.inbox("a", 0)), callbacks)
	}},
	{"DeliveryIsNeverLostInARelease", func(p *probe) {
		for i := range 60 {
			id := fmt.Sprintf("x%d", i)
			o := p.own(id)
			o.append(callback("1", p.now(), 0, 0))
			var released error
			together(2, func(g int) {
				if g == 1 {
					if err := p.s.Deliver(p.ctx, outcome(id, "1")); err != nil {
						p.Error(err)
					}
					return
				}
				a := o.next(checkpoint.Record{Type: checkpoint.InvocationCompleted})
				a.Release = &checkpoint.Release{WakeAt: p.in(time.Hour)}
				released = <-p.start(a)
			})
			if released != nil {
				p.is(released, checkpoint.ErrInboxNews)
				same(p, "Owned", p.get(id).Owned, true)
				p.awaitHint(checkpoint.HintInbox, id)
				p.stop(id)
			} else {
				p.claims(request("f"), id)
			}
		}
	}},
	{"EndAgainstTheOwner", func(p *probe) {
		for i := range 40 {
			id := fmt.Sprintf("x%d", i)
			o := p.own(id)
			var byOwner error
			var byOther bool
			together(2, func(g int) {
				if g == 0 {
					byOwner = <-p.start(o.final())
					return
				}
				var err error
				if byOther, err = p.s.End(p.ctx, stop(id)); err != nil {
					p.Error(err)
				}
			})
			if byOther == (byOwner == nil) {
				p.Fatalf("ended from outside: %v; by its owner: %v", byOther, byOwner)
			}
			same(p, "records", len(p.journal(id, 0)), 3)
			if byOther {
				p.is(byOwner, checkpoint.ErrFenced)
				same(p, "Status", p.get(id).Status, checkpoint.Stopped)
			}
		}
	}},
	{"InvokeAgainstTheEndOfItsCaller", func(p *probe) {
		for i := range 40 {
			caller := p.own(fmt.Sprintf("caller%d", i))
			child := fmt.Sprintf("child%d", i)
			var err error
			together(2, func(g int) {
				if g == 0 {
					_, _, err = p.s.Create(p.ctx, caller.invoked(child))
				} else if err := <-p.start(caller.final()); err != nil {
					p.Error(err)
				}
			})
			if err != nil {
				p.is(err, checkpoint.ErrEnded)
			} else if !p.get(child).Cancelled {
				p.Fatalf("%s was created, its caller has ended, and it was not cancelled", child)
			}
		}
	}},
	{"ReadersSeeWholeChanges", func(p *probe) {
		o := p.own("a")
		stopped := make(chan struct{})
		together(4, func(g int) {
			if g == 0 {
				defer close(stopped)
				for range 150 {
					if err := <-p.start(o.next(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"}, checkpoint.Record{Type: checkpoint.StepSucceeded, OperationID: "1"})); err != nil {
						p.Error(err)
						return
					}
				}
				return
			}
			for {
				s, err := p.s.Get(p.ctx, "a")
				if err != nil || s.Tail%2 != 1 || s.LastEvent != s.Tail {
					p.Errorf("tail %d, last event %d: %v", s.Tail, s.LastEvent, err)
					return
				}
				var last uint64
				for r, err := range p.s.Records(p.ctx, "a", 0) {
					if err != nil || r.Seq != last+1 {
						p.Errorf("record %d behind %d: %v", r.Seq, last, err)
						return
					}
					last = r.Seq
				}
				if last < s.Tail {
					p.Errorf("the journal ends with %d, it had %d before", last, s.Tail)
					return
				}
				for s, err := range p.s.List(p.ctx, checkpoint.Query{}) {
					if err != nil || s.ID != "a" {
						p.Errorf("listed %q: %v", s.ID, err)
						return
					}
				}
				select {
				case <-stopped:
					return
				default:
				}
			}
		})
	}},
	{"EverythingAtOnce", func(p *probe) {
		const workers, jobs = 6, 40
		for _, id := range numbered("job", jobs) {
			p.create(id)
		}
		var left atomic.Int32
		left.Store(jobs)
		stop := make(chan struct{})
		var background sync.WaitGroup
		for i := range 2 {
			background.Go(func() { // cancels, reads and expires, all the while
				for n := i; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					id := fmt.Sprintf("job%03d", n%jobs)
					err := errors.Join(p.s.Deliver(p.ctx, cancel(id)), p.s.Resume(p.ctx, id))
					_, expireErr := p.s.Expire(p.ctx, time.Unix(1, 0), 10)
					if err := errors.Join(err, expireErr); err != nil {
						p.Error(err)
						return
					}
				}
			})
		}
		together(workers, func(int) {
			for left.Load() > 0 && !p.Failed() {
				r := request("f")
				r.Max = 3
				claims, err := p.s.Claim(p.ctx, r)
				if err != nil {
					p.Error(err)
					return
				}
				for _, c := range claims {
					if p.work(c) {
						left.Add(-1)
					}
				}
			}
		})
		close(stop)
		background.Wait()
		for _, id := range numbered("job", jobs) {
			s := p.get(id)
			same(p, "Status", s.Status, checkpoint.Succeeded)
			same(p, "records", uint64(len(p.journal(id, 0))), s.Tail)
		}
	}},
}

// work makes one invocation of an execution: some steps, then a release, the
// loss of ownership, or the end, which it reports.
func (p *probe) work(c checkpoint.Claim) (ended bool) {
	o := p.ownerOf(c.Summary)
	for range 3 {
		if err := <-p.start(o.next(checkpoint.Record{Type: checkpoint.StepSucceeded, OperationID: "1"})); err != nil {
			p.Errorf("%s: %v", o.id, err)
			return false
		}
	}
	switch {
	case o.tail > 20:
		if err := <-p.start(o.final()); err != nil {
			p.Errorf("%s: %v", o.id, err)
			return false
		}
		return true
	case o.tail%2 == 0:
		if err := p.s.Disown(p.ctx, o.id, o.epoch); err != nil {
			p.Errorf("%s: %v", o.id, err)
		}
		return false
	}
	before := *o
	for {
		*o = before
		entries, err := p.s.Inbox(p.ctx, o.id, o.seen)
		if err != nil {
			p.Errorf("%s: %v", o.id, err)
			return false
		}
		if n := len(entries); n > 0 {
			o.seen = entries[n-1].Seq
		}
		before.seen = o.seen
		a := o.next(checkpoint.Record{Type: checkpoint.InvocationCompleted})
		a.Release = &checkpoint.Release{WakeAt: p.now()}
		switch err := <-p.start(a); {
		case err == nil:
			return false
		case !errors.Is(err, checkpoint.ErrInboxNews):
			p.Errorf("%s: %v", o.id, err)
			return false
		}
	}
}
