package boltstore

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
	bolt "go.etcd.io/bbolt"
)

// view is the tables as the round that is being made sees them. Rows and new
// records are kept here and written once, by flush, however often the round
// changes them. All else goes into the transaction at once.
type view struct {
	snapshot
	rows    map[uint64]*checkpoint.Row // working copies; nil: removed
	dirty   map[uint64]struct{}
	journal map[uint64]*addition
	queues  map[ledger.Queue]uint32 // new ones
	number  uint64
	trash   bool

	writes int   // how many so far
	err    error // of a write: the command that made it has failed
}

// addition is what a round adds to a journal: one value of the file.
type addition struct {
	first, last uint64
	data        []byte
}

var _ ledger.View = (*view)(nil)

func newView(s *Store, tx *bolt.Tx) *view {
	return &view{
		snapshot: snapshot{s: s, tx: tx},
		rows:     make(map[uint64]*checkpoint.Row),
		dirty:    make(map[uint64]struct{}),
		journal:  make(map[uint64]*addition),
		number:   s.writer.number,
	}
}

func (v *view) put(t table, key, value []byte) {
	v.writes++
	if err := v.bucket(t).Put(key, value); err != nil && v.err == nil {
		v.err = err
	}
}

func (v *view) delete(t table, key []byte) {
	v.writes++
	if err := v.bucket(t).Delete(key); err != nil && v.err == nil {
		v.err = err
	}
}

// deletePrefix deletes up to limit keys with a prefix and reports whether that
// were all.
func (v *view) deletePrefix(t table, prefix []byte, limit int) (all bool) {
	var keys [][]byte
	c := v.bucket(t).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		if len(keys) == limit {
			break
		}
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		v.delete(t, k)
	}
	return len(keys) < limit
}

func (v *view) Find(id string) (*checkpoint.Row, error) {
	if number, ok := v.s.writer.ids[id]; ok {
		if row, err := v.Load(number); row != nil || err != nil {
			return row, err
		}
	}
	number, err := v.lookup(id)
	if number == 0 || err != nil {
		return nil, err
	}
	row, err := v.Load(number)
	if err == nil && (row == nil || row.ID != id) {
		return nil, v.s.corrupt(idTable, []byte(id), "its execution is missing", nil)
	}
	return row, err
}

func (v *view) Load(number uint64) (*checkpoint.Row, error) {
	if row, ok := v.rows[number]; ok {
		return row, nil
	}
	if kept := v.s.writer.rows[number]; kept != nil {
		row := *kept
		v.rows[number] = &row
		return &row, nil
	}
	row, err := v.row(number)
	if row != nil {
		v.rows[number] = row
	}
	return row, err
}

func (v *view) Summary(row *checkpoint.Row) (s checkpoint.Summary, err error) {
	added := v.journal[row.Number]
	if added == nil {
		return v.summary(row)
	}
	s = row.Summary
	if s.WakeAt, err = ledger.WakeAt(row, v); err != nil {
		return s, err
	}
	if added.first == 1 {
		s.Started, _, err = checkpoint.DecodeRecord(added.data)
	} else {
		s.Started, err = v.firstRecord(row.Number)
	}
	if err == nil && s.Status != checkpoint.Running {
		s.Ended, err = v.lastOf(pairKey(row.Number, added.first), added.data, row.Tail)
	}
	s.Started = owned(s.Started)
	return s, err
}

func (v *view) NextNumber() uint64 {
	v.number++
	return v.number
}

func (v *view) Insert(row *checkpoint.Row) {
	v.put(idTable, []byte(row.ID), numberKey(row.Number))
	v.Save(row)
}

func (v *view) Save(row *checkpoint.Row) {
	v.writes++
	v.rows[row.Number] = row
	v.dirty[row.Number] = struct{}{}
}

// Remove leaves what would be too much for one transaction to sweep.
func (v *view) Remove(row *checkpoint.Row) {
	v.delete(idTable, []byte(row.ID))
	v.delete(executionTable, numberKey(row.Number))
	v.rows[row.Number] = nil
	delete(v.dirty, row.Number)
	delete(v.journal, row.Number)
	if !v.deletePrefix(journalTable, numberKey(row.Number), bite) {
		v.put(trashTable, numberKey(row.Number), nil)
		v.trash = true
	}
}

func (v *view) WriteJournal(row *checkpoint.Row, records []checkpoint.Record, encoded []byte) {
	v.writes++
	if encoded == nil {
		encoded = encode(records)
	}
	first, last := records[0].Seq, records[len(records)-1].Seq
	if added := v.journal[row.Number]; added != nil {
		added.last, added.data = last, append(added.data, encoded...)
		return
	}
	// encoded belongs to its command, which may be run again in another round.
	v.journal[row.Number] = &addition{first, last, slices.Clip(encoded)}
}

func (v *view) PutInbox(row *checkpoint.Row, r checkpoint.Record) {
	v.put(inboxTable, pairKey(row.Number, r.Seq), checkpoint.AppendRecord(nil, &r))
}

func (v *view) CutInbox(row *checkpoint.Row, upTo uint64) {
	for seq := row.InboxSeen + 1; seq <= upTo; seq++ {
		v.delete(inboxTable, pairKey(row.Number, seq))
	}
}

