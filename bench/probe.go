package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A point is a place in the code that carries programs out.
type point int

const (
	replayed point = iota // past the steps in sequence
	asleep                // about to wait
	awake                 // past the wait
	waiting               // about to wait for the signal
	signaled              // past the signal
	ended                 // about to return
	points
)

// A probe is told by step bodies and by function code that they run, so that all
// systems are measured at the same places with the same clock. It costs tens of
// nanoseconds a call, the same for all.
type probe struct {
	bodies  atomic.Int64
	reached [points]atomic.Int64 // also each time that a replay comes by

	tracing atomic.Bool

	mu       sync.Mutex
	began    []time.Time
	expected map[place]*arrival
}

type place struct {
	id string
	at point
}

// An arrival becomes ready when an execution comes by a point for the first time
// after it was expected.
type arrival struct {
	time time.Time
	done chan struct{}
}

// watch is the probe of this process.
var watch = &probe{expected: make(map[place]*arrival)}

// body is called by each step.
func (p *probe) body(i int) int {
	p.bodies.Add(1)
	if p.tracing.Load() {
		now := time.Now()
		p.mu.Lock()
		p.began = append(p.began, now)
		p.mu.Unlock()
	}
	return i
}

// trace makes bodies note their times from now on. No body runs meanwhile.
func (p *probe) trace(room int) {
	p.began = make([]time.Time, 0, room)
	p.tracing.Store(true)
}

// traced returns the times since trace and ends it. No body runs meanwhile.
func (p *probe) traced() []time.Time {
	p.tracing.Store(false)
	began := p.began
	p.began = nil
	return began
}

// mark is called by function code.
func (p *probe) mark(id string, at point) {
	p.reached[at].Add(1)
	p.mu.Lock()
	a := p.expected[place{id, at}]
	delete(p.expected, place{id, at})
	p.mu.Unlock()
	if a != nil {
		a.time = time.Now()
		close(a.done)
	}
}

// expect is called before what makes the execution come by.
func (p *probe) expect(id string, at point) *arrival {
	a := &arrival{done: make(chan struct{})}
	p.mu.Lock()
	p.expected[place{id, at}] = a
	p.mu.Unlock()
	return a
}

func (a *arrival) wait(ctx context.Context) (time.Time, error) {
	select {
	case <-a.done:
		return a.time, nil
	case <-ctx.Done():
		return time.Time{}, context.Cause(ctx)
	}
}

// gaps are the times from each to the next.
func gaps(times []time.Time) []time.Duration {
	var list []time.Duration
	for i := 1; i < len(times); i++ {
		list = append(list, times[i].Sub(times[i-1]))
	}
	return list
}
