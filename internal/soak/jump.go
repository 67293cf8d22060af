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

// early reports whether what comes at a time is early, that must come so long after
// another time.
func (w *World) early(from, at int64, pause time.Duration) bool {
	return at-from < int64(pause) && (w.fleet == nil || !w.jumps.between(from, at, 2*w.fleet.Lease))
}
