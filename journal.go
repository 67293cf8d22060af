package durable

import (
	"slices"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// The journal of a residency numbers what happens and hands it to the store.
//
// A record is numbered before any goroutine sees what it says, and is durable
// before anything that depends on it leaves the process: the code between
// operations runs ahead of the disk, only effects wait (await). A start carries
// nothing that an effect depends on, so it may wait unnumbered ("lazy") until
// something else is numbered: a step that ends first is one record of two events.
//
//	lazy --number--> pending --send--> sent --seal--> asked --store--> durable
//
// All of it is under the residency's lock, but the sealing: a sealer is the user's
// code, and may ask somebody for its key. What can't be sealed is as what can't be
// appended: the handler may have seen it, but nothing that depends on it has left.
type journal struct {
	seq     uint64 // last number given
	event   uint64 // last event number given
	sent    uint64 // last number given to the store
	durable uint64 // last number known to be durable

	lazy    []*history.Operation // whose start has no number yet
	spare   *checkpoint.Record   // a start that became one record with its outcome
	pending []checkpoint.Record
	close   []string              // callbacks to close with the pending records
	deliver []checkpoint.Delivery // to deliver with the pending records

	told    line[toldLater]     // outcomes that the observer is told when they are durable
	waiting line[durableWaiter] // by seq
	sealing line[sending]       // to be sealed, in order, by a goroutine that is there as long as there are any
	asked   line[asked]         // appends that the store has not answered, in its order
	slot    *slot               // of a transaction that commits; nil: none does
	flush   *time.Timer
	armed   time.Duration // 0: not armed
}

// durableWaiter is a routine that waits until seq is durable.
type durableWaiter struct {
	seq uint64
	r   *routine
}

const (
	// outcomeDelay is how long an outcome may wait for company before it is
	// sent. Whatever comes first, the next effect or the end, takes it along.
	outcomeDelay = time.Millisecond
	// startDelay is how long a lazy start may stay out of the journal.
	startDelay = 50 * time.Millisecond
)

// later makes sure that what waits is sent within d. x.mu is held.
func (x *residency) later(d time.Duration) {
	j := &x.journal
	if j.armed != 0 && j.armed <= d {
		return
	}
	j.armed = d
	if j.flush == nil {
		j.flush = time.AfterFunc(d, x.flushLate)
	} else {
		j.flush.Reset(d)
	}
}

func (x *residency) flushLate() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.journal.armed = 0
	if x.phase.lets(letEvents) {
		x.send()
	}
}

// newStart is a record for startLazily. x.mu is held.
func (x *residency) newStart() *checkpoint.Record {
	if rec := x.spare; rec != nil {
		x.spare = nil
		return rec
	}
	return new(checkpoint.Record)
}

// startLazily enters the start of o without a number. x.mu is held.
func (x *residency) startLazily(o *history.Operation, rec *checkpoint.Record) {
	rec.Time = x.e.now()
	rec.Events = 1
	o.Start = rec
	o.Status, o.Attempt = history.Started, max(o.Attempt, rec.Attempt)
	if o.StartedAt == 0 { // not that of a later attempt
		o.StartedAt = rec.Time
	}
	x.journal.lazy = append(x.journal.lazy, o)
	x.later(startDelay)
}

// record numbers rec, folds it into its operation and leaves it for send. A
// start of the same operation that is still lazy becomes one record with it.
// x.mu is held.
func (x *residency) record(o *history.Operation, rec *checkpoint.Record, failure *fault.Failure) {
	j := &x.journal
	if s := j.slot; s != nil && s.o == o {
		x.fill(s, rec, failure)
		return
	}
	last := len(j.lazy) - 1
	if o.Start != nil && rec.Type < checkpoint.ScopeCancelled && (o.Type != history.Context || j.lazy[last] == o) {
		// A context's start stays before the starts inside it.
		merge(rec, o.Start)
		if i := slices.Index(j.lazy, o); i >= 0 {
			j.lazy = slices.Delete(j.lazy, i, i+1)
		}
		x.spare, o.Start = o.Start, nil
	}
	x.numberStarts()
	x.number(o, rec, failure)
	x.later(outcomeDelay)
}

// merge makes rec a record of two events, the start and what rec says.
func merge(rec, start *checkpoint.Record) {
	rec.Events, rec.StartedAt = 2, start.Time
	rec.Name, rec.SubType, rec.Attempt = start.Name, start.SubType, start.Attempt
	rec.Flags |= start.Flags
	rec.ParentID = start.ParentID
	if rec.Timeout == 0 {
		rec.Timeout, rec.TimeoutAt = start.Timeout, start.TimeoutAt
	}
}

// numberStarts gives the lazy starts their numbers. x.mu is held.
func (x *residency) numberStarts() {
	j := &x.journal
	if len(j.lazy) > 0 {
		j.pending = slices.Grow(j.pending, len(j.lazy)+1)
	}
	for _, o := range j.lazy {
		start := o.Start
		o.Start = nil
		x.number(o, start, nil)
	}
	clear(j.lazy)
	j.lazy = j.lazy[:0]
}

// number gives rec, of o or of the execution, its place and leaves it for send.
// x.mu is held.
func (x *residency) number(o *history.Operation, rec *checkpoint.Record, failure *fault.Failure) {
	rec.Failure = fault.Encode(failure)
	x.place(o, rec)
	x.fold(o, rec, failure)
	j := &x.journal
	n := len(j.pending)
	j.pending = slices.Grow(j.pending, 1)[:n+1]
	j.pending[n] = *rec
}

