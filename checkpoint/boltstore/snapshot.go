package boltstore

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// snapshot reads the tables: what the log has and bbolt has not, in layers, and
// one transaction of bbolt below. Nothing that it returns is part of the file's
// memory; rows may belong to a layer, and are not changed.
type snapshot struct {
	s       *Store
	layers  []*generation // the newest first
	locked  bool          // the newest one can't grow: Store.mu is held
	tx      *bolt.Tx      // nil: not needed so far
	buckets [tables]*bolt.Bucket
}

// bucket returns a table's bucket. One that is missing is damage, which is
// reported by a panic: every transaction has its recover, see panicked.
func (p *snapshot) bucket(t table) *bolt.Bucket {
	b := p.buckets[t]
	if b == nil {
		p.begin()
		if b = p.tx.Bucket([]byte(tableNames[t])); b == nil {
			panic(p.s.corrupt(t, nil, "the bucket is missing", nil))
		}
		p.buckets[t] = b
	}
	return b
}

// begin begins the transaction. An error is reported by a panic, like damage.
func (p *snapshot) begin() {
	if p.tx != nil {
		return
	}
	tx, err := p.s.beginTx(false)
	if err != nil {
		panic(&beginError{err})
	}
	p.tx = tx
}

// beginTx begins a transaction of bbolt; one that writes, under Store.writing. When it
// meets damage there it keeps bbolt's locks: the store fails, and bbolt is asked for
// nothing any more.
func (s *Store) beginTx(writable bool) (tx *bolt.Tx, err error) {
	s.beginning.Lock() // nobody may wait for the lock that another one keeps
	defer s.beginning.Unlock()
	if s.broken.Load() {
		return nil, s.failed()
	}
	defer func() {
		if p := recover(); p != nil {
			s.broken.Store(true)
			err = s.fail(s.panicked(p))
		}
	}()
	tx, err = s.db.Begin(writable)
	switch {
	case errors.Is(err, berrors.ErrDatabaseNotOpen):
		return nil, checkpoint.ErrClosed
	case err != nil:
		return nil, fmt.Errorf("durable: begin a transaction of %s: %w", s.path, err)
	}
	return tx, nil
}

// endRead ends a transaction that reads, unless bbolt has kept the lock that this needs.
func (s *Store) endRead(tx *bolt.Tx) {
	if s.beginning.TryRLock() {
		defer s.beginning.RUnlock()
		if !s.broken.Load() {
			tx.Rollback()
		}
		return
	}
	// One that begins, or Close, has the lock, or will keep it. It may wait for this
	// transaction to end, so it can't be waited for here.
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tx.Rollback()
	}()
	select {
	case <-ended:
	case <-s.failing:
	}
}

type beginError struct{ error }

// detach lets the writer go on. After it only the file is read, in a
// transaction that has begun.
func (p *snapshot) detach() {
	if p.locked {
		p.locked = false
		p.s.mu.RUnlock()
	}
}

// end ends the transaction. The layers can be read on.
func (p *snapshot) end() {
	if p.tx != nil {
		p.s.endRead(p.tx)
		p.tx, p.buckets = nil, [tables]*bolt.Bucket{}
	}
}

// get returns the value of a key, nil if there is none.
func (p *snapshot) get(t table, key []byte) []byte {
	for _, l := range p.layers {
		if c := l.tables[t].get(string(key)); c != nil {
			return c.value // nil if it was deleted
		}
	}
	return p.bucket(t).Get(key)
}

// lookup returns the number of an execution, 0 if there is none.
func (p *snapshot) lookup(id string) (uint64, error) {
	key := []byte(id)
	if len(key) == 0 || len(key) > bolt.MaxKeySize {
		return 0, nil
	}
	v := p.get(idTable, key)
	switch len(v) {
	case 0:
		return 0, nil
	case 8:
		return binary.BigEndian.Uint64(v), nil
	}
	return 0, p.s.corrupt(idTable, key, "it has no number", nil)
}

// row returns the row of an execution, nil if there is none.
func (p *snapshot) row(number uint64) (*checkpoint.Row, error) {
	key := numberKey(number)
	v, ok := []byte(nil), false
	for _, l := range p.layers {
		x := l.executions[number]
		if x == nil {
			continue
		}
		if x.removed || x.row != nil {
			return x.row, nil
		}
		if v, ok = x.plain, x.plain != nil; ok {
			break
		}
	}
	if !ok {
		v = p.bucket(executionTable).Get(key)
	}
	if v == nil {
		return nil, nil
	}
	row, err := checkpoint.DecodeRow(v)
	if err == nil && row.Number != number {
		return nil, p.s.corrupt(executionTable, key, "it holds another execution", nil)
	}
	if err != nil {
		return nil, p.s.corrupt(executionTable, key, "it can't be read", err)
	}
	return row, nil
}

// find returns the row of an execution, nil if there is none.
func (p *snapshot) find(id string) (*checkpoint.Row, error) {
	number, err := p.lookup(id)
	if number == 0 || err != nil {
		return nil, err
	}
	row, err := p.row(number)
	if err == nil && (row == nil || row.ID != id) {
		return nil, p.s.corrupt(idTable, []byte(id), "its execution is missing", nil)
	}
	return row, err
}

