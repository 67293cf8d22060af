package storetest

import (
	"fmt"
	"reflect"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

var claimTests = []test{
	{"TakesWhatWasCreated", func(p *probe) {
		p.create("a")
		c := p.claims(request("f"), "a")["a"]
		same(p, "Owned", c.Owned, true)
		same(p, "Epoch", c.Epoch, uint64(1))
		same(p, "Lost", c.Lost, false)
		same(p, "Started", string(c.Started.Payload), `"a"`)
		same(p, "Tail", c.Tail, uint64(1))
		p.claims(request("f"))
	}},
	{"OnlyItsFunctions", func(p *probe) {
		p.make(creation("a", "f"))
		p.make(creation("b", "g"))
		p.make(creation("c", "ff"))
		p.claims(checkpoint.ClaimRequest{Max: 10})
		p.claims(request("g", "g", "nothing"), "b")
		p.claims(request("f"), "a")
		p.claims(request("ff", "f"), "c")
	}},
	{"NoMoreThanMax", func(p *probe) {
		for _, id := range numbered("x", 10) {
			p.create(id)
		}
		seen := make(map[string]bool)
		for _, max := range []int{0, 3, 3, 3, 3} {
			r := request("f")
			r.Max = max
			got := p.claim(r)
			if len(got) > max {
				p.Fatalf("%d claims, Max is %d", len(got), max)
			}
			for id := range got {
				if seen[id] {
					p.Fatalf("%s was claimed twice", id)
				}
				seen[id] = true
			}
		}
		same(p, "claimed", len(seen), 10)
	}},
	{"RaisesTheEpoch", func(p *probe) {
		o := p.own("a")
		for range 5 {
			o.release(p.now())
			again := p.ownAgain("a")
			if again.epoch <= o.epoch {
				p.Fatalf("epoch %d after %d", again.epoch, o.epoch)
			}
			o = again
		}
	}},
	{"NotBeforeItIsDue", func(p *probe) {
		due := p.in(time.Hour)
		p.own("a").release(due)
		p.claims(request("f"))
		same(p, "WakeAt", p.get("a").WakeAt, due)
		same(p, "NextDue", p.nextDue(request("f")).UnixNano(), due)
	}},
	{"WhatIsOverdue", func(p *probe) {
		p.own("a").release(p.now() - int64(time.Hour))
		p.claims(request("f"), "a")
	}},
	{"NeverWithoutADueTime", func(p *probe) {
		p.own("a").release(0)
		p.claims(request("f"))
		same(p, "NextDue", p.nextDue(request("f")).IsZero(), true)
	}},
	{"NoFunctionStarvesAnother", func(p *probe) {
		for _, names := range [][2]string{{"a", "b"}, {"d", "c"}} {
			many, few := names[0], names[1]
			for i := range 50 {
				p.make(creation(fmt.Sprintf("%s%d", many, i), many))
			}
			p.make(creation("one of "+few, few))
			taken := false
			for range 3 {
				r := request(many, few)
				r.Max = 1
				_, ok := p.claim(r)["one of "+few]
				taken = taken || ok
			}
			if !taken {
				p.Fatalf("three claims in turn went to %s and none to %s", many, few)
			}
		}
	}},
	{"FirstDueFirst", func(p *probe) {
		var owners []*owner
		for _, id := range numbered("x", 8) {
			owners = append(owners, p.own(id))
		}
		now := p.now()
		for i, o := range owners {
			o.release(now - int64(time.Duration((i*5)%8)*time.Minute))
		}
		var last int64
		for range owners {
			r := request("f")
			r.Max = 1
			for id := range p.claim(r) {
				var i int
				fmt.Sscanf(id, "x%d", &i)
				at := now - int64(time.Duration((i*5)%8)*time.Minute)
				if at < last {
					p.Fatalf("%s was due %s before the one that was claimed first", id, time.Duration(last-at))
				}
				last = at
			}
		}
	}},
	{"NextDueIsTheEarliest", func(p *probe) {
		same(p, "NextDue of nothing", p.nextDue(request("f")).IsZero(), true)
		hour, minute := p.in(time.Hour), p.in(time.Minute)
		p.own("a").release(hour)
		p.own("b").release(minute)
		c := creation("c", "g")
		c.Claim = true
		g := p.ownerOf(p.make(c))
		g.release(p.in(time.Second))
		same(p, "NextDue", p.nextDue(request("f")).UnixNano(), minute)
		same(p, "NextDue of another function", p.nextDue(request("h")).IsZero(), true)
		p.create("d")
		if next := p.nextDue(request("f")); next.IsZero() || next.After(p.s.Now()) {
			p.Fatalf("something is due, but NextDue is %s", next)
		}
		p.claims(request("f"), "d")
		same(p, "NextDue", p.nextDue(request("f")).UnixNano(), minute)
	}},
	{"BringsNothingButWhatIsThere", func(p *probe) {
		o := p.own("a")
		o.append(callback("1", p.now(), 0, 0), callback("2", p.now(), 0, 0))
		p.ok(p.s.Deliver(p.ctx, outcome("a", "1")))
		o.seen = 1
		o.append(checkpoint.Record{Type: checkpoint.CallbackSucceeded, OperationID: "1"})
		o.release(0)
		p.ok(p.s.Deliver(p.ctx, outcome("a", "2")))
		p.ok(p.s.Deliver(p.ctx, cancel("a")))
		brought := func(c checkpoint.Claim) {
			p.Helper()
			all := p.journal("a", 0)
			if n := len(c.Records); n > len(all) || !reflect.DeepEqual(c.Records, all[:n:n]) && n > 0 {
				p.Fatalf("the claim brings %v, the journal begins with %v", c.Records, all)
			}
			entries := p.inbox("a", c.InboxSeen)
			if len(c.Inbox) > 0 && !reflect.DeepEqual(c.Inbox, entries) {
				p.Fatalf("the claim brings the inbox %v, it is %v", c.Inbox, entries)
			}
		}
		c := p.claims(request("f"), "a")["a"]
		brought(c)
		o = p.ownerOf(c.Summary)
		for i := range 150 { // longer than anybody brings along
			o.append(checkpoint.Record{Type: checkpoint.StepSucceeded, OperationID: fmt.Sprint(3 + i), Payload: make([]byte, 500)})
			if i == 100 {
				o.append(checkpoint.Record{Type: checkpoint.StepSucceeded, OperationID: "big", Payload: make([]byte, 1<<20)})
			}
		}
		p.ok(p.s.Disown(p.ctx, "a", o.epoch))
		c = p.claims(request("f"), "a")["a"]
		brought(c)
		same(p, "Tail", c.Tail, o.tail)
		o = p.ownerOf(c.Summary)
		o.seen = c.InboxTail
		o.release(p.now())
		c = p.claims(request("f"), "a")["a"]
		brought(c)
		same(p, "inbox", len(c.Inbox), 0)
	}},
	{"DisownedAreLost", func(p *probe) {
		o := p.own("a")
		p.ok(p.s.Disown(p.ctx, "a", o.epoch+1))
		p.claims(request("f"))
		p.ok(p.s.Disown(p.ctx, "a", o.epoch))
		p.is(p.append(o.next(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"})), checkpoint.ErrFenced)
		c := p.claims(request("f"), "a")["a"]
		same(p, "Lost", c.Lost, true)
		same(p, "Epoch raised", c.Epoch > o.epoch, true)
		p.ok(p.s.Disown(p.ctx, "a", o.epoch)) // the old epoch
		p.ok(p.s.Disown(p.ctx, "nobody", 1))
		again := p.ownerOf(c.Summary)
		again.release(p.now())
		same(p, "Lost after a release", p.claims(request("f"), "a")["a"].Lost, false)
	}},
}
