package storetest

import (
	"time"

	"github.com/durable-go/durable/checkpoint"
)

// quiet drops the hints that have come so far. It is used where a late one can
// only make a test pass that would pass anyway.
func (p *probe) quiet() {
	for {
		select {
		case <-p.hints:
		default:
			return
		}
	}
}

var hintTests = []test{
	{"DueWhenSomethingWasCreated", func(p *probe) {
		p.create("a")
		p.awaitHint(checkpoint.HintDue, "")
	}},
	{"DueWhenReleasedWithAnEarlierTime", func(p *probe) {
		a, b, c := p.own("a"), p.own("b"), p.own("c")
		a.release(p.in(time.Hour))
		p.awaitHint(checkpoint.HintDue, "")
		p.quiet()
		b.release(p.in(time.Minute))
		p.awaitHint(checkpoint.HintDue, "")
		p.quiet()
		c.release(p.now() - 1)
		p.awaitHint(checkpoint.HintDue, "")
	}},
	{"DueWhenNewsCome", func(p *probe) {
		o := p.waiting(callback("1", p.now(), 0, 0))
		o.release(0)
		p.quiet()
		p.ok(p.s.Deliver(p.ctx, outcome("a", "1")))
		p.awaitHint(checkpoint.HintDue, "")
	}},
	{"DueWhenDisowned", func(p *probe) {
		o := p.own("a")
		p.quiet()
		p.ok(p.s.Disown(p.ctx, "a", o.epoch))
		p.awaitHint(checkpoint.HintDue, "")
	}},
	{"DueForOtherBuildsWhenHeld", func(p *probe) {
		for _, id := range numbered("x", 3) {
			o := p.own(id)
			p.quiet()
			o.hold("one", 0)
			p.awaitHint(checkpoint.HintDue, "")
		}
	}},
	{"InboxOfAnOwnedOne", func(p *probe) {
		p.own("a")
		p.ok(p.s.Deliver(p.ctx, cancel("a")))
		p.awaitHint(checkpoint.HintInbox, "a")
		b := p.own("b")
		p.own("c")
		a := b.next()
		a.Deliver = []checkpoint.Delivery{cancel("c")}
		p.ok(p.append(a))
		p.awaitHint(checkpoint.HintInbox, "c")
	}},
	{"ACallbackIsAwaited", func(p *probe) {
		p.own("a").append(callback("1", p.now(), 0, 0))
		p.awaitHint(checkpoint.HintCallback, "a")
	}},
	{"EndedByItsOwnerAndFromOutside", func(p *probe) {
		p.own("a").finish()
		p.awaitHint(checkpoint.HintEnded, "a")
		same(p, "Status", p.get("a").Status, checkpoint.Succeeded)
		p.create("b")
		p.stop("b")
		p.awaitHint(checkpoint.HintEnded, "b")
		same(p, "Status", p.get("b").Status, checkpoint.Stopped)
	}},
}

var closeTests = []test{
	{"EndsAllUse", func(p *probe) {
		o := p.own("a")
		o.append(callback("1", p.now(), 0, 0))
		p.finished("b")
		p.ok(p.s.Close())
		_, _, err := p.s.Create(p.ctx, creation("c", "f"))
		p.is(err, checkpoint.ErrClosed)
		_, err = p.s.Claim(p.ctx, request("f"))
		p.is(err, checkpoint.ErrClosed)
		p.is(p.append(o.next(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"})), checkpoint.ErrClosed)
		p.is(p.s.Disown(p.ctx, "a", o.epoch), checkpoint.ErrClosed)
		p.is(p.s.Deliver(p.ctx, outcome("a", "1")), checkpoint.ErrClosed)
		p.is(p.s.Heartbeat(p.ctx, ref("a", "1")), checkpoint.ErrClosed)
		_, err = p.s.End(p.ctx, stop("a"))
		p.is(err, checkpoint.ErrClosed)
		p.is(p.s.Resume(p.ctx, "a"), checkpoint.ErrClosed)
		_, err = p.s.Get(p.ctx, "a")
		p.is(err, checkpoint.ErrClosed)
		_, err = p.s.Find(p.ctx, 1)
		p.is(err, checkpoint.ErrClosed)
		for _, err := range p.s.List(p.ctx, checkpoint.Query{}) {
			p.is(err, checkpoint.ErrClosed)
		}
		for _, err := range p.s.Records(p.ctx, "a", 0) {
			p.is(err, checkpoint.ErrClosed)
		}
		_, err = p.s.Inbox(p.ctx, "a", 0)
		p.is(err, checkpoint.ErrClosed)
		p.is(p.s.Delete(p.ctx, "b"), checkpoint.ErrClosed)
		_, err = p.s.Expire(p.ctx, p.s.Now(), 1)
		p.is(err, checkpoint.ErrClosed)
		_, err = p.s.NextDue(p.ctx, request("f"))
		p.is(err, checkpoint.ErrClosed)
	}},
	{"MayBeCalledAgain", func(p *probe) {
		p.ok(p.s.Close())
		p.ok(p.s.Close())
	}},
	{"AnswersWhatWaits", func(p *probe) {
		o := p.own("a")
		var done []chan error
		for range 500 {
			done = append(done, p.start(o.next(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"})))
		}
		p.ok(p.s.Close())
		refused := false
		for _, d := range done {
			err := p.await(d)
			if err != nil {
				p.is(err, checkpoint.ErrClosed)
				refused = true
			} else if refused {
				p.Fatal("an append was made behind one that was refused")
			}
		}
	}},
	{"WhileOthersUseIt", func(p *probe) {
		ids := numbered("x", 8)
		var owners []*owner
		for _, id := range ids {
			owners = append(owners, p.own(id))
		}
		together(len(ids)+1, func(i int) {
			if i == len(ids) {
				p.s.Close()
				return
			}
			for {
				if err := <-p.start(owners[i].next(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"})); err != nil {
					return
				}
				if _, err := p.s.Get(p.ctx, ids[i]); err != nil {
					return
				}
			}
		})
	}},
}
