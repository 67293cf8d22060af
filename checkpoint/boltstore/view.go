package boltstore

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
	bolt "go.etcd.io/bbolt"
)

// view is the tables as the round that is being made sees them. What the round
// changes is kept here; nobody else sees it until it is durable, and keep has
// added it to the active generation.
type view struct {
	snapshot // its newest layer is own
	own      generation
	works    map[uint64]*work
	dirty    []*work                 // those to be written, in order
	queues   map[ledger.Queue]uint32 // new ones
	heads    map[uint32]head
	number   uint64

	writes int // how many so far
}

// work is what a round has of an execution.
type work struct {
	number  uint64
	base    *checkpoint.Row // as it was before the round; nil: it is new
	row     *checkpoint.Row // the working copy; nil: removed
	dirty   bool
	removed bool
	chunk   chunk
}

var (
	_ ledger.View      = (*view)(nil)
	_ ledger.Destroyer = (*view)(nil)
)

// newView begins a round.
func (s *Store) newView() *view {
	v := &view{works: s.writer.works, dirty: s.writer.dirty[:0], number: s.writer.number}
	clear(v.works)
	v.s = s
	s.mu.RLock()
	defer s.mu.RUnlock()
	v.layers = []*generation{&v.own, s.active}
	if s.frozen != nil {
		v.layers = append(v.layers, s.frozen)
	}
	return v
}

func (v *view) put(t table, key, value []byte) {
	v.writes++
	v.own.tables[t].set(change{key: string(key), value: value})
}

// putNew is put of a key that is not there.
func (v *view) putNew(t table, key, value []byte) {
	v.writes++
	v.own.tables[t].set(change{key: string(key), value: value, fresh: true})
}

func (v *view) delete(t table, key []byte) {
	v.writes++
	v.own.tables[t].set(change{key: string(key), deleted: true})
}

func (v *view) work(number uint64, base, row *checkpoint.Row) *work {
	w := v.s.writer.spareWork()
	*w = work{number: number, base: base, row: row}
	v.works[number] = w
	return w
}

// touch has what a round changes of an execution written.
func (v *view) touch(w *work) {
	v.writes++
	if !w.dirty {
		w.dirty = true
		v.dirty = append(v.dirty, w)
	}
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
	if w := v.works[number]; w != nil {
		return w.row, nil
	}
	base := v.s.writer.rows[number]
	if base == nil {
		var err error
		if base, err = v.row(number); base == nil || err != nil {
			return nil, err
		}
	}
	row := v.s.writer.spareRow()
	*row = *base
	return v.work(number, base, row).row, nil
}

func (v *view) Summary(row *checkpoint.Row) (s checkpoint.Summary, err error) {
	added := v.works[row.Number].chunk
	if added.data == nil {
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
	v.putNew(idTable, []byte(row.ID), numberKey(row.Number))
	v.touch(v.work(row.Number, nil, row))
}

func (v *view) Save(row *checkpoint.Row) { v.touch(v.works[row.Number]) }

// Remove leaves the journal in the file to the feeder.
func (v *view) Remove(row *checkpoint.Row) {
	v.delete(idTable, []byte(row.ID))
	w := v.works[row.Number]
	w.row, w.chunk, w.removed = nil, chunk{}, true
	v.touch(w)
}

// Destroy looks for the execution in all indexes, since the row that says where it stands
// can't be read.
func (v *view) Destroy(id string) error {
	number, err := v.lookup(id)
	if err != nil {
		return err
	}
	v.delete(idTable, []byte(id))
	if row, _ := v.row(number); row != nil {
		return nil // it is another one, and that is whole
	}
	key := string(numberKey(number))
	v.touch(v.work(number, nil, nil))
	v.works[number].removed = true
	v.DropCallbacks(number)
	var gone [tables][]string
	find := func(t table, prefix, suffix string) {
		for c := v.scan(t, prefix, prefix); ; {
			k, _, ok := c.next()
			if !ok {
				return
			}
			if strings.HasSuffix(k, suffix) {
				gone[t] = append(gone[t], k)
			}
		}
	}
	find(inboxTable, key, "")
	find(ownedTable, key, "")
	find(childTable, "", key)
	find(endedTable, "", key)
	find(dueTable, "", key)
	for t, keys := range gone {
		for _, k := range keys {
			if table(t) == dueTable && len(k) == 20 {
				b := []byte(k)
				v.deleteDue(binary.BigEndian.Uint32(b), timeOfBits(binary.BigEndian.Uint64(b[4:])), number)
			} else {
				v.delete(table(t), []byte(k))
			}
		}
	}
	return nil
}

func (v *view) WriteJournal(row *checkpoint.Row, records []checkpoint.Record, encoded []byte) {
	if encoded == nil {
		encoded = encode(records)
	}
	w := v.works[row.Number]
	v.touch(w)
	first, last := records[0].Seq, records[len(records)-1].Seq
	if w.chunk.data != nil {
		w.chunk.last, w.chunk.data = last, append(w.chunk.data, encoded...)
		return
	}
	// encoded belongs to its command, which may be run again, and then is used again.
	w.chunk = chunk{first, last, slices.Clip(encoded)}
}

func (v *view) PutInbox(row *checkpoint.Row, r checkpoint.Record) {
	key := pairKey(row.Number, r.Seq)
	v.putNew(inboxTable, key, checkpoint.AppendRecord(bind(nil, key), &r))
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
	b := v.get(callbackTable, key)
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
		v.putNew(beatTable, beatKey(number, to.HeartbeatAt, operationID), nil)
	}
}

