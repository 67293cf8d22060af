package boltstore

import (
	"cmp"
	"slices"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

// generation is what was made durable in the log and is to be put into bbolt
// together. The store has one that grows, and perhaps one that is frozen, which
// nobody changes any more.
type generation struct {
	last       uint64 // number of the newest batch in it
	bytes      int    // of the log
	body       int    // of them that are neither headers nor padding
	since      time.Time
	number     uint64 // last one given to an execution; 0: as it was
	executions map[uint64]*execution
	tables     [tables]ordered
}

// execution is what a generation has of an execution: its row, and the records
// behind those that lie below.
type execution struct {
	row     *checkpoint.Row // of one that has an owner
	plain   []byte          // binary form of any other's row, which is far smaller
	removed bool            // and if it has none of these, the row is as below
	values  []value         // of the journal
}

// valueBytes is about how large a value of the journal gets. Records that came
// with many batches share one.
const valueBytes = 64 << 10

// chunk is records of a journal in their binary form. What is in data is never
// changed; that of the last value of an execution gets longer.
type chunk struct {
	first, last uint64
	data        []byte
}

// value is a value of the journal as it will be in bbolt, bound to its key.
type value struct {
	chunk
	marks []mark // in order
}

// mark is where in a value a record begins: who reads on need not read all before it.
type mark struct {
	seq uint64
	at  int
}

// markEach is how far marks are apart, at least.
const markEach = 4 << 10

// add appends records, and makes a mark where they begin, if the last one is far.
func (v *value) add(c chunk) {
	last := 0
	if n := len(v.marks); n > 0 {
		last = v.marks[n-1].at
	}
	if len(v.data) >= last+markEach {
		v.marks = append(v.marks, mark{c.first, len(v.data)})
	}
	v.last, v.data = c.last, append(v.data, c.data...)
}

// behind is the value without what binds it, from shortly before the record after seq.
func (v *value) behind(seq uint64) chunk {
	from := boundSize
	i, exact := slices.BinarySearchFunc(v.marks, seq+1, func(m mark, seq uint64) int { return cmp.Compare(m.seq, seq) })
	if exact {
		from = v.marks[i].at
	} else if i > 0 {
		from = v.marks[i-1].at
	}
	return chunk{v.first, v.last, v.data[from:]}
}

func newGeneration() *generation {
	return &generation{executions: make(map[uint64]*execution)}
}

func (g *generation) empty() bool { return g.last == 0 }

// of returns what there is of an execution, to be changed.
func (g *generation) of(number uint64) *execution {
	x := g.executions[number]
	if x == nil {
		x = new(execution)
		g.executions[number] = x
	}
	return x
}

// set takes over a row. What it returns is not needed any more, nil if nothing.
func (x *execution) set(row *checkpoint.Row) (old *checkpoint.Row) {
	if row.Owned {
		old, x.row, x.plain = x.row, row, nil
		return old
	}
	x.row, x.plain = nil, checkpoint.AppendRow(nil, row)
	return row
}

// changed reports whether there is more of it than records.
func (x *execution) changed() bool { return x.removed || x.row != nil || x.plain != nil }

// current returns the row of one that has changed; nil if it was removed.
func (x *execution) current() (*checkpoint.Row, error) {
	if x.plain != nil {
		return checkpoint.DecodeRow(x.plain)
	}
	return x.row, nil
}

// add appends records to the journal of the execution with that number.
func (x *execution) add(number uint64, c chunk) {
	if n := len(x.values); n > 0 {
		if v := &x.values[n-1]; len(v.data)+len(c.data) <= valueBytes {
			v.add(c)
			return
		}
	}
	const few = 192 // what short executions have in all
	data := bind(make([]byte, 0, boundSize+len(c.data)+few), pairKey(number, c.first))
	x.values = append(x.values, value{chunk: chunk{c.first, c.last, append(data, c.data...)}})
}

func (x *execution) remove() { *x = execution{removed: true} }

// merge takes over all changes of tables.
func (g *generation) merge(from *[tables]ordered) {
	for t := range from {
		for _, block := range from[t].blocks {
			for _, c := range block {
				g.tables[t].set(c)
			}
		}
	}
}
