package storetest

import (
	"time"

	"github.com/durable-go/durable/checkpoint"
)

// endedAt makes an execution that ended at a time.
func (p *probe) endedAt(c checkpoint.Creation, at int64) {
	p.Helper()
	a := p.ownerOf(p.make(claimed(c))).final()
	for i := range a.Records {
		a.Records[i].Time = at
	}
	p.ok(p.append(a))
}

func (p *probe) expire(before int64, limit int) int {
	p.Helper()
	n, err := p.s.Expire(p.ctx, time.Unix(0, before), limit)
	p.ok(err)
	return n
}

var deleteTests = []test{
	{"OnlyWhatHasEnded", func(p *probe) {
		o := p.own("a")
		p.is(p.s.Delete(p.ctx, "a"), checkpoint.ErrRunning)
		o.release(0)
		p.is(p.s.Delete(p.ctx, "a"), checkpoint.ErrRunning)
		p.is(p.s.Delete(p.ctx, "nobody"), checkpoint.ErrNotFound)
		p.stop("a")
		p.ok(p.s.Delete(p.ctx, "a"))
		p.is(p.s.Delete(p.ctx, "a"), checkpoint.ErrNotFound)
	}},
	{"LeavesNothing", func(p *probe) {
		s := p.finished("a")
		p.ok(p.s.Delete(p.ctx, "a"))
		_, err := p.s.Get(p.ctx, "a")
		p.is(err, checkpoint.ErrNotFound)
		_, err = p.s.Find(p.ctx, s.Number)
		p.is(err, checkpoint.ErrNotFound)
		_, err = p.s.Inbox(p.ctx, "a", 0)
		p.is(err, checkpoint.ErrNotFound)
		for _, err := range p.s.Records(p.ctx, "a", 0) {
			p.is(err, checkpoint.ErrNotFound)
		}
		same(p, "list", len(p.list(checkpoint.Query{})), 0)
		same(p, "expired", p.expire(p.in(time.Hour), 10), 0)
	}},
	{"LetsTheIDStartAgain", func(p *probe) {
		first := p.finished("a")
		p.ok(p.s.Delete(p.ctx, "a"))
		c := creation("a", "g")
		c.Incarnation = incarnation("again")
		s := p.make(c)
		if s.Number <= first.Number {
			p.Fatalf("number %d was given again", s.Number)
		}
		same(p, "journal", p.types("a"), []checkpoint.EventType{checkpoint.ExecutionStarted})
		same(p, "Status", s.Status, checkpoint.Running)
	}},
	{"LongJournal", func(p *probe) {
		o := p.own("a")
		for range 1000 {
			p.start(o.next(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"}))
		}
		o.finish()
		p.ok(p.s.Delete(p.ctx, "a"))
		p.create("a")
		same(p, "journal", len(p.journal("a", 0)), 1)
	}},
	{"WhileItIsRead", func(p *probe) {
		o := p.own("a")
		for range 2000 {
			p.start(o.next(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1", Payload: make([]byte, 1000)}))
		}
		o.finish()
		n := 0
		var failure error
		for _, err := range p.s.Records(p.ctx, "a", 0) {
			if failure = err; err != nil {
				break
			}
			if n++; n == 5 {
				p.ok(p.s.Delete(p.ctx, "a"))
				p.create("a")
			}
		}
		if n != 2003 {
			p.is(failure, checkpoint.ErrNotFound)
		}
	}},
	{"ExpiresWhatEndedBefore", func(p *probe) {
		now := p.now()
		p.endedAt(creation("old", "f"), now-10)
		p.endedAt(creation("at", "f"), now)
		p.endedAt(creation("new", "f"), now+10)
		p.own("running")
		same(p, "expired", p.expire(now, 10), 1)
		same(p, "left", p.list(checkpoint.Query{}), []string{"running", "new", "at"})
		same(p, "expired", p.expire(now+11, 10), 2)
		same(p, "left", p.list(checkpoint.Query{}), []string{"running"})
	}},
	{"ExpiresInBites", func(p *probe) {
		now := p.now()
		for i, id := range numbered("x", 100) {
			p.endedAt(creation(id, "f"), now+int64(i))
		}
		same(p, "no bite", p.expire(now+1000, 0), 0)
		for left := 100; left > 0; {
			n := p.expire(now+1000, 40)
			same(p, "bite", n, min(left, 40))
			left -= n
			same(p, "left", len(p.list(checkpoint.Query{})), left)
		}
		same(p, "expired", p.expire(now+1000, 40), 0)
	}},
	{"ExpiresInvokedOnesAfterTheirCaller", func(p *probe) {
		caller := p.own("caller")
		past := p.now() - int64(time.Hour)
		for _, id := range numbered("child", 10) {
			p.endedAt(caller.invoked(id), past)
		}
		p.endedAt(creation("other", "f"), past+1)
		same(p, "expired", p.expire(p.now(), 5), 1)
		same(p, "expired", p.expire(p.now(), 5), 0)
		same(p, "left", len(p.list(checkpoint.Query{})), 11)
		caller.finish()
		same(p, "expired", p.expire(past+1, 100), 10)
		same(p, "expired", p.expire(p.in(time.Hour), 100), 1)
	}},
	{"ExpiresInBitesWhatHadToBeKept", func(p *probe) {
		caller := p.own("caller")
		past := p.now() - int64(time.Hour)
		for _, id := range numbered("child", 10) {
			p.endedAt(caller.invoked(id), past)
		}
		for i, id := range numbered("other", 6) {
			p.endedAt(creation(id, "f"), past+1+int64(i))
		}
		same(p, "bite", p.expire(p.now(), 2), 2)
		same(p, "of an earlier time", p.expire(past+4, 2), 1)
		same(p, "bite", p.expire(p.now(), 2), 2)
		caller.finish()
		same(p, "bite of what is left, and what was kept", p.expire(p.in(time.Hour), 4), 4)
		same(p, "expired", p.expire(p.in(time.Hour), 100), 8)
	}},
	{"ExpiresInvokedOnesWithoutCaller", func(p *probe) {
		caller := p.own("caller")
		child := p.ownerOf(p.make(claimed(caller.invoked("a"))))
		caller.finish()
		p.ok(p.s.Delete(p.ctx, "caller"))
		child.finish()
		c := creation("caller", "f") // not the one that invoked it
		c.Incarnation = incarnation("again")
		p.make(c)
		same(p, "expired", p.expire(p.in(time.Hour), 100), 1)
	}},
}
