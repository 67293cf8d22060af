package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"runtime/debug"
	"strings"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
)

// Bounds of one read transaction, so that bbolt can use the space again that
// changes meanwhile set free.
const (
	page      = 256     // executions, values of a journal
	countPage = 8192    // executions that are counted
	pageBytes = 1 << 20 // of values, and the last one
)

// usable reports why nothing can be read.
func (s *Store) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return checkpoint.ErrClosed
	}
	return s.failed()
}

// read runs f on all that is durable. The writer can't show its next round before f has
// returned, or called detach. A transaction of bbolt begins with the first look at it.
func (s *Store) read(ctx context.Context, f func(*snapshot) error) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	s.mu.RLock()
	p := &snapshot{s: s, layers: []*generation{s.active}, locked: true}
	if s.frozen != nil {
		p.layers = append(p.layers, s.frozen)
	}
	defer p.detach()
	return s.readIn(p, f)
}

// readFile runs f on what is in bbolt.
func (s *Store) readFile(ctx context.Context, f func(*snapshot) error) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	return s.readIn(&snapshot{s: s}, f)
}

func (s *Store) readIn(p *snapshot, f func(*snapshot) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *beginError:
			err = r.error
		default:
			err = s.panicked(r)
		}
	}()
	defer p.end()
	return f(p)
}

func notFound(what any) error {
	return fmt.Errorf("execution %v: %w", what, checkpoint.ErrNotFound)
}

// Get returns the summary of an execution.
func (s *Store) Get(ctx context.Context, id string) (sum checkpoint.Summary, err error) {
	err = s.read(ctx, func(p *snapshot) error {
		row, err := p.find(id)
		switch {
		case errors.Is(err, checkpoint.ErrCorrupt):
			sum.ID = id
			sum.Number, _ = p.lookup(id)
		case err == nil && row == nil:
			err = notFound(id)
		case err == nil:
			sum, err = p.summary(row)
		}
		return err
	})
	return sum, err
}

// Find is Get by number.
func (s *Store) Find(ctx context.Context, number uint64) (sum checkpoint.Summary, err error) {
	err = s.read(ctx, func(p *snapshot) error {
		row, err := p.row(number)
		switch {
		case errors.Is(err, checkpoint.ErrCorrupt):
			sum.ID, sum.Number = p.idOf(number), number
		case err == nil && row == nil:
			err = notFound(number)
		case err == nil:
			sum, err = p.summary(row)
		}
		return err
	})
	return sum, err
}

// List yields summaries, newest first. It reads bbolt alone, and waits until what was
// durable at the call is there: some milliseconds.
func (s *Store) List(ctx context.Context, q checkpoint.Query) iter.Seq2[checkpoint.Summary, error] {
	return func(yield func(checkpoint.Summary, error) bool) {
		before := q.Before
		if before == 0 {
			before = math.MaxUint64
		}
		err := s.usable(ctx)
		if err == nil {
			err = s.awaitApplied(ctx)
		}
		if err != nil {
			yield(checkpoint.Summary{}, err)
			return
		}
		n := 0
		for before > 1 {
			found, next, err := s.listPage(ctx, &q, before)
			if err != nil {
				yield(checkpoint.Summary{}, err)
				return
			}
			for _, f := range found {
				if !yield(f.sum, f.err) {
					return
				}
				if n++; n == q.Limit {
					return
				}
			}
			before = next
		}
	}
}

type listed struct {
	sum checkpoint.Summary
	err error
}

// listPage looks at a page of executions with numbers below before; next is
// where the next one begins, 0 at the end.
func (s *Store) listPage(ctx context.Context, q *checkpoint.Query, before uint64) (found []listed, next uint64, err error) {
	err = s.readFile(ctx, func(p *snapshot) error {
		c := p.bucket(executionTable).Cursor()
		k, v := floor(c, numberKey(before-1))
		for looked, size := 0, 0; k != nil; looked++ {
			if looked == page || size >= pageBytes {
				return nil
			}
			if len(k) != 8 {
				return s.corrupt(executionTable, k, "the key has a wrong size", nil)
			}
			if next = binary.BigEndian.Uint64(k); next >= before {
				return s.corrupt(executionTable, k, "it is not where it belongs", nil)
			}
			_, selected, err := checkpoint.RowSelected(v, q)
			var row *checkpoint.Row
			if selected && err == nil {
				row, err = checkpoint.DecodeRow(v)
			}
			switch {
			case err != nil:
				sum := checkpoint.Summary{Number: next, ID: p.idOf(next)}
				if strings.HasPrefix(sum.ID, q.IDPrefix) {
					found = append(found, listed{sum, s.corrupt(executionTable, k, "it can't be read", err)})
				}
			case selected:
				sum, err := p.summary(row)
				found = append(found, listed{sum, err})
				size += len(v) + bytesOf(&sum.Started) + bytesOf(&sum.Ended)
			}
			k, v = c.Prev()
		}
		next = 0
		return nil
	})
	return found, next, err
}

// bytesOf is about what a record holds.
func bytesOf(r *checkpoint.Record) int {
	return len(r.Payload) + len(r.Failure) + len(r.Batch) + len(r.Keys)
}

