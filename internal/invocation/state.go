package invocation

import "time"

// State is what is seen of an invocation from outside.
type State struct {
	Closed   bool // nothing is recorded any more
	Leaving  bool // it is being released
	Loading  bool
	Idle     bool      // nothing of it can go on
	Busy     bool      // code of it runs, or blocks, outside of bodies
	Flushing bool      // code of it waits for the disk
	Progress time.Time // when an operation last began or ended, or a phase
	ToRepeat int       // bodies that run again if the host closes now
}

// State returns it.
func (x *Invocation) State() State {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := State{Closed: x.phase == phaseClosed, Leaving: x.phase == phaseReleasing, Loading: x.phase == phaseLoading, Idle: !x.idleSince.IsZero(),
		Busy: x.phase == phaseRunning && x.running > 0 && len(x.bodies) == 0, Flushing: !x.journal.waiting.Empty(), Progress: x.progress}
	switch {
	case !s.Closed:
		s.ToRepeat = x.inBodies
	case x.replayed:
		s.ToRepeat = len(x.bodies)
	}
	return s
}

// Bodies are the IDs of the operations whose body runs, those included that ignore their
// timeout.
func (x *Invocation) Bodies() (ids []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, o := range x.bodies {
		ids = append(ids, o.ID)
	}
	for o := range x.strays {
		ids = append(ids, o.ID)
	}
	return ids
}

// Timers counts what waits for a time.
func (x *Invocation) Timers() (n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, d := range x.due {
		if d.valid() {
			n++
		}
	}
	return n
}
