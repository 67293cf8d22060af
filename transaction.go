package durable

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// TransactionalStep is Step with a body that works in a transaction of the store's own
// database: the step's record is committed with what fn has written, both or neither, so
// fn's writes are made exactly once. It is for packages that know the store and give the
// transaction its type, as pgstore/pgstep does: use those.
//
// A failed attempt is rolled back and recorded like one of Step; a commit that fails is a
// failed attempt. When nobody can own the execution here any more (the lease is lost, the
// execution was stopped, the context around the step has ended, its WithTimeout has
// passed), the transaction is rolled back even while fn runs. While a transaction commits,
// what other branches of the execution record waits for it.
//
// The store must be a checkpoint.Transactor when fn is to be called: on another one the
// step fails at once, and is not retried. Where fn is not called, any store does: on
// replay of an outcome, in Replay, and where an Interceptor stands in for fn, as the stubs
// of durabletest do.
//
// Options: those of Step, and WithTransaction.
func TransactionalStep[O any](ctx *Context, name string, fn func(ctx context.Context, tx any) (O, error), opts ...StepOption) (O, error) {
	var none O
	x := ctx.f.x
	s := stepSettings(opts)
	t := &transact{store: x.e.store}
	if s.transaction != nil {
		t.TransactionOption = *s.transaction
	}
	s.transact = t
	codec := s.codec
	v, err := ctx.step(checkpoint.Step, name, &s, func(c context.Context) (made encoded, err error) {
		if fn == nil {
			panic(errNoBody)
		}
		handle, err := t.begin(c)
		if err != nil {
			return encoded{}, err
		}
		kept := false
		defer func() {
			if !kept {
				t.rollback()
			}
		}()
		v, err := fn(c, handle)
		if err != nil {
			return encoded{}, err
		}
		value := new(decoded[O])
		payload, err := value.encode(x.e, codec, v)
		kept = err == nil
		return encoded{payload, value}, err
	}, newDecoded[O])
	if err != nil {
		return none, err
	}
	return v.(*decoded[O]).value, nil
}

// TransactionOption is what WithTransaction returns.
type TransactionOption struct {
	options  any
	snapshot bool
}

// WithTransaction is an option of a TransactionalStep: options are given to the store.
// snapshot says that the transaction sees the database as it was when it began, and that
// it fails when what it writes has changed since: the step's start is durable before the
// body begins then, which costs one more flush, instead of being written meanwhile.
func WithTransaction(options any, snapshot bool) TransactionOption {
	return TransactionOption{options, snapshot}
}

func (o TransactionOption) applyStep(s *settings) { s.transaction = &o }

// transact is the transaction of one attempt at a time.
type transact struct {
	store checkpoint.Store
	TransactionOption

	mu    sync.Mutex
	open  checkpoint.Transaction // nil: none
	over  bool                   // what is begun from now on is rolled back
	begun bool
}

// attempt begins another attempt, whose transaction ends with life at the latest, unless
// it is committing by then. The function it returns ends it then and there.
func (t *transact) attempt(life context.Context) (end func()) {
	t.mu.Lock()
	t.over, t.begun = false, false
	t.mu.Unlock()
	stop := context.AfterFunc(life, t.abandon)
	return func() {
		stop()
		t.abandon()
	}
}

// begin begins the transaction; an interceptor may have had the body called before.
func (t *transact) begin(ctx context.Context) (handle any, err error) {
	t.rollback()
	store, ok := t.store.(checkpoint.Transactor)
	if !ok {
		return nil, Permanent(fmt.Errorf("durable: the store can't append within a transaction: %T: open the engine on one that can, as checkpoint/pgstore, "+
			"or use durable.Step with writes that may be made twice; in a test, stub the step", t.store))
	}
	tx, err := store.Begin(ctx, t.options)
	if err != nil {
		return nil, ofAttempt(err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		tx.Abandon()
		return nil, context.Canceled
	}
	t.open, t.begun = tx, true
	return tx.Handle(), nil
}

// take returns the transaction, which nobody else can reach any more. Without one, ok
// says that the attempt did without.
func (t *transact) take() (tx checkpoint.Transaction, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tx, t.open = t.open, nil
	return tx, tx != nil || !t.over || !t.begun
}

func (t *transact) rollback() {
	if tx, _ := t.take(); tx != nil {
		tx.Rollback()
	}
}

func (t *transact) abandon() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	if t.open != nil {
		t.open.Abandon()
		t.open = nil
	}
}

// slot is a place in the journal for the outcome of an attempt whose transaction is
// committing: its success if the transaction commits, its failure if it does not. Both
// are as many events, so what comes behind it can be numbered; it is sent when the slot
// is filled.
type slot struct {
	o       *history.Operation
	seq     uint64
	eventID uint64
	start   *checkpoint.Record // of o, if it had no number: it becomes one record with the outcome
	behind  []sending
	waiting []*routine // whose transactions commit next
}

// reserve makes a slot for rec, the success of o, and numbers rec. x.mu is held.
func (x *residency) reserve(o *history.Operation, rec *checkpoint.Record) {
	j := &x.journal
	s := &slot{o: o, start: o.Start}
	if s.start != nil {
		merge(rec, s.start)
		i := slices.Index(j.lazy, o)
		j.lazy = slices.Delete(j.lazy, i, i+1)
		o.Start = nil
	}
	x.send()
	x.place(o, rec)
	s.seq, s.eventID = rec.Seq, rec.EventID
	j.sent = j.seq
	j.slot = s
}

