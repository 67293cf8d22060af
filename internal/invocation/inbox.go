package invocation

import (
	"context"
	"fmt"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
)

// What comes from outside goes from the store's inbox into the journal.

// News is told when the inbox holds something.
func (x *Invocation) News() {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.phase.lets(letEvents):
		x.takeInbox()
	case x.phase == phaseLoading:
		x.newsPending = true
	}
}

// takeInbox moves what is in the inbox into the journal, on a goroutine of its
// own. x.mu is held.
func (x *Invocation) takeInbox() {
	if x.draining {
		x.drainAgain = true
		return
	}
	x.draining = true
	x.outsideWork(func() {
		for again := true; again; {
			x.drain()
			x.mu.Lock()
			again, x.drainAgain = x.drainAgain, false
			x.draining = again
			x.mu.Unlock()
		}
	})
}

// outsideWork runs f on its own goroutine; the execution is not suspended
// meanwhile. x.mu is held.
func (x *Invocation) outsideWork(f func()) {
	x.busy++
	x.start(func() {
		f()
		x.mu.Lock()
		defer x.mu.Unlock()
		x.busy--
		x.weigh()
	})
}

func (x *Invocation) drain() {
	x.mu.Lock()
	seen := x.inboxSeen
	x.mu.Unlock()
	entries, err := x.inboxFrom(x.context(), seen)
	if err != nil {
		x.mu.Lock()
		x.lostUnlessEnded(err)
		x.mu.Unlock()
		return
	}
	for i := range entries {
		if !x.takeOver(&entries[i]) {
			return
		}
	}
}

// takeOver moves one inbox entry into the journal. It returns false if somebody
// else is at an entry that must come before the next one. x.mu is not held.
func (x *Invocation) takeOver(entry *checkpoint.Record) bool {
	x.mu.Lock()
	if !x.takesRecords() || x.cancelling > 0 {
		x.mu.Unlock()
		return false
	}
	if entry.Seq <= x.inboxSeen {
		x.mu.Unlock()
		return true
	}
	if entry.Type == checkpoint.CancelRequested {
		// It counts as seen with the record of the cancel, not before.
		x.cancelling++
		x.mu.Unlock()
		x.cancelScope(x.root, "Canceled", x.cancelReason(entry), entry.Seq)
		x.mu.Lock()
		x.cancelling--
		x.mu.Unlock()
		x.drain()
		return false
	}
	x.mu.Unlock()
	opened := x.openEntry(entry)
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.takesRecords() || x.cancelling > 0 {
		return false
	}
	if entry.Seq <= x.inboxSeen {
		return true
	}
	x.host.Woken(entry.Time, x.host.Now())
	if !x.apply(opened) {
		return false
	}
	x.inboxSeen = entry.Seq
	return true
}

// openedEntry is an inbox entry that the sealer has opened, or why it could not.
type openedEntry struct {
	rec     checkpoint.Record
	failure *fault.Failure
	err     *Reason // to hold the execution for
}

// openEntry opens an inbox entry. x.mu is not held.
func (x *Invocation) openEntry(entry *checkpoint.Record) *openedEntry {
	e := &openedEntry{rec: *entry}
	err := x.opened(&e.rec)
	if err == nil {
		e.failure, err = fault.Decode(e.rec.Failure)
	}
	if err != nil {
		e.err = x.host.Reason(fmt.Errorf("durable: execution %s, operation %s: %w", x.id, entry.OperationID, err))
	}
	return e
}

// apply records what an inbox entry says, unless its operation has an outcome.
// x.mu is held.
func (x *Invocation) apply(entry *openedEntry) bool {
	o := x.ops[entry.rec.OperationID]
	if o == nil || o.Settled() || o.Dead() {
		return true
	}
	if entry.err != nil {
		x.holdNow(entry.err)
		return false
	}
	rec := &entry.rec
	rec.Events, rec.EventID, rec.Failure = 0, 0, nil
	x.settle(o, rec, entry.failure)
	return true
}

// cancelReason is the text that came with a CancelRequested.
func (x *Invocation) cancelReason(entry *checkpoint.Record) string {
	rec := *entry
	if err := x.opened(&rec); err != nil {
		return ""
	}
	return string(rec.Payload)
}

// takesRecords reports whether outside events may be recorded. x.mu is held.
func (x *Invocation) takesRecords() bool {
	return x.phase.lets(letRecords)
}

// inboxFrom returns what is in the execution's inbox after a sequence number: all that is
// known to be there. x.mu is not held.
func (x *Invocation) inboxFrom(ctx context.Context, after uint64) ([]checkpoint.Record, error) {
	x.mu.Lock()
	known := x.inboxTail
	x.mu.Unlock()
	entries, err := x.host.Inbox(ctx, after, known)
	if err != nil {
		return nil, err
	}
	shown := after
	if len(entries) > 0 {
		shown = entries[len(entries)-1].Seq
	}
	if shown < known {
		return nil, &Unread{&BehindError{x.id, "inbox", shown, known}}
	}
	return entries, nil
}

// BehindError says that what was read of an execution is not all that is there.
type BehindError struct {
	ID, What     string
	Shown, Known uint64
}

func (e *BehindError) Error() string {
	return fmt.Sprintf("the %s of execution %s was read up to entry %d, and is known to go up to %d: the store shows what it held before, does it read from a replica?", e.What, e.ID, e.Shown, e.Known)
}
