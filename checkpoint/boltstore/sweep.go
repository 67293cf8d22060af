package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"

	"github.com/durable-go/durable/checkpoint/internal/ledger"
)

// bite is how many values of journals one transaction deletes at most, so that
// nobody waits long behind it.
const bite = 1024

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

// sweepTrash removes a bite of the journals of deleted executions. wait is when
// to try again.
func (s *Store) sweepTrash() (wait time.Duration) {
	err := s.update(func(t *transaction) error {
		k, _ := t.bucket(trashTable).Cursor().First()
		if k == nil {
			s.trash = false
			return nil
		}
		key := bytes.Clone(k)
		if len(key) != 8 {
			return s.corrupt(trashTable, key, "the key has a wrong size", nil)
		}
		if _, all := t.deleteJournal(binary.BigEndian.Uint64(key), bite); all {
			t.delete(trashTable, key)
		}
		return nil
	})
	switch {
	case err == nil:
		return 0
	case isFull(err):
		return retryAfter
	}
	s.fail(err)
	return 0
}

// Expire deletes executions that ended before t. It looks for them in read
// transactions and deletes them a few at a time, between the changes of others. One that
// reaches its limit is gone on with by the next one: what must be kept as long as its
// caller runs is not looked at again by each.
func (s *Store) Expire(ctx context.Context, t time.Time, limit int) (n int, err error) {
	const few = 32
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	if err := s.awaitApplied(ctx); err != nil {
		return 0, err
	}
	before := t.UnixNano()
	after := s.expiredTo.Swap(nil)
	whole := after == nil // nothing is left out so far
	for n < limit {
		var from []byte
		if after != nil {
			from = *after
		}
		numbers, next, err := s.expired(ctx, before, from, min(few, limit-n))
		if err != nil {
			return n, err
		}
		deleted := 0
		if len(numbers) > 0 {
			err = s.do(ctx, 0, func(_ *view, r *ledger.Round) error {
				deleted = 0
				for _, number := range numbers {
					ok, err := r.Expire(number, before)
					if err != nil {
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
		case next != nil:
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

// expired finds up to limit executions that may be deleted, after a key of the
// ended table; next is where to go on, nil at the end.
func (s *Store) expired(ctx context.Context, before int64, after []byte, limit int) (numbers []uint64, next []byte, err error) {
	err = s.readFile(ctx, func(p *snapshot) error {
		c := p.bucket(endedTable).Cursor()
		k, _ := c.Seek(after)
		for looked := 0; k != nil; looked++ {
			if len(k) != 16 {
				return s.corrupt(endedTable, k, "the key has a wrong size", nil)
			}
			if timeOfBits(binary.BigEndian.Uint64(k)) >= before {
				return nil
			}
			if len(numbers) == limit || looked == page {
				next = append([]byte(nil), k...)
				return nil
			}
			number := binary.BigEndian.Uint64(k[8:])
			if ok, err := p.expirable(number); err != nil {
				s.log.Error("durable: an execution past its retention can't be deleted", "error", err.Error())
			} else if ok {
				numbers = append(numbers, number)
			}
			k, _ = c.Next()
		}
		return nil
	})
	return numbers, next, err
}

// expirable reports whether nobody needs an execution that has ended.
func (p *snapshot) expirable(number uint64) (bool, error) {
	row, err := p.row(number)
	if row == nil || err != nil {
		return false, err
	}
	return ledger.Expirable(row, p.row)
}
