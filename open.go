package durable

import (
	"slices"

	"github.com/durable-go/durable/checkpoint"
)

// What is open in a context: its operations without an outcome, in a list. So a cancel,
// or an end, walks what it reaches and nothing else, however much the execution holds.
//
//	added --> in the list --outcome--> out of it
//
// The list of a context that has its outcome is out of reach with it: what stood there
// is dead.

// addOpen puts an operation that was added into the list.
func (o *operation) addOpen() {
	o.next = o.up.open
	if o.next != nil {
		o.next.prev = o
	}
	o.up.open = o
}

// dropOpen takes an operation out of the list, if it stands there.
func (o *operation) dropOpen() {
	switch {
	case o.prev != nil:
		o.prev.next = o.next
	case o.up != nil && o.up.open == o:
		o.up.open = o.next
	default:
		return
	}
	if o.next != nil {
		o.next.prev = o.prev
	}
	o.next, o.prev = nil, nil
}

// eachOpen calls f for what is open below context. Without shielded it leaves out what a
// cancel of context does not reach. x.mu is held.
func (x *residency) eachOpen(context *operation, shielded bool, f func(*operation)) {
	for o := context.open; o != nil; o = o.next {
		if !shielded && o.flags&checkpoint.FlagShielded != 0 {
			continue
		}
		f(o)
		x.eachOpen(o, shielded, f)
	}
}

// openIn are the operations, but contexts, that a cancel of context reaches, in the order
// of their IDs. x.mu is held.
func (x *residency) openIn(context *operation) []*operation {
	var open []*operation
	x.eachOpen(context, false, func(o *operation) {
		if o.status != "" && o.typ != typeContext {
			open = append(open, o)
		}
	})
	slices.SortFunc(open, func(a, b *operation) int { return compareIDs(a.id, b.id) })
	return open
}

// waitsOutside takes note of an open callback or invoke. x.mu is held.
func (x *residency) waitsOutside(o *operation) {
	o.outside = true
	x.outside++
}

// waitsNoMore takes note that nobody outside is waited for any more, if one was.
// x.mu is held.
func (x *residency) waitsNoMore(o *operation) {
	if o.outside {
		o.outside = false
		x.outside--
	}
}
