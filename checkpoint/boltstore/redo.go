package boltstore

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/durable-go/durable/checkpoint"
)

// The body of a batch of the log is a list of changes. Each is one byte, its kind
// and in the changes of tables the table, and then:
//
//	row      length, row: of a new execution, or one of which more changed than below
//	advance  number, tail, last event, last inbox entry seen: these in its row
//	remove   number: an execution, with its journal
//	records  number, first and last sequence number, length, records
//	number   last number given to an execution
//	put      length, key, length, value
//	delete   length, key
//
// Numbers and lengths are uvarints.
const (
	opRow byte = 1 + iota
	opAdvance
	opRemove
	opRecords
	opNumber
	opPut    byte = 0x40 // | table
	opDelete byte = 0x80 // | table
	opTable  byte = 0x3f
)

func appendRow(b []byte, row *checkpoint.Row) []byte {
	b = append(b, opRow)
	start := len(b)
	b = checkpoint.AppendRow(append(b, 0, 0, 0), row)
	// Rows are small, but nobody promises it: the length has three bytes at least.
	return putLength(b, start, len(b)-start-3)
}

// putLength writes a length into the three bytes kept for it, and makes room if
// it needs more.
func putLength(b []byte, start, length int) []byte {
	if length < 1<<21 {
		b[start], b[start+1], b[start+2] = byte(length)|0x80, byte(length>>7)|0x80, byte(length>>14)
		return b
	}
	return slices.Replace(b, start, start+3, binary.AppendUvarint(nil, uint64(length))...)
}

func appendAdvance(b []byte, row *checkpoint.Row) []byte {
	b = binary.AppendUvarint(append(b, opAdvance), row.Number)
	b = binary.AppendUvarint(b, row.Tail)
	b = binary.AppendUvarint(b, row.LastEvent)
	return binary.AppendUvarint(b, row.InboxSeen)
}

func appendRemove(b []byte, number uint64) []byte {
	return binary.AppendUvarint(append(b, opRemove), number)
}

func appendChunk(b []byte, number uint64, c chunk) []byte {
	b = binary.AppendUvarint(append(b, opRecords), number)
	b = binary.AppendUvarint(b, c.first)
	b = binary.AppendUvarint(b, c.last)
	return appendBytes(b, c.data)
}

func appendNumber(b []byte, number uint64) []byte {
	return binary.AppendUvarint(append(b, opNumber), number)
}

func appendChange(b []byte, t table, c *change) []byte {
	if c.deleted {
		return appendBytes(append(b, opDelete|byte(t)), c.key)
	}
	return appendBytes(appendBytes(append(b, opPut|byte(t)), c.key), c.value)
}

func appendBytes[T string | []byte](b []byte, v T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// advanced reports whether a row differs from what it was in nothing but what an
// advance holds.
func advanced(base, row *checkpoint.Row) bool {
	return base != nil &&
		base.Number == row.Number && base.ID == row.ID && base.Incarnation == row.Incarnation &&
		base.Function == row.Function && base.Status == row.Status &&
		base.StartedAt == row.StartedAt && base.EndedAt == row.EndedAt &&
		base.Deadline == row.Deadline && base.WakeAt == row.WakeAt && base.Caller == row.Caller &&
		base.Epoch == row.Epoch && base.Owned == row.Owned && base.InboxTail == row.InboxTail &&
		base.Cancelled == row.Cancelled && base.Lost == row.Lost && base.Invoked == row.Invoked &&
		base.Callbacks == row.Callbacks && base.Heartbeats == row.Heartbeats &&
		base.CallerNumber == row.CallerNumber &&
		same(base.Held, row.Held) && same(base.Digest, row.Digest) && same(base.HeldBuilds, row.HeldBuilds) && same(base.Unfit, row.Unfit)
}

// same reports whether two slices are one: slices in rows are replaced, never changed.
func same[T any](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

var errRedo = errors.New("a batch of the log can't be read")

// redo makes the changes of a batch in the newest layer of p.
func (p *snapshot) redo(body []byte) error {
	return p.layers[0].redo(body, func(number uint64) *checkpoint.Row {
		row, err := p.row(number)
		if row == nil || err != nil {
			// It can't be used any more, nor could it before.
			p.s.log.Error("durable: the store goes on without damaged data", "error", p.s.corrupt(executionTable, numberKey(number), "it can't be brought up to date", err).Error())
			return nil
		}
		return row
	})
}

// redo makes the changes of a batch. below returns rows as they are before it; nil:
// the row is damaged, and stays so.
func (g *generation) redo(body []byte, below func(number uint64) *checkpoint.Row) error {
	r := reader{b: body}
	for len(r.b) > 0 && !r.bad {
		op := r.b[0]
		r.b = r.b[1:]
		switch {
		case op == opRow:
			plain := r.bytes()
			number, err := checkpoint.RowNumber(plain)
			if err != nil {
				return err
			}
			x := g.of(number)
			x.row, x.plain = nil, plain
		case op == opAdvance:
			number, tail, lastEvent, inboxSeen := r.uint(), r.uint(), r.uint(), r.uint()
			row := below(number)
			if row == nil {
				continue
			}
			row.Tail, row.LastEvent, row.InboxSeen = tail, lastEvent, inboxSeen // nobody else has it yet
			g.of(number).set(row)
		case op == opRemove:
			g.of(r.uint()).remove()
		case op == opRecords:
			number := r.uint()
			g.of(number).add(number, chunk{r.uint(), r.uint(), r.bytes()})
		case op == opNumber:
			g.number = r.uint()
		case op&^opTable == opPut && table(op&opTable) < tables:
			key := r.bytes()
			g.tables[op&opTable].set(change{key: string(key), value: r.bytes()})
		case op&^opTable == opDelete && table(op&opTable) < tables:
			g.tables[op&opTable].set(change{key: string(r.bytes()), deleted: true})
		default:
			return errRedo
		}
	}
	if r.bad {
		return errRedo
	}
	return nil
}

// reader reads a batch. After something can't be read all else is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}
