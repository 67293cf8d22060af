package invocation

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// The beginning of a invocation.

// begin folds the journal, takes over what came while the execution was not in
// memory, in the order in which it became so, and returns the routine that is to run the
// handler; nil if it is not to be run.
func (x *Invocation) begin() (r *routine, run func()) {
	x.mu.Lock()
	if x.phase != phaseLoading {
		x.mu.Unlock()
		return nil, nil
	}
	x.mu.Unlock()
	if x.Execution.Deadline != 0 && x.Execution.Deadline <= x.host.Now() {
		x.timeOutExecution()
		return nil, nil
	}
	input, codec, err := x.load()
	if err == nil && x.Accepts != nil {
		err = x.Accepts(codec)
	}
	if err == nil && x.Handler == nil {
		err = fmt.Errorf("%w: %q", fault.ErrFunctionNotFound, x.Execution.Function)
	}
	if err != nil {
		unread, ok := err.(*Unread)
		if ok && !errors.Is(unread.Err, checkpoint.ErrCorrupt) {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.lostUnlessEnded(err) // the store may be well again soon
			return nil, nil
		}
		why := x.host.Reason(err)
		x.mu.Lock()
		defer x.mu.Unlock()
		x.holdNow(why)
		return nil, nil
	}
	if given := x.host.Loaded(x.lastInvocation > 0 || x.cutOff, x.cutOff); given != nil {
		x.given.Store(&given)
	}
	x.catchUp()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.phase != phaseLoading {
		x.weigh()
		return nil, nil
	}
	if x.retiring {
		x.host.Unbegun() // what an earlier one lost is not made good any more
		x.waitForBodies(phaseRetiring)
		return nil, nil
	}
	x.phase = phaseRunning
	x.host.Began(x.lastInvocation > 0)
	f := x.newFrame(x.root, nil)
	f.replaying = x.lastInvocation > 0
	r = x.enlist(f)
	x.armTimer()
	if x.newsPending {
		x.takeInbox()
	}
	return r, func() { x.runHandler(f, codec, input) }
}

// ErrFollowed is of a journal that goes on behind what was claimed: who wrote that has the
// execution now.
var ErrFollowed = errors.New("durable: the journal goes on behind what was claimed")

