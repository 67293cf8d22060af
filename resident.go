package durable

import (
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/invocation"
	"github.com/durable-go/durable/internal/line"
)

// resident is an execution in memory, and what the engine knows of it. It is the host of
// its invocation: what that asks of the world comes here.
//
// Lock order: the invocation's lock, the engine's mu, and the leaves: the parked list, the
// clock and the sealing of a resident.
type resident struct {
	e     *Engine
	x     *invocation.Invocation
	id    string
	tally *functionTally

	// Under the engine's mu.
	lease    int64     // under which it was claimed; it does not change when it runs
	lends    int       // waits in Result by its code
	left     bool      // it has no place any more
	lapsed   bool      // its place was given to others
	earlier  *resident // of the same execution, whose code goes on: it waits for it
	closed   bool      // nothing is recorded any more
	over     bool      // nothing of its invocation runs any more
	progress time.Time // when its stay was over, or that of an earlier one
	warned   bool      // that it is stalled

	// Under the lock of the invocation.
	troubled bool                 // the resident before it was lost
	told     line.Line[toldLater] // outcomes that the observer is told when they are durable

	values   atomic.Pointer[context.Context] // the observer's; nil: none
	parkedAt parkedPlace                     // in Engine.parked, under its lock
	gone     chan struct{}                   // closed when nothing of it runs any more, nor of an earlier one

	clock   residentClock
	sealing sealing
}

func (e *Engine) newResident(c *checkpoint.Claim, replay *invocation.Replay) *resident {
	r := &resident{e: e, id: c.ID, tally: e.tallyOf(c.Function), gone: make(chan struct{})}
	config := invocation.Config{Host: r, Execution: c.Summary, Beginning: c.Records, Inbox: c.Inbox, Lost: c.Lost, Handler: e.handlers[c.Function],
		Accepts: e.accepts, Codec: e.opts.Codec.Name(), ParkFor: e.opts.ParkFor, Inline: e.opts.InlineResult, Watched: e.opts.Observer.Event != nil,
		Log: e.log, Replay: replay, Build: e.opts.Build, Tag: &e.v}
	r.x = invocation.New(&config)
	return r
}

type residentKey struct{}

// residentContext is what all contexts of a resident derive from.
type residentContext struct {
	context.Context
	r *resident
}

func (c *residentContext) Value(key any) any {
	if _, ok := key.(residentKey); ok {
		return c.r
	}
	return c.Context.Value(key)
}

// hostOf is the resident whose code has ctx, nil if it is of none of this engine.
func (e *Engine) hostOf(ctx context.Context) *resident {
	if r, ok := ctx.Value(residentKey{}).(*resident); ok && r.e == e {
		return r
	}
	return nil
}

func (r *resident) Base() context.Context { return &residentContext{r.e.life, r} }

func (r *resident) Now() int64 { return r.e.now() }

func (r *resident) Records(ctx context.Context, after uint64) iter.Seq2[checkpoint.Record, error] {
	return r.e.journalOf(ctx, r.x.Summary(), after)
}

func (r *resident) Open(rec *checkpoint.Record) error {
	return r.e.openRecord(rec, r.x.Summary().Incarnation)
}

func (r *resident) Seal(rec *checkpoint.Record) error {
	return ofSealer(r.e.sealRecord(rec, r.x.Summary().Incarnation))
}

func (r *resident) Append(a checkpoint.Append, done func(error)) {
	if a.Status != 0 {
		final := &a.Records[len(a.Records)-1]
		a.Deliver = append(a.Deliver, r.e.tellCaller(r.x.Summary(), a.Status, final.Payload, final.Failure)...)
	}
	if r.e.opts.Sealer == nil {
		r.e.store.Append(a, done)
		return
	}
	r.seal(a, done)
}

func (r *resident) Inbox(ctx context.Context, after, known uint64) ([]checkpoint.Record, error) {
	if d := r.e.deliverer; d != nil {
		if entries := d.Delivered(r.id, after); len(entries) > 0 && entries[len(entries)-1].Seq >= known {
			return entries, nil
		}
	}
	return r.e.store.Inbox(ctx, r.id, after)
}

