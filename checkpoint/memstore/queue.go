package memstore

import (
	"sync"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
)

// queue is what the store's own goroutine has to do: appends, changes that came while
// the tables were in use, and hints. It is what keeps hundreds of callers from standing
// in line for one lock, which costs each of them two switches of goroutines.
type queue struct {
	mu      sync.Mutex
	filled  sync.Cond
	waiting []request
	watch   func(checkpoint.Hint)
	closed  bool // the goroutine is to end
	gone    bool // the goroutine has ended
	ended   chan struct{}
}

// request is an append, a change, or a hint: the first field that is not nil tells.
type request struct {
	done   func(error) // of append
	append checkpoint.Append
	err    error // the append is not made because of it
	change func(*ledger.Round) error
	answer chan error // of change
	hint   checkpoint.Hint
}

// add gives the goroutine something to do; false: there is none any more.
func (q *queue) add(r request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.gone {
		return false
	}
	q.waiting = append(q.waiting, r)
	if len(q.waiting) == 1 {
		q.filled.Signal()
	}
	return true
}

// close returns when everything in the queue is done.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.filled.Signal()
	q.mu.Unlock()
	<-q.ended
}

// work does what is in the queue, in that order, until the store is closed and the
// queue is empty.
func (s *Store) work() {
	q := &s.queue
	defer close(q.ended)
	var batch []request
	for {
		q.mu.Lock()
		for len(q.waiting) == 0 && !q.closed {
			q.filled.Wait()
		}
		if len(q.waiting) == 0 {
			q.gone = true
			q.mu.Unlock()
			return
		}
		batch, q.waiting = q.waiting, batch[:0]
		watch := q.watch
		q.mu.Unlock()
		for i := range batch {
			r := &batch[i]
			switch {
			case r.done != nil:
				if r.err == nil {
					r.err = s.locked(func(round *ledger.Round) error { return round.Append(&r.append, nil) })
				}
				r.done(r.err)
			case r.change != nil:
				r.answer <- s.locked(r.change)
			case watch != nil:
				watch(r.hint)
			}
		}
		clear(batch)
	}
}