// load reads the journal and folds it. What it folds is nobody else's while the invocation
// is loading, so others need not wait for a store, or a sealer, that is slow.
func (x *Invocation) load() (input []byte, codec string, err error) {
	fold := func(rec *checkpoint.Record) error {
		if err := x.opened(rec); err != nil {
			return fmt.Errorf("durable: execution %s, record %d: %w", x.id, rec.Seq, err)
		}
		failure, err := fault.Decode(rec.Failure)
		if err != nil {
			return fmt.Errorf("durable: execution %s, record %d: %w", x.id, rec.Seq, err)
		}
		switch rec.Type {
		case checkpoint.ExecutionStarted:
			input, codec = rec.Payload, rec.Codec
			x.Execution.Started.Seq, x.Execution.Started.Trace = rec.Seq, rec.Trace
			if x.keys, err = history.DecodeKeys(rec.Keys); err != nil {
				return fmt.Errorf("durable: execution %s: %w", x.id, err)
			}
			if rec.Number > 0 { // it begins with what another one did
				x.lastInvocation = uint64(rec.Number) + 1
			}
		case checkpoint.InvocationCompleted:
			x.lastInvocation = rec.Seq
		case checkpoint.ScopeCancelled:
			x.cancels++
		}
		x.ops.Apply(rec, failure)
		return nil
	}
	known, last := x.Beginning, uint64(0)
	if x.Beginning = nil; len(known) == 0 && x.Execution.Tail == 1 && x.Execution.Started.Seq == 1 {
		known = []checkpoint.Record{x.Execution.Started}
	}
	for _, rec := range known {
		last = rec.Seq
		if err := fold(&rec); err != nil {
			return nil, "", err
		}
	}
	if last < x.Execution.Tail {
		for rec, err := range x.host.Records(x.context(), last) {
			if err == nil && rec.Seq > x.Execution.Tail {
				err = ErrFollowed
			}
			if err != nil {
				return nil, "", &Unread{err}
			}
			last = rec.Seq
			if err := fold(&rec); err != nil {
				return nil, "", err
			}
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, o := range x.ops {
		if o == x.root || o.Settled() || o.Dead() {
			continue
		}
		if o.Type == history.Callback || o.Type == history.Invoke {
			x.waitsOutside(o)
		}
		x.addDue(o)
	}
	if x.Execution.Deadline != 0 {
		x.due.add(dueTime{x.Execution.Deadline, dueDeadline, x.root})
	}
	return input, codec, nil
}

// opened opens a record in place, if it is sealed.
func (x *Invocation) opened(rec *checkpoint.Record) error {
	if rec.Flags&checkpoint.FlagSealed == 0 {
		return nil
	}
	return x.host.Open(rec)
}

// catchUp takes over, before the handler is entered, what became due or came in
// meanwhile: timers by their due times, the inbox by its times.
func (x *Invocation) catchUp() {
	now := x.host.Now()
	x.mu.Lock()
	if x.phase != phaseLoading { // it was closed meanwhile
		x.mu.Unlock()
		return
	}
	if x.cutOff {
		x.number(nil, &checkpoint.Record{Type: checkpoint.InvocationCompleted}, &fault.Failure{Type: "Runtime.ExitError", Message: "the process ended before the invocation did"})
		x.lastInvocation = x.journal.Seq()
	}
	var due []dueTime
	for {
		d, ok := x.popDue(now)
		if !ok {
			break
		}
		due = append(due, d)
	}
	noNews := x.Quiet && !x.newsPending
	x.mu.Unlock()
	x.finishCancels()
	if x.lastInvocation == 0 {
		x.host.Woken(x.Execution.StartedAt, now)
	}
	for _, d := range due {
		x.host.Woken(d.at, now)
		if d.o.Type == history.Callback {
			x.expireCallback(d) // the outcome is in the inbox afterwards
			noNews = false
		}
	}
	entries := x.Config.Inbox
	x.Config.Inbox = nil
	var err error
	if !noNews { // else there is no need to ask, which takes a store on a server a message
		entries, err = x.inboxFrom(x.host.Base(), x.Execution.InboxSeen)
	}
	if err != nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.lostUnlessEnded(err)
		return
	}
	// Nothing is sent before the handler is entered, so the order of the inbox
	// need not be kept here; that of the times is.
	seen := uint64(0)
	for i := range entries {
		seen = max(seen, entries[i].Seq)
		x.host.Woken(entries[i].Time, now)
	}
	at := func(entry *checkpoint.Record) int64 { return cmp.Or(entry.TimeoutAt, entry.Time) }
	slices.SortStableFunc(entries, func(a, b checkpoint.Record) int { return cmp.Compare(at(&a), at(&b)) })
	for len(due) > 0 || len(entries) > 0 {
		if len(entries) > 0 && (len(due) == 0 || at(&entries[0]) < due[0].at) {
			if !x.catchUpOn(&entries[0]) {
				return // held: the inbox keeps what could not be read
			}
			entries = entries[1:]
			continue
		}
		d := due[0]
		due = due[1:]
		x.mu.Lock()
		if x.phase != phaseLoading {
			x.mu.Unlock()
			return
		}
		handled := d.o.Type == history.Callback || !d.valid() || x.handleDue(d)
		x.mu.Unlock()
		switch {
		case handled:
		case d.o.Type == history.Context && d.kind == dueTimeout:
			x.cancelScope(d.o, "Timeout", "", 0)
		default:
			x.handleOutside(d)
		}
	}
	x.mu.Lock()
	x.inboxSeen = max(x.inboxSeen, seen)
	more := x.cancels > 0 // it may have closed callbacks
	x.mu.Unlock()
	if more {
		x.drain()
	}
}

// catchUpOn takes one inbox entry over before the handler is entered; false if it
// can't be read.
func (x *Invocation) catchUpOn(entry *checkpoint.Record) bool {
	if entry.Type == checkpoint.CancelRequested {
		x.cancelScope(x.root, "Canceled", x.cancelReason(entry), 0)
		return true
	}
	opened := x.openEntry(entry)
	x.mu.Lock()
	defer x.mu.Unlock()
	return !x.takesRecords() || x.apply(opened)
}
