package pgstore

import (
	"sync"
	"sync/atomic"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
)

// command is one change that the writer is asked for.
type command struct {
	// An append, if it has a done: answered by that.
	a    checkpoint.Append
	done func(error)

	// Any other change: answered by closing reply. It may be run more than once,
	// and sets its results each time.
	change  func(*view, *ledger.Round) error
	ids     []string // executions that it will look at
	numbers int      // how many executions it may make
	reply   chan struct{}
	state   atomic.Uint32

	bytes   int
	err     error
	refused bool // err is final
}

// States of a command whose caller may give up.
const (
	waiting uint32 = iota
	taken
	abandoned
)

// begin takes a command out of the hands of its caller; false if that one has
// given up.
func (c *command) begin() bool {
	return c.done != nil || c.state.CompareAndSwap(waiting, taken)
}

// Bounds of one round: everybody in it waits for all of it.
const (
	maxRound      = 2048
	maxRoundBytes = 16 << 20
)

// queue holds what the writer has not begun with, in order.
type queue struct {
	mu       sync.Mutex
	filled   sync.Cond
	commands []*command
	closed   bool
}

func (q *queue) add(c *command) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return checkpoint.ErrClosed
	}
	q.commands = append(q.commands, c)
	q.filled.Signal()
	return nil
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.filled.Signal()
}

// take waits for the commands of the next round; none once the queue is closed and
// empty.
func (q *queue) take() []*command {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.commands) == 0 && !q.closed {
		q.filled.Wait()
	}
	n, bytes := 0, 0
	for n < len(q.commands) && n < maxRound && (n == 0 || bytes+q.commands[n].bytes <= maxRoundBytes) {
		bytes += q.commands[n].bytes
		n++
	}
	round := q.commands[:n:n]
	q.commands = q.commands[n:]
	return round
}
