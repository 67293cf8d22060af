package memstore

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
)

// queue is what keeps hundreds of callers from standing in line for one lock, which
// costs each of them two switches of goroutines. What comes while the tables are in use
// waits in it, and so do the answers, for the store's own goroutine to give them.
//
//	called --> waiting --made--> answers --> answered
//
// Whoever has the turn, the right to change the tables, makes first what is waiting: all
// changes are made in the order of the calls, and every later call sees them. Who finds
// that another one has it leaves a change to that one, who looks again after giving it
// back: so no change waits for the goroutine, which may be in a callback, and that one
// for a lock of the caller's.
type queue struct {
	some  atomic.Bool // something is waiting
	asked atomic.Bool // and a caller waits for it

	mu      sync.Mutex
	filled  sync.Cond
	waiting []request
	answers []answer
	watch   func(checkpoint.Hint)
	making  bool // somebody has taken what was waiting, whose answers are to come
	closed  bool // the goroutine is to end
	gone    bool // it has ended
	ended   chan struct{}
}

// request is an append, if it has a done, or a change.
type request struct {
	done   func(error) // of append
	append checkpoint.Append
	err    error // the append is not made because of it
	change func(*ledger.Round) error
	answer chan error // of change
}

// answer is done(err), or a hint.
type answer struct {
	done func(error)
	err  error
	hint checkpoint.Hint
}

// add leaves a request to the goroutine, or to whoever comes earlier; false: the
// goroutine has ended.
func (q *queue) add(r request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.gone {
		return false
	}
	q.waiting = append(q.waiting, r)
	q.some.Store(true)
	if r.change != nil {
		q.asked.Store(true)
	}
	q.filled.Signal()
	return true
}

// close returns when all is made and answered.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.filled.Signal()
	q.mu.Unlock()
	<-q.ended
}

// lock locks the tables and makes what is waiting.
func (s *Store) lock() {
	s.turn.Lock()
	s.mu.Lock()
	s.catchUp()
}

// tryLock is lock, unless somebody has the turn.
func (s *Store) tryLock() bool {
	if !s.turn.TryLock() {
		return false
	}
	s.mu.Lock()
	s.catchUp()
	return true
}

// unlock unlocks the tables, and makes what was left to it.
func (s *Store) unlock() {
	s.mu.Unlock()
	s.turn.Unlock()
	s.help()
}

// help makes what callers wait for, unless somebody has the turn: that one will.
func (s *Store) help() {
	for s.queue.asked.Load() && s.tryLock() {
		s.mu.Unlock()
		s.turn.Unlock()
	}
}

// catchUp makes what is waiting. s.mu is held.
func (s *Store) catchUp() {
	q := &s.queue
	if !q.some.Load() {
		return
	}
	q.mu.Lock()
	s.batch, q.waiting = q.waiting, s.batch
	q.making = true
	q.some.Store(false)
	q.asked.Store(false)
	q.mu.Unlock()
	if watch := s.committed.Load(); watch != nil && len(s.batch) > 0 {
		begun := time.Now()
		defer func(n int) { (*watch)(checkpoint.Commit{Took: time.Since(begun), Changes: n}) }(len(s.batch))
	}
	for i := range s.batch {
		r := &s.batch[i]
		if r.change != nil {
			r.answer <- s.make(r.change)
			continue
		}
		if r.err == nil {
			r.err = s.makeAppend(&r.append)
		}
		s.answer(answer{done: r.done, err: r.err})
	}
	clear(s.batch)
	s.batch = s.batch[:0]
	q.mu.Lock()
	defer q.mu.Unlock()
	q.making = false
	q.filled.Signal()
}

// answer leaves an answer to the goroutine. s.mu is held, so that answers come in the
// order of the changes.
func (s *Store) answer(a answer) {
	q := &s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	q.answers = append(q.answers, a)
	q.filled.Signal()
}

// work makes and answers what comes, until the store is closed and nothing is left.
func (s *Store) work() {
	q := &s.queue
	defer close(q.ended)
	var answers []answer
	for {
		q.mu.Lock()
		for len(q.waiting)+len(q.answers) == 0 && (q.making || !q.closed) {
			q.filled.Wait()
		}
		if len(q.waiting)+len(q.answers) == 0 {
			q.gone = true
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
		s.lock()
		s.unlock()
		q.mu.Lock()
		answers, q.answers = q.answers, answers
		watch := q.watch
		q.mu.Unlock()
		for _, a := range answers {
			switch {
			case a.done != nil:
				a.done(a.err)
			case watch != nil:
				watch(a.hint)
			}
		}
		clear(answers)
		answers = answers[:0]
	}
}
