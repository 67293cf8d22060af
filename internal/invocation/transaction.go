package invocation

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/journal"
)

// Transaction is the transaction of one attempt at a time.
type Transaction struct {
	Store    checkpoint.Transactor
	Options  any
	Snapshot bool // its start must be durable before the body begins

	mu    sync.Mutex
	open  checkpoint.Transaction // nil: none
	over  bool                   // what is begun from now on is rolled back
	begun bool
}

// attempt begins another attempt, whose transaction ends with life at the latest, unless
// it is committing by then. The function it returns ends it then and there.
func (t *Transaction) attempt(life context.Context) (end func()) {
	t.mu.Lock()
	t.over, t.begun = false, false
	t.mu.Unlock()
	stop := context.AfterFunc(life, t.abandon)
	return func() {
		stop()
		t.abandon()
	}
}

// Begin begins the transaction; an interceptor may have had the body called before.
func (t *Transaction) Begin(ctx context.Context) (handle any, err error) {
	t.Rollback()
	tx, err := t.Store.Begin(ctx, t.Options)
	if err != nil {
		return nil, err
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
func (t *Transaction) take() (tx checkpoint.Transaction, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	tx, t.open = t.open, nil
	return tx, tx != nil || !t.over || !t.begun
}

// Rollback ends it, if there is one.
func (t *Transaction) Rollback() {
	if tx, _ := t.take(); tx != nil {
		tx.Rollback()
	}
}

func (t *Transaction) abandon() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	if t.open != nil {
		t.open.Abandon()
		t.open = nil
	}
}

// reserve makes a slot for rec, the success of o, and numbers rec. x.mu is held.
func (x *Invocation) reserve(o *history.Operation, rec *checkpoint.Record) *journal.Slot {
	start := x.journal.TakeStart(o, rec)
	x.send()
	return x.journal.Reserve(o, rec, start, x.host.Now())
}

// commits reports whether the outcome of o has its place in the journal already. x.mu is held.
func (x *Invocation) commits(o *history.Operation) bool {
	s := x.journal.Slot()
	return s != nil && s.O == o
}

// commitAttempt is commit for an attempt that may have no transaction: an interceptor has
// not called the body, or the transaction was abandoned.
func (x *Invocation) commitAttempt(f *frame, o *history.Operation, a *Attempt, s *Settings, body Body, info *Info) {
	tx, ok := s.Transaction.take()
	switch {
	case tx != nil:
		x.commit(f, o, tx, a, s, body, info)
	case !ok:
		a.Err = context.Canceled
	}
}

// commit commits the transaction of an attempt that did well, with its record, and
// records the failure if it can't. x.mu is not held.
func (x *Invocation) commit(f *frame, o *history.Operation, tx checkpoint.Transaction, a *Attempt, s *Settings, body Body, info *Info) {
	rec := x.success(a, s)
	rec.OperationID, rec.SubType = o.ID, o.SubType
	sealed := rec
	unsealed := x.host.Seal(&sealed) // while nothing waits for it
	x.mu.Lock()
	defer x.mu.Unlock()
	rec.Attempt = o.Attempt
	if unsealed != nil && x.takesOutcome(f, o) {
		x.lost(unsealed)
	}
	j := &x.journal
	for j.Slot() != nil && x.takesOutcome(f, o) {
		j.committing = append(j.committing, f.r)
		x.wait(f.r)
	}
	if !x.takesOutcome(f, o) || o.TurnedAway {
		x.unlocked(tx.Rollback)
		return
	}
	mine := x.reserve(o, &rec)
	if j.Durable() < mine.Seq-1 {
		j.waiting.Add(durableWaiter{mine.Seq - 1, f.r})
	}
	for x.phase != phaseClosed && j.Durable() < mine.Seq-1 {
		x.wait(f.r)
	}
	if x.phase == phaseClosed {
		x.unlocked(tx.Rollback)
		return
	}
	var err error
	x.unlocked(func() {
		whole := rec
		whole.Payload, whole.Flags = sealed.Payload, rec.Flags|sealed.Flags
		with := x.toAppend()
		with.Tail, with.Records = mine.Seq-1, []checkpoint.Record{whole}
		err = tx.Commit(with)
		if err != nil && !fateful(err) {
			*a = body.Judge(err, int(info.Failures))
		}
	})
	a.recorded = true
	switch {
	case x.phase == phaseClosed:
	case err == nil:
		o.Apply(&rec, nil)
		x.tell(o, &rec)
		x.settled(o)
		j.Free()
		x.freed()
		x.becameDurable(mine.Seq)
	case fateful(err):
		a.Err = err
		x.lost(err)
	case x.takesOutcome(f, o):
		x.failAttempt(o, a)
		if o.TimeoutAt != 0 {
			x.due.add(dueTime{o.TimeoutAt, dueTimeout, o}) // it had to wait for the slot
			x.armTimer()
		}
	default: // the context around it has ended behind the slot
		x.failStep(o, a.Failure)
	}
}

// fateful reports whether an error of Commit ends the invocation, as one of Append does.
func fateful(err error) bool {
	return slices.ContainsFunc([]error{checkpoint.ErrFenced, checkpoint.ErrConflict, checkpoint.ErrUnknown, checkpoint.ErrClosed, checkpoint.ErrFailed},
		func(e error) bool { return errors.Is(err, e) })
}

// takesOutcome reports whether the outcome of an attempt of o may still be recorded.
// x.mu is held.
func (x *Invocation) takesOutcome(f *frame, o *history.Operation) bool {
	return x.phase.lets(letRecords) && !f.r.abandoned && !f.abandoned && !f.isMisled() && !o.Settled()
}

// unlocked calls f without x.mu, which is held.
func (x *Invocation) unlocked(f func()) {
	x.mu.Unlock()
	defer x.mu.Lock()
	f()
}