// fill records in the slot what became of the attempt instead. x.mu is held.
func (x *residency) fill(s *slot, rec *checkpoint.Record, failure *fault.Failure) {
	if s.start != nil {
		merge(rec, s.start)
	}
	rec.Failure = fault.Encode(failure)
	j := &x.journal
	seq, event := j.seq, j.event
	j.seq, j.event = s.seq-1, s.eventID-1
	x.place(s.o, rec)
	j.seq, j.event = seq, event
	x.fold(s.o, rec, failure)
	j.slot = nil
	x.hand(sending{checkpoint.Append{ID: x.id, Epoch: x.sum.Epoch, Tail: s.seq - 1, Records: []checkpoint.Record{*rec}}, asked{seq: s.seq}})
	x.free(s)
}

// free sends what had to wait behind a slot that has been filled. x.mu is held.
func (x *residency) free(s *slot) {
	x.journal.slot = nil
	for _, b := range s.behind {
		x.hand(b)
	}
	for _, r := range s.waiting {
		r.woken.Broadcast()
	}
}

// commitAttempt is commit for an attempt that may have no transaction: an interceptor has
// not called the body, or the transaction was abandoned.
func (x *residency) commitAttempt(f *frame, o *history.Operation, a attempt, s *settings, judge func(attempt) attempt) attempt {
	tx, ok := s.transact.take()
	switch {
	case tx != nil:
		return x.commit(f, o, tx, a, s, judge)
	case !ok:
		a.err = context.Canceled
	}
	return a
}

// commit commits the transaction of an attempt that did well, with its record, and
// records the failure if it can't. x.mu is not held.
func (x *residency) commit(f *frame, o *history.Operation, tx checkpoint.Transaction, a attempt, s *settings, judge func(attempt) attempt) attempt {
	rec := x.success(a, s)
	rec.OperationID, rec.SubType = o.ID, o.SubType
	payload, flags, unsealed := x.sealedPayload(rec)
	x.mu.Lock()
	defer x.mu.Unlock()
	rec.Attempt = o.Attempt
	if unsealed != nil && x.takesOutcome(f, o) {
		x.lost(unsealed)
	}
	j := &x.journal
	for j.slot != nil && x.takesOutcome(f, o) {
		j.slot.waiting = append(j.slot.waiting, f.r)
		f.r.woken.Wait()
	}
	if !x.takesOutcome(f, o) || o.TurnedAway {
		x.unlocked(tx.Rollback)
		return a
	}
	x.reserve(o, &rec)
	mine := j.slot
	if j.durable < mine.seq-1 {
		j.waiting.add(durableWaiter{mine.seq - 1, f.r})
	}
	for x.phase != phaseClosed && j.durable < mine.seq-1 {
		f.r.woken.Wait()
	}
	if x.phase == phaseClosed {
		x.unlocked(tx.Rollback)
		return a
	}
	var err error
	x.unlocked(func() {
		sealed := rec
		sealed.Payload, sealed.Flags = payload, rec.Flags|flags
		err = tx.Commit(checkpoint.Append{ID: x.id, Epoch: x.sum.Epoch, Tail: mine.seq - 1, Records: []checkpoint.Record{sealed}})
		if err != nil && !fateful(err) {
			a = judge(attempt{err: ofAttempt(err)})
		}
	})
	a.recorded = true
	switch {
	case x.phase == phaseClosed:
	case err == nil:
		x.fold(o, &rec, nil)
		x.settled(o)
		x.free(mine)
		x.becameDurable(mine.seq)
	case fateful(err):
		a.err = err
		x.lost(err)
	case x.takesOutcome(f, o):
		x.failAttempt(o, a)
		if o.TimeoutAt != 0 {
			x.due.add(dueTime{o.TimeoutAt, dueTimeout, o}) // it had to wait for the slot
			x.armTimer()
		}
	default: // the context around it has ended behind the slot
		x.failStep(o, a.failure)
	}
	return a
}

// sealedPayload is what the store gets of a record that has a payload only. x.mu is not held.
func (x *residency) sealedPayload(rec checkpoint.Record) (payload []byte, flags checkpoint.Flags, err error) {
	err = ofSealer(x.e.sealRecord(&rec, x.sum.Incarnation))
	return rec.Payload, rec.Flags & checkpoint.FlagSealed, err
}

// ofAttempt is an error of Begin or Commit as that of an attempt.
func ofAttempt(err error) error {
	if errors.Is(err, checkpoint.ErrMisused) {
		return Permanent(err)
	}
	return err
}

// fateful reports whether an error of Commit ends the residency, as one of Append does.
func fateful(err error) bool {
	return slices.ContainsFunc([]error{checkpoint.ErrFenced, checkpoint.ErrConflict, checkpoint.ErrUnknown, checkpoint.ErrClosed, checkpoint.ErrFailed},
		func(e error) bool { return errors.Is(err, e) })
}

// takesOutcome reports whether the outcome of an attempt of o may still be recorded.
// x.mu is held.
func (x *residency) takesOutcome(f *frame, o *history.Operation) bool {
	return x.phase.lets(letRecords) && !f.r.abandoned && !f.abandoned && !f.isMisled() && !o.Settled()
}

// unlocked calls f without x.mu, which is held.
func (x *residency) unlocked(f func()) {
	x.mu.Unlock()
	defer x.mu.Lock()
	f()
}
