package storetest

import (
	"fmt"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

var reopenTests = []test{
	{"KeepsEverything", func(p *probe) {
		secret := p.s.Secret()
		p.own("gone on with").hold("one", 0)
		p.ownerOf(p.claims(build("two"), "gone on with")["gone on with"].Summary).release(p.now())
		o := p.own("asleep")
		o.append(fullRecord(), callback("1", p.now(), time.Hour, time.Minute))
		p.ok(p.s.Deliver(p.ctx, cancel("asleep")))
		o.seen = 1
		o.release(p.in(time.Hour))
		p.ok(p.s.Deliver(p.ctx, invokeOutcome("asleep")))
		p.create("new")
		p.finished("ended")
		p.own("held").hold("one", 0)
		p.finished("deleted")
		p.ok(p.s.Delete(p.ctx, "deleted"))
		p.begun("begun")
		p.make(p.ending("begun and ended"))
		last := p.create("last")

		ids := p.list(checkpoint.Query{})
		before := make(map[string]string)
		for _, id := range ids {
			before[id] = fmt.Sprintf("%+v %q %q", p.get(id), bytesOf(p.journal(id, 0)), bytesOf(p.inbox(id, 0)))
		}
		p.reopen()
		same(p, "secret", p.s.Secret(), secret)
		same(p, "list", p.list(checkpoint.Query{}), ids)
		for _, id := range ids {
			same(p, id, fmt.Sprintf("%+v %q %q", p.get(id), bytesOf(p.journal(id, 0)), bytesOf(p.inbox(id, 0))), before[id])
		}
		if s := p.create("next"); s.Number <= last.Number {
			p.Fatalf("number %d was given again", s.Number)
		}
		p.claims(build("one"), "asleep", "new", "begun", "last", "next")
		p.ok(p.s.Deliver(p.ctx, outcome("begun", "open")))
		p.is(p.s.Deliver(p.ctx, outcome("begun", "abandoned")), checkpoint.ErrCallbackClosed)
	}},
	{"OwnedOnesAreLost", func(p *probe) {
		o := p.own("a")
		o.append(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"})
		b := p.create("b")
		p.reopen()
		claims := p.claims(request("f"), "a", "b")
		same(p, "Lost", claims["a"].Lost, true)
		same(p, "Lost", claims["b"].Lost, false)
		same(p, "Number", claims["b"].Number, b.Number)
		if claims["a"].Epoch <= o.epoch {
			p.Fatalf("epoch %d after %d", claims["a"].Epoch, o.epoch)
		}
		p.is(p.append(o.next(checkpoint.Record{Type: checkpoint.StepSucceeded, OperationID: "1"})), checkpoint.ErrFenced)
		again := p.ownerOf(claims["a"].Summary)
		again.append(checkpoint.Record{Type: checkpoint.StepSucceeded, OperationID: "1"})
		again.release(p.now())
		p.reopen()
		same(p, "Lost after a release", p.claims(request("f"), "a", "b")["a"].Lost, false)
	}},
	{"LostTwiceIsStillLost", func(p *probe) {
		p.own("a")
		p.reopen()
		p.reopen()
		same(p, "Lost", p.claims(request("f"), "a")["a"].Lost, true)
	}},
	{"DueTimesStay", func(p *probe) {
		due := p.in(time.Hour)
		p.own("later").release(due)
		p.own("over").release(p.now())
		p.own("never").release(0)
		started := p.now() - int64(50*time.Minute)
		o := p.own("beats")
		o.append(callback("1", started, 0, time.Hour))
		o.release(0)
		p.ok(p.s.Heartbeat(p.ctx, ref("beats", "1")))
		at := p.get("beats").WakeAt
		p.reopen()
		same(p, "WakeAt", p.get("later").WakeAt, due)
		same(p, "WakeAt", p.get("beats").WakeAt, at)
		p.claims(request("f"), "over")
		same(p, "NextDue", p.nextDue(request("f")).UnixNano(), min(due, at))
	}},
	{"CallbacksStay", func(p *probe) {
		o := p.waiting(callback("1", p.now(), time.Hour, 0), callback("2", p.now(), time.Hour, 0))
		p.ok(p.s.Deliver(p.ctx, outcome("a", "1")))
		o.seen = 1
		o.release(0)
		p.reopen()
		p.is(p.s.Deliver(p.ctx, outcome("a", "1")), checkpoint.ErrCallbackClosed)
		p.ok(p.s.Deliver(p.ctx, outcome("a", "2")))
		p.claims(request("f"), "a")
	}},
	{"HoldsStay", func(p *probe) {
		p.own("a").hold("one", 0)
		p.reopen()
		p.claims(build("one"))
		p.claims(build("two"), "a")
		p.reopen()
		p.claims(build("one"))
		same(p, "Lost", p.claims(build("two"), "a")["a"].Lost, true)
	}},
	{"InvokedOnesStayBoundToTheirCaller", func(p *probe) {
		caller := p.own("caller")
		p.make(caller.invoked("running"))
		past := p.now() - int64(time.Hour)
		p.endedAt(caller.invoked("ended"), past)
		caller.release(p.now())
		p.reopen()
		same(p, "expired", p.expire(p.now(), 10), 0)
		p.ownerOf(p.claim(request("f"))["caller"].Summary).finish()
		same(p, "Cancelled", p.get("running").Cancelled, true)
		same(p, "expired", p.expire(p.in(-time.Minute), 10), 1)
	}},
	{"WhatWasAcknowledgedIsThere", func(p *probe) {
		const executions = 16
		var owners []*owner
		for _, id := range numbered("x", executions) {
			owners = append(owners, p.own(id))
		}
		acknowledged := make([]uint64, executions)
		together(executions, func(i int) {
			for range 40 {
				a := owners[i].next(checkpoint.Record{Type: checkpoint.StepSucceeded, OperationID: "1"})
				if err := <-p.start(a); err != nil {
					p.Error(err)
					return
				}
				acknowledged[i] = a.Records[0].Seq
			}
		})
		p.reopen()
		for i, o := range owners {
			same(p, "records", uint64(len(p.journal(o.id, 0))), acknowledged[i])
			same(p, "Tail", p.get(o.id).Tail, acknowledged[i])
		}
	}},
}
