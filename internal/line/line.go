// Package line has what waits in the order in which it came.
package line

// Line is what waits in the order in which it came. Taking the first one costs the same
// however long it is.
type Line[T any] struct {
	all   []T
	taken int // of all, at the front
}

// Add puts v at the end.
func (l *Line[T]) Add(v T) { l.all = append(l.all, v) }

// Waiting is the line, the first one in front.
func (l *Line[T]) Waiting() []T { return l.all[l.taken:] }

// First returns the first one, which must be there, to be looked at.
func (l *Line[T]) First() *T { return &l.all[l.taken] }

// Take removes the first one, which must be there.
func (l *Line[T]) Take() T {
	v := l.all[l.taken]
	l.all[l.taken] = *new(T)
	l.taken++
	if 2*l.taken >= len(l.all) { // as many are moved as were taken, at most
		n := copy(l.all, l.all[l.taken:])
		clear(l.all[n:])
		l.all, l.taken = l.all[:n], 0
	}
	return v
}

// Empty reports whether nothing waits.
func (l *Line[T]) Empty() bool { return l.taken == len(l.all) }
