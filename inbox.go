package durable

import (
	"fmt"

	"github.com/durable-go/durable/checkpoint"
)

// What comes from outside goes from the store's inbox into the journal.

// news is told when the inbox holds something.
func (x *residency) news() {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch x.phase {
	case phaseRunning:
		x.takeInbox()
	case phaseLoading:
		x.newsPending = true
	}
}

// takeInbox moves what is in the inbox into the journal, on a goroutine of its
// own. x.mu is held.
func (x *residency) takeInbox() {
	x.outsideWork(x.drain)
}

// outsideWork runs f on its own goroutine; the execution is not suspended
// meanwhile. x.mu is held.
func (x *residency) outsideWork(f func()) {
	x.busy++
	go func() {
		f()
		x.mu.Lock()
		defer x.mu.Unlock()
		x.busy--
		x.checkIdle()
		x.checkHeld()
	}()
}

func (x *residency) drain() {
	x.mu.Lock()
	seen := x.inboxSeen
	x.mu.Unlock()
	entries, err := x.e.store.Inbox(x.life, x.id, seen)
	if err != nil {
		x.mu.Lock()
		x.lost(err)
		x.mu.Unlock()
		return
	}
	for i := range entries {
		x.takeOver(&entries[i])
	}
}

// takeOver moves one inbox entry into the journal. x.mu is not held.
func (x *residency) takeOver(entry *checkpoint.Record) {
	x.mu.Lock()
	if !x.takesRecords() || entry.Seq <= x.inboxSeen {
		x.mu.Unlock()
		return
	}
	if entry.Type == checkpoint.CancelRequested {
		x.inboxSeen = entry.Seq
		x.mu.Unlock()
		reason := *entry
		if err := x.e.openRecord(&reason, x.sum.Incarnation); err != nil {
			reason.Payload = nil
		}
		x.cancelScope(x.root, "Canceled", string(reason.Payload))
		return
	}
	defer x.mu.Unlock()
	o := x.ops[entry.OperationID]
	x.inboxSeen = entry.Seq
	if o == nil || o.settled() || o.dead() {
		return
	}
	rec := *entry
	if err := x.e.openRecord(&rec, x.sum.Incarnation); err != nil {
		x.holdNow(fmt.Errorf("durable: execution %s, operation %s: %w", x.id, o.id, err))
		return
	}
	failure, err := decodeFailure(rec.Failure)
	if err != nil {
		x.holdNow(err)
		return
	}
	rec.Events, rec.EventID, rec.Failure = 0, 0, nil
	x.settle(o, rec, failure)
}

// takesRecords reports whether outside events may be recorded. x.mu is held.
func (x *residency) takesRecords() bool {
	return x.phase == phaseRunning || x.phase == phaseLoading || x.phase == phaseHolding
}
