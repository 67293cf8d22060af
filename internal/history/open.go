package history

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
func (o *Operation) addOpen() {
	o.next = o.Up.Open
	if o.next != nil {
		o.next.prev = o
	}
	o.Up.Open = o
}

// DropOpen takes an operation out of the list, if it stands there.
func (o *Operation) DropOpen() {
	switch {
	case o.prev != nil:
		o.prev.next = o.next
	case o.Up != nil && o.Up.Open == o:
		o.Up.Open = o.next
	default:
		return
	}
	if o.next != nil {
		o.next.prev = o.prev
	}
	o.next, o.prev = nil, nil
}

// EachOpen calls f for what is open below the context o. Without shielded it leaves out what
// a cancel of o does not reach.
func (o *Operation) EachOpen(shielded bool, f func(*Operation)) {
	for o := o.Open; o != nil; o = o.next {
		if !shielded && o.Flags&checkpoint.FlagShielded != 0 {
			continue
		}
		f(o)
		o.EachOpen(shielded, f)
	}
}

// OpenIn are the operations, but contexts, that a cancel of the context o reaches, in the
// order of their IDs.
func (o *Operation) OpenIn() []*Operation {
	var open []*Operation
	o.EachOpen(false, func(o *Operation) {
		if o.Status != "" && o.Type != Context {
			open = append(open, o)
		}
	})
	slices.SortFunc(open, func(a, b *Operation) int { return CompareIDs(a.ID, b.ID) })
	return open
}
