package storetest

import (
	"github.com/durable-go/durable/checkpoint"
)

var inboxTests = []test{
	{"NumbersAndKeepsWhatIsDelivered", func(p *probe) {
		o := p.own("a")
		o.append(callback("1", p.now(), 0, 0), callback("2", p.now(), 0, 0))
		d := outcome("a", "1")
		d.Record.Time = 12345
		p.ok(p.s.Deliver(p.ctx, d))
		before := p.now()
		p.ok(p.s.Deliver(p.ctx, outcome("a", "2")))
		p.ok(p.s.Deliver(p.ctx, cancel("a")))
		entries := p.inbox("a", 0)
		same(p, "entries", typesOf(entries), []checkpoint.EventType{checkpoint.CallbackSucceeded, checkpoint.CallbackSucceeded, checkpoint.CancelRequested})
		for i, e := range entries {
			same(p, "Seq", e.Seq, uint64(i+1))
		}
		same(p, "payload", string(entries[0].Payload), `"approved"`)
		same(p, "a time that was given", entries[0].Time, int64(12345))
		if entries[1].Time < before {
			p.Fatalf("time is %d, before %d", entries[1].Time, before)
		}
		same(p, "Key", entries[2].Key, "why")
		same(p, "InboxTail", p.get("a").InboxTail, uint64(3))
		same(p, "behind 2", len(p.inbox("a", 2)), 1)
		same(p, "behind all", len(p.inbox("a", 3)), 0)
	}},
	{"IsCutByWhatTheJournalTookOver", func(p *probe) {
		o := p.own("a")
		for range 5 {
			p.ok(p.s.Deliver(p.ctx, invokeOutcome("a")))
		}
		o.seen = 3
		o.append(checkpoint.Record{Type: checkpoint.ChainedInvokeSucceeded, OperationID: "1"})
		entries := p.inbox("a", 0)
		same(p, "entries left", len(entries), 2)
		same(p, "first one left", entries[0].Seq, uint64(4))
		o.seen = 0 // an append that says less brings nothing back
		o.append()
		same(p, "InboxSeen", p.get("a").InboxSeen, uint64(3))
		p.ok(p.s.Deliver(p.ctx, invokeOutcome("a")))
		same(p, "entries left", len(p.inbox("a", 0)), 3)
	}},
	{"OfSomebodyElse", func(p *probe) {
		p.own("a")
		p.is(p.s.Deliver(p.ctx, cancel("nobody")), checkpoint.ErrNotFound)
		d := cancel("a")
		d.Incarnation = incarnation("other")
		p.is(p.s.Deliver(p.ctx, d), checkpoint.ErrNotFound)
		d.Incarnation = incarnation("a")
		p.ok(p.s.Deliver(p.ctx, d))
		_, err := p.s.Inbox(p.ctx, "nobody", 0)
		p.is(err, checkpoint.ErrNotFound)
	}},
	{"CancelCountsOnce", func(p *probe) {
		o := p.own("a")
		p.ok(p.s.Deliver(p.ctx, cancel("a")))
		p.ok(p.s.Deliver(p.ctx, cancel("a")))
		same(p, "entries", len(p.inbox("a", 0)), 1)
		same(p, "Cancelled", p.get("a").Cancelled, true)
		o.seen = 1
		o.append(checkpoint.Record{Type: checkpoint.ScopeCancelled, Key: "Canceled"})
		p.ok(p.s.Deliver(p.ctx, cancel("a")))
		same(p, "entries", len(p.inbox("a", 0)), 0)
		o.finish()
		p.ok(p.s.Deliver(p.ctx, cancel("a")))
		same(p, "entries", len(p.inbox("a", 0)), 0)
	}},
	{"OfAnEndedOneTakesNothing", func(p *probe) {
		p.finished("a")
		p.ok(p.s.Deliver(p.ctx, cancel("a")))
		p.ok(p.s.Deliver(p.ctx, invokeOutcome("a")))
		same(p, "entries", len(p.inbox("a", 0)), 0)
		same(p, "Tail", p.get("a").Tail, uint64(3))
	}},
	{"TakesOnlyWhatComesFromOutside", func(p *probe) {
		p.own("a")
		for _, t := range []checkpoint.EventType{0, checkpoint.StepSucceeded, checkpoint.CallbackStarted, checkpoint.ExecutionSucceeded} {
			p.fails(p.s.Deliver(p.ctx, checkpoint.Delivery{ID: "a", Record: checkpoint.Record{Type: t, OperationID: "1"}}))
		}
		same(p, "entries", len(p.inbox("a", 0)), 0)
	}},
	{"WakesOnlyTheTarget", func(p *probe) {
		p.own("a").release(0)
		p.own("b").release(0)
		p.ok(p.s.Deliver(p.ctx, cancel("a")))
		p.claims(request("f"), "a")
	}},
	{"SurvivesItsOwner", func(p *probe) {
		o := p.own("a")
		p.ok(p.s.Deliver(p.ctx, cancel("a")))
		p.ok(p.s.Disown(p.ctx, "a", o.epoch))
		p.ownAgain("a")
		same(p, "entries", len(p.inbox("a", 0)), 1)
	}},
}

func invokeOutcome(id string) checkpoint.Delivery {
	return checkpoint.Delivery{ID: id, Record: checkpoint.Record{Type: checkpoint.ChainedInvokeSucceeded, OperationID: "1", Payload: []byte("1")}}
}
