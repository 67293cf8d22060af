package storetest

import (
	"errors"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

func ref(id, operationID string) checkpoint.CallbackRef {
	return checkpoint.CallbackRef{ID: id, Incarnation: incarnation(id), OperationID: operationID}
}

// waiting makes an execution "a" that waits for callbacks, with an owner.
func (p *probe) waiting(callbacks ...checkpoint.Record) *owner {
	p.Helper()
	o := p.own("a")
	o.append(callbacks...)
	return o
}

var callbackTests = []test{
	{"TheFirstOutcomeCounts", func(p *probe) {
		p.waiting(callback("1", p.now(), time.Hour, 0))
		p.ok(p.s.Deliver(p.ctx, outcome("a", "1")))
		second := outcome("a", "1")
		second.Record.Type = checkpoint.CallbackFailed
		p.is(p.s.Deliver(p.ctx, second), checkpoint.ErrCallbackClosed)
		p.is(p.s.Deliver(p.ctx, timedOut("a", "1")), checkpoint.ErrCallbackClosed)
		p.is(p.s.Heartbeat(p.ctx, ref("a", "1")), checkpoint.ErrCallbackClosed)
		same(p, "entries", typesOf(p.inbox("a", 0)), []checkpoint.EventType{checkpoint.CallbackSucceeded})
	}},
	{"ByNumber", func(p *probe) {
		o := p.waiting(callback("1", p.now(), 0, time.Hour), callback("2", p.now(), 0, 0))
		number := p.get("a").Number
		d := checkpoint.Delivery{Number: number, Incarnation: incarnation("a"), Record: outcome("a", "1").Record}
		r := checkpoint.CallbackRef{Number: number, Incarnation: incarnation("a"), OperationID: "1"}
		p.ok(p.s.Heartbeat(p.ctx, r))
		p.ok(p.s.Deliver(p.ctx, d))
		p.is(p.s.Deliver(p.ctx, d), checkpoint.ErrCallbackClosed)
		p.is(p.s.Heartbeat(p.ctx, r), checkpoint.ErrCallbackClosed)
		o.seen = 1
		o.append(checkpoint.Record{Type: checkpoint.CallbackSucceeded, OperationID: "1"})
		o.release(0)
		p.is(p.s.Deliver(p.ctx, d), checkpoint.ErrCallbackClosed)
		d.Record.OperationID = "3"
		p.is(p.s.Deliver(p.ctx, d), checkpoint.ErrNotFound)
		d.Record.OperationID = "2"
		for _, wrong := range []checkpoint.Delivery{
			{Number: number + 1, Incarnation: d.Incarnation, Record: d.Record},
			{Number: number, Incarnation: incarnation("b"), Record: d.Record},
			{Incarnation: d.Incarnation, Record: d.Record},
		} {
			p.is(p.s.Deliver(p.ctx, wrong), checkpoint.ErrNotFound)
		}
		p.is(p.s.Heartbeat(p.ctx, checkpoint.CallbackRef{Number: number + 1, OperationID: "2"}), checkpoint.ErrNotFound)
		p.ok(p.s.Deliver(p.ctx, d))
		same(p, "payload", string(p.inbox("a", 1)[0].Payload), `"approved"`)
		p.claims(request("f"), "a")
	}},
	{"StaysClosedInTheJournal", func(p *probe) {
		o := p.waiting(callback("1", p.now(), 0, 0))
		p.ok(p.s.Deliver(p.ctx, outcome("a", "1")))
		o.seen = 1
		o.append(checkpoint.Record{Type: checkpoint.CallbackSucceeded, OperationID: "1"})
		p.is(p.s.Deliver(p.ctx, outcome("a", "1")), checkpoint.ErrCallbackClosed)
		o.release(0)
		p.is(p.s.Deliver(p.ctx, outcome("a", "1")), checkpoint.ErrCallbackClosed)
		p.claims(request("f"))
	}},
	{"ThatNeverWasIsNotFound", func(p *probe) {
		o := p.own("a")
		p.is(p.s.Deliver(p.ctx, outcome("a", "1")), checkpoint.ErrNotFound)
		o.append(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"}, callback("2", p.now(), 0, 0))
		p.is(p.s.Deliver(p.ctx, outcome("a", "1")), checkpoint.ErrNotFound)
		p.is(p.s.Deliver(p.ctx, outcome("a", "")), checkpoint.ErrNotFound)
		p.is(p.s.Deliver(p.ctx, outcome("nobody", "2")), checkpoint.ErrNotFound)
		p.is(p.s.Heartbeat(p.ctx, ref("a", "1")), checkpoint.ErrNotFound)
		p.is(p.s.Heartbeat(p.ctx, ref("nobody", "1")), checkpoint.ErrNotFound)
		d := outcome("a", "2")
		d.Incarnation = incarnation("other")
		p.is(p.s.Deliver(p.ctx, d), checkpoint.ErrNotFound)
		p.is(p.s.Heartbeat(p.ctx, checkpoint.CallbackRef{ID: "a", Incarnation: d.Incarnation, OperationID: "2"}), checkpoint.ErrNotFound)
	}},
	{"OpensOnlyWithADurableStart", func(p *probe) {
		o := p.own("a")
		wrong := *o
		wrong.epoch++
		p.is(p.append(wrong.next(callback("1", p.now(), 0, 0))), checkpoint.ErrFenced)
		p.is(p.s.Deliver(p.ctx, outcome("a", "1")), checkpoint.ErrNotFound)
		o.append(callback("1", p.now(), 0, 0))
		p.ok(p.s.Deliver(p.ctx, outcome("a", "1")))
	}},
	{"ClosedByItsOwner", func(p *probe) {
		o := p.waiting(callback("1", p.now(), 0, 0), callback("2", p.now(), 0, 0))
		a := o.next(checkpoint.Record{Type: checkpoint.ScopeCancelled, OperationID: "1"})
		a.CloseCallbacks = []string{"1", "never"}
		p.ok(p.append(a))
		p.is(p.s.Deliver(p.ctx, outcome("a", "1")), checkpoint.ErrCallbackClosed)
		p.is(p.s.Deliver(p.ctx, outcome("a", "never")), checkpoint.ErrNotFound)
		p.ok(p.s.Deliver(p.ctx, outcome("a", "2")))
	}},
	{"ClosedByARecordOfItsOutcome", func(p *probe) {
		o := p.waiting(callback("1", p.now(), 0, 0))
		o.append(checkpoint.Record{Type: checkpoint.CallbackFailed, OperationID: "1"},
			checkpoint.Record{Type: checkpoint.CallbackFailed, OperationID: "2", Events: 2})
		p.is(p.s.Deliver(p.ctx, outcome("a", "1")), checkpoint.ErrCallbackClosed)
		p.is(p.s.Deliver(p.ctx, outcome("a", "2")), checkpoint.ErrCallbackClosed)
	}},
	{"OpenedAndClosedInOneAppend", func(p *probe) {
		o := p.own("a")
		a := o.next(callback("1", p.now(), 0, time.Minute))
		a.CloseCallbacks = []string{"1"}
		p.ok(p.append(a))
		p.is(p.s.Deliver(p.ctx, outcome("a", "1")), checkpoint.ErrCallbackClosed)
		o.release(0)
		same(p, "WakeAt", p.get("a").WakeAt, int64(0))
	}},
	{"ClosedWithItsExecution", func(p *probe) {
		o := p.waiting(callback("1", p.now(), 0, time.Minute))
		o.finish()
		p.is(p.s.Deliver(p.ctx, outcome("a", "1")), checkpoint.ErrCallbackClosed)
		p.is(p.s.Heartbeat(p.ctx, ref("a", "1")), checkpoint.ErrCallbackClosed)
		same(p, "NextDue", p.nextDue(request("f")).IsZero(), true)
	}},
	{"TimesOutNotEarly", func(p *probe) {
		now := p.now()
		due := now + int64(time.Hour)
		p.waiting(callback("1", now, time.Hour, 0), callback("2", now, 0, 0), callback("3", now, 2*time.Hour, time.Hour))
		for _, id := range []string{"1", "2", "3"} {
			early, ok := errors.AsType[*checkpoint.NotDueError](p.s.Deliver(p.ctx, timedOut("a", id)))
			if !ok {
				p.Fatalf("callback %s: no NotDueError", id)
			}
			if id == "2" && !early.Due.After(p.s.Now()) || id != "2" && early.Due.UnixNano() != due {
				p.Fatalf("callback %s: due %s", id, early.Due)
			}
		}
		same(p, "entries", len(p.inbox("a", 0)), 0)
		p.ok(p.s.Deliver(p.ctx, outcome("a", "1")))
	}},
	{"IsClosedToOthersOnceItIsDue", func(p *probe) {
		hourAgo := p.now() - int64(time.Hour)
		p.waiting(callback("1", hourAgo, time.Minute, 0), callback("2", hourAgo, 0, time.Minute), callback("3", hourAgo, 0, 0))
		for _, id := range []string{"1", "2"} {
			p.is(p.s.Deliver(p.ctx, outcome("a", id)), checkpoint.ErrCallbackClosed)
			p.is(p.s.Heartbeat(p.ctx, ref("a", id)), checkpoint.ErrCallbackClosed)
			expiry, other := timedOut("a", id), timedOut("a", id)
			if id == "2" {
				expiry.Record.HeartbeatTimeout = int64(time.Minute)
			} else {
				other.Record.HeartbeatTimeout = int64(time.Minute)
			}
			if _, ok := errors.AsType[*checkpoint.NotDueError](p.s.Deliver(p.ctx, other)); !ok {
				p.Fatalf("callback %s: it timed out of something that it is not due by", id)
			}
			p.ok(p.s.Deliver(p.ctx, expiry))
			p.is(p.s.Deliver(p.ctx, expiry), checkpoint.ErrCallbackClosed)
		}
		p.ok(p.s.Deliver(p.ctx, outcome("a", "3")))
		same(p, "entries", typesOf(p.inbox("a", 0)), []checkpoint.EventType{
			checkpoint.CallbackTimedOut, checkpoint.CallbackTimedOut, checkpoint.CallbackSucceeded})
	}},
	{"TimesOutOfWhatWasDueFirst", func(p *probe) {
		hourAgo := p.now() - int64(time.Hour)
		p.waiting(callback("1", hourAgo, time.Minute, 2*time.Minute), callback("2", hourAgo, 2*time.Minute, time.Minute))
		for id, first := range map[string]bool{"1": false, "2": true} {
			beat, whole := timedOut("a", id), timedOut("a", id)
			beat.Record.HeartbeatTimeout = int64(time.Minute)
			right, wrong := whole, beat
			if first {
				right, wrong = beat, whole
			}
			if _, ok := errors.AsType[*checkpoint.NotDueError](p.s.Deliver(p.ctx, wrong)); !ok {
				p.Fatalf("callback %s: what was due later is the outcome", id)
			}
			p.ok(p.s.Deliver(p.ctx, right))
		}
	}},
	{"HeartbeatMovesItsDueTime", func(p *probe) {
		started := p.now() - int64(50*time.Minute)
		o := p.waiting(callback("1", started, 0, time.Hour), callback("2", started, 0, 3*time.Hour))
		o.release(0)
		same(p, "WakeAt", p.get("a").WakeAt, started+int64(time.Hour))
		before := p.in(time.Hour)
		p.ok(p.s.Heartbeat(p.ctx, ref("a", "1")))
		at := p.get("a").WakeAt
		if at < before || at > p.in(time.Hour) {
			p.Fatalf("due at %s, an hour from now is %s", time.Unix(0, at), time.Unix(0, before))
		}
		same(p, "NextDue", p.nextDue(request("f")).UnixNano(), at)
		p.claims(request("f"))
		p.ok(p.s.Deliver(p.ctx, outcome("a", "1")))
		p.claims(request("f"), "a")
	}},
	{"HeartbeatOfAnOwnedOne", func(p *probe) {
		o := p.waiting(callback("1", p.now()-int64(50*time.Minute), 0, time.Hour))
		before := p.in(time.Hour)
		p.ok(p.s.Heartbeat(p.ctx, ref("a", "1")))
		early, ok := errors.AsType[*checkpoint.NotDueError](p.s.Deliver(p.ctx, timedOut("a", "1")))
		if !ok || early.Due.UnixNano() < before {
			p.Fatalf("the heartbeat did not move the due time: %v", early)
		}
		s := p.get("a")
		same(p, "InboxTail", s.InboxTail, uint64(0))
		same(p, "Tail", s.Tail, uint64(2))
		o.release(0)
		same(p, "WakeAt", p.get("a").WakeAt, early.Due.UnixNano())
	}},
	{"HeartbeatDoesNotMoveTheTimeout", func(p *probe) {
		now := p.now()
		p.waiting(callback("1", now, time.Minute, time.Hour))
		p.ok(p.s.Heartbeat(p.ctx, ref("a", "1")))
		early, ok := errors.AsType[*checkpoint.NotDueError](p.s.Deliver(p.ctx, timedOut("a", "1")))
		if !ok || early.Due.UnixNano() != now+int64(time.Minute) {
			p.Fatalf("got %v", early)
		}
	}},
	{"HeartbeatWithoutATimeoutIsNothing", func(p *probe) {
		o := p.waiting(callback("1", p.now(), 0, 0))
		p.ok(p.s.Heartbeat(p.ctx, ref("a", "1")))
		o.release(0)
		same(p, "WakeAt", p.get("a").WakeAt, int64(0))
	}},
	{"OutcomeForgetsItsDueTime", func(p *probe) {
		o := p.waiting(callback("1", p.now(), 0, time.Hour))
		p.ok(p.s.Deliver(p.ctx, outcome("a", "1")))
		o.seen = 1
		o.append(checkpoint.Record{Type: checkpoint.CallbackSucceeded, OperationID: "1"})
		o.release(0)
		same(p, "WakeAt", p.get("a").WakeAt, int64(0))
		same(p, "NextDue", p.nextDue(request("f")).IsZero(), true)
	}},
	{"OfADeletedIncarnation", func(p *probe) {
		p.waiting(callback("1", p.now(), 0, 0)).finish()
		p.ok(p.s.Delete(p.ctx, "a"))
		p.is(p.s.Deliver(p.ctx, outcome("a", "1")), checkpoint.ErrNotFound)
		c := claimed(creation("a", "f"))
		c.Incarnation = incarnation("b")
		o := p.ownerOf(p.make(c))
		o.append(callback("1", p.now(), 0, 0))
		p.is(p.s.Deliver(p.ctx, outcome("a", "1")), checkpoint.ErrNotFound)
		same(p, "entries", len(p.inbox("a", 0)), 0)
	}},
}
