package boltstore

import (
	"time"

	"github.com/durable-go/durable/checkpoint"
)

// generation is what was made durable in the log and is to be put into bbolt
// together. The store has one that grows, and perhaps one that is frozen, which
// nobody changes any more.
type generation struct {
	last       uint64 // number of the newest batch in it
	bytes      int    // of the log
	since      time.Time
	number     uint64 // last one given to an execution; 0: as it was
	executions map[uint64]*execution
	tables     [tables]ordered
}

// execution is what a generation has of an execution: its row, and the records
// behind those that lie below.
type execution struct {
	row     *checkpoint.Row // nil: as below
	removed bool
	chunks  []chunk
}

// chunk is records of a journal in their binary form. data is never changed.
type chunk struct {
	first, last uint64
	data        []byte
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