func (r *resident) Offer(ctx context.Context, rec *checkpoint.Record) error {
	if err := r.Seal(rec); err != nil {
		return err
	}
	return r.e.store.Deliver(ctx, checkpoint.Delivery{ID: r.id, Incarnation: r.x.Summary().Incarnation, Record: *rec})
}

func (r *resident) Expire(ctx context.Context) error {
	return ofSealer(r.e.end(ctx, r.x.Summary(), checkpoint.TimedOut, fault.Own("Timeout", "the execution's deadline has passed")))
}

func (r *resident) Knows(function string) bool { return r.e.has(function) || r.e.shared }

func (r *resident) Invoke(o *history.Operation, before *history.Known) error {
	return r.createInvoked(o, before)
}

func (r *resident) CancelInvoked(target, reason string) {
	go r.e.store.Deliver(context.WithoutCancel(r.e.life), invocation.CancelDelivery(target, reason))
}

func (r *resident) CallbackID(operationID string) string {
	s := r.x.Summary()
	return r.e.callbackID(s.Number, s.Incarnation, operationID)
}

func (r *resident) MayBegin() bool { return r.e.holdsLease(r.lease) }
func (r *resident) Wanted() bool   { return r.e.wanted() }

func (r *resident) Reason(err error) *invocation.Reason { return r.e.v.reason(err) }

func (r *resident) Held(reason error) invocation.Held {
	record := r.e.errs.record(r.e.v.public(reason))
	if r.e.opts.FailOnMismatch {
		return invocation.Held{Fails: record}
	}
	return invocation.Held{Note: &checkpoint.Hold{Build: r.e.claims.Build, Failure: encodeHold(record)}}
}

func (r *resident) Lost(err error) {
	e := r.e
	switch {
	case errors.Is(err, checkpoint.ErrFenced):
		// It was stopped, or timed out, or somebody else owns it.
	case err == invocation.ErrLeaseOver, errors.Is(err, invocation.ErrFollowed): // the store tells
		e.disown(r)
	case errors.Is(err, checkpoint.ErrFailed), errors.Is(err, checkpoint.ErrClosed):
		e.countUnwritten()
		e.storeFailed(err)
	default:
		message := "durable: checkpoint not written, the execution is replayed"
		if _, unread := errors.AsType[*invocation.Unread](err); unread {
			message = "durable: what is recorded was not read, the execution is loaded again"
		}
		r.x.Logger().Error(message, "error", err.Error())
		e.disown(r)
	}
}

func (r *resident) Unbegun() {
	if r.troubled {
		r.e.countUnwritten()
	}
}

func (r *resident) Parked(parked bool) {
	if parked {
		r.e.parked.add(r)
	} else {
		r.e.parked.remove(r)
	}
}

func (r *resident) Closed(suspended, lingers bool) {
	r.clock.stop()
	r.sealing.stop()
	e := r.e
	e.feed.tell(r.id)
	e.mu.Lock()
	defer e.mu.Unlock()
	r.closed = true
	if lingers {
		r.progress = time.Now()
		e.linger(r)
	}
	e.callbacks.wake(r.id)
	if !suspended { // who waits for the result asks the store from now on
		e.results.wake(r.id)
	}
}

func (r *resident) Gone() {
	r.e.mu.Lock()
	r.over = true
	waits := r.earlier != nil
	r.e.mu.Unlock()
	if !waits {
		r.e.residentGone(r)
	}
}

// waitedFor takes note that nothing of the earlier resident runs any more.
func (r *resident) waitedFor() {
	e := r.e
	e.mu.Lock()
	r.earlier, r.progress = nil, time.Now()
	if !r.closed {
		e.lingersNoMore(r)
	}
	over := r.over
	e.mu.Unlock()
	if over {
		e.residentGone(r)
	}
}

func (r *resident) Loaded(replay, lost bool) context.Context { return r.beginObserved(replay, lost) }

func (r *resident) Began(replay bool) { r.observeInvocation(true, replay) }

func (r *resident) Recorded(rec *checkpoint.Record, o *history.Operation) { r.observe(rec, o) }

func (r *resident) Settled(o *history.Operation) { r.observeOutcome(o) }

func (r *resident) Durable(seq uint64) {
	if r.troubled {
		r.troubled = false
		r.e.recovered(r.id)
	}
	r.e.feed.tell(r.id)
	if !r.told.Empty() {
		r.tellOutcomes(seq)
	}
}

