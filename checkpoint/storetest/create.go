package storetest

import (
	"bytes"
	"sync/atomic"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

var createTests = []test{
	{"ReturnsItsSummary", func(p *probe) {
		c := creation("a", "f")
		c.Started.TimeoutAt = c.Started.Time + int64(time.Hour)
		s := p.make(c)
		same(p, "ID", s.ID, "a")
		same(p, "Incarnation", s.Incarnation, incarnation("a"))
		same(p, "Function", s.Function, "f")
		same(p, "Status", s.Status, checkpoint.Running)
		same(p, "StartedAt", s.StartedAt, c.Started.Time)
		same(p, "Deadline", s.Deadline, c.Started.TimeoutAt)
		same(p, "Tail, LastEvent, InboxTail", []uint64{s.Tail, s.LastEvent, s.InboxTail}, []uint64{1, 1, 0})
		same(p, "Owned", s.Owned, false)
		same(p, "Started", s.Started, c.Started)
		got := p.get("a")
		same(p, "Get", got.Started, c.Started)
		same(p, "Get", got.Number, s.Number)
		same(p, "journal", p.journal("a", 0), []checkpoint.Record{c.Started})
	}},
	{"NumbersInOrder", func(p *probe) {
		var last uint64
		for _, id := range numbered("x", 20) {
			s := p.create(id)
			if s.Number <= last {
				p.Fatalf("number %d after %d", s.Number, last)
			}
			last = s.Number
		}
	}},
	{"SameAgainReturnsTheFirst", func(p *probe) {
		first := p.create("a")
		c := creation("a", "f")
		c.Incarnation = incarnation("another")
		c.Claim = true
		s, created, err := p.s.Create(p.ctx, c)
		p.ok(err)
		same(p, "created", created, false)
		same(p, "Number", s.Number, first.Number)
		same(p, "Incarnation", s.Incarnation, first.Incarnation)
		same(p, "Owned", s.Owned, false)
		same(p, "Started", s.Started.Payload, first.Started.Payload)
	}},
	{"SameAgainAfterItEnded", func(p *probe) {
		p.finished("a")
		s, created, err := p.s.Create(p.ctx, creation("a", "f"))
		p.ok(err)
		same(p, "created", created, false)
		same(p, "Status", s.Status, checkpoint.Succeeded)
		same(p, "Ended", string(s.Ended.Payload), `"result"`)
	}},
	{"OtherInputOrFunctionIsAnError", func(p *probe) {
		p.create("a")
		c := creation("a", "f")
		c.Digest = []byte("other")
		_, _, err := p.s.Create(p.ctx, c)
		p.is(err, checkpoint.ErrExists)
		_, _, err = p.s.Create(p.ctx, creation("a", "g"))
		p.is(err, checkpoint.ErrExists)
	}},
	{"ClaimsAtOnce", func(p *probe) {
		c := creation("a", "f")
		c.Claim = true
		s := p.make(c)
		same(p, "Owned", s.Owned, true)
		same(p, "Epoch", s.Epoch, uint64(1))
		p.claims(request("f"))
		p.ownerOf(s).append(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"})
	}},
	{"NeedsARunningCaller", func(p *probe) {
		caller := p.own("caller")
		absent := caller.invoked("a")
		absent.Caller.ID = "nobody"
		_, _, err := p.s.Create(p.ctx, absent)
		p.is(err, checkpoint.ErrEnded)
		other := caller.invoked("a")
		other.Caller.Incarnation = incarnation("other")
		_, _, err = p.s.Create(p.ctx, other)
		p.is(err, checkpoint.ErrEnded)

		s := p.make(caller.invoked("a"))
		same(p, "Caller", s.Caller, caller.invoked("a").Caller)
		same(p, "Caller", p.get("a").Caller, caller.invoked("a").Caller)

		caller.finish()
		_, _, err = p.s.Create(p.ctx, caller.invoked("b"))
		p.is(err, checkpoint.ErrEnded)
		_, err = p.s.Get(p.ctx, "b")
		p.is(err, checkpoint.ErrNotFound)
	}},
	{"BeginsWithRecords", func(p *probe) {
		s, c := p.begun("a")
		same(p, "Tail, LastEvent", []uint64{s.Tail, s.LastEvent}, []uint64{6, 6})
		same(p, "Started", s.Started, c.Started)
		same(p, "journal", p.journal("a", 0), append([]checkpoint.Record{c.Started}, c.Records...))
		same(p, "journal behind 3", p.journal("a", 3), c.Records[2:])
		same(p, "Started", p.get("a").Started, c.Started)
		p.ok(p.s.Deliver(p.ctx, outcome("a", "open")))
		p.is(p.s.Deliver(p.ctx, outcome("a", "open")), checkpoint.ErrCallbackClosed)
		p.is(p.s.Deliver(p.ctx, outcome("a", "completed")), checkpoint.ErrCallbackClosed)
		p.is(p.s.Deliver(p.ctx, outcome("a", "abandoned")), checkpoint.ErrCallbackClosed)
		p.is(p.s.Deliver(p.ctx, outcome("a", "1")), checkpoint.ErrNotFound)
		o := p.ownerOf(p.claims(request("f"), "a")["a"].Summary)
		o.append(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "2"})
		same(p, "records", len(p.journal("a", 0)), 7)
	}},
	{"BeginsWithRecordsAndAnOwner", func(p *probe) {
		c := p.beginning("a")
		c.Claim = true
		s := p.make(c)
		same(p, "Owned", s.Owned, true)
		p.ownerOf(s).finish()
		same(p, "Status", p.get("a").Status, checkpoint.Succeeded)
	}},
	{"BeginsWithACallbackThatTimesOut", func(p *probe) {
		s, c := p.begun("a")
		p.ownerOf(p.claims(request("f"), "a")["a"].Summary).release(0)
		same(p, "WakeAt", p.get("a").WakeAt, c.Records[1].Time+c.Records[1].HeartbeatTimeout)
		p.ok(p.s.Heartbeat(p.ctx, checkpoint.CallbackRef{ID: "a", Incarnation: s.Incarnation, OperationID: "open"}))
	}},
	{"SameAgainChangesNoRecords", func(p *probe) {
		_, first := p.begun("a")
		c := p.beginning("a")
		c.Records = c.Records[:1]
		_, created, err := p.s.Create(p.ctx, c)
		p.ok(err)
		same(p, "created", created, false)
		_, created, err = p.s.Create(p.ctx, creation("a", "f"))
		p.ok(err)
		same(p, "created", created, false)
		same(p, "journal", p.journal("a", 1), first.Records)
	}},
	{"BeginsEnded", func(p *probe) {
		c := p.ending("a")
		s := p.make(c)
		final := c.Records[len(c.Records)-1]
		for _, s := range []checkpoint.Summary{s, p.get("a"), p.found(s.Number)} {
			same(p, "Status", s.Status, checkpoint.Failed)
			same(p, "Ended", s.Ended, final)
			same(p, "WakeAt, Owned", s.WakeAt != 0 || s.Owned, false)
		}
		p.awaitHint(checkpoint.HintEnded, "a")
		p.claims(request("f"))
		same(p, "failed", p.list(checkpoint.Query{Status: checkpoint.Failed}), []string{"a"})
		same(p, "journal", p.journal("a", 1), c.Records)
		p.is(p.s.Deliver(p.ctx, outcome("a", "open")), checkpoint.ErrCallbackClosed)
		ended, err := p.s.End(p.ctx, checkpoint.Ending{ID: "a", Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
		p.ok(err)
		same(p, "ended", ended, false)
		// Its records are a day old. To Expire it ended now.
		same(p, "expired", p.expire(p.in(-time.Hour), 10), 0)
		same(p, "expired", p.expire(p.in(time.Hour), 10), 1)
	}},
	{"RefusesRecordsThatDoNotFollow", func(p *probe) {
		for what, spoil := range map[string]func(c *checkpoint.Creation){
			"a gap":                  func(c *checkpoint.Creation) { c.Records[1].Seq++ },
			"a second first record":  func(c *checkpoint.Creation) { c.Records[0].Seq = 1 },
			"an owner of an end":     func(c *checkpoint.Creation) { c.Claim = true },
			"an end without records": func(c *checkpoint.Creation) { c.Records = nil },
			"an end that is none":    func(c *checkpoint.Creation) { c.Status = checkpoint.Running },
			"a callback without ID":  func(c *checkpoint.Creation) { c.Records[1].OperationID = "" },
		} {
			c := p.ending("a")
			spoil(&c)
			if _, _, err := p.s.Create(p.ctx, c); err == nil {
				p.Errorf("%s was taken", what)
			}
		}
		_, err := p.s.Get(p.ctx, "a")
		p.is(err, checkpoint.ErrNotFound)
		same(p, "list", p.list(checkpoint.Query{}), []string(nil))
	}},
	{"RefusesAnEmptyID", func(p *probe) {
		_, _, err := p.s.Create(p.ctx, creation("", "f"))
		p.fails(err)
	}},
	{"AnyBytesInAnID", func(p *probe) {
		ids := []string{"\x00", "a\x00b", "a", "a\xff", "日本", "../etc/passwd", "%_"}
		for _, id := range ids {
			p.create(id)
		}
		for _, id := range ids {
			same(p, "ID", p.get(id).ID, id)
			same(p, "prefix", len(p.list(checkpoint.Query{IDPrefix: id})) > 0, true)
		}
		p.claims(request("f"), ids...)
	}},
	{"AtOnceMakesOne", func(p *probe) {
		var created atomic.Int32
		together(16, func(int) {
			_, ok, err := p.s.Create(p.ctx, creation("a", "f"))
			if err != nil {
				p.Error(err)
			}
			if ok {
				created.Add(1)
			}
		})
		same(p, "created", created.Load(), 1)
	}},
	{"SecretIsLongAndStays", func(p *probe) {
		secret := p.s.Secret()
		if len(secret) < 32 || bytes.Count(secret, secret[:1]) == len(secret) {
			p.Fatalf("a secret of %d bytes", len(secret))
		}
		same(p, "secret", p.s.Secret(), secret)
		other := p.h.Open(p.T)
		defer other.Close()
		if bytes.Equal(other.Secret(), secret) {
			p.Fatal("two stores have the same secret")
		}
	}},
}

// beginning is a creation with records: a step, and callbacks that are open, completed
// and abandoned.
func (p *probe) beginning(id string) checkpoint.Creation {
	c := creation(id, "f")
	o := &owner{p: p, id: id, tail: 1, event: 1}
	c.Records = o.number(
		checkpoint.Record{Type: checkpoint.StepSucceeded, OperationID: "1", Payload: []byte("1")},
		callback("open", p.now(), 0, time.Hour),
		callback("completed", p.now(), 0, 0),
		checkpoint.Record{Type: checkpoint.CallbackSucceeded, OperationID: "completed", Payload: []byte("2")},
		callback("abandoned", p.now(), 0, 0),
	)
	c.CloseCallbacks = []string{"abandoned"}
	return c
}

func (p *probe) begun(id string) (checkpoint.Summary, checkpoint.Creation) {
	p.Helper()
	c := p.beginning(id)
	return p.make(c), c
}

// ending is a creation of an execution that failed a day ago.
func (p *probe) ending(id string) checkpoint.Creation {
	c := p.beginning(id)
	day := int64(24 * time.Hour)
	last := c.Records[len(c.Records)-1]
	c.Records = append(c.Records, checkpoint.Record{Seq: last.Seq + 1, EventID: last.EventID + 1, Events: 1, Type: checkpoint.ExecutionFailed, Time: last.Time, Failure: []byte("{}")})
	c.Started.Time -= day
	for i := range c.Records {
		c.Records[i].Time -= day
	}
	c.Status = checkpoint.Failed
	return c
}

func (p *probe) found(number uint64) checkpoint.Summary {
	p.Helper()
	s, err := p.s.Find(p.ctx, number)
	p.ok(err)
	return s
}
