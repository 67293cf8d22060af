package durable

import "sync"

// parkedList are the executions that are parked, the one that has been so for longest
// first. Its lock is behind that of any residency.
type parkedList struct {
	mu          sync.Mutex
	first, last *residency
}

// parkedPlace is where a residency stands in the list.
type parkedPlace struct {
	in         bool // under the residency's lock
	next, prev *residency
}

// add puts x at the end, unless it stands in the list. x.mu is held.
func (l *parkedList) add(x *residency) {
	if x.parkedAt.in {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	x.parkedAt = parkedPlace{in: true, prev: l.last}
	if l.last != nil {
		l.last.parkedAt.next = x
	} else {
		l.first = x
	}
	l.last = x
}

// remove takes x out, if it stands there. x.mu is held.
func (l *parkedList) remove(x *residency) {
	if !x.parkedAt.in {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
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
func (l *parkedList) longest() *residency {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}
