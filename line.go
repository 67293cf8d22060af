package durable

// line is what waits in the order in which it came. Taking the first one costs the same
// however long it is.
type line[T any] struct {
	all   []T
	taken int // of all, at the front
}

func (l *line[T]) add(v T) { l.all = append(l.all, v) }

// waiting is the line, the first one in front.
func (l *line[T]) waiting() []T { return l.all[l.taken:] }

// first returns the first one, which must be there, to be looked at.
func (l *line[T]) first() *T { return &l.all[l.taken] }

// take removes the first one, which must be there.
func (l *line[T]) take() T {
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

func (l *line[T]) empty() bool { return l.taken == len(l.all) }
