// Package memstore keeps durable executions in memory: for tests, and for work
// that may be lost with the process. It has the semantics of every other store,
// except that nothing is on disk.
//
// A Store works inside a testing/synctest bubble: it uses the time package's
// clock, and the one goroutine it starts ends with Close.
package memstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
)

// Store is a checkpoint.Store in memory. Make one with New.
type Store struct {
	secret []byte
	queue  queue

	turn   sync.Mutex // of whoever changes the tables, outside of mu
	mu     sync.RWMutex
	tables tables
	round  *ledger.Round
	batch  []request // catchUp's
	closed bool

	committed atomic.Pointer[func(checkpoint.Commit)] // nil: nobody watches
}

var _ checkpoint.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store {
	s := &Store{secret: make([]byte, 32), tables: newTables()}
	rand.Read(s.secret)
	s.round = ledger.NewRound(&s.tables, ledger.NewTurns())
	s.queue.filled.L = &s.queue.mu
	s.queue.ended = make(chan struct{})
	go s.work()
	return s
}

// Secret is random for each store.
func (s *Store) Secret() []byte { return slices.Clone(s.secret) }

// Now is time.Now.
func (s *Store) Now() time.Time { return time.Now() }

// Watch sets who gets the hints, on the goroutine that calls done of Append.
func (s *Store) Watch(fn func(checkpoint.Hint)) {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	s.queue.watch = fn
}

// Close ends all use, after everything that waits to be called back has been.
// It must not be called from what is called back.
func (s *Store) Close() error {
	s.queue.close()
	s.lock()
	defer s.unlock()
	s.closed = true
	return nil
}

// change makes a change: at once, or after what has come before it.
func (s *Store) change(ctx context.Context, f func(*ledger.Round) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.tryLock() {
		defer s.unlock()
		return s.make(f)
	}
	answer := make(chan error, 1)
	if !s.queue.add(request{change: f, answer: answer}) {
		return checkpoint.ErrClosed
	}
	s.help()
	return <-answer
}

// make makes a change, in a round of its own. s.mu is held.
func (s *Store) make(f func(*ledger.Round) error) error {
	if s.closed {
		return checkpoint.ErrClosed
	}
	s.round.Begin(s.Now())
	defer s.hint()
	return f(s.round)
}

// makeAppend is make for an append.
func (s *Store) makeAppend(a *checkpoint.Append) error {
	if s.closed {
		return checkpoint.ErrClosed
	}
	s.round.Begin(s.Now())
	defer s.hint()
	return s.round.Append(a, nil)
}

// hint leaves the hints of the last change to the goroutine. s.mu is held.
func (s *Store) hint() {
	for _, h := range s.round.Hints() {
		s.answer(answer{hint: h})
	}
}

// Append changes a journal; done is called on the store's own goroutine.
func (s *Store) Append(a checkpoint.Append, done func(error)) {
	if !s.queue.add(request{append: a, err: ledger.CheckAppend(&a), done: done}) {
		go done(checkpoint.ErrClosed)
	}
}

// Create makes an execution.
func (s *Store) Create(ctx context.Context, c checkpoint.Creation) (sum checkpoint.Summary, created bool, err error) {
	err = s.change(ctx, func(r *ledger.Round) (err error) {
		sum, created, err = r.Create(&c)
		return err
	})
	return sum, created, err
}

// Claim makes the caller the owner of executions that are due.
func (s *Store) Claim(ctx context.Context, req checkpoint.ClaimRequest) (claims []checkpoint.Claim, err error) {
	err = s.change(ctx, func(r *ledger.Round) (err error) {
		claims, err = r.Claim(&req)
		return err
	})
	return claims, err
}

// Disown gives up ownership as if the owner had died.
func (s *Store) Disown(ctx context.Context, id string, epoch uint64) error {
	return s.change(ctx, func(r *ledger.Round) error { return r.Disown(id, epoch) })
}

// Deliver puts an event from outside into an inbox.
func (s *Store) Deliver(ctx context.Context, d checkpoint.Delivery) error {
	return s.change(ctx, func(r *ledger.Round) error { return r.Deliver(&d) })
}

// Heartbeat moves the heartbeat due time of a callback.
func (s *Store) Heartbeat(ctx context.Context, c checkpoint.CallbackRef) error {
	return s.change(ctx, func(r *ledger.Round) error { return r.Heartbeat(&c) })
}

// End gives an execution a final status from outside.
func (s *Store) End(ctx context.Context, e checkpoint.Ending) (ended bool, err error) {
	err = s.change(ctx, func(r *ledger.Round) (err error) {
		ended, err = r.End(&e)
		return err
	})
	return ended, err
}

