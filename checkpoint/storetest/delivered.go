package storetest

import (
	"github.com/durable-go/durable/checkpoint"
)

// deliveredTests are for stores that are a checkpoint.Deliverer; others pass them over.
var deliveredTests = []test{
	{"IsWhatInboxSays", func(p *probe) {
		p.own("a")
		p.delivered("a", 0, 0)
		for range 3 {
			p.ok(p.s.Deliver(p.ctx, invokeOutcome("a")))
			p.awaitHint(checkpoint.HintInbox, "a")
		}
		want := p.inbox("a", 1)
		got := p.delivered("a", 1, 2)
		for i := range got {
			same(p, "an entry", got[i].Seq, want[i].Seq)
			same(p, "its payload", string(got[i].Payload), string(want[i].Payload))
			same(p, "its time", got[i].Time, want[i].Time)
		}
		p.delivered("a", 1, 0)
		p.ok(p.s.Deliver(p.ctx, invokeOutcome("a")))
		p.delivered("a", 2, 0) // the third was given away
		p.ok(p.s.Deliver(p.ctx, invokeOutcome("a")))
		p.delivered("a", 4, 1)
		p.delivered("nobody", 0, 0)
	}},
	{"NothingOfWhatIsNotOwned", func(p *probe) {
		p.create("a")
		p.ok(p.s.Deliver(p.ctx, invokeOutcome("a")))
		p.delivered("a", 0, 0)
		o := p.own("b")
		p.ok(p.s.Deliver(p.ctx, invokeOutcome("b")))
		o.hold("one", 0)
		p.delivered("b", 0, 0)
		p.own("c")
		p.ok(p.s.Deliver(p.ctx, invokeOutcome("c")))
		p.stop("c")
		p.delivered("c", 0, 0)
	}},
	{"NothingOfWhatWasTakenOver", func(p *probe) {
		o := p.own("a")
		p.ok(p.s.Deliver(p.ctx, invokeOutcome("a")))
		o.seen = 1
		o.append(checkpoint.Record{Type: checkpoint.ChainedInvokeSucceeded, OperationID: "1"})
		p.delivered("a", 0, 0)
		p.ok(p.s.Deliver(p.ctx, invokeOutcome("a")))
		p.delivered("a", 1, 1)
	}},
}

// delivered asks for what was delivered, and says how much there is.
func (p *probe) delivered(id string, after uint64, n int) []checkpoint.Record {
	p.Helper()
	d, ok := p.s.(checkpoint.Deliverer)
	if !ok {
		p.Skip("the store is no checkpoint.Deliverer")
	}
	entries := d.Delivered(id, after)
	if len(entries) != n {
		p.Fatalf("%d entries behind %d of %s, not %d", len(entries), after, id, n)
	}
	for i, e := range entries {
		same(p, "Seq", e.Seq, after+1+uint64(i))
	}
	return entries
}