func (r *resident) Opened() { r.e.changed(r.id) }

func (r *resident) Ended(status checkpoint.Status, at int64, f *fault.Failure) {
	r.e.executionEnded(r.x.Summary(), status, at, f)
}

func (r *resident) Woken(due, now int64) { r.e.woken(r, due, now) }
func (r *resident) Bodies(n int)         { r.e.bodies.Add(int64(n)) }

func (r *resident) Attempt(failed bool) {
	if failed {
		r.tally.failedAttempts.Add(1)
	} else {
		r.tally.attempts.Add(1)
	}
}

func (r *resident) KeepPace() {
	if t := &r.e.teller; t.Untold() > maxUntold {
		t.Wait(r.id, maxUntold, r.x.Done())
	}
}

// stopNow closes the resident, if there is one, of an execution that was ended from outside.
func (r *resident) stopNow(cause error) {
	if r != nil {
		r.x.Close(cause)
	}
}

// residentClock rings when something of an execution is due.
type residentClock struct {
	mu    sync.Mutex
	timer *time.Timer
	at    int64 // when an alarm is to ring; 0: none is
	over  bool
}

// clockCheck is how often, on a clock that is not steady, a waiting timer looks at the clock
// again, because the clock may jump and the process may be stopped.
const clockCheck = 30 * time.Second

func (r *resident) Alarm(at int64) {
	e, c := r.e, &r.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	d := time.Duration(at - e.now())
	if 0 < d && d <= e.early {
		if c.at == 0 || at < c.at {
			c.at = at
			e.alarm.After(d, func() { r.alarmed(at) })
		}
		return
	}
	d = min(d-e.early, e.clockCheck)
	if c.timer == nil {
		c.timer = time.AfterFunc(d, r.x.Due)
	} else {
		c.timer.Reset(d)
	}
}

// alarmed is a call of Due, unless an earlier alarm was set meanwhile: that one sets the next.
func (r *resident) alarmed(at int64) {
	c := &r.clock
	c.mu.Lock()
	mine := c.at == at
	if mine {
		c.at = 0
	}
	c.mu.Unlock()
	if mine {
		r.x.Due()
	}
}

func (c *residentClock) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.timer != nil {
		c.timer.Stop()
	}
}

// sealing is what an execution appends on its way through the sealer, in order, by a
// goroutine that is there as long as there is any. What can't be sealed is lost, and so is
// all that comes behind it.
type sealing struct {
	mu    sync.Mutex
	waits line.Line[unsealed]
	over  bool // nothing more is sent
}

type unsealed struct {
	a    checkpoint.Append
	done func(error)
}

// seal hands an append to the store by way of the sealer, which is the user's code, and may
// ask somebody for its key.
func (r *resident) seal(a checkpoint.Append, done func(error)) {
	s := &r.sealing
	s.mu.Lock()
	defer s.mu.Unlock()
	idle := s.waits.Empty()
	s.waits.Add(unsealed{a, done})
	if idle {
		go r.sealAll()
	}
}

func (r *resident) sealAll() {
	s := &r.sealing
	next, more := s.first()
	err := invocation.ErrGoexit
	defer func() {
		if err != nil {
			s.stop()
			next.done(err)
		}
	}()
	for more {
		err = invocation.ErrGoexit // unless it returns
		err = ofSealer(r.e.sealAppend(&next.a, r.x.Summary().Incarnation))
		if err != nil {
			return
		}
		if s.stopped() {
			return
		}
		r.e.store.Append(next.a, next.done)
		next, more = s.next()
	}
	err = nil
}

// first is the first one, to be sealed; ok is false if there is none, or nothing is sent any
// more. It stays in the line until it is sent: as long as any is there, so is the goroutine,
// and no other one begins.
func (s *sealing) first() (first unsealed, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peek()
}

// next takes out the first one, which was sent, and is first then.
func (s *sealing) next() (next unsealed, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits.Take()
	return s.peek()
}

func (s *sealing) peek() (first unsealed, ok bool) {
	if s.over || s.waits.Empty() {
		return first, false
	}
	return *s.waits.First(), true
}

// stopped reports whether nothing is sent any more.
func (s *sealing) stopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

func (s *sealing) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}
