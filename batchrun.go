package durable

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

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
// Counting, deciding and abandoning are one step under the residency's lock.
type batchRun struct {
	c     *Context
	o     *history.Operation
	f     *frame
	s     *settings
	sub   checkpoint.SubType // of the items
	names []string
	fn    func(c *Context, index int) ([]byte, error)

	next, active      int
	succeeded, failed int
	statuses          []byte
	decided           bool
	reason            string
	w                 *waiter
}

// batchResult is a settled batch before its values are decoded.
type batchResult struct {
	record   history.Batch
	names    []string
	payloads [][]byte             // by index, of the succeeded
	codecs   []string             // by index, of the payloads
	failures []error              // by index, of the failed; made by rebuild
	failed   []*history.Operation // by index, of the failed
	values   []byte               // encoded by the batch codec; nil: see payloads
	err      error                // what Parallel and Map return
}

// batch runs a batch of n items from where it is to its outcome.
func (c *Context) batch(sub, itemSub checkpoint.SubType, name string, n int, s *settings, itemName func(int) string,
	fn func(*Context, int) ([]byte, error), collect func(*batchResult) ([]byte, error)) (*batchResult, error) {
	f, x := c.f, c.f.x
	if err := s.check(); err != nil {
		return nil, x.misused(f, history.Context, name, err, "")
	}
	if s.itemName != nil {
		itemName = s.itemName
	}
	names := make([]string, n)
	for i := range names {
		names[i] = itemName(i)
		if err := history.CheckName(names[i]); err != nil {
			return nil, x.misused(f, history.Context, name, fmt.Errorf("item %d: %w", i, err), "")
		}
	}
	o, err := c.enter(history.Context, sub, name)
	if fault.Is(err, ErrCanceled) || fault.Is(err, ErrTimeout) { // it began in a cancelled scope
		return &batchResult{err: err}, nil
	}
	if err != nil {
		return nil, err
	}
	defer c.leave()
	f.skips(o)
	b := &batchRun{c: c, o: o, s: s, sub: itemSub, names: names, fn: fn, statuses: make([]byte, n)}
	if !o.Settled() {
		if f.rebuild {
			return nil, x.mismatched(f, o, "its outcome")
		}
		if err := b.run(collect); err != nil {
			return nil, err
		}
	}
	return b.result(collect)
}

