package boltstore

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
	"github.com/durable-go/durable/checkpoint/internal/wal"
)

// writer is what the goroutine that makes all changes knows.
type writer struct {
	turns  *ledger.Turns
	rows   map[uint64]*checkpoint.Row // of executions with an owner
	ids    map[string]uint64          // of rows
	number uint64                     // last one given to an execution
	slowed time.Time                  // when it was last told that the disk does not keep up

	// Used again in each round.
	works      map[uint64]*work
	dirty      []*work
	spare      []*checkpoint.Row
	spareWorks []*work
}

func newWriter() writer {
	return writer{
		turns: ledger.NewTurns(),
		rows:  make(map[uint64]*checkpoint.Row), ids: make(map[string]uint64),
		works: make(map[uint64]*work),
	}
}

func (w *writer) spareRow() *checkpoint.Row { return pop(&w.spare) }
func (w *writer) spareWork() *work          { return pop(&w.spareWorks) }

// pop takes one of what is to be used again, or makes one.
func pop[T any](spare *[]*T) *T {
	n := len(*spare)
	if n == 0 {
		return new(T)
	}
	last := (*spare)[n-1]
	*spare = (*spare)[:n-1]
	return last
}

// disown forgets the row of an execution that has no owner any more.
func (w *writer) disown(number uint64) {
	if kept := w.rows[number]; kept != nil {
		delete(w.rows, number)
		if w.ids[kept.ID] == number {
			delete(w.ids, kept.ID)
		}
	}
}

// write makes rounds until the queue is closed and empty.
func (s *Store) write() {
	defer close(s.ended)
	debug.SetPanicOnFault(true)
	for {
		round := s.queue.Take()
		if len(round) == 0 {
			return
		}
		s.makeRound(round)
		n := len(round)
		s.queue.Gather(n)
	}
}

// makeRound makes one durable write of all commands and answers them. A command
// that finds its condition unmet has changed nothing and does not hinder the
// others. One that fails half-way, over damaged data, is refused, and the
// round is made again without it.
func (s *Store) makeRound(round []*command) {
	var hints []checkpoint.Hint
	for again := true; again; {
		var err error
		if again, hints, err = s.tryRound(round); err != nil {
			for _, c := range round {
				c.Err = err
			}
		}
	}
	for _, c := range round {
		c.Answer(s.calls)
		if c.Done != nil {
			c.recycle()
		}
	}
	for _, h := range hints {
		s.calls.Hint(h)
	}
}

// tryRound decides, makes one batch of the log, and shows it. again says that a
// command was refused and nothing was written. err is for all commands.
func (s *Store) tryRound(round []*command) (again bool, hints []checkpoint.Hint, err error) {
	if err := s.failed(); err != nil {
		return false, nil, err
	}
	v := s.newView()
	defer v.done()
	r := ledger.NewRound(v, s.writer.turns)
	r.At(s.Now()) // of all commands: they were there before it
	again = s.decide(round, v, r)
	// Not a moment longer: a transaction that grows the file waits for those
	// that read, and may keep readers waiting whom the writer then waits for.
	v.end()
	if again || v.writes == 0 {
		return again, nil, nil
	}
	begun := time.Now()
	if err := s.commit(v); err != nil {
		return false, nil, err
	}
	if watch := s.committed.Load(); watch != nil {
		(*watch)(checkpoint.Commit{Took: time.Since(begun), Changes: len(round)})
	}
	return false, r.Hints(), nil
}

// decide runs the commands; again says that one was torn.
func (s *Store) decide(round []*command, v *view, r *ledger.Round) (again bool) {
	for _, c := range round {
		if c.Refused {
			continue
		}
		before := v.writes
		torn := false
		c.Err, torn = s.runCommand(c, v, r)
		if torn || c.Err != nil && v.writes != before {
			c.Refused = true
			return true
		}
	}
	return false
}

// runCommand runs a command; torn says that it panicked, over a damaged page.
func (s *Store) runCommand(c *command, v *view, r *ledger.Round) (err error, torn bool) {
	defer func() {
		if p := recover(); p != nil {
			err, torn = s.panicked(p), true
		}
	}()
	return c.run(v, r), false
}

// commit makes a round durable, and then shows it to everybody.
func (s *Store) commit(v *view) error {
	if err := s.awaitRoom(); err != nil {
		return err
	}
	if s.wal == nil {
		if err := s.startLog(); err != nil {
			return err
		}
	}
	return s.record(v)
}

// record writes a round into the log.
func (s *Store) record(v *view) error {
	batch := v.encode(s.wal.Buffer())
	body := len(batch) - wal.HeaderSize
	seq, size, err := s.wal.Write(batch)
	if errors.Is(err, wal.ErrNotWritten) {
		if missing := s.present(); missing != nil { // there is no use in trying again
			return s.fail(missing)
		}
		return fmt.Errorf("durable: %s: %w", s.path, err)
	}
	if err != nil {
		return s.fail(err)
	}
	s.mu.Lock()
	g := s.active
	begun := g.empty()
	if begun {
		g.since = time.Now()
	}
	g.last = seq
	g.bytes += size
	g.body += body
	v.keep(g)
	wake := begun || s.frozen == nil && g.enough() // it looks by itself when it has brought one
	s.mu.Unlock()
	s.batches.Add(1)
	if wake {
		s.wakeFeeder()
	}
	return nil
}

// panicked makes an error of what bbolt and the runtime say of damaged pages. A
// mistake in this package would look the same, so the log has the stack.
func (s *Store) panicked(p any) error {
	if e, ok := p.(*checkpoint.CorruptError); ok {
		return e
	}
	if f, ok := p.(fault); ok {
		if err := s.unread(f); err != nil {
			return err
		}
	}
	err, ok := p.(error)
	if !ok {
		err = errors.New(fmt.Sprint(p))
	}
	s.log.Error("durable: panic while reading the store", "path", s.path, "panic", err.Error(), "stack", string(debug.Stack()))
	return &checkpoint.CorruptError{Where: s.path, What: "a page of the file is damaged, or the file was truncated", Err: err}
}
