package storetest

import (
	"time"

	"github.com/durable-go/durable/checkpoint"
)

var releaseTests = []test{
	{"GivesUpOwnership", func(p *probe) {
		o := p.own("a")
		due := p.in(time.Hour)
		o.release(due)
		s := p.get("a")
		same(p, "Owned", s.Owned, false)
		same(p, "WakeAt", s.WakeAt, due)
		same(p, "Tail", s.Tail, uint64(2))
	}},
	{"OfANewDueTimeForgetsTheOldOne", func(p *probe) {
		o := p.own("a")
		o.release(p.now())
		o = p.ownAgain("a")
		same(p, "WakeAt while it is owned", p.get("a").WakeAt, int64(0))
		same(p, "NextDue while it is owned", p.nextDue(request("f")).IsZero(), true)
		due := p.in(time.Hour)
		o.release(due)
		p.claims(request("f"))
		same(p, "NextDue", p.nextDue(request("f")).UnixNano(), due)
	}},
	{"IsRefusedWhenThereIsNews", func(p *probe) {
		o := p.own("a")
		p.ok(p.s.Deliver(p.ctx, cancel("a")))
		before := *o
		a := o.next(checkpoint.Record{Type: checkpoint.InvocationCompleted})
		a.Release = &checkpoint.Release{WakeAt: p.in(time.Hour)}
		p.is(p.append(a), checkpoint.ErrInboxNews)
		s := p.get("a")
		same(p, "Owned", s.Owned, true)
		same(p, "Tail", s.Tail, uint64(1))

		*o = before
		o.seen = 1
		a = o.next(checkpoint.Record{Type: checkpoint.ScopeCancelled}, checkpoint.Record{Type: checkpoint.InvocationCompleted})
		a.Release = &checkpoint.Release{}
		p.ok(p.append(a))
		same(p, "InboxSeen", p.get("a").InboxSeen, uint64(1))
		p.claims(request("f"))
	}},
	{"NewsThatCameLaterMakeItDue", func(p *probe) {
		o := p.own("a")
		o.release(p.in(time.Hour))
		p.ok(p.s.Deliver(p.ctx, cancel("a")))
		if at := p.get("a").WakeAt; at == 0 || at > p.now() {
			p.Fatalf("WakeAt is %d", at)
		}
		c := p.claims(request("f"), "a")["a"]
		same(p, "Lost", c.Lost, false)
		same(p, "inbox", c.InboxTail-c.InboxSeen, uint64(1))
	}},
	{"WakesForItsHeartbeats", func(p *probe) {
		o := p.own("a")
		now := p.now()
		soon := now + int64(time.Minute)
		o.append(callback("1", now, 0, time.Minute), callback("2", now, 0, time.Hour))
		o.release(p.in(time.Hour))
		same(p, "WakeAt", p.get("a").WakeAt, soon)
		same(p, "NextDue", p.nextDue(request("f")).UnixNano(), soon)
		p.claims(request("f"))

		b := p.own("b")
		b.append(callback("1", now-int64(time.Hour), 0, time.Minute))
		b.release(0)
		p.claims(request("f"), "b")
	}},
	{"TogetherWithRecordsAndDeliveries", func(p *probe) {
		o, other := p.own("a"), p.own("b")
		a := o.next(checkpoint.Record{Type: checkpoint.StepSucceeded, OperationID: "1"}, checkpoint.Record{Type: checkpoint.InvocationCompleted})
		a.Release = &checkpoint.Release{}
		a.Deliver = []checkpoint.Delivery{cancel("b")}
		p.ok(p.append(a))
		same(p, "Tail", p.get("a").Tail, uint64(3))
		same(p, "inbox of the target", len(p.inbox("b", 0)), 1)
		other.append()
	}},
}

func build(name string) checkpoint.ClaimRequest {
	return checkpoint.ClaimRequest{Functions: []string{"f"}, Build: name, Max: 10}
}