// run starts the items, waits for the decision, and records it. x.mu is held,
// also on return without error.
func (b *batchRun) run(collect func(*batchResult) ([]byte, error)) error {
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

func (b *Batch[O]) count(status ItemStatus) (n int) {
	for i := range b.items {
		if b.items[i].Status == status {
			n++
		}
	}
	return n
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
		if o.Silent() != b.s.flat {
			return x.diverged(b.c.f, o.ID, kindOfItem(o.Silent()), kindOfItem(b.s.flat))
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
	if b.s.maxConcurrency != nil {
		limit = *b.s.maxConcurrency
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
		if b.s.flat {
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
	s := &settings{codec: b.s.codec}
	x.spawn(f, func() { x.runContext(f, s, func(c *Context) ([]byte, error) { return b.fn(c, i) }) })
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
	case b.s.minSuccessful != nil && b.succeeded >= *b.s.minSuccessful:
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
	if s.minSuccessful == nil && s.toleratedFailures == nil && s.toleratedPercent == nil {
		return b.failed > 0
	}
	if s.toleratedFailures != nil && b.failed > *s.toleratedFailures {
		return true
	}
	return s.toleratedPercent != nil && len(b.statuses) > 0 && float64(b.failed)*100/float64(len(b.statuses)) > *s.toleratedPercent
}

// record writes the decision. x.mu is held, given up while values are encoded,
// and held again on return without error.
func (b *batchRun) record(collect func(*batchResult) ([]byte, error)) error {
	f, x, o := b.c.f, b.c.f.x, b.o
	decision := history.Batch{Reason: b.reason, Total: len(b.statuses), Items: itemString(b.statuses)}
	if by := o.CancelledBy(); by != nil && b.endedBy(by) {
		failure := by.Cancelled()
		if o.CancelSeq != 0 {
			failure = fault.Own("Timeout", "timed out after "+durationOf(o.Timeout).String())
		}
		decision.Reason = "" // none of those
		rec := checkpoint.Record{Type: checkpoint.ContextFailed}
		rec.Batch, _ = json.Marshal(decision)
		x.closeOutside(o)
		x.settle(o, &rec, failure)
		return nil
	}
	if b.s.minSuccessful != nil {
		decision.Min = *b.s.minSuccessful
	}
	rec := checkpoint.Record{Type: checkpoint.ContextSucceeded, Flags: checkpoint.FlagPayload}
	var payload []byte
	rec.Batch, _ = json.Marshal(decision)
	if b.s.batchCodec != nil {
		res := b.collected(decision)
		x.mu.Unlock()
		res.rebuild(x)
		var err error
		payload, err = collect(res)
		failure := x.e.errs.recordAny(err)
		x.mu.Lock()
		if !x.mayGoOn(f) {
			return x.exit(f)
		}
		if failure != nil {
			x.closeOutside(o)
			x.settle(o, &checkpoint.Record{Type: checkpoint.ContextFailed}, failure)
			return nil
		}
		rec.Codec = b.s.batchCodec.Name()
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
	if !b.exceeded() && (b.s.minSuccessful == nil || b.succeeded >= *b.s.minSuccessful) {
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

// collected is the result as it is in memory. x.mu is held.
func (b *batchRun) collected(decision history.Batch) *batchResult {
	x := b.c.f.x
	n := len(decision.Items)
	res := &batchResult{record: decision, names: b.names, payloads: make([][]byte, n), codecs: make([]string, n), failures: make([]error, n), failed: make([]*history.Operation, n)}
	for i := range n {
		o := x.ops[b.o.ID+"-"+strconv.Itoa(i+1)]
		switch decision.Items[i] {
		case 'S':
			res.payloads[i], res.codecs[i] = o.Payload, o.Codec
		case 'F':
			o.Noted = true
			res.failed[i] = &history.Operation{ID: o.ID, Type: history.Context, Name: b.names[i], Failure: o.Failure}
		}
	}
	return res
}

// rebuild makes the errors of the failed items. Their methods are the user's
// code, so x.mu is not held.
func (res *batchResult) rebuild(x *residency) {
	for i, item := range res.failed {
		if item != nil {
			res.failures[i] = x.opError(item, item.Failure)
		}
	}
}

// result makes the result of a settled batch, running again what is not stored.
// x.mu is held, and given up.
func (b *batchRun) result(collect func(*batchResult) ([]byte, error)) (*batchResult, error) {
	c, x, o := b.c, b.c.f.x, b.o
	if o.Failure != nil && o.Batch == nil { // of a journal from before it was recorded, or it could not be encoded
		return nil, c.outcome(o, nil, nil)
	}
	var decision history.Batch
	if err := json.Unmarshal(o.Batch, &decision); err != nil || len(decision.Items) > decision.Total || decision.Total != len(b.names) {
		of := func(n int) string {
			return fmt.Sprintf("%s of %d items", history.Describe(o.Type, o.SubType, o.Name), n)
		}
		return nil, x.diverged(c.f, o.ID, of(decision.Total), of(len(b.names)))
	}
	if err := b.restore(decision); err != nil {
		return nil, err
	}
	res := b.collected(decision)
	c.f.passed(o)
	o.Noted = true
	rebuilds := b.encodedWhole() && o.Rebuilds()
	if b.encodedWhole() {
		res.values = o.Payload
	}
	x.mu.Unlock()
	res.rebuild(x)
	if rebuilds {
		payload, err := collect(res)
		x.mu.Lock()
		x.endRebuild(b.f, payload, err)
		if !x.mayGoOn(c.f) {
			return nil, x.exit(c.f)
		}
		res.values = payload
		x.mu.Unlock()
	}
	if o.Failure != nil {
		res.err = x.opError(o, o.Failure)
	} else {
		res.err = b.err(res)
	}
	return res, nil
}

// encodedWhole reports whether the batch's own record is that of all its values, or of
// their digest: not if it was cancelled.
func (b *batchRun) encodedWhole() bool { return b.s.batchCodec != nil && b.o.Failure == nil }

// restore checks that the items are as the decision says, and makes the values
// available that a replay has not at hand. x.mu is held.
func (b *batchRun) restore(decision history.Batch) error {
	c, x, o := b.c, b.c.f.x, b.o
	if b.f == nil {
		b.f = x.newFrame(o, c.f)
		b.f.counter = len(b.names)
	}
	for i, status := range []byte(decision.Items) {
		item := x.ops[b.f.id(i+1)]
		if item != nil && !item.Silent() && item.Name != b.names[i] {
			return x.mismatched(c.f, item, history.Describe(history.Context, b.sub, b.names[i]))
		}
		if status != 'S' && status != 'F' {
			continue
		}
		if item == nil || !item.Settled() || (item.Failure != nil) != (status == 'F') {
			return x.mismatched(c.f, o, "item "+strconv.Itoa(i)+", whose outcome is not recorded")
		}
		if status == 'F' || !item.Rebuilds() || b.encodedWhole() && !o.Rebuilds() {
			continue
		}
		f := x.newFrame(item, b.f)
		f.rebuild = true
		c.f.called = f
		x.mu.Unlock()
		x.runContext(f, &settings{codec: b.s.codec}, func(c *Context) ([]byte, error) { return b.fn(c, i) })
		x.mu.Lock()
		c.f.called = nil
		if !x.mayGoOn(c.f) {
			return x.exit(c.f)
		}
	}
	b.f.end()
	return nil
}

// err is what Parallel and Map return beside the batch.
func (b *batchRun) err(res *batchResult) error {
	succeeded := 0
	var failures []error
	for i := range res.record.Items {
		switch res.record.Items[i] {
		case 'S':
			succeeded++
		case 'F':
			failures = append(failures, res.failures[i])
		}
	}
	var failure *Failure
	switch {
	case res.record.Reason == history.FailureToleranceExceeded:
		failure = &Failure{Type: "FailureToleranceExceeded", matches: []error{ErrFailureToleranceExceeded},
			Message: fmt.Sprintf("%d of %d items failed, first: %s", len(failures), len(b.names), failures[0])}
	case succeeded < res.record.Min:
		failure = &Failure{Type: "MinSuccessfulNotReached", matches: []error{ErrMinSuccessfulNotReached},
			Message: fmt.Sprintf("%d items succeeded, %d were asked for", succeeded, res.record.Min)}
	default:
		return nil
	}
	failure.matches = append(failure.matches, failures...)
	return &OpError{Type: history.Context.String(), ExecutionID: b.c.f.x.id, OperationID: b.o.ID, Name: b.o.Name, Err: failure}
}