// Count counts executions by status. It waits like List, and reads all rows: a tenth of
// a microsecond for each.
func (s *Store) Count(ctx context.Context, q checkpoint.Query) (map[checkpoint.Status]int, error) {
	counts := make(map[checkpoint.Status]int)
	err := s.usable(ctx)
	if err == nil {
		err = s.awaitApplied(ctx)
	}
	var next []byte // key
	for err == nil {
		looked := 0
		err = s.readFile(ctx, func(p *snapshot) error {
			c := p.bucket(executionTable).Cursor()
			k, v := c.Seek(next)
			for ; k != nil && looked < countPage; k, v = c.Next() {
				if status, selected, err := checkpoint.RowSelected(v, &q); err == nil && selected {
					counts[status]++
				}
				looked++
			}
			next = bytes.Clone(k)
			return nil
		})
		if next == nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return counts, nil
}

// Records yields a journal. Fewer records than the summary counts, or a gap
// between them, is a *checkpoint.CorruptError.
func (s *Store) Records(ctx context.Context, id string, after uint64) iter.Seq2[checkpoint.Record, error] {
	return func(yield func(checkpoint.Record, error) bool) {
		var number uint64
		for {
			var values [][]byte
			var tail uint64
			more := false
			err := s.read(ctx, func(p *snapshot) error {
				row, err := p.find(id)
				switch {
				case err != nil:
					return err
				case row == nil || number != 0 && row.Number != number:
					return notFound(id)
				}
				number, tail = row.Number, row.Tail
				values, more = p.journalPage(number, after, tail)
				return nil
			})
			if err != nil {
				yield(checkpoint.Record{}, err)
				return
			}
			before := after
			for _, v := range values {
				for len(v) > 0 {
					var r checkpoint.Record
					if r, v, err = checkpoint.DecodeRecord(v); err != nil {
						err = s.corrupt(journalTable, pairKey(number, after+1), "it can't be read", err)
					} else if r.Seq > after+1 {
						err = s.corrupt(journalTable, pairKey(number, after+1), fmt.Sprintf("the record is missing, the next one is %d", r.Seq), nil)
					} else if r.Seq <= after {
						continue
					}
					if err != nil {
						yield(checkpoint.Record{}, err)
						return
					}
					after = r.Seq
					if !yield(r, nil) {
						return
					}
				}
			}
			if more && after == before { // keys that are not in order
				yield(checkpoint.Record{}, s.corrupt(journalTable, pairKey(number, after+1), "the record is not where it belongs", nil))
				return
			}
			if !more && after < tail {
				yield(checkpoint.Record{}, s.corrupt(journalTable, pairKey(number, after+1), fmt.Sprintf("the record is missing, %d should be the last one", tail), nil))
			}
			if !more {
				return
			}
		}
	}
}

// journalPage returns values of a journal that hold the records behind after:
// first copies of those in bbolt, then those in the layers. more says that there
// are values behind them.
func (p *snapshot) journalPage(number, after, tail uint64) (values [][]byte, more bool) {
	if after >= tail {
		return nil, false
	}
	logged := p.logged(number, after)
	if len(logged) == 0 || after+1 < logged[0].first {
		p.begin()
	}
	p.detach()
	size := 0
	full := func() bool { return len(values) >= page || size >= pageBytes }
	if len(logged) == 0 || after+1 < logged[0].first {
		prefix := numberKey(number)
		c := p.bucket(journalTable).Cursor()
		k, v := floor(c, pairKey(number, after+1))
		if !bytes.HasPrefix(k, prefix) {
			k, v = c.Seek(prefix) // there is a gap, which Records will find
		}
		for ; bytes.HasPrefix(k, prefix); k, v = c.Next() {
			if full() {
				return values, true
			}
			values = append(values, bytes.Clone(unbind(k, v)))
			size += len(v)
		}
	}
	for _, c := range logged {
		if full() {
			return values, true
		}
		values = append(values, bytes.Clone(c.data))
		size += len(c.data)
	}
	return values, false
}

// Inbox returns what is in an inbox.
func (s *Store) Inbox(ctx context.Context, id string, after uint64) (entries []checkpoint.Record, err error) {
	err = s.read(ctx, func(p *snapshot) error {
		row, err := p.find(id)
		if err == nil && row == nil {
			err = notFound(id)
		}
		if err != nil || row.Status != checkpoint.Running {
			return err
		}
		for seq := max(after, row.InboxSeen) + 1; seq <= row.InboxTail; seq++ {
			key := pairKey(row.Number, seq)
			r, _, err := checkpoint.DecodeRecord(unbind(key, p.get(inboxTable, key)))
			if err != nil || r.Seq != seq {
				return s.corrupt(inboxTable, key, "the entry can't be read", err)
			}
			entries = append(entries, owned(r))
		}
		return nil
	})
	return entries, err
}

// NextDue is when Claim may return something.
func (s *Store) NextDue(ctx context.Context, req checkpoint.ClaimRequest) (due time.Time, err error) {
	err = s.read(ctx, func(p *snapshot) (err error) {
		due, err = ledger.NextDue(p, &req, s.Now())
		return err
	})
	return due, err
}
