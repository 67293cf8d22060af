// Package queue brings what many callers ask of a store to the one goroutine that
// makes all changes, and the answers back. That goroutine takes all that waits at
// once: a round.
package queue

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/dispatch"
)

// Command is the part of a command that all stores have. A store's own type embeds it.
type Command struct {
	Bytes   int         // about how much it writes
	Done    func(error) // of an append, which nobody waits for; nil: of Do
	Err     error       // the answer
	Refused bool        // Err is final: the command is not run again

	reply chan struct{}
	state atomic.Uint32
}

// States of a command whose caller may give up.
const (
	waiting uint32 = iota
	taken
	abandoned
)

func (c *Command) common() *Command { return c }

// begin takes a command out of the hands of its caller; false if that one has
// given up.
func (c *Command) begin() bool {
	return c.Done != nil || c.state.CompareAndSwap(waiting, taken)
}

// Answer gives Err to whoever waits for it. A command without a Done is its caller's
// from then on.
func (c *Command) Answer(calls *dispatch.Dispatcher) {
	if c.Done != nil {
		calls.Done(c.Done, c.Err)
	} else {
		close(c.reply)
	}
}

// Queue holds the commands that the writer has not begun with, in order. Everybody in
// a round waits for all of it, so it has bounds.
type Queue[C interface{ common() *Command }] struct {
	maxRound, maxBytes int

	mu       sync.Mutex
	filled   sync.Cond
	commands []C
	spare    []C
	closed   bool
}

// New makes a queue whose rounds have so many commands, and write so many bytes, at most.
func New[C interface{ common() *Command }](maxRound, maxBytes int) *Queue[C] {
	q := &Queue[C]{maxRound: maxRound, maxBytes: maxBytes}
	q.filled.L = &q.mu
	return q
}

// Add enters a command that has a Done. It fails when the queue is closed.
func (q *Queue[C]) Add(c C) error {
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

// Do enters a command without a Done and waits for its answer. If ctx ends first, the
// command is not run; once the writer has taken it, Do waits for the end.
func (q *Queue[C]) Do(ctx context.Context, command C) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := command.common()
	c.reply = make(chan struct{})
	if err := q.Add(command); err != nil {
		return err
	}
	select {
	case <-c.reply:
		return c.Err
	case <-ctx.Done():
		if c.state.CompareAndSwap(waiting, abandoned) {
			return ctx.Err()
		}
		<-c.reply
		return c.Err
	}
}

// Close lets nothing more in.
func (q *Queue[C]) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.filled.Signal()
}

// Take waits for commands and returns those of the next round, whose callers can't
// give up any more; none once the queue is closed and empty. The result is good until
// the next call.
func (q *Queue[C]) Take() []C {
	q.mu.Lock()
	defer q.mu.Unlock()
	round := q.spare[:0]
	clear(q.spare)
	for len(round) == 0 {
		for len(q.commands) == 0 {
			if q.closed {
				return nil
			}
			q.filled.Wait()
		}
		n, bytes := 0, 0
		for _, command := range q.commands {
			c := command.common()
			if len(round) == q.maxRound || len(round) > 0 && bytes+c.Bytes > q.maxBytes {
				break
			}
			n++
			if c.begin() {
				round = append(round, command)
				bytes += c.Bytes
			}
		}
		rest := copy(q.commands, q.commands[n:])
		clear(q.commands[rest:])
		q.commands = q.commands[:rest]
	}
	q.spare = round
	return round
}

// Gather lets those go on that the last round has woken, so that what they ask
// for next is in one round again instead of two halves that take turns. It
// returns as soon as there is as much as last time, or nothing more comes; with
// nobody else to run it costs less than a microsecond.
func (q *Queue[C]) Gather(last int) {
	for had, still := 0, 0; still < 3; {
		runtime.Gosched()
		n := q.Len()
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

// Len is how many commands wait.
func (q *Queue[C]) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.commands)
}