func (v *view) Callback(number uint64, operationID string) (c ledger.Callback, ok bool, err error) {
	key := operationKey(number, operationID)
	if operationID == "" || len(key) > bolt.MaxKeySize {
		return c, false, nil
	}
	b := v.bucket(callbackTable).Get(key)
	if b == nil {
		return c, false, nil
	}
	if c, ok = parseCallback(b); !ok {
		return c, false, v.s.corrupt(callbackTable, key, "it can't be read", nil)
	}
	return c, true, nil
}

func (v *view) SetCallback(number uint64, operationID string, from, to ledger.Callback) {
	v.put(callbackTable, operationKey(number, operationID), appendCallback(nil, to))
	if from.HeartbeatAt == to.HeartbeatAt {
		return
	}
	if from.HeartbeatAt != 0 {
		v.delete(beatTable, beatKey(number, from.HeartbeatAt, operationID))
	}
	if to.HeartbeatAt != 0 {
		v.put(beatTable, beatKey(number, to.HeartbeatAt, operationID), nil)
	}
}

func (v *view) DropCallbacks(number uint64) {
	for _, t := range []table{callbackTable, beatTable} {
		for !v.deletePrefix(t, numberKey(number), bite) {
		}
	}
}

func (v *view) AddChild(parent, child uint64)    { v.put(childTable, pairKey(parent, child), nil) }
func (v *view) RemoveChild(parent, child uint64) { v.delete(childTable, pairKey(parent, child)) }

func (v *view) Children(parent uint64) (children []uint64, err error) {
	prefix := numberKey(parent)
	c := v.bucket(childTable).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		if len(k) != 16 {
			return nil, v.s.corrupt(childTable, k, "the key has a wrong size", nil)
		}
		children = append(children, binary.BigEndian.Uint64(k[8:]))
	}
	return children, nil
}

func (v *view) Move(number uint64, from, to ledger.Place) (first bool) {
	switch from.Kind {
	case ledger.Queued:
		if n, ok := v.queue(from.Queue); ok {
			v.delete(dueTable, dueKey(n, from.At, number))
		}
	case ledger.Owned:
		v.delete(ownedTable, numberKey(number))
	case ledger.Ended:
		v.delete(endedTable, endedKey(from.At, number))
	}
	switch to.Kind {
	case ledger.Queued:
		n, ok := v.queue(to.Queue)
		if !ok {
			n = v.newQueue(to.Queue)
		}
		v.put(dueTable, dueKey(n, to.At, number), nil)
		_, earliest, _ := v.first(n)
		return earliest == number
	case ledger.Owned:
		v.put(ownedTable, numberKey(number), nil)
	case ledger.Ended:
		v.put(endedTable, endedKey(to.At, number), nil)
	}
	return false
}

func (v *view) queue(q ledger.Queue) (n uint32, ok bool) {
	if n, ok = v.queues[q]; !ok {
		n, ok = v.s.queues.number(q)
	}
	return n, ok
}

func (v *view) newQueue(q ledger.Queue) uint32 {
	n := v.s.queues.next()
	v.put(queueTable, queueKey(q), binary.BigEndian.AppendUint32(nil, n))
	if v.queues == nil {
		v.queues = make(map[ledger.Queue]uint32)
	}
	v.queues[q] = n
	return n
}

// First is that of the snapshot, and knows the new queues too.
func (v *view) First(q ledger.Queue) (at int64, number uint64, err error) {
	if n, ok := v.queue(q); ok {
		return v.first(n)
	}
	return 0, 0, nil
}

// Held is that of the snapshot, and knows the new queues too.
func (v *view) Held(function string) []ledger.Queue {
	held := v.s.queues.held(function)
	for q := range v.queues {
		if q.Function == function && q.Builds != "" {
			held = append(held, q)
		}
	}
	return held
}

func (v *view) Report(err error) {
	v.s.log.Error("durable: the store goes on without damaged data", "error", err.Error())
}

// flush puts rows and records into the transaction, in the order of their keys.
func (v *view) flush() {
	buffer := v.s.writer.buffer[:0]
	for _, number := range slices.Sorted(maps.Keys(v.dirty)) {
		start := len(buffer)
		buffer = checkpoint.AppendRow(buffer, v.rows[number])
		v.put(executionTable, numberKey(number), buffer[start:len(buffer):len(buffer)])
	}
	for _, number := range slices.Sorted(maps.Keys(v.journal)) {
		added := v.journal[number]
		v.put(journalTable, pairKey(number, added.first), added.data)
	}
	if v.number != v.s.writer.number {
		v.put(metaTable, metaNumber, numberKey(v.number))
	}
	if cap(buffer) <= 4<<20 {
		v.s.writer.buffer = buffer
	}
}

// keep makes what the writer knows that of the round, which is durable now.
func (v *view) keep() {
	w := &v.s.writer
	w.number = v.number
	w.trash = w.trash || v.trash
	v.s.queues.addAll(v.queues)
	for number, row := range v.rows {
		if row != nil && row.Owned {
			w.rows[number] = row
			w.ids[row.ID] = number
			continue
		}
		if kept := w.rows[number]; kept != nil {
			delete(w.rows, number)
			if w.ids[kept.ID] == number {
				delete(w.ids, kept.ID)
			}
		}
	}
}
