package storetest

import (
	"sync"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

// measureTests are for stores that tell about themselves; others pass.
var measureTests = []test{
	{"BacklogCountsWhatNobodyOwns", func(p *probe) {
		s, ok := p.s.(checkpoint.Backlogger)
		if !ok {
			p.Skip("the store is no checkpoint.Backlogger")
		}
		p.create("new")
		p.own("later").release(p.in(time.Hour))
		p.own("event").release(0)
		p.own("owned")
		p.create("ended")
		_, err := p.s.End(p.ctx, stop("ended"))
		p.ok(err)
		p.own("held").hold("build", 0)
		for _, err := range p.s.List(p.ctx, checkpoint.Query{}) { // which shows all of it
			p.ok(err)
		}
		got, err := s.Backlog(p.ctx)
		p.ok(err)
		same(p, "backlog", got, checkpoint.Backlog{Waiting: 4, Timed: 2})
	}},
	{"CommitsCountEachChange", func(p *probe) {
		s, ok := p.s.(checkpoint.CommitWatcher)
		if !ok {
			p.Skip("the store is no checkpoint.CommitWatcher")
		}
		var mu sync.Mutex
		changes := 0
		s.WatchCommits(func(c checkpoint.Commit) {
			mu.Lock()
			defer mu.Unlock()
			if c.Took < 0 || c.Changes < 1 {
				p.Errorf("commit: %+v", c)
			}
			changes += c.Changes
		})
		o := p.own("a")
		for range 100 {
			p.ok(p.append(o.next(checkpoint.Record{Type: checkpoint.VersionChosen, Key: "change", Number: 2})))
		}
		p.create("behind") // what is told of the last append has been told before this is made
		p.ok(p.append(o.next(checkpoint.Record{Type: checkpoint.VersionChosen, Key: "change", Number: 2})))
		mu.Lock()
		defer mu.Unlock()
		if changes < 100 || changes > 103 {
			p.Fatalf("%d changes were told, of 100 to 103", changes)
		}
	}},
	{"CommitsAreToldToTheLastWatcher", func(p *probe) {
		s, ok := p.s.(checkpoint.CommitWatcher)
		if !ok {
			p.Skip("the store is no checkpoint.CommitWatcher")
		}
		o := p.own("a")
		var last <-chan error
		for range 100 {
			last = p.start(o.next(checkpoint.Record{Type: checkpoint.VersionChosen, Key: "change", Number: 2}))
			s.WatchCommits(func(checkpoint.Commit) {}) // while it works
		}
		p.ok(<-last)
		told := make(chan struct{}, 1)
		s.WatchCommits(func(checkpoint.Commit) {
			select {
			case told <- struct{}{}:
			default:
			}
		})
		p.ok(p.append(o.next(checkpoint.Record{Type: checkpoint.VersionChosen, Key: "change", Number: 2})))
		<-told
	}},
	{"SizeGrowsWithWhatIsKept", func(p *probe) {
		s, ok := p.s.(checkpoint.Sizer)
		if !ok {
			p.Skip("the store is no checkpoint.Sizer")
		}
		before, err := s.Size(p.ctx)
		p.ok(err)
		c := creation("a", "f")
		c.Started.Payload = make([]byte, 2<<20)
		for i := range c.Started.Payload { // nothing that compresses
			c.Started.Payload[i] = byte(i * i >> 7)
		}
		p.make(c)
		for _, err := range p.s.List(p.ctx, checkpoint.Query{}) {
			p.ok(err)
		}
		after, err := s.Size(p.ctx)
		p.ok(err)
		if before < 0 || after <= before {
			p.Fatalf("size was %d, is %d after 2 MiB more", before, after)
		}
	}},
}
