package storetest

import (
	"context"
	"fmt"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

// countTests are for stores that are a checkpoint.Counter; others pass them over.
var countTests = []test{
	{"IsWhatAListHas", func(p *probe) {
		p.counts(checkpoint.Query{}, "of an empty store")
		for _, id := range numbered("x", 40) {
			p.create(id)
		}
		for _, id := range numbered("ended", 20) {
			p.finished(id)
		}
		p.make(p.ending("failed"))
		p.make(creation("other", "g"))
		for _, id := range numbered("stopped", 5) {
			p.create(id)
			_, err := p.s.End(p.ctx, checkpoint.Ending{ID: id, Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
			p.ok(err)
		}
		p.finished("deleted")
		p.ok(p.s.Delete(p.ctx, "deleted"))
		c := creation("long ago", "f")
		c.Started.Time = 1000
		p.make(c)
		c = creation("much later", "f")
		c.Started.Time = p.in(24 * time.Hour)
		p.make(c)
		queries := []checkpoint.Query{{}, {Limit: 1, Before: 3}, {Status: checkpoint.Running}, {Status: checkpoint.TimedOut}, {StartedAfter: 1000}, {StartedBefore: 1001}, {StartedAfter: p.in(time.Hour)}}
		for _, function := range []string{"f", "g", "", "nothing"} {
			for _, prefix := range []string{"", "x0", "ended", "failed", "other", "ended000000", "\x00"} {
				queries = append(queries, checkpoint.Query{Function: function, IDPrefix: prefix}, checkpoint.Query{Function: function, IDPrefix: prefix, Status: checkpoint.Succeeded})
			}
		}
		for _, q := range queries {
			p.counts(q, "")
		}
		if p.h.Reopen != nil {
			p.reopen()
			p.counts(checkpoint.Query{}, "of a store that was opened again")
		}
	}},
	{"SeesWhatIsDurable", func(p *probe) {
		c := p.counter()
		for i, id := range numbered("x", 50) {
			p.create(id)
			counts, err := c.Count(p.ctx, checkpoint.Query{})
			p.ok(err)
			same(p, "running", counts, map[checkpoint.Status]int{checkpoint.Running: i + 1})
		}
	}},
	{"EndsWithItsContext", func(p *probe) {
		c := p.counter()
		ctx, cancel := context.WithCancel(p.ctx)
		cancel()
		_, err := c.Count(ctx, checkpoint.Query{})
		p.is(err, context.Canceled)
		p.ok(p.s.Close())
		_, err = c.Count(p.ctx, checkpoint.Query{})
		p.is(err, checkpoint.ErrClosed)
	}},
}

func (p *probe) counter() checkpoint.Counter {
	p.Helper()
	c, ok := p.s.(checkpoint.Counter)
	if !ok {
		p.Skip("the store is no checkpoint.Counter")
	}
	return c
}

// counts compares a count with a list.
func (p *probe) counts(q checkpoint.Query, what string) {
	p.Helper()
	got, err := p.counter().Count(p.ctx, q)
	p.ok(err)
	all := q
	all.Before, all.Limit = 0, 0
	want := make(map[checkpoint.Status]int)
	for s, err := range p.s.List(p.ctx, all) {
		p.ok(err)
		want[s.Status]++
	}
	same(p, fmt.Sprintf("count %s %+v", what, q), got, want)
}
