package durable

// Stats is a snapshot of an engine's life in this process.
type Stats struct {
	Resident    int   // executions in memory
	Idle        int   // of these, parked: nothing of them can go on
	Bodies      int   // bodies running
	Invocations int64 // times an execution came into memory
	Stalled     int   // in memory, not idle, no body running, and without progress for a minute
}

// Stats returns a snapshot.
func (e *Engine) Stats() Stats {
	s := Stats{Bodies: int(e.bodies.Load())}
	e.mu.Lock()
	list := e.residentList()
	s.Invocations = e.counts.invocations
	e.mu.Unlock()
	s.Resident = len(list)
	for _, x := range list {
		x.mu.Lock()
		if !x.idleSince.IsZero() {
			s.Idle++
		}
		if _, ok := x.stalled(); ok {
			s.Stalled++
		}
		x.mu.Unlock()
	}
	return s
}

type counts struct{ invocations int64 }
