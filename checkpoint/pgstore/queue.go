package pgstore

import (
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
	"github.com/durable-go/durable/checkpoint/internal/queue"
)

// command is one change that the writer is asked for.
type command struct {
	queue.Command

	// An append, if it has a Done.
	a checkpoint.Append

	// Any other change. It may be run more than once, and sets its results each time.
	// Nil: the lease alone is renewed.
	change  func(*view, *ledger.Round) error
	claim   *claim   // a claim, which is a round of its own
	ids     []string // executions that it will look at
	number  uint64   // another one; 0: none
	about   string   // the operation ID of a callback of the first of them that it will look at
	creates bool     // the first of them may be a new one
	apart   bool     // it has a round of its own
	settles bool     // nothing is to be changed, the writer has been idle: see write

	// What the last try says of it.
	doubtful bool  // its answer rests on what may be old: it is asked again, see makeRound
	lone     int64 // number of the execution that it makes, if there is none of that ID; 0: see work.lone
}

// at says which execution a command looks at.
func (c *command) at(id string, number uint64) *command {
	if id != "" || number == 0 {
		c.ids = []string{id}
	} else {
		c.number = number
	}
	return c
}

// Bounds of one round: everybody in it waits for all of it.
const (
	maxRound      = 2048
	maxRoundBytes = 16 << 20
)