// place gives rec its numbers. x.mu is held.
func (x *residency) place(o *history.Operation, rec *checkpoint.Record) {
	j := &x.journal
	j.seq++
	rec.Seq = j.seq
	switch {
	case o != nil && o.Silent():
		rec.Flags |= checkpoint.FlagSilent
	case rec.Events == 0 && rec.Type < checkpoint.ScopeCancelled:
		rec.Events = 1
	}
	if rec.Events > 0 {
		rec.EventID = j.event + 1
		j.event += uint64(rec.Events)
	}
	if rec.Time == 0 {
		rec.Time = x.e.now()
	}
}

// fold takes rec, which has its place, into its operation, and tells the observer.
// x.mu is held.
func (x *residency) fold(o *history.Operation, rec *checkpoint.Record, failure *fault.Failure) {
	if o != nil {
		o.Apply(rec, failure)
		if o.EndSeq == rec.Seq {
			x.observeOutcome(o)
		}
	}
	if rec.Type != checkpoint.InvocationCompleted || x.phase != phaseReleasing { // that one may be refused
		x.observe(rec, o)
	}
}

// send hands everything that is numbered or lazy to the store. x.mu is held.
func (x *residency) send() {
	j := &x.journal
	x.numberStarts()
	if len(j.pending) == 0 {
		return
	}
	x.append(&checkpoint.Append{}, nil)
}

// asked is an append that the store has not answered yet.
type asked struct {
	seq   uint64
	opens bool            // a callback
	done  func(err error) // nil: appended
}

// append hands the pending records to the store as a says. done is called, with
// x.mu held, when the store has answered; without it, that is all. x.mu is held.
func (x *residency) append(a *checkpoint.Append, done func(err error)) {
	if x.phase == phaseClosed {
		return
	}
	j := &x.journal
	a.ID, a.Epoch, a.Tail = x.id, x.sum.Epoch, j.sent
	a.Records, a.InboxSeen = j.pending, x.inboxSeen
	a.CloseCallbacks, a.Deliver = j.close, append(a.Deliver, j.deliver...)
	j.pending, j.close, j.deliver = nil, nil, nil
	j.sent = j.seq
	opens := false
	for i := range a.Records {
		opens = opens || a.Records[i].Type == checkpoint.CallbackStarted
	}
	b := sending{*a, asked{j.seq, opens, done}}
	if j.slot != nil {
		j.slot.behind = append(j.slot.behind, b)
		return
	}
	x.hand(b)
}

// sending is an append on its way to the store.
type sending struct {
	a     checkpoint.Append
	asked asked
}

// hand hands an append to the store, if need be by way of the sealer. x.mu is held.
func (x *residency) hand(b sending) {
	j := &x.journal
	if x.e.opts.Sealer == nil {
		j.asked.add(b.asked)
		x.e.store.Append(b.a, x.answer)
		return
	}
	if x.phase == phaseClosed {
		return
	}
	idle := j.sealing.empty()
	j.sealing.add(b)
	if idle {
		go x.seal()
	}
}

// seal seals what is to be sealed, and hands it to the store. What cannot be is lost,
// and so is all that comes behind it.
func (x *residency) seal() {
	x.mu.Lock()
	defer x.mu.Unlock()
	j := &x.journal
	err := errGoexit
	defer func() {
		if err != nil && x.phase != phaseClosed {
			x.lost(err)
		}
	}()
	for !j.sealing.empty() && x.phase != phaseClosed {
		a := j.sealing.first().a
		err = errGoexit
		x.unlocked(func() { err = ofSealer(x.e.sealAppend(&a, x.sum.Incarnation)) })
		if err != nil || x.phase == phaseClosed {
			return
		}
		j.asked.add(j.sealing.take().asked)
		x.e.store.Append(a, x.answer)
	}
	err = nil
}

// answered takes the store's answer to the oldest append.
func (x *residency) answered(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	a := x.journal.asked.take()
	switch {
	case a.done != nil:
		a.done(err)
	case err != nil:
		x.lost(err)
	default:
		x.becameDurable(a.seq)
	}
	if a.opens {
		x.e.changed(x.id) // somebody may wait for its ID
	}
}

// becameDurable lets the effects go on that waited for seq. x.mu is held.
func (x *residency) becameDurable(seq uint64) {
	j := &x.journal
	if x.troubled {
		x.troubled = false
		x.e.recovered(x.id)
	}
	if seq > j.durable {
		j.durable = seq
		x.e.feed.tell(x.id)
	}
	if !j.told.empty() {
		x.tellOutcomes()
	}
	for !j.waiting.empty() && j.waiting.first().seq <= j.durable {
		j.waiting.take().r.woken.Broadcast()
	}
}

// await returns when everything numbered so far is durable: an effect of f's
// code may start. It ends the goroutine if the residency closes meanwhile.
// x.mu is held, and is given up while waiting.
func (x *residency) await(f *frame) error {
	j := &x.journal
	if !x.mayGoOn(f) {
		return x.exit(f)
	}
	if j.durable >= j.seq {
		return nil
	}
	x.send()
	seq, r := j.seq, f.r
	j.waiting.add(durableWaiter{seq, r})
	for j.durable < seq && !r.quitting {
		r.woken.Wait()
	}
	if r.quitting || !x.mayGoOn(f) && !x.hasBegun(f) {
		return x.exit(f)
	}
	return nil
}

// hasBegun reports whether code of f counts as in its body, and is waited for. x.mu is held.
func (x *residency) hasBegun(f *frame) bool {
	return f.r.inBody && x.phase.lets(letRecords) && !f.r.abandoned && !f.abandoned
}
