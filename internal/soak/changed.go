package soak

import "time"

// What the second build of the process (tag soaknext) has changed: a function behind a
// durable.Version, which goes on under both builds until the new one has recorded its
// choice, and one whose first step has another name, which each build holds if the
// other began it.

// renamed works, rests, and works.
func renamed(t *trail, i int) {
	t.step("book", t.rest("rest", t.step(first, work{}), time.Duration(300+i)*time.Millisecond))
	t.step("last", work{})
}