// Resume lifts a hold.
func (s *Store) Resume(ctx context.Context, id string) error {
	return s.change(ctx, func(r *ledger.Round) error { return r.Resume(id) })
}

// Delete removes an execution that has ended.
func (s *Store) Delete(ctx context.Context, id string) error {
	return s.change(ctx, func(r *ledger.Round) error { return r.Delete(id) })
}

// Expire deletes executions that ended before t.
func (s *Store) Expire(ctx context.Context, t time.Time, limit int) (n int, err error) {
	const few = 100
	for n < limit && err == nil {
		deleted, some := 0, min(few, limit-n)
		err = s.change(ctx, func(r *ledger.Round) (err error) {
			deleted, err = s.tables.expire(r, t.UnixNano(), some)
			return err
		})
		if n += deleted; deleted < some {
			break
		}
	}
	return n, err
}

// read runs f under the read lock.
func (s *Store) read(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.queue.some.Load() {
		s.lock()
		s.unlock()
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return checkpoint.ErrClosed
	}
	return f()
}

func notFound(what any) error {
	return fmt.Errorf("execution %v: %w", what, checkpoint.ErrNotFound)
}

// Get returns the summary of an execution.
func (s *Store) Get(ctx context.Context, id string) (sum checkpoint.Summary, err error) {
	err = s.read(ctx, func() error {
		x := s.tables.byID[id]
		if x == nil {
			return notFound(id)
		}
		sum = x.summary()
		return nil
	})
	return sum, err
}

// Find is Get by number.
func (s *Store) Find(ctx context.Context, number uint64) (sum checkpoint.Summary, err error) {
	err = s.read(ctx, func() error {
		x := s.tables.byNumber[number]
		if x == nil {
			return notFound(number)
		}
		sum = x.summary()
		return nil
	})
	return sum, err
}

// page is how many executions a list looks at, or records a journal yields,
// under one lock.
const page = 256

// List yields summaries, newest first.
func (s *Store) List(ctx context.Context, q checkpoint.Query) iter.Seq2[checkpoint.Summary, error] {
	return func(yield func(checkpoint.Summary, error) bool) {
		before := q.Before
		if before == 0 {
			before = math.MaxUint64
		}
		for n := 0; before > 1; {
			var found []checkpoint.Summary
			err := s.read(ctx, func() error {
				found, before = s.tables.list(&q, before)
				return nil
			})
			if err != nil {
				yield(checkpoint.Summary{}, err)
				return
			}
			for _, sum := range found {
				if !yield(sum, nil) {
					return
				}
				if n++; n == q.Limit {
					return
				}
			}
		}
	}
}

// Count counts executions by status. It looks at all of them, some at a time.
func (s *Store) Count(ctx context.Context, q checkpoint.Query) (map[checkpoint.Status]int, error) {
	counts := make(map[checkpoint.Status]int)
	for before := uint64(math.MaxUint64); before > 1; {
		err := s.read(ctx, func() error {
			before = s.tables.look(before, func(x *execution) {
				if ledger.Selects(&q, &x.row) {
					counts[x.row.Status]++
				}
			})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return counts, nil
}

var errDeleted = errors.New("durable: the execution was deleted while it was read")

// Records yields a journal.
func (s *Store) Records(ctx context.Context, id string, after uint64) iter.Seq2[checkpoint.Record, error] {
	return func(yield func(checkpoint.Record, error) bool) {
		var number uint64
		for {
			var records []checkpoint.Record
			err := s.read(ctx, func() error {
				x := s.tables.byID[id]
				switch {
				case x == nil && number != 0, x != nil && number != 0 && x.row.Number != number:
					return fmt.Errorf("%w: %w", errDeleted, checkpoint.ErrNotFound)
				case x == nil:
					return notFound(id)
				}
				number = x.row.Number
				records = x.journal.after(after, page)
				return nil
			})
			if err != nil {
				yield(checkpoint.Record{}, err)
				return
			}
			for _, r := range records {
				if !yield(r, nil) {
					return
				}
			}
			if len(records) == 0 {
				return
			}
			after = records[len(records)-1].Seq
		}
	}
}

// Inbox returns what is in an inbox.
func (s *Store) Inbox(ctx context.Context, id string, after uint64) (entries []checkpoint.Record, err error) {
	err = s.read(ctx, func() error {
		x := s.tables.byID[id]
		if x == nil {
			return notFound(id)
		}
		entries = slices.Clone(behind(x.inbox, after))
		return nil
	})
	return entries, err
}

// NextDue is when Claim may return something.
func (s *Store) NextDue(ctx context.Context, req checkpoint.ClaimRequest) (due time.Time, err error) {
	err = s.read(ctx, func() (err error) {
		due, err = ledger.NextDue(&s.tables, &req, s.Now())
		return err
	})
	return due, err
}
