package storetest

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/durable-go/durable/checkpoint"
)

// fullRecord has every field set.
func fullRecord() checkpoint.Record {
	return checkpoint.Record{
		Events: 2, Type: checkpoint.StepFailed, SubType: checkpoint.Step,
		Flags: checkpoint.FlagSealed | checkpoint.FlagParent | checkpoint.FlagPayload,
		Time:  1_780_000_000_000_000_000, StartedAt: 1_779_999_999_000_000_000,
		OperationID: "1-2-3", ParentID: "1-9", Name: "charge the card", Attempt: 3,
		Duration: 1, Timeout: 2, HeartbeatTimeout: 3, NextAttemptDelay: 4,
		WakeAt: 1_780_000_001_000_000_000, TimeoutAt: 1_780_000_002_000_000_000,
		Function: "g", TargetID: "inv-1", Codec: "json", Payload: []byte(`{"a":1}`), Failure: []byte("failure"),
		Batch: []byte("batch"), Digest: []byte("digest"), Key: "key", Number: -5, Trace: "trace", Keys: "keys",
	}
}

var appendTests = []test{
	{"IsReadAsItWasWritten", func(p *probe) {
		o := p.own("a")
		a := o.next(fullRecord(), checkpoint.Record{Type: checkpoint.VersionChosen, Key: "change", Number: 2}, fullRecord())
		want := bytesOf(a.Records)
		p.ok(p.append(a))
		same(p, "journal", bytesOf(p.journal("a", 1)), want)
		same(p, "journal behind 2", bytesOf(p.journal("a", 2)), want[1:])
		same(p, "journal behind its end", len(p.journal("a", 99)), 0)
		s := p.get("a")
		same(p, "Tail, LastEvent", []uint64{s.Tail, s.LastEvent}, []uint64{4, 5})
	}},
	{"MayBeEmpty", func(p *probe) {
		o := p.own("a")
		o.append()
		same(p, "Tail", p.get("a").Tail, uint64(1))
	}},
	{"LargeValues", func(p *probe) {
		o := p.own("a")
		var want [][]byte
		for i := range 4 {
			payload := bytes.Repeat([]byte{byte(i), 1, 2, 3}, 1<<18+i)
			want = append(want, payload)
			o.append(checkpoint.Record{Type: checkpoint.StepSucceeded, OperationID: "1", Payload: payload})
		}
		for i, r := range p.journal("a", 1) {
			if !bytes.Equal(r.Payload, want[i]) {
				p.Fatalf("payload %d was changed", i)
			}
		}
	}},
	{"LongJournal", func(p *probe) {
		const n = 3000
		o := p.own("a")
		var last chan error
		for i := range n {
			last = p.start(o.next(checkpoint.Record{Type: checkpoint.StepSucceeded, OperationID: fmt.Sprint(i)}))
		}
		p.ok(p.await(last))
		i := 0
		for r, err := range p.s.Records(p.ctx, "a", 1) {
			p.ok(err)
			same(p, "operation", r.OperationID, fmt.Sprint(i))
			same(p, "Seq", r.Seq, uint64(i+2))
			i++
		}
		same(p, "records", i, n)
	}},
	{"DoneComesInOrderFromAnotherGoroutine", func(p *probe) {
		o := p.own("a")
		var mu sync.Mutex
		var order []int
		all := make(chan struct{})
		mu.Lock() // done would wait for ever on this goroutine
		for i := range 200 {
			p.s.Append(o.next(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"}), func(err error) {
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					p.Errorf("append %d: %v", i, err)
				}
				if order = append(order, i); len(order) == 200 {
					close(all)
				}
			})
		}
		mu.Unlock()
		<-all
		for i, got := range order {
			same(p, "order of done", got, i)
		}
	}},
	{"DoneMayCallTheStore", func(p *probe) {
		o := p.own("a")
		done := make(chan error, 1)
		p.s.Append(o.next(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"}), func(error) {
			_, _, err := p.s.Create(p.ctx, creation("b", "f"))
			done <- err
		})
		p.ok(p.await(done))
	}},
	{"IsDurableWhenDone", func(p *probe) {
		o := p.own("a")
		for i := range 20 {
			o.append(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"})
			same(p, "records", len(p.journal("a", 1)), i+1)
		}
	}},
	{"IsFenced", func(p *probe) {
		o := p.own("a")
		step := checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"}
		wrong := *o
		wrong.epoch++
		p.is(p.append(wrong.next(step)), checkpoint.ErrFenced)
		wrong.epoch = 0
		p.is(p.append(wrong.next(step)), checkpoint.ErrFenced)
		absent := *o
		absent.id = "nobody"
		p.is(p.append(absent.next(step)), checkpoint.ErrFenced)

		o.release(0)
		p.is(p.append(o.next(step)), checkpoint.ErrFenced)
		same(p, "journal", p.types("a"), []checkpoint.EventType{checkpoint.ExecutionStarted, checkpoint.InvocationCompleted})

		b := p.own("b")
		b.finish()
		p.is(p.append(b.next(step)), checkpoint.ErrFenced)
	}},
	{"UnownedIsFenced", func(p *probe) {
		s := p.create("a")
		o := p.ownerOf(s)
		p.is(p.append(o.next(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"})), checkpoint.ErrFenced)
	}},
	{"QueuedAppendsOfAnOldEpochFail", func(p *probe) {
		o := p.own("a")
		p.ok(p.s.Disown(p.ctx, "a", o.epoch))
		var done []chan error
		for range 10 {
			done = append(done, p.start(o.next(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"})))
		}
		for _, d := range done {
			p.is(p.await(d), checkpoint.ErrFenced)
		}
		same(p, "Tail", p.get("a").Tail, uint64(1))
	}},
	{"NeedsTheRightTail", func(p *probe) {
		o := p.own("a")
		other := p.own("b")
		o.append(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"})
		for _, tail := range []uint64{0, 1, 3} {
			wrong := *o
			wrong.tail = tail
			a := wrong.next(checkpoint.Record{Type: checkpoint.StepSucceeded, OperationID: "1"}, checkpoint.Record{Type: checkpoint.ExecutionSucceeded})
			a.Status = checkpoint.Succeeded
			a.Deliver = []checkpoint.Delivery{cancel("b")}
			p.is(p.append(a), checkpoint.ErrConflict)
		}
		s := p.get("a")
		same(p, "Status", s.Status, checkpoint.Running)
		same(p, "Owned", s.Owned, true)
		same(p, "Tail", s.Tail, uint64(2))
		same(p, "inbox of the target", len(p.inbox("b", 0)), 0)
		o.append(checkpoint.Record{Type: checkpoint.StepSucceeded, OperationID: "1"})
		other.append()
	}},
	{"BehindAFailedOneFails", func(p *probe) {
		o := p.own("a")
		wrong := *o
		wrong.epoch++
		first := p.start(wrong.next(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"}))
		o.tail = wrong.tail
		second := p.start(o.next(checkpoint.Record{Type: checkpoint.StepSucceeded, OperationID: "1"}))
		p.is(p.await(first), checkpoint.ErrFenced)
		p.is(p.await(second), checkpoint.ErrConflict)
	}},
	{"RefusesWhatMakesNoSense", func(p *probe) {
		o := p.own("a")
		gap := o.next(checkpoint.Record{Type: checkpoint.StepStarted, OperationID: "1"})
		gap.Records[0].Seq++
		p.fails(p.append(gap))
		o.tail = 1
		status := o.next()
		status.Status = checkpoint.Running
		p.fails(p.append(status))
		status.Status = checkpoint.Succeeded
		p.fails(p.append(status))
		seen := o.next()
		seen.InboxSeen = 7
		p.fails(p.append(seen))
		started := o.next()
		started.Deliver = []checkpoint.Delivery{{ID: "a", Record: checkpoint.Record{Type: checkpoint.CallbackStarted}}}
		p.fails(p.append(started))
		s := p.get("a")
		same(p, "Tail", s.Tail, uint64(1))
		same(p, "Status", s.Status, checkpoint.Running)
	}},
	{"EndsAnExecution", func(p *probe) {
		o := p.own("a")
		o.finish()
		s := p.get("a")
		same(p, "Status", s.Status, checkpoint.Succeeded)
		same(p, "Owned", s.Owned, false)
		same(p, "WakeAt", s.WakeAt, int64(0))
		same(p, "Ended", string(s.Ended.Payload), `"result"`)
		same(p, "EndedAt", s.EndedAt, s.Ended.Time)
		same(p, "Started", string(s.Started.Payload), `"a"`)
		p.claims(request("f"))
		same(p, "journal", p.types("a"), []checkpoint.EventType{checkpoint.ExecutionStarted, checkpoint.InvocationCompleted, checkpoint.ExecutionSucceeded})
	}},
	{"EndTellsTheCallerAtomically", func(p *probe) {
		caller := p.own("caller")
		c := caller.invoked("a")
		c.Claim = true
		o := p.ownerOf(p.make(c))
		caller.release(0)
		final := o.final()
		final.Deliver = []checkpoint.Delivery{ended(c.Caller), cancel("nobody"), cancel("a")}
		p.ok(p.append(final))
		entries := p.inbox("caller", 0)
		same(p, "inbox of the caller", typesOf(entries), []checkpoint.EventType{checkpoint.ChainedInvokeSucceeded})
		same(p, "operation", entries[0].OperationID, "1")
		if entries[0].Time == 0 {
			p.Fatal("the entry has no time")
		}
		p.claims(request("f"), "caller")
	}},
	{"EndCancelsInvokedOnes", func(p *probe) {
		caller := p.own("caller")
		child := p.ownerOf(p.make(claimed(caller.invoked("owned"))))
		p.make(caller.invoked("waiting"))
		p.ownerOf(p.make(claimed(caller.invoked("done")))).finish()
		asleep := p.ownerOf(p.make(claimed(caller.invoked("asleep"))))
		asleep.release(0)
		p.own("other")
		caller.finish()
		for _, id := range []string{"owned", "waiting", "asleep"} {
			same(p, "inbox of "+id, typesOf(p.inbox(id, 0)), []checkpoint.EventType{checkpoint.CancelRequested})
			same(p, "Cancelled", p.get(id).Cancelled, true)
		}
		same(p, "inbox of other", len(p.inbox("other", 0)), 0)
		same(p, "Cancelled", p.get("done").Cancelled, false)
		p.awaitHint(checkpoint.HintInbox, "owned")
		p.claims(request("f"), "waiting", "asleep")
		child.finish()
	}},
	{"EndDropsTheInbox", func(p *probe) {
		o := p.own("a")
		p.ok(p.s.Deliver(p.ctx, cancel("a")))
		o.finish()
		same(p, "inbox", len(p.inbox("a", 0)), 0)
	}},
}

func claimed(c checkpoint.Creation) checkpoint.Creation {
	c.Claim = true
	return c
}

// bytesOf compares records by their binary form, where nil and empty are one.
func bytesOf(records []checkpoint.Record) (all []string) {
	for i := range records {
		all = append(all, string(checkpoint.AppendRecord(nil, &records[i])))
	}
	return all
}
