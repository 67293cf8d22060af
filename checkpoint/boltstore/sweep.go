package boltstore

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/durable-go/durable/checkpoint/internal/ledger"
)

// bite is how many values one change deletes at most, so that nobody waits long
// behind it.
const bite = 256

// sweep removes a bite of the journals of deleted executions.
func sweep(v *view, _ *ledger.Round) error {
	k, _ := v.bucket(trashTable).Cursor().First()
	if k == nil {
		return nil
	}
	prefix := append([]byte(nil), k...)
	if v.deletePrefix(journalTable, prefix, bite) {
		v.delete(trashTable, prefix)
	}
	next, _ := v.bucket(trashTable).Cursor().First()
	v.trash = next != nil
	return nil
}

// Expire deletes executions that ended before t. It looks for them in read
// transactions and deletes them a few at a time, between the changes of others.
func (s *Store) Expire(ctx context.Context, t time.Time, limit int) (n int, err error) {
	const few = 32
	before := t.UnixNano()
	var after []byte
	for n < limit {
		var numbers []uint64
		numbers, after, err = s.expired(ctx, before, after, min(few, limit-n))
		if err != nil || len(numbers) == 0 && after == nil {
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
		if after == nil {
			break
		}
	}
	return n, nil
}

// expired finds up to limit executions that may be deleted, after a key of the
// ended table; next is where to go on, nil at the end.
func (s *Store) expired(ctx context.Context, before int64, after []byte, limit int) (numbers []uint64, next []byte, err error) {
	err = s.read(ctx, func(p *snapshot) error {
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
