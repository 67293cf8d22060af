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
