package boltstore

import (
	"sync"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
	"github.com/durable-go/durable/checkpoint/internal/queue"
)

// command is one change that the writer is asked for.
type command struct {
	queue.Command

	// An append, if it has a Done.
	a       checkpoint.Append
	encoded []byte // its records

	// Any other change. It may be run more than once, when a round has to be made
	// again, and must set its results each time.
	change func(*view, *ledger.Round) error
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

func (c *command) run(v *view, r *ledger.Round) error {
	if c.Done != nil {
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
