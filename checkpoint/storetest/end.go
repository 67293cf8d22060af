package storetest

import (
	"github.com/durable-go/durable/checkpoint"
)

func stop(id string) checkpoint.Ending {
	return checkpoint.Ending{ID: id, Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped, Failure: []byte("stopped")}}
}

func (p *probe) stop(id string) bool {
	p.Helper()
	ended, err := p.s.End(p.ctx, stop(id))
	p.ok(err)
	return ended
}

var endTests = []test{
	{"StopsAnOwnedOneAndFencesItsOwner", func(p *probe) {
		o := p.own("a")
		o.append(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"})
		same(p, "ended", p.stop("a"), true)
		s := p.get("a")
		same(p, "Status", s.Status, checkpoint.Stopped)
		same(p, "Owned", s.Owned, false)
		same(p, "Tail, LastEvent", []uint64{s.Tail, s.LastEvent}, []uint64{4, 4})
		same(p, "Ended", string(s.Ended.Failure), "stopped")
		if s.Ended.Time == 0 || s.EndedAt != s.Ended.Time {
			p.Fatalf("EndedAt is %d, the time of the record %d", s.EndedAt, s.Ended.Time)
		}
		same(p, "journal", p.types("a"), []checkpoint.EventType{
			checkpoint.ExecutionStarted, checkpoint.StepStarted, checkpoint.InvocationCompleted, checkpoint.ExecutionStopped})
		for i, r := range p.journal("a", 0) {
			same(p, "Seq, EventID", []uint64{r.Seq, r.EventID}, []uint64{uint64(i + 1), uint64(i + 1)})
			same(p, "Events", r.Events, uint8(1))
		}
		p.is(p.append(o.next(checkpoint.Record{Type: checkpoint.StepSucceeded, OperationID: "1"})), checkpoint.ErrFenced)
		p.claims(request("f"))
	}},
	{"TimesOutOneThatSleeps", func(p *probe) {
		p.own("a").release(p.now())
		e := checkpoint.Ending{ID: "a", Status: checkpoint.TimedOut, Record: checkpoint.Record{Type: checkpoint.ExecutionTimedOut, Time: p.now()}}
		ended, err := p.s.End(p.ctx, e)
		p.ok(err)
		same(p, "ended", ended, true)
		s := p.get("a")
		same(p, "Status", s.Status, checkpoint.TimedOut)
		same(p, "EndedAt", s.EndedAt, e.Record.Time)
		same(p, "journal", p.types("a"), []checkpoint.EventType{
			checkpoint.ExecutionStarted, checkpoint.InvocationCompleted, checkpoint.ExecutionTimedOut})
		p.claims(request("f"))
	}},
	{"OfOneThatHasEndedIsNothing", func(p *probe) {
		p.finished("a")
		same(p, "ended", p.stop("a"), false)
		same(p, "Status", p.get("a").Status, checkpoint.Succeeded)
		p.own("b")
		same(p, "ended", p.stop("b"), true)
		same(p, "ended again", p.stop("b"), false)
		_, err := p.s.End(p.ctx, stop("nobody"))
		p.is(err, checkpoint.ErrNotFound)
	}},
	{"OfAnotherIncarnationIsNotFound", func(p *probe) {
		p.own("a")
		e := stop("a")
		e.Incarnation = checkpoint.Incarnation{1, 2, 3}
		_, err := p.s.End(p.ctx, e)
		p.is(err, checkpoint.ErrNotFound)
		e.Incarnation = p.get("a").Incarnation
		same(p, "Status", p.get("a").Status, checkpoint.Running)
		ended, err := p.s.End(p.ctx, e)
		p.ok(err)
		same(p, "ended", ended, true)
	}},
	{"NeedsAStatusFromOutside", func(p *probe) {
		p.own("a")
		for _, status := range []checkpoint.Status{0, checkpoint.Running, checkpoint.Succeeded, checkpoint.Failed} {
			e := stop("a")
			e.Status = status
			_, err := p.s.End(p.ctx, e)
			p.fails(err)
		}
		same(p, "Status", p.get("a").Status, checkpoint.Running)
	}},
	{"TellsCallerAndInvoked", func(p *probe) {
		caller := p.own("caller")
		a := p.ownerOf(p.make(claimed(caller.invoked("a"))))
		p.make(claimed(a.invoked("b")))
		caller.release(0)
		e := stop("a")
		e.Deliver = []checkpoint.Delivery{{ID: "caller", Record: checkpoint.Record{Type: checkpoint.ChainedInvokeStopped, OperationID: "1"}}}
		_, err := p.s.End(p.ctx, e)
		p.ok(err)
		same(p, "inbox of the caller", typesOf(p.inbox("caller", 0)), []checkpoint.EventType{checkpoint.ChainedInvokeStopped})
		same(p, "inbox of the invoked one", typesOf(p.inbox("b", 0)), []checkpoint.EventType{checkpoint.CancelRequested})
		p.claims(request("f"), "caller")
		p.awaitHint(checkpoint.HintEnded, "a")
	}},
	{"WorksOnHeldOnes", func(p *probe) {
		p.own("a").hold("one", 0)
		same(p, "ended", p.stop("a"), true)
		p.claims(build("two"))
		same(p, "HeldBuilds", len(p.get("a").HeldBuilds), 0)
	}},
	{"ClosesInboxAndCallbacks", func(p *probe) {
		p.waiting(callback("1", p.now(), 0, 0))
		p.ok(p.s.Deliver(p.ctx, cancel("a")))
		p.stop("a")
		same(p, "entries", len(p.inbox("a", 0)), 0)
		p.is(p.s.Deliver(p.ctx, outcome("a", "1")), checkpoint.ErrCallbackClosed)
	}},
}
