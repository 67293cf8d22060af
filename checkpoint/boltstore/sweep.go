package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
)

// bite is how many values of journals one transaction deletes at most, so that nobody
// waits long behind it. With each one bbolt writes its list of free pages, which is long
// then: so it is no less.
const bite = 16 << 10

// deleteJournal deletes up to limit values of a journal. It returns how many, and
// whether that were all.
func (t *transaction) deleteJournal(number uint64, limit int) (n int, all bool) {
	var keys [][]byte
	prefix := numberKey(number)
	c := t.bucket(journalTable).Cursor()
	k, _ := c.Seek(prefix)
	for ; bytes.HasPrefix(k, prefix) && len(keys) < limit; k, _ = c.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	all = !bytes.HasPrefix(k, prefix)
	for _, k := range keys {
		t.delete(journalTable, k)
	}
	return len(keys), all
}

// sweep removes journals of deleted executions, up to limit values. more says that some are
// left.
func (t *transaction) sweep(limit int) (more bool, err error) {
	for {
		k, _ := t.bucket(trashTable).Cursor().First()
		switch {
		case k == nil:
			return false, nil
		case limit <= 0:
			return true, nil
		case len(k) != 8:
			return false, t.s.corrupt(trashTable, bytes.Clone(k), "the key has a wrong size", nil)
		}
		key := bytes.Clone(k)
		n, all := t.deleteJournal(binary.BigEndian.Uint64(key), limit)
		if all {
			t.delete(trashTable, key)
		}
		limit -= max(n, 1)
		if t.err != nil {
			return false, t.err
		}
	}
}

// sweepTrash removes a bite of the journals of deleted executions. wait is when
// to try again.
func (s *Store) sweepTrash() (wait time.Duration) {
	more := false
	written, err := s.update(func(t *transaction) (err error) {
		more, err = t.sweep(bite)
		return err
	})
	switch {
	case err == nil:
		s.trash = more
		s.mu.Lock()
		s.after = pace(written)
		s.mu.Unlock()
		return 0
	case isFull(err):
		return retryAfter
	}
	s.fail(err)
	return 0
}

// Expire deletes executions that ended before t. It looks for them in read transactions
// and deletes them some at a time, between the changes of others: a few, or a part of as many as
// others make, so that it keeps up with them. One that reaches its limit is gone on with by
// the next one: what must be kept as long as its caller runs is not looked at again by each.
func (s *Store) Expire(ctx context.Context, t time.Time, limit int) (n int, err error) {
	const few, many = 64, 1024
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	before := t.UnixNano()
	after := s.expiredTo.Swap(nil)
	whole := after == nil // nothing is left out so far
	for n < limit {
		from := ""
		if after != nil {
			from = *after
		}
		some := min(max(s.queue.Len()/4, few), many, limit-n)
		numbers, next, err := s.expired(ctx, before, from, some)
		if err != nil {
			return n, err
		}
		deleted := 0
		if len(numbers) > 0 {
			err = s.do(ctx, 0, func(_ *view, r *ledger.Round) error {
				deleted = 0
				for _, number := range numbers {
					ok, err := r.Expire(number, before)
					if errors.Is(err, checkpoint.ErrCorrupt) {
						s.unexpirable(err)
					} else if err != nil {
						return err
					}
					if ok {
						deleted++
					}
				}
				return nil
			})
			if err != nil {
				return n, err
			}
		}
		n += deleted
		switch {
		case next != "":
			after = &next
		case whole:
			return n, nil
		default: // what it began behind may be expirable by now
			after, whole = nil, true
		}
	}
	s.expiredTo.Store(after)
	return n, nil
}

func (s *Store) unexpirable(err error) {
	s.log.Error("durable: an execution past its retention can't be deleted", "error", err.Error())
}

// expired finds up to limit executions that may be deleted, from a key of the ended table
// on; next is where to go on, "" at the end.
func (s *Store) expired(ctx context.Context, before int64, from string, limit int) (numbers []uint64, next string, err error) {
	err = s.read(ctx, func(p *snapshot) error {
		var found []string
		for c := p.scan(endedTable, "", from); ; {
			k, _, ok := c.next()
			switch {
			case !ok:
			case len(k) != 16:
				return s.corrupt(endedTable, []byte(k), "the key has a wrong size", nil)
			case timeOfBits(binary.BigEndian.Uint64([]byte(k))) >= before:
			case len(found) == max(page, limit):
				next = k
			default:
				found = append(found, k)
				continue
			}
			break
		}
		p.detach()                      // the round looks again
		needed := make(map[uint64]bool) // by callers that run
		for _, k := range found {
			if len(numbers) == limit {
				next = k
				break
			}
			number := binary.BigEndian.Uint64([]byte(k[8:]))
			if ok, err := p.mayExpire(ctx, number, needed); err != nil {
				s.unexpirable(err)
			} else if ok {
				numbers = append(numbers, number)
			}
		}
		return nil
	})
	return numbers, next, err
}

// mayExpire reports whether nobody needs an execution that has ended: as far as the file
// has it, since nothing of that changes. p is detached. needed remembers which callers run.
func (p *snapshot) mayExpire(ctx context.Context, number uint64, needed map[uint64]bool) (bool, error) {
	file := snapshot{s: p.s, tx: p.tx, buckets: p.buckets}
	row, err := file.row(number)
	if err != nil || row == nil || row.CallerNumber == 0 {
		return err == nil, err
	}
	runs, known := needed[row.CallerNumber]
	if !known {
		err = p.s.read(ctx, func(p *snapshot) error {
			expirable, err := ledger.Expirable(row, p.row)
			runs = !expirable
			return err
		})
		needed[row.CallerNumber] = runs
	}
	return err == nil && !runs, err
}
