package durable

import "sync"

// parkedList are the executions that are parked, the one that has been so for longest
// first. Its lock is a leaf.
type parkedList struct {
	mu          sync.Mutex
	first, last *resident
}

// parkedPlace is where a resident stands in the list.
type parkedPlace struct {
	in         bool
	next, prev *resident
}

// add puts x at the end, unless it stands in the list.
func (l *parkedList) add(x *resident) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if x.parkedAt.in {
		return
	}
	x.parkedAt = parkedPlace{in: true, prev: l.last}
	if l.last != nil {
		l.last.parkedAt.next = x
	} else {
		l.first = x
	}
	l.last = x
}

// remove takes x out, if it stands there.
func (l *parkedList) remove(x *resident) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !x.parkedAt.in {
		return
	}
	at := x.parkedAt
	x.parkedAt = parkedPlace{}
	if at.prev != nil {
		at.prev.parkedAt.next = at.next
	} else {
		l.first = at.next
	}
	if at.next != nil {
		at.next.parkedAt.prev = at.prev
	} else {
		l.last = at.prev
	}
}

// longest is the first one, nil if none is parked.
func (l *parkedList) longest() *resident {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}
