package invocation

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// batchRun runs the items of a batch.
//
//	count    what is recorded of the items, before any of them is started
//	start    items in the order of their index, up to the concurrency
//	ended    an item ended: count it; decided? then freeze: the statuses stand,
//	         what still runs is abandoned, nothing of it is recorded any more
//	record   the decision, on the goroutine of the batch's caller
//
// Counting, deciding and abandoning are one step under the invocation's lock.
type batchRun struct {
	c     Context
	o     *history.Operation
	f     *frame
	s     *Settings
	sub   checkpoint.SubType // of the items
	names []string
	fn    func(c Context, index int) Return

	next, active      int
	succeeded, failed int
	statuses          []byte
	decided           bool
	reason            string
	w                 *waiter
}

// Batch runs a batch from where it is to its outcome. c is left by Leave if there is no
// error, and the result is of an operation (it has an ID): one that began in a cancelled
// scope has only an Err.
func (c Context) Batch(sub, itemSub checkpoint.SubType, name string, names []string, s *Settings, fn func(Context, int) Return, collect Collect) (*BatchResult, error) {
	f, x := c.f, c.f.x
	for i := range names {
		if err := history.CheckName(names[i]); err != nil {
			return nil, x.misused(f, history.Context, name, fmt.Errorf("item %d: %w", i, err), "")
		}
	}
	o, err := c.enter(history.Context, sub, name)
	if failed, ok := err.(*Failed); ok && failed.Failure.EndedByCancel() { // it began in a cancelled scope
		return &BatchResult{Err: err}, nil
	}
	if err != nil {
		return nil, err
	}
	stays := false
	defer c.leaveUnless(&stays)
	f.skips(o)
	b := &batchRun{c: c, o: o, s: s, sub: itemSub, names: names, fn: fn, statuses: make([]byte, len(names))}
	if !o.Settled() {
		if f.rebuild {
			return nil, x.mismatched(f, o, "its outcome")
		}
		if err := b.run(collect); err != nil {
			return nil, err
		}
	}
	res, err := b.result(collect)
	stays = err == nil
	return res, err
}

// run starts the items, waits for the decision, and records it. x.mu is held,
// also on return without error.
func (b *batchRun) run(collect Collect) error {
	f, x, o := b.c.f, b.c.f.x, b.o
	if err := b.c.startContext(o, b.s); err != nil {
		return err
	}
	b.f = x.newFrame(o, f)
	b.f.counter = len(b.statuses)
	f.r.identify()
	if err := b.count(); err != nil {
		return err
	}
	b.startMore()
	if x.replay != nil {
		return x.beyond(f, o.ID, "its outcome")
	}
	for !b.decided {
		b.w = &waiter{r: f.r}
		if err := x.block(f, b.w); err != nil {
			return err
		}
	}
	return b.record(collect)
}

// count takes what is recorded of the items. x.mu is held.
func (b *batchRun) count() error {
	x := b.c.f.x
	if problem := x.leftover(b.f); problem != nil {
		x.holdNow(problem)
		return x.exit(b.c.f)
	}
	for i := range b.statuses {
		o := x.ops[b.f.id(i+1)]
		if o == nil || o.Status == "" {
			continue
		}
		if o.Silent() != b.s.Flat {
			return x.diverged(b.c.f, o.ID, kindOfItem(o.Silent()), kindOfItem(b.s.Flat))
		}
		if !o.Silent() && history.Mismatch(o, history.Context, b.sub, b.names[i]) != "" {
			return x.mismatched(b.c.f, o, history.Describe(history.Context, b.sub, b.names[i]))
		}
		b.statuses[i] = 'T'
		if o.Settled() {
			b.take(i, o.Failure)
		}
	}
	b.decide()
	return nil
}

func kindOfItem(flat bool) string {
	if flat {
		return "an item of a Flat batch"
	}
	return "an item of a batch that is not Flat"
}

func (b *batchRun) take(i int, failure *fault.Failure) {
	if failure != nil {
		b.statuses[i] = 'F'
		b.failed++
		return
	}
	b.statuses[i] = 'S'
	b.succeeded++
}

// startMore starts items while it may. x.mu is held.
func (b *batchRun) startMore() {
	x := b.c.f.x
	limit := len(b.statuses)
	if b.s.MaxConcurrency != nil {
		limit = *b.s.MaxConcurrency
	}
	cancelled := b.o.CancelledBy() != nil
	for !b.decided && b.active < limit && b.next < len(b.statuses) {
		i := b.next
		b.next++
		// A cancel keeps new items from starting. One that had started before it
		// goes on: it may be compensating.
		if st := b.statuses[i]; st == 'T' || st == 0 && !cancelled && x.replay == nil {
			b.start(i)
		}
	}
	b.decide()
}

