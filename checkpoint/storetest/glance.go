package storetest

import (
	"context"
	"slices"
	"strings"

	"github.com/durable-go/durable/checkpoint"
)

// glanceTests are for stores that are a checkpoint.Glancer; others pass them over.
var glanceTests = []test{
	{"IsWhatGetSays", func(p *probe) {
		p.glances()
		ids := append(numbered("x", 30), "\x00 any\nbytes \xff")
		for _, id := range ids {
			p.create(id)
		}
		p.glances(append(ids, "nobody")...)
		owner := p.own("owned")
		owner.append(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"})
		p.own("released").release(0)
		p.own("held").hold("one", 0)
		p.own("held twice").hold("one", 0)
		again := request("f")
		again.Build = "two"
		for id := range p.claim(again) {
			if id == "held twice" {
				ids = append(ids, id)
			}
		}
		p.finished("ended")
		p.create("stopped")
		p.stop("stopped")
		p.finished("deleted")
		p.ok(p.s.Delete(p.ctx, "deleted"))
		ids = append(ids, "owned", "released", "held", "ended", "stopped")
		p.glances(append(ids, "deleted", "nobody")...)
		c := creation("ended", "f")
		c.Incarnation = incarnation("another one")
		p.ok(p.s.Delete(p.ctx, "ended"))
		p.make(c)
		p.glances(ids...)
	}},
	{"OfAsManyAsItMayBeAskedFor", func(p *probe) {
		var ids []string
		for _, id := range numbered("x", 1000) {
			ids = append(ids, id)
			if len(ids)%10 == 0 {
				p.create(id)
			}
		}
		p.glances(ids...)
	}},
	{"OnceClosedOrCancelled", func(p *probe) {
		g := p.glancer()
		ctx, cancel := context.WithCancel(p.ctx)
		cancel()
		_, err := g.Glance(ctx, []string{"x"})
		p.is(err, context.Canceled)
		p.ok(p.s.Close())
		_, err = g.Glance(p.ctx, []string{"x"})
		p.is(err, checkpoint.ErrClosed)
	}},
}

func (p *probe) glancer() checkpoint.Glancer {
	p.Helper()
	g, ok := p.s.(checkpoint.Glancer)
	if !ok {
		p.Skip("the store is no checkpoint.Glancer")
	}
	return g
}

// glances compares glances with summaries.
func (p *probe) glances(ids ...string) {
	p.Helper()
	got, err := p.glancer().Glance(p.ctx, ids)
	p.ok(err)
	var want []checkpoint.Glance
	for _, id := range ids {
		s, err := p.s.Get(p.ctx, id)
		if err != nil {
			p.is(err, checkpoint.ErrNotFound)
			continue
		}
		want = append(want, checkpoint.Glance{ID: id, Incarnation: s.Incarnation, Status: s.Status, Tail: s.Tail, Held: len(s.HeldBuilds) > 0 && !s.Owned})
	}
	compare := func(a, b checkpoint.Glance) int { return strings.Compare(a.ID, b.ID) }
	slices.SortFunc(got, compare)
	slices.SortFunc(want, compare)
	if !slices.Equal(got, want) {
		p.Fatalf("glances: got %+v, want %+v", got, want)
	}
}
