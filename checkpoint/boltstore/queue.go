package boltstore

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
)

// command is one change that the writer is asked for.
type command struct {
	kind  kind
	bytes int // about how much it writes

	// appending: answered by done, on the dispatcher's goroutine.
	a       checkpoint.Append
	encoded []byte // its records
	done    func(error)

	// changing: answered by closing reply. It may be run more than once, when
	// a round has to be made again, and must set its results each time.
	change func(*view, *ledger.Round) error
	reply  chan struct{}
	state  atomic.Uint32

	err     error
	refused bool // err is final: it is not run again in this round
}

// commands holds those that can be used again: one is needed for each append, for
// as long as that is not durable.
var commands = sync.Pool{New: func() any { return new(command) }}

// recycle gives back a command that nobody has any more.
func (c *command) recycle() {
	if cap(c.encoded) > 64<<10 {
		c.encoded = nil
	}
	*c = command{encoded: c.encoded[:0]}
	commands.Put(c)
}

type kind uint8

const (
	appending kind = iota
	changing
)

// States of a command whose caller may give up.
const (
	waiting uint32 = iota
	taken
	abandoned
)

// begin takes the command out of the hands of its caller; false if that one
// has given up.
func (c *command) begin() bool {
	return c.kind != changing || c.state.CompareAndSwap(waiting, taken)
}

func (c *command) run(v *view, r *ledger.Round) error {
	if c.kind == appending {
		return r.Append(&c.a, c.encoded)
	}
	return c.change(v, r)
}

// Bounds of one round. A transaction of bbolt gets slow when it is very large,
// and everybody in it waits for all of it.
const (
	maxRound      = 4096
	maxRoundBytes = 32 << 20
)

// queue holds the commands that the writer has not begun with, in order.
type queue struct {
	mu       sync.Mutex
	filled   sync.Cond
	commands []*command
	spare    []*command
	closed   bool
}

func (q *queue) init() { q.filled.L = &q.mu }

func (q *queue) add(c *command) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return checkpoint.ErrClosed
	}
	q.commands = append(q.commands, c)
	if len(q.commands) == 1 {
		q.filled.Signal()
	}
	return nil
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.filled.Signal()
}

// take waits for commands and returns those of the next round; none once the
// queue is closed and empty. The result is good until the next call.
func (q *queue) take() []*command {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.commands) == 0 && !q.closed {
		q.filled.Wait()
	}
	n, bytes := 0, 0
	for n < len(q.commands) && n < maxRound && (n == 0 || bytes < maxRoundBytes) {
		bytes += q.commands[n].bytes
		n++
	}
	round := append(q.spare[:0], q.commands[:n]...)
	q.spare = round
	rest := copy(q.commands, q.commands[n:])
	clear(q.commands[rest:])
	q.commands = q.commands[:rest]
	return round
}

// gather lets those go on that the last round has woken, so that what they ask
// for next is in one round again instead of two halves that take turns. It
// returns as soon as there is as much as last time, or nothing more comes; with
// nobody else to run it costs less than a microsecond.
func (q *queue) gather(last int) {
	for had, still := 0, 0; still < 3; {
		runtime.Gosched()
		n := q.len()
		switch {
		case n >= last:
			return
		case n == had:
			still++
		default:
			had, still = n, 0
		}
	}
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.commands)
}
