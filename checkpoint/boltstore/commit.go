package boltstore

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
)

// writer is what the goroutine that makes all changes knows.
type writer struct {
	turns  *ledger.Turns
	rows   map[uint64]*checkpoint.Row // of executions with an owner, as in the file
	ids    map[string]uint64          // of rows
	number uint64                     // last one given to an execution
	trash  bool                       // journals of deleted executions wait for their removal
	buffer []byte                     // for encoded rows
}

// write makes rounds until the queue is closed and empty.
func (s *Store) write() {
	defer close(s.ended)
	debug.SetPanicOnFault(true)
	for {
		round := s.queue.take()
		if len(round) == 0 {
			return
		}
		s.makeRound(round)
		n := len(round)
		clear(round)
		s.queue.gather(n)
	}
}

// makeRound makes one durable write of all commands and answers them. A command
// that finds its condition unmet has changed nothing and does not hinder the
// others. One that fails half-way, over damaged data, is refused, and the
// round is made again without it.
func (s *Store) makeRound(round []*command) {
	n := 0
	for _, c := range round {
		if c.begin() {
			c.refused = c.err != nil
			round[n] = c
			n++
		}
	}
	round = round[:n]
	var hints []checkpoint.Hint
	for {
		again, h, err := s.tryRound(round)
		if again {
			continue
		}
		if err != nil {
			for _, c := range round {
				c.err = err
			}
		}
		hints = h
		break
	}
	for _, c := range round {
		switch c.kind {
		case appending:
			s.calls.Done(c.done, c.err)
		case changing:
			close(c.reply)
		}
	}
	for _, h := range hints {
		s.calls.Hint(h)
	}
	if s.writer.trash && s.failed() == nil {
		s.queue.add(&command{kind: sweeping, change: sweep}) // a closed queue: at the next opening
		s.writer.trash = false
	}
}

// tryRound makes one transaction. again says that a command was refused and
// nothing was written. err is for all commands.
func (s *Store) tryRound(round []*command) (again bool, hints []checkpoint.Hint, err error) {
	if err := s.failed(); err != nil {
		return false, nil, err
	}
	tx, err := s.db.Begin(true)
	if err != nil {
		return false, nil, s.fail(err)
	}
	v := newView(s, tx)
	r := ledger.NewRound(v, s.writer.turns)
	for _, c := range round {
		if c.refused {
			continue
		}
		before := v.writes
		torn := false
		c.err, torn = s.runCommand(c, v, r)
		if v.err != nil {
			c.err = v.err
		}
		if torn || v.err != nil || c.err != nil && v.writes != before {
			c.refused = true
			return true, nil, s.rollBack(v)
		}
	}
	if v.writes == 0 {
		return false, nil, s.rollBack(v)
	}
	if err := s.commit(v); err != nil {
		return false, nil, s.fail(err)
	}
	v.keep()
	s.commits.Add(1)
	return false, r.Hints(), nil
}

// runCommand runs a command; torn says that it panicked, over a damaged page.
func (s *Store) runCommand(c *command, v *view, r *ledger.Round) (err error, torn bool) {
	defer func() {
		if p := recover(); p != nil {
			err, torn = s.panicked(p), true
		}
	}()
	r.At(s.Now())
	return c.run(v, r), false
}

// commit makes what a view holds durable.
func (s *Store) commit(v *view) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = s.panicked(p)
			s.rollBack(v)
		}
	}()
	v.flush()
	if v.err != nil {
		s.rollBack(v)
		return v.err
	}
	return v.tx.Commit()
}

// rollBack gives up the changes of a view. If that is impossible the store fails.
func (s *Store) rollBack(v *view) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.broken.Store(true)
			err = s.fail(s.panicked(p))
		}
	}()
	if err := v.tx.Rollback(); err != nil {
		return s.fail(err)
	}
	return nil
}

// panicked makes an error of what bbolt and the runtime say of damaged pages. A
// mistake in this package would look the same, so the log has the stack.
func (s *Store) panicked(p any) error {
	if e, ok := p.(*checkpoint.CorruptError); ok {
		return e
	}
	err, ok := p.(error)
	if !ok {
		err = errors.New(fmt.Sprint(p))
	}
	s.log.Error("durable: panic while reading the store", "path", s.path, "panic", err.Error(), "stack", string(debug.Stack()))
	return &checkpoint.CorruptError{Where: s.path, What: "a page of the file is damaged, or the file was truncated", Err: err}
}
