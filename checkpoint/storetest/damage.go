package storetest

import (
	"time"

	"github.com/durable-go/durable/checkpoint"
)

// damaged makes executions and damages one between them, which has ended or can be claimed.
func (p *probe) damaged(end bool) checkpoint.Summary {
	p.Helper()
	p.finished("before")
	var s checkpoint.Summary
	if end {
		s = p.finished("damaged")
	} else {
		s = p.create("damaged")
	}
	p.create("behind")
	p.h.Damage(p.T, p.s, "damaged")
	return s
}

// half checks what is told of an execution of which something can't be read.
func (p *probe) half(got, want checkpoint.Summary, err error) {
	p.Helper()
	p.is(err, checkpoint.ErrCorrupt)
	same(p, "number", got.Number, want.Number)
	same(p, "ID", got.ID, want.ID)
	if got.Status != 0 && got.Status != want.Status {
		p.Fatalf("its status is %s", got.Status)
	}
}

var damageTests = []test{
	{"IsListedInItsPlace", func(p *probe) {
		want := p.damaged(true)
		var ids []string
		for s, err := range p.s.List(p.ctx, checkpoint.Query{}) {
			ids = append(ids, s.ID)
			if s.ID == "damaged" {
				p.half(s, want, err)
			} else {
				p.ok(err)
			}
		}
		same(p, "list", ids, []string{"behind", "damaged", "before"})
		n := 0
		for s, err := range p.s.List(p.ctx, checkpoint.Query{Before: want.Number + 1, Limit: 1}) {
			p.half(s, want, err)
			n++
		}
		same(p, "a page of it alone", n, 1)
		n = 0
		for s, err := range p.s.List(p.ctx, checkpoint.Query{IDPrefix: "be"}) {
			p.ok(err)
			n++
			if s.ID == "damaged" {
				p.Fatal("it is listed among others")
			}
		}
		same(p, "those with a prefix", n, 2)
	}},
	{"IsToldOf", func(p *probe) {
		want := p.damaged(true)
		s, err := p.s.Get(p.ctx, "damaged")
		p.half(s, want, err)
		s, err = p.s.Find(p.ctx, want.Number)
		p.half(s, want, err)
		var last error
		for _, err := range p.s.Records(p.ctx, "damaged", 0) {
			last = err
		}
		p.is(last, checkpoint.ErrCorrupt)
		if c, ok := p.s.(checkpoint.Counter); ok {
			counts, err := c.Count(p.ctx, checkpoint.Query{})
			p.ok(err)
			same(p, "running", counts[checkpoint.Running], 1)
		}
	}},
	{"IsDeleted", func(p *probe) {
		p.damaged(true)
		p.ok(p.s.Delete(p.ctx, "damaged"))
		p.is(p.s.Delete(p.ctx, "damaged"), checkpoint.ErrNotFound)
		same(p, "list", p.list(checkpoint.Query{}), []string{"behind", "before"})
		p.create("damaged")
		same(p, "journal", len(p.journal("damaged", 0)), 1)
		if p.h.Reopen != nil {
			p.reopen()
			same(p, "list", p.list(checkpoint.Query{}), []string{"damaged", "behind", "before"})
		}
	}},
	{"IsStoppedAndDeleted", func(p *probe) {
		p.damaged(false)
		_, err := p.s.End(p.ctx, checkpoint.Ending{ID: "damaged", Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
		if err != nil {
			p.is(err, checkpoint.ErrCorrupt)
		}
		p.ok(p.s.Delete(p.ctx, "damaged"))
		same(p, "list", p.list(checkpoint.Query{}), []string{"behind", "before"})
		p.claims(request("f"), "behind")
		if !p.nextDue(request("f")).IsZero() {
			p.Fatal("it is still due")
		}
	}},
	{"KeepsNobodyFromBeingClaimed", func(p *probe) {
		p.damaged(false)
		p.claims(request("f"), "behind")
		p.claims(request("f"))
		if due := p.nextDue(request("f")); !due.IsZero() {
			p.Fatalf("it is due for ever, since %s", due)
		}
		p.ok(p.s.Delete(p.ctx, "before"))
	}},
	{"KeepsNothingFromExpiring", func(p *probe) {
		p.damaged(true)
		p.expire(p.in(time.Hour), 10)
		_, err := p.s.Get(p.ctx, "before")
		p.is(err, checkpoint.ErrNotFound)
		same(p, "expired", p.expire(p.in(time.Hour), 10), 0)
	}},
}
