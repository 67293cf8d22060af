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
