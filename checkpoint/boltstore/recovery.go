package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
	"github.com/durable-go/durable/checkpoint/internal/wal"
)

func (s *Store) position() wal.Position {
	return wal.Position{ID: s.logID, Applied: s.applied, Base: s.base}
}

// recover takes from the log what bbolt does not have, takes executions from owners
// that are gone, and removes queues that are empty. What changes is durable in the
// log when it returns; bbolt gets it later, like everything else.
func (s *Store) recover() error {
	batches, err := s.openLog()
	if err != nil {
		return err
	}
	v := s.newView()
	defer v.done()
	defer v.end()
	g := s.active
	redo := snapshot{s: s, layers: []*generation{g}}
	defer redo.end()
	for _, b := range batches {
		if err := redo.redo(b.Body); err != nil {
			return &checkpoint.CorruptError{Where: s.walDir, What: fmt.Sprintf("batch %d can't be read: a newer release may have written it", b.Seq), Err: err}
		}
		g.bytes += b.Size
		g.body += len(b.Body)
	}
	if s.wal != nil {
		// When bbolt has what was found, the next batch that it needs is the next one
		// that is written, and until then the log may well be older.
		s.base = s.wal.Seq()
	}
	if len(batches) > 0 {
		g.since, g.last = time.Now(), s.wal.Seq()
	}
	if g.number != 0 {
		s.writer.number, v.number = g.number, g.number
	}
	empty, err := s.queues.load(&redo)
	if err != nil {
		return err
	}
	for _, key := range empty {
		v.delete(queueTable, key)
	}
	if err := s.loseOwners(v); err != nil {
		return err
	}
	v.end()
	redo.end()
	if v.writes == 0 {
		return nil
	}
	if s.wal != nil {
		err = s.record(v)
	} else {
		err = s.applyAtOnce(v)
	}
	if err != nil {
		return fmt.Errorf("durable: recover %s: %w", s.path, err)
	}
	return nil
}

// applyAtOnce brings into bbolt what a round has changed.
func (s *Store) applyAtOnce(v *view) error {
	g := s.active
	v.keep(g)
	g.last = s.applied
	a, err := s.apply(g, formatWhole, s.base)
	if err != nil {
		return err
	}
	s.trash = a.trash
	s.active = newGeneration()
	return nil
}

// openLog opens the log if the file needs it.
func (s *Store) openLog() ([]wal.Batch, error) {
	exists, err := wal.Exists(s.walOpts.Files, s.walDir)
	if err != nil {
		return nil, fmt.Errorf("durable: open the log %s: %w", s.walDir, err)
	}
	var batches []wal.Batch
	switch {
	case s.format == formatLog && !exists:
		return nil, &checkpoint.CorruptError{Where: s.path, What: "its log " + s.walDir + " is missing: it was not closed, and what was acknowledged last is in the log: put the log back"}
	case s.format == formatLog:
		s.wal, batches, err = wal.Open(s.walDir, s.position(), s.walOpts)
	default: // Close, or the making of the log, may have been cut off
		if exists {
			err = wal.Unneeded(s.walDir, s.position(), s.walOpts)
		}
		if err == nil {
			err = wal.Remove(s.walOpts.Files, s.walDir)
		}
	}
	if e, ok := errors.AsType[*wal.DamageError](err); ok {
		return nil, &checkpoint.CorruptError{Where: e.Where, What: e.What}
	}
	if err != nil {
		return nil, fmt.Errorf("durable: open the log %s: %w", s.walDir, err)
	}
	return batches, nil
}

// loseOwners takes executions from owners that are gone.
func (s *Store) loseOwners(v *view) error {
	var lost []uint64
	for c := v.scan(ownedTable, "", ""); ; {
		k, _, ok := c.next()
		if !ok {
			break
		}
		if len(k) != 8 {
			return s.corrupt(ownedTable, []byte(k), "the key has a wrong size", nil)
		}
		lost = append(lost, binary.BigEndian.Uint64([]byte(k)))
	}
	r := ledger.NewRound(v, s.writer.turns)
	r.At(s.Now())
	for _, number := range lost {
		if err := r.Recover(number); errors.Is(err, checkpoint.ErrCorrupt) {
			v.Report(err)
			v.delete(ownedTable, numberKey(number))
		} else if err != nil {
			return err
		}
	}
	return nil
}

// startLog makes the log, before the first batch.
func (s *Store) startLog() error {
	fail := func(err error) error { return fmt.Errorf("durable: make the log %s: %w", s.walDir, err) }
	if err := wal.Remove(s.walOpts.Files, s.walDir); err != nil {
		return fail(err)
	}
	if s.logID == 0 {
		s.logID = newLogID()
	}
	l, err := wal.Create(s.walDir, s.logID, s.applied, s.walOpts)
	if err != nil {
		return fail(err)
	}
	s.base = s.applied
	_, err = s.update(func(t *transaction) error {
		t.mark(formatLog, logMark{s.logID, s.applied, s.base})
		return nil
	})
	switch {
	case isFull(err):
		l.Close()
		return fail(err)
	case err != nil:
		l.Close()
		return s.fail(err)
	}
	s.wal = l
	return nil
}

// endLog makes the file whole, and removes the log.
func (s *Store) endLog() error {
	if s.wal == nil {
		return nil
	}
	// The number that Open left out is not given again by the next log either: a header of
	// it may be in a segment that is not removed.
	last := max(s.applied, s.base)
	_, err := s.update(func(t *transaction) error {
		t.mark(formatWhole, logMark{s.logID, last, s.base})
		return nil
	})
	if err := errors.Join(err, s.wal.Close()); err != nil {
		return err
	}
	return wal.Remove(s.walOpts.Files, s.walDir)
}
