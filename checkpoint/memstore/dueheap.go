package memstore

import "cmp"

// dueHeap is a heap, for container/heap, of what is due at a time: what is due first is
// first. Each element knows its place in it.
type dueHeap[E due[E]] []E

// due is an element of a dueHeap.
type due[E any] interface {
	before(E) bool
	place() *int // where its place is kept
}

func (h dueHeap[E]) Len() int           { return len(h) }
func (h dueHeap[E]) Less(i, j int) bool { return h[i].before(h[j]) }
func (h dueHeap[E]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	*h[i].place(), *h[j].place() = i, j
}

func (h *dueHeap[E]) Push(v any) {
	e := v.(E)
	*e.place() = len(*h)
	*h = append(*h, e)
}

func (h *dueHeap[E]) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	clear((*h)[last:])
	*h = (*h)[:last]
	return e
}

// Executions are due by their times, then their numbers.
func (x *execution) before(other *execution) bool {
	return cmp.Or(cmp.Compare(x.at, other.at), cmp.Compare(x.row.Number, other.row.Number)) < 0
}

func (x *execution) place() *int { return &x.index }

// beat is when the heartbeat of an open callback is overdue.
type beat struct {
	at    int64
	index int // its place in the heap
}

func (b *beat) before(other *beat) bool { return b.at < other.at }
func (b *beat) place() *int             { return &b.index }
