package memstore

import "cmp"

// dueHeap is a heap of executions by time, then number.
type dueHeap []*execution

func byTime(a, b *execution) int {
	return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.row.Number, b.row.Number))
}

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return byTime(h[i], h[j]) < 0 }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *dueHeap) Push(v any) {
	x := v.(*execution)
	x.index = len(*h)
	*h = append(*h, x)
}

func (h *dueHeap) Pop() any {
	old := *h
	last := len(old) - 1
	x := old[last]
	old[last] = nil
	*h = old[:last]
	return x
}

// beat is when the heartbeat of an open callback is overdue.
type beat struct {
	at    int64
	index int // its place in the heap
}

// beatHeap is a heap of those of one execution.
type beatHeap []*beat

func (h beatHeap) Len() int           { return len(h) }
func (h beatHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h beatHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *beatHeap) Push(v any) {
	b := v.(*beat)
	b.index = len(*h)
	*h = append(*h, b)
}

func (h *beatHeap) Pop() any {
	old := *h
	last := len(old) - 1
	b := old[last]
	old[last] = nil
	*h = old[:last]
	return b
}