func (v *view) DropCallbacks(number uint64) {
	prefix := string(numberKey(number))
	for _, t := range []table{callbackTable, beatTable} {
		var keys []string
		for c := v.scan(t, prefix, prefix); ; {
			key, _, ok := c.next()
			if !ok {
				break
			}
			keys = append(keys, key)
		}
		for _, key := range keys {
			v.delete(t, []byte(key))
		}
	}
}

func (v *view) AddChild(parent, child uint64)    { v.putNew(childTable, pairKey(parent, child), nil) }
func (v *view) RemoveChild(parent, child uint64) { v.delete(childTable, pairKey(parent, child)) }

func (v *view) Children(parent uint64) (children []uint64, err error) {
	prefix := string(numberKey(parent))
	for c := v.scan(childTable, prefix, prefix); ; {
		key, _, ok := c.next()
		switch {
		case !ok:
			return children, nil
		case len(key) != 16:
			return nil, v.s.corrupt(childTable, []byte(key), "the key has a wrong size", nil)
		}
		children = append(children, binary.BigEndian.Uint64([]byte(key[8:])))
	}
}

func (v *view) Move(number uint64, from, to ledger.Place) (first bool) {
	switch from.Kind {
	case ledger.Queued:
		if n, ok := v.queue(from.Queue); ok {
			v.deleteDue(n, from.At, number)
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
		v.putDue(n, to.At, number)
		_, earliest, _ := v.first(n)
		return earliest == number
	case ledger.Owned:
		v.putNew(ownedTable, numberKey(number), nil)
	case ledger.Ended:
		v.putNew(endedTable, endedKey(to.At, number), nil)
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
	v.putNew(queueTable, queueKey(q), binary.BigEndian.AppendUint32(nil, n))
	if v.queues == nil {
		v.queues = make(map[ledger.Queue]uint32)
	}
	v.queues[q] = n
	v.setHead(n, head{queuePrefix(n + 1), true}) // empty
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

// encode appends what the round changed to a batch of the log.
func (v *view) encode(b []byte) []byte {
	for _, w := range v.dirty {
		switch {
		case w.removed:
			b = appendRemove(b, w.number)
			continue
		case advanced(w.base, w.row):
			b = appendAdvance(b, w.row)
		default:
			b = appendRow(b, w.row)
		}
		if w.chunk.data != nil {
			b = appendChunk(b, w.number, w.chunk)
		}
	}
	for t := range v.own.tables {
		for _, block := range v.own.tables[t].blocks {
			for i := range block {
				b = appendChange(b, table(t), &block[i])
			}
		}
	}
	if v.number != v.s.writer.number {
		b = appendNumber(b, v.number)
	}
	return b
}

// keep adds a round that is durable to what everybody sees.
func (v *view) keep(g *generation) {
	w := &v.s.writer
	w.number, g.number = v.number, v.number
	v.s.queues.addAll(v.queues)
	for queue, h := range v.heads {
		v.s.heads[queue] = h
	}
	g.merge(&v.own.tables)
	for _, d := range v.dirty {
		x := g.of(d.number)
		if d.removed {
			x.remove()
			w.disown(d.number)
			continue
		}
		if d.chunk.data != nil {
			x.add(d.number, d.chunk)
		}
		d.row = x.set(d.row)
		if x.row != nil {
			if _, ok := w.rows[d.number]; !ok {
				w.ids[x.row.ID] = d.number
			}
			w.rows[d.number] = x.row
		} else {
			w.disown(d.number)
		}
	}
}

// done gives back what the writer uses again. The view is not used any more.
func (v *view) done() {
	w := &v.s.writer
	for _, x := range v.works {
		if x.row != nil && x.base != nil && len(w.spare) < keptWorks {
			w.spare = append(w.spare, x.row)
		}
		*x = work{} // what it points to may be large
		if len(w.spareWorks) < keptWorks {
			w.spareWorks = append(w.spareWorks, x)
		}
	}
	clear(v.dirty)
	w.dirty = v.dirty[:0]
	if len(v.works) > keptWorks {
		w.works = make(map[uint64]*work) // clearing it would cost all later rounds
	}
}

// keptWorks is how many executions a round may have touched for its map to be used again,
// and how much else the writer keeps for that.
const keptWorks = 1024