// start starts item i on a goroutine of its own. x.mu is held.
func (b *batchRun) start(i int) {
	x := b.c.f.x
	id := b.f.id(i + 1)
	o := x.ops[id]
	if o == nil {
		var flags checkpoint.Flags
		if b.s.Flat {
			flags = checkpoint.FlagSilent
		}
		o = x.ops.Add(id, b.names[i], history.Context, b.sub, flags, "")
	}
	switch {
	case o.Silent():
		o.Name, o.SubType, o.Status = b.names[i], b.sub, history.Started
	case o.Status == "":
		x.startLazily(o, &checkpoint.Record{Type: checkpoint.ContextStarted, SubType: b.sub, OperationID: id, Name: o.Name})
	}
	f := x.newFrame(o, b.f)
	b.statuses[i] = 'T'
	b.active++
	f.onEnd = func() {
		b.active--
		b.take(i, o.Failure)
		b.decide()
		b.startMore()
	}
	s := &Settings{Codec: b.s.Codec}
	x.spawn(f, func() { x.runContext(f, s, func(c Context) Return { return b.fn(c, i) }) })
}

// decide ends the batch if its time has come. x.mu is held.
func (b *batchRun) decide() {
	if b.decided {
		return
	}
	total, completed := len(b.statuses), b.succeeded+b.failed
	cancelled := b.o.CancelledBy() != nil
	stopped := cancelled && b.active == 0 && b.next == total
	switch {
	case cancelled && !stopped && completed < total:
		return // the items that the cancel reached may be compensating
	case b.exceeded():
		b.reason = history.FailureToleranceExceeded
	case completed == total || stopped:
		b.reason = history.AllCompleted
	case b.s.MinSuccessful != nil && b.succeeded >= *b.s.MinSuccessful:
		b.reason = history.MinSuccessfulReached
	default:
		return
	}
	b.decided = true
	b.f.end()
	if b.w != nil {
		b.c.f.x.wake(b.w)
	}
}

// exceeded reports whether more items failed than tolerated. Without any
// criterion one failure is too many.
func (b *batchRun) exceeded() bool {
	s := b.s
	if s.MinSuccessful == nil && s.ToleratedFailures == nil && s.ToleratedPercent == nil {
		return b.failed > 0
	}
	if s.ToleratedFailures != nil && b.failed > *s.ToleratedFailures {
		return true
	}
	return s.ToleratedPercent != nil && len(b.statuses) > 0 && float64(b.failed)*100/float64(len(b.statuses)) > *s.ToleratedPercent
}

// record writes the decision. x.mu is held, given up while values are encoded,
// and held again on return without error.
func (b *batchRun) record(collect Collect) error {
	f, x, o := b.c.f, b.c.f.x, b.o
	decision := history.Batch{Reason: b.reason, Total: len(b.statuses), Items: itemString(b.statuses)}
	if by := o.CancelledBy(); by != nil && b.endedBy(by) {
		failure := by.Cancelled()
		if o.CancelSeq != 0 {
			failure = fault.Own("Timeout", "timed out after "+time.Duration(o.Timeout).String())
		}
		decision.Reason = "" // none of those
		rec := checkpoint.Record{Type: checkpoint.ContextFailed}
		rec.Batch, _ = json.Marshal(decision)
		x.closeOutside(o)
		x.settle(o, &rec, failure)
		return nil
	}
	if b.s.MinSuccessful != nil {
		decision.Min = *b.s.MinSuccessful
	}
	rec := checkpoint.Record{Type: checkpoint.ContextSucceeded, Flags: checkpoint.FlagPayload}
	var payload []byte
	rec.Batch, _ = json.Marshal(decision)
	if b.s.BatchCodec != "" {
		res := b.collected(decision)
		x.mu.Unlock()
		r := collect(res)
		payload = r.Payload
		x.mu.Lock()
		if !x.mayGoOn(f) {
			return x.exit(f)
		}
		if r.Failure != nil {
			x.closeOutside(o)
			x.settle(o, &checkpoint.Record{Type: checkpoint.ContextFailed}, r.Failure)
			return nil
		}
		rec.Codec = b.s.BatchCodec
	}
	if payload == nil {
		x.closeOutside(o)
		rec.Flags = 0
		x.settle(o, &rec, nil)
		return nil
	}
	x.settleValue(o, &rec, payload)
	return nil
}

// endedBy reports whether it was the cancel of by that ended the batch: its own timeout did,
// or not all items have ended, or it has failed with items that failed behind the cancel.
func (b *batchRun) endedBy(by *history.Operation) bool {
	if b.o.CancelSeq != 0 || b.succeeded+b.failed < len(b.statuses) {
		return true
	}
	if !b.exceeded() && (b.s.MinSuccessful == nil || b.succeeded >= *b.s.MinSuccessful) {
		return false
	}
	for i, status := range b.statuses {
		if status == 'F' && b.c.f.x.ops[b.f.id(i+1)].EndSeq > by.CancelSeq {
			return true
		}
	}
	return false
}

func itemString(statuses []byte) string {
	end := len(statuses)
	for end > 0 && statuses[end-1] == 0 {
		end--
	}
	items := slices.Clone(statuses[:end])
	for i, st := range items {
		if st == 0 {
			items[i] = '-'
		}
	}
	return string(items)
}