var holdTests = []test{
	{"KeepsItsBuildAway", func(p *probe) {
		p.own("a").hold("one", 0)
		s := p.get("a")
		same(p, "HeldBuilds", s.HeldBuilds, []string{"one"})
		same(p, "Held", string(s.Held), "held by one")
		p.claims(build("one"))
		same(p, "NextDue", p.nextDue(build("one")).IsZero(), true)
	}},
	{"LetsAnotherBuildTryOnce", func(p *probe) {
		p.own("a").hold("one", 0)
		if next := p.nextDue(build("two")); next.IsZero() || next.After(p.s.Now()) {
			p.Fatalf("it is due for another build, but NextDue is %s", next)
		}
		o := p.ownerOf(p.claims(build("two"), "a")["a"].Summary)
		same(p, "HeldBuilds", p.get("a").HeldBuilds, []string{"one"})
		o.hold("two", 0)
		same(p, "HeldBuilds", len(p.get("a").HeldBuilds), 2)
		same(p, "Held", string(p.get("a").Held), "held by two")
		p.claims(build("two"))
		p.claims(build("one"))
		p.claims(build("three"), "a")
	}},
	{"EndsWithAnotherRelease", func(p *probe) {
		p.own("a").hold("one", 0)
		p.ownerOf(p.claims(build("two"), "a")["a"].Summary).release(p.now())
		same(p, "HeldBuilds", len(p.get("a").HeldBuilds), 0)
		same(p, "Held", len(p.get("a").Held), 0)
		p.claims(build("two"), "a")
	}},
	{"WhoCouldNotGoOnLeavesItToOthers", func(p *probe) {
		p.own("a").hold("one", 0)
		turn := func(due int64) {
			p.ownerOf(p.claims(build("two"), "a")["a"].Summary).release(due)
			p.claims(build("one"))
			at := p.nextDue(build("one"))
			same(p, "NextDue of the one", at.UnixNano(), due+int64(time.Minute))
		}
		turn(p.now())
		turn(p.now() - int64(30*time.Second)) // again and again
		p.ownerOf(p.claims(build("two"), "a")["a"].Summary).release(0)
		p.claims(build("two"))
		same(p, "NextDue", p.nextDue(build("one")).IsZero(), true)
		p.ok(p.s.Deliver(p.ctx, cancel("a")))
		p.claims(build("one"))
		o := p.ownerOf(p.claims(build("two"), "a")["a"].Summary)
		o.seen = 1
		o.append(checkpoint.Record{Type: checkpoint.StepSucceeded, OperationID: "1"})
		o.release(p.now() - int64(2*time.Minute)) // nobody else has taken it for long
		o = p.ownerOf(p.claims(build("one"), "a")["a"].Summary)
		o.hold("one", 0)
		same(p, "HeldBuilds", p.get("a").HeldBuilds, []string{"one"})
		p.claims(build("one"))
		p.ok(p.s.Disown(p.ctx, "a", p.claims(build("two"), "a")["a"].Epoch))
		p.claims(build("one"))
		p.claims(build("two"), "a")
	}},
	{"ResumeForgives", func(p *probe) {
		p.own("a").hold("one", 0)
		p.ownerOf(p.claims(build("two"), "a")["a"].Summary).release(p.in(time.Hour))
		p.ok(p.s.Resume(p.ctx, "a"))
		p.claims(build("two")) // it is not due because of that
		p.ok(p.s.Deliver(p.ctx, cancel("a")))
		p.claims(build("one"), "a")
	}},
	{"FirstDueFirstWhoeverCouldNotGoOn", func(p *probe) {
		owners := make(map[string]*owner)
		for i, id := range numbered("x", 6) {
			if owners[id] = p.own(id); i%2 == 0 {
				owners[id].hold("one", 0)
				owners[id] = p.ownerOf(p.claims(build("two"), id)[id].Summary)
			}
		}
		now := p.now()
		for i, id := range numbered("x", 6) {
			owners[id].release(now - int64(time.Duration(6-i)*time.Second))
		}
		r := build("two")
		r.Max = 1
		for _, id := range numbered("x", 6) {
			if _, ok := p.claim(r)[id]; !ok {
				p.Fatalf("%s was not claimed in its turn", id)
			}
		}
	}},
	{"StaysWhenAnotherBuildIsLost", func(p *probe) {
		p.own("a").hold("one", 0)
		c := p.claims(build("two"), "a")["a"]
		p.ok(p.s.Disown(p.ctx, "a", c.Epoch))
		p.claims(build("one"))
		p.claims(build("two"), "a")
	}},
	{"EndsAtTheDeadline", func(p *probe) {
		c := claimed(creation("past", "f"))
		c.Started.TimeoutAt = p.now() - 1
		p.ownerOf(p.make(c)).hold("one", c.Started.TimeoutAt)
		c = claimed(creation("future", "f"))
		c.Started.TimeoutAt = p.in(time.Hour)
		p.ownerOf(p.make(c)).hold("one", c.Started.TimeoutAt)
		p.claims(build("one"), "past")
		same(p, "NextDue", p.nextDue(build("one")).UnixNano(), c.Started.TimeoutAt)
	}},
	{"TakesNewsAndKeepsThem", func(p *probe) {
		o := p.own("a")
		o.append(callback("1", p.now(), 0, 0))
		o.hold("one", 0)
		p.ok(p.s.Deliver(p.ctx, outcome("a", "1")))
		p.claims(build("one"))
		p.ok(p.s.Resume(p.ctx, "a"))
		c := p.claims(build("one"), "a")["a"]
		same(p, "InboxTail", c.InboxTail, uint64(1))
	}},
	{"LeavesNewsInTheInbox", func(p *probe) {
		o := p.own("a")
		p.ok(p.s.Deliver(p.ctx, cancel("a")))
		a := o.next()
		a.Release = &checkpoint.Release{Hold: &checkpoint.Hold{Build: "one"}}
		p.ok(p.append(a))
		same(p, "entries", len(p.inbox("a", 0)), 1)
	}},
	{"ResumeMakesItDue", func(p *probe) {
		p.own("a").hold("one", p.in(time.Hour))
		p.ok(p.s.Resume(p.ctx, "a"))
		same(p, "HeldBuilds", len(p.get("a").HeldBuilds), 0)
		p.awaitHint(checkpoint.HintDue, "")
		p.claims(build("one"), "a")
	}},
	{"ResumeOfOthersIsNothing", func(p *probe) {
		p.is(p.s.Resume(p.ctx, "nobody"), checkpoint.ErrNotFound)
		p.own("asleep").release(p.in(time.Hour))
		p.own("owned")
		p.finished("ended")
		for _, id := range []string{"asleep", "owned", "ended"} {
			p.ok(p.s.Resume(p.ctx, id))
		}
		p.claims(request("f"))
	}},
	{"ManyDoNotKeepOthersAway", func(p *probe) {
		for _, id := range numbered("held", 50) {
			p.own(id).hold("one", 0)
		}
		p.create("b")
		r := build("one")
		r.Max = 1
		if _, ok := p.claim(r)["b"]; !ok {
			p.Fatal("b was not claimed")
		}
	}},
	{"OfAnyBuildName", func(p *probe) {
		names := []string{"", "a/b", "a~b", "a~1b", "a", "b", "/", "\x00"}
		for _, name := range names {
			id := "held by " + name
			p.own(id).hold(name, 0)
			p.claims(build(name))
			for _, other := range names {
				if other == name {
					continue
				}
				c := p.claims(build(other), id)[id]
				p.ok(p.s.Disown(p.ctx, id, c.Epoch))
			}
			p.stop(id)
		}
	}},
}

// callback is the start of a callback with a timeout and a heartbeat timeout.
func callback(operationID string, at int64, timeout, heartbeat time.Duration) checkpoint.Record {
	r := checkpoint.Record{Type: checkpoint.CallbackStarted, SubType: checkpoint.Callback, OperationID: operationID, Time: at}
	if timeout != 0 {
		r.Timeout, r.TimeoutAt = int64(timeout), at+int64(timeout)
	}
	r.HeartbeatTimeout = int64(heartbeat)
	return r
}

// outcome completes a callback.
func outcome(id, operationID string) checkpoint.Delivery {
	return checkpoint.Delivery{ID: id, Incarnation: incarnation(id), Record: checkpoint.Record{
		Type: checkpoint.CallbackSucceeded, OperationID: operationID, Payload: []byte(`"approved"`), Codec: "json",
	}}
}

func timedOut(id, operationID string) checkpoint.Delivery {
	d := outcome(id, operationID)
	d.Record = checkpoint.Record{Type: checkpoint.CallbackTimedOut, OperationID: operationID}
	return d
}
