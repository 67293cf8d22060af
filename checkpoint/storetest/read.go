package storetest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

var readTests = []test{
	{"ByIDAndByNumber", func(p *probe) {
		a := p.create("a")
		p.create("b")
		s, err := p.s.Find(p.ctx, a.Number)
		p.ok(err)
		same(p, "found", s, p.get("a"))
		_, err = p.s.Find(p.ctx, 0)
		p.is(err, checkpoint.ErrNotFound)
		_, err = p.s.Find(p.ctx, 99)
		p.is(err, checkpoint.ErrNotFound)
		for _, id := range []string{"", "nobody"} {
			_, err = p.s.Get(p.ctx, id)
			p.is(err, checkpoint.ErrNotFound)
			for _, err := range p.s.Records(p.ctx, id, 0) {
				p.is(err, checkpoint.ErrNotFound)
			}
		}
	}},
	{"RecordsBehindEach", func(p *probe) {
		o := p.own("a")
		var done []chan error
		for i := range 200 { // appends of one record, and of some, small ones and larger ones
			step := checkpoint.Record{Type: checkpoint.StepSucceeded, Events: 2, OperationID: fmt.Sprint(i), Payload: make([]byte, i*i%1500)}
			done = append(done, p.start(o.next(slices.Repeat([]checkpoint.Record{step}, 1+i%3)...)))
		}
		for _, d := range done {
			p.ok(p.await(d))
		}
		for range 2 { // at once, and when all is where it stays
			all := p.journal("a", 0)
			same(p, "records", uint64(len(all)), o.tail)
			for after := uint64(0); after <= o.tail; after += 7 {
				behind := p.journal("a", after)
				same(p, "records behind", uint64(len(behind)), o.tail-after)
				for i := range behind {
					same(p, "record behind", behind[i], all[int(after)+i])
				}
			}
			p.list(checkpoint.Query{})
		}
	}},
	{"ListIsNewestFirst", func(p *probe) {
		same(p, "empty list", len(p.list(checkpoint.Query{})), 0)
		ids := numbered("x", 600)
		for _, id := range ids {
			p.create(id)
		}
		slices.Reverse(ids)
		same(p, "list", p.list(checkpoint.Query{}), ids)
		same(p, "limited list", p.list(checkpoint.Query{Limit: 7}), ids[:7])
		var paged []string
		var before uint64
		for {
			n := 0
			for s, err := range p.s.List(p.ctx, checkpoint.Query{Before: before, Limit: 64}) {
				p.ok(err)
				paged = append(paged, s.ID)
				before = s.Number
				n++
			}
			if n == 0 {
				break
			}
			if before == 1 {
				break
			}
		}
		same(p, "pages", paged, ids)
	}},
	{"ListSelects", func(p *probe) {
		at := p.now()
		for i, id := range []string{"order-1", "order-2", "mail-1", "mail-2"} {
			c := claimed(creation(id, []string{"f", "g"}[i%2]))
			c.Started.Time = at + int64(i)
			o := p.ownerOf(p.make(c))
			if i == 0 {
				o.finish()
			}
			if i == 3 {
				p.stop(id)
			}
		}
		for _, c := range []struct {
			q    checkpoint.Query
			want []string
		}{
			{checkpoint.Query{Function: "g"}, []string{"mail-2", "order-2"}},
			{checkpoint.Query{Function: "none"}, nil},
			{checkpoint.Query{IDPrefix: "order-"}, []string{"order-2", "order-1"}},
			{checkpoint.Query{Status: checkpoint.Running}, []string{"mail-1", "order-2"}},
			{checkpoint.Query{Status: checkpoint.Stopped}, []string{"mail-2"}},
			{checkpoint.Query{StartedAfter: at}, []string{"mail-2", "mail-1", "order-2"}},
			{checkpoint.Query{StartedBefore: at + 3}, []string{"mail-1", "order-2", "order-1"}},
			{checkpoint.Query{StartedAfter: at, StartedBefore: at + 2}, []string{"order-2"}},
			{checkpoint.Query{Function: "f", IDPrefix: "order", Status: checkpoint.Succeeded}, []string{"order-1"}},
			{checkpoint.Query{Function: "f", Limit: 1}, []string{"mail-1"}},
		} {
			same(p, fmt.Sprintf("%+v", c.q), p.list(c.q), c.want)
		}
		for s, err := range p.s.List(p.ctx, checkpoint.Query{Status: checkpoint.Succeeded}) {
			p.ok(err)
			same(p, "Started", string(s.Started.Payload), `"order-1"`)
			same(p, "Ended", string(s.Ended.Payload), `"result"`)
		}
	}},
	{"ListIsStableWhileRowsChange", func(p *probe) {
		ids := numbered("x", 700)
		for _, id := range ids {
			p.create(id)
		}
		seen := make(map[string]bool)
		i := 0
		for s, err := range p.s.List(p.ctx, checkpoint.Query{}) {
			p.ok(err)
			if seen[s.ID] {
				p.Fatalf("%s came twice", s.ID)
			}
			seen[s.ID] = true
			switch i++; i {
			case 10, 300, 600: // the caller may change what it likes
				p.create(fmt.Sprintf("new%d", i))
				p.claim(checkpoint.ClaimRequest{Functions: []string{"f"}, Max: 50})
				p.stop(fmt.Sprintf("x%03d", i/2))
			}
		}
		for _, id := range ids {
			if !seen[id] {
				p.Fatalf("%s was not listed", id)
			}
		}
	}},
	{"RecordsWhileTheyGrow", func(p *probe) {
		o := p.own("a")
		for range 10 {
			o.append(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"})
		}
		var last uint64
		for r, err := range p.s.Records(p.ctx, "a", 0) {
			p.ok(err)
			same(p, "Seq", r.Seq, last+1)
			last = r.Seq
			if last < 300 {
				o.append(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"})
			}
		}
		if last < 11 {
			p.Fatalf("the journal ended with %d", last)
		}
	}},
	{"IterationMayEndEarly", func(p *probe) {
		o := p.own("a")
		o.append(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"})
		p.create("b")
		for range p.s.List(p.ctx, checkpoint.Query{}) {
			break
		}
		for range p.s.Records(p.ctx, "a", 0) {
			break
		}
		o.append(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"})
	}},
	{"PayloadsAreTheReaders", func(p *probe) {
		o := p.own("a")
		o.append(checkpoint.Record{Type: checkpoint.StepSucceeded, OperationID: "1", Payload: []byte("payload")})
		var kept []checkpoint.Record
		kept = append(kept, p.journal("a", 0)...)
		for range 50 {
			o.append(checkpoint.Record{Type: checkpoint.StepSucceeded, OperationID: "1", Payload: []byte("PAYLOAD")})
		}
		o.finish()
		p.ok(p.s.Delete(p.ctx, "a"))
		same(p, "payload after the execution was deleted", string(kept[1].Payload), "payload")
	}},
	{"StopsWithItsContext", func(p *probe) {
		p.create("a")
		ctx, cancel := context.WithCancel(p.ctx)
		cancel()
		_, err := p.s.Get(ctx, "a")
		p.is(err, context.Canceled)
		_, _, err = p.s.Create(ctx, creation("b", "f"))
		p.is(err, context.Canceled)
		_, err = p.s.Claim(ctx, request("f"))
		p.is(err, context.Canceled)
		for _, err := range p.s.List(ctx, checkpoint.Query{}) {
			p.is(err, context.Canceled)
		}
		for _, err := range p.s.Records(ctx, "a", 0) {
			p.is(err, context.Canceled)
		}
		_, err = p.s.Get(p.ctx, "b")
		p.is(err, checkpoint.ErrNotFound)
		p.claims(request("f"), "a")
	}},
	{"ClockGoesOn", func(p *probe) {
		before := p.s.Now()
		if d := time.Since(before); d < -time.Hour || d > time.Hour {
			p.Fatalf("the store's clock is %s off", d)
		}
		if p.s.Now().Before(before) {
			p.Fatal("the clock went back")
		}
	}},
}
