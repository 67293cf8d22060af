package soak

import (
	"slices"
	"time"
)

// jumps are when the store's clock was set, by the outside's.
type jumps []int64

// jump notes that the store's clock is set now: what is timed comes early then, or late,
// by the time of others.
func (w *World) jump() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.jumps = append(w.jumps, time.Now().UnixNano())
}

// between reports whether the clock was set in a time, or so shortly before that a process
// may not have known.
func (j jumps) between(from, to int64, grace time.Duration) bool {
	return slices.ContainsFunc(j, func(at int64) bool { return at > from-int64(grace) && at < to+int64(time.Second) })
}

// early reports whether what comes with a line is early, that must come so long after
// another one: by the store's clock, which what is timed goes by. A process of a fleet learns
// of it by messages, and so may find, after the first line, that it is ahead of what it took it
// for: by the outside's clock the second line comes early by that.
func (w *World) early(from, l *line, pause time.Duration) bool {
	return l.Clock-from.Clock < int64(pause) && (w.fleet == nil || !w.jumps.between(from.At, l.At, 2*w.fleet.Lease))
}
