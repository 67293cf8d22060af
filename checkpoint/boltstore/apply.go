package boltstore

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/durable-go/durable/checkpoint"
	bolt "go.etcd.io/bbolt"
)

// filling is how full bbolt leaves pages of tables whose keys come in order.
const filling = 0.9

// transaction writes bbolt's tables.
type transaction struct {
	snapshot
	err error // the first one
}

func (t *transaction) put(table table, key, value []byte) {
	if t.err == nil {
		t.err = t.bucket(table).Put(key, value)
	}
}

func (t *transaction) delete(table table, key []byte) {
	if t.err == nil {
		t.err = t.bucket(table).Delete(key)
	}
}

// update makes a transaction of bbolt. After an error nothing was changed. written is about
// how many bytes it has written: whole pages, and the list of free ones with each.
func (s *Store) update(f func(*transaction) error) (written int64, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = s.panicked(p)
		}
	}()
	s.writing.Lock()
	defer s.writing.Unlock()
	tx, err := s.beginTx(true)
	if err != nil {
		return 0, err
	}
	defer s.rollBack(tx)
	// A file is enlarged by what it has, at most by 16 MiB. bbolt goes by how much of it
	// is mapped, see roomToGrow.
	s.db.AllocSize = min(max(int(tx.Size()), 32<<10), 16<<20)
	t := &transaction{snapshot: snapshot{s: s, tx: tx}}
	if err := f(t); err != nil {
		return 0, err
	}
	if t.err != nil {
		return 0, t.err
	}
	err = s.commitTx(tx)
	stats := tx.Stats()
	return stats.GetPageAlloc(), err
}

// rollBack gives up a transaction, if it is not over. If that is impossible the
// store fails.
func (s *Store) rollBack(tx *bolt.Tx) {
	defer func() {
		if p := recover(); p != nil {
			s.broken.Store(true)
			s.fail(s.panicked(p))
		}
	}()
	tx.Rollback()
}

// applied is what became of a generation in bbolt.
type applied struct {
	trash   bool  // journals of deleted executions are left
	written int64 // bytes, see update
}

// apply brings a generation into bbolt, and removes trash, if there is some: what is made
// at the same time waits for it, so that it does not get more and more.
func (s *Store) apply(g *generation, format uint32, base uint64) (a applied, err error) {
	a.written, err = s.update(func(t *transaction) error {
		left := t.apply(g)
		if s.trash || left == 0 {
			if a.trash, err = t.sweep(left); err != nil {
				return err
			}
		}
		t.mark(format, logMark{s.logID, g.last, base})
		return nil
	})
	return a, err
}

// mark is what a transaction that changes the meta table ends with.
func (t *transaction) mark(format uint32, m logMark) {
	t.put(metaTable, metaFormat, binary.BigEndian.AppendUint32(nil, format))
	t.put(metaTable, metaLog, m.encode())
	t.put(metaTable, metaSum, sumOf(t.bucket(metaTable).Get))
}

// apply makes the changes of a generation. left is how many more values of journals may be
// deleted; 0: trash may be left.
func (t *transaction) apply(g *generation) (left int) {
	for _, table := range []table{journalTable, executionTable} {
		t.bucket(table).FillPercent = filling
	}
	numbers := slices.Sorted(maps.Keys(g.executions))
	left = bite
	for _, number := range numbers {
		switch x := g.executions[number]; {
		case x.removed:
			t.delete(executionTable, numberKey(number))
			n, all := t.deleteJournal(number, left)
			if left -= n; !all {
				t.put(trashTable, numberKey(number), nil)
			}
		case x.plain != nil:
			t.put(executionTable, numberKey(number), x.plain)
		case x.row != nil:
			t.put(executionTable, numberKey(number), checkpoint.AppendRow(nil, x.row))
		}
	}
	for _, number := range numbers {
		for _, v := range g.executions[number].values {
			t.put(journalTable, pairKey(number, v.first), v.data)
		}
	}
	for at := range tables {
		for _, block := range g.tables[at].blocks {
			for i := range block {
				c := &block[i]
				if c.deleted {
					t.delete(at, []byte(c.key))
				} else {
					t.put(at, []byte(c.key), c.value)
				}
			}
		}
	}
	if g.number != 0 {
		t.put(metaTable, metaNumber, numberKey(g.number))
	}
	return left
}