// firstRecord reads the first record of a journal.
func (p *snapshot) firstRecord(number uint64) (checkpoint.Record, error) {
	key := pairKey(number, 1)
	var v []byte
	if logged := p.logged(number, 0); len(logged) > 0 && logged[0].first == 1 {
		v = logged[0].data
	} else {
		v = unbind(key, p.bucket(journalTable).Get(key))
	}
	if v == nil {
		return checkpoint.Record{}, p.s.corrupt(journalTable, key, "the first record is missing", nil)
	}
	r, _, err := checkpoint.DecodeRecord(v)
	if err != nil || r.Seq != 1 {
		return checkpoint.Record{}, p.s.corrupt(journalTable, key, "the first record can't be read", err)
	}
	return owned(r), nil
}

// logged returns the records behind a sequence number that are in layers, in order, and
// perhaps a few before it. They are parts of them.
func (p *snapshot) logged(number, after uint64) (chunks []chunk) {
	for _, l := range slices.Backward(p.layers) {
		if x := l.executions[number]; x != nil {
			for i := range x.values {
				if v := &x.values[i]; v.last > after {
					chunks = append(chunks, v.behind(after))
				}
			}
		}
	}
	return chunks
}

// lastRecord reads the last record of a journal that ends with tail.
func (p *snapshot) lastRecord(number, tail uint64) (checkpoint.Record, error) {
	if logged := p.logged(number, tail-1); len(logged) > 0 {
		last := logged[len(logged)-1]
		return p.lastOf(pairKey(number, last.first), last.data, tail)
	}
	c := p.bucket(journalTable).Cursor()
	key, v := floor(c, pairKey(number, tail))
	if key == nil || !bytes.HasPrefix(key, numberKey(number)) {
		return checkpoint.Record{}, p.s.corrupt(journalTable, pairKey(number, tail), "the last record is missing", nil)
	}
	return p.lastOf(key, unbind(key, v), tail)
}

// lastOf reads the last record of a journal's last value.
func (p *snapshot) lastOf(key, v []byte, tail uint64) (r checkpoint.Record, err error) {
	for len(v) > 0 {
		if r, v, err = checkpoint.DecodeRecord(v); err != nil {
			return checkpoint.Record{}, p.s.corrupt(journalTable, key, "the last record can't be read", err)
		}
	}
	if r.Seq != tail {
		return checkpoint.Record{}, p.s.corrupt(journalTable, key, "the last record is missing", nil)
	}
	return owned(r), nil
}

// floor moves a cursor to the last key that is not above key.
func floor(c *bolt.Cursor, key []byte) (k, v []byte) {
	k, v = c.Seek(key)
	switch {
	case k == nil:
		return c.Last()
	case bytes.Equal(k, key):
		return k, v
	}
	return c.Prev()
}

// owned copies the byte slices of a record out of the file's memory.
func owned(r checkpoint.Record) checkpoint.Record {
	for _, b := range []*[]byte{&r.Payload, &r.Failure, &r.Batch, &r.Digest} {
		*b = bytes.Clone(*b)
	}
	return r
}

// summary completes a row.
func (p *snapshot) summary(row *checkpoint.Row) (s checkpoint.Summary, err error) {
	s = row.Summary
	if s.WakeAt, err = ledger.WakeAt(row, p); err != nil {
		return s, err
	}
	s.Started, err = p.firstRecord(row.Number)
	if s.Status != checkpoint.Running {
		var missing error
		s.Ended, missing = p.lastRecord(row.Number, row.Tail)
		err = cmp.Or(err, missing)
	}
	return s, err
}

// idOf finds the ID of an execution whose row can't be read; "": it is not there either.
func (p *snapshot) idOf(number uint64) (id string) {
	want := string(numberKey(number))
	for c := p.scan(idTable, "", ""); ; {
		key, value, ok := c.next()
		if !ok || string(value) == want {
			return key
		}
	}
}

// FirstBeat returns the earliest heartbeat due time of an execution.
func (p *snapshot) FirstBeat(number uint64) (int64, error) {
	prefix := string(numberKey(number))
	k, _, ok := p.scan(beatTable, prefix, prefix).next()
	switch {
	case !ok:
		return 0, nil
	case len(k) < 16:
		return 0, p.s.corrupt(beatTable, []byte(k), "the key is too short", nil)
	}
	return timeOfBits(binary.BigEndian.Uint64([]byte(k[8:16]))), nil
}

// parseDue reads a key of the table of due times that is the first one behind
// those of lower queues; number 0: it is of another queue.
func (p *snapshot) parseDue(queue uint32, key string) (at int64, number uint64, err error) {
	switch {
	case !strings.HasPrefix(key, queuePrefix(queue)):
		return 0, 0, nil
	case len(key) != 20:
		return 0, 0, p.s.corrupt(dueTable, []byte(key), "the key has a wrong size", nil)
	}
	b := []byte(key)
	return timeOfBits(binary.BigEndian.Uint64(b[4:])), binary.BigEndian.Uint64(b[12:]), nil
}

// first returns what is due first in a queue; number 0: nothing.
func (p *snapshot) first(queue uint32) (at int64, number uint64, err error) {
	h, ok := p.s.heads[queue]
	if !ok {
		h.key = queuePrefix(queue)
	}
	if !h.exact {
		h.key, _, _ = p.scan(dueTable, queuePrefix(queue), h.key).next()
	}
	return p.parseDue(queue, h.key)
}

// First is first by the name of the queue.
func (p *snapshot) First(q ledger.Queue) (at int64, number uint64, err error) {
	if n, ok := p.s.queues.number(q); ok {
		return p.first(n)
	}
	return 0, 0, nil
}

// Held returns the queues of a function that builds hold.
func (p *snapshot) Held(function string) []ledger.Queue { return p.s.queues.held(function) }
