package durable

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

// Stats is a snapshot of an engine's life in this process, since Open. Counts of
// what is in the store hold for all processes that share it.
type Stats struct {
	Resident    int   `json:"resident"`    // executions in memory
	Idle        int   `json:"idle"`        // of these, parked: nothing of them can go on
	Bodies      int   `json:"bodies"`      // bodies running
	Invocations int64 `json:"invocations"` // times an execution came into memory
	// Stalled ones are in memory and have made no progress for a minute: their handler is
	// busy or blocked outside of operations and bodies; or they have ended, or left memory,
	// and a body that ignores its context, or a deferred call, goes on. They hold places,
	// see Options.MaxResident.
	Stalled int `json:"stalled"`

	// Functions counts by function, those of Options.Functions and others that
	// were ended here.
	Functions map[string]FunctionStats `json:"functions"`

	// What the store tells; looked up again after 5 s at the earliest. 0 where the
	// store can't tell (see checkpoint.Backlogger and checkpoint.Sizer).
	Suspended  int   `json:"suspended"`  // running executions that no process has in memory, held ones included
	Timers     int   `json:"timers"`     // what waits for a time: suspended executions that are due at one, and all waits, delays and timeouts of those in memory
	StoreBytes int64 `json:"storeBytes"` // how much room the store takes
	// NotificationQueue is how full the queue is by which processes on a store hint at what
	// they do, from 0 to 1, as last looked at; 0 where there is none (see
	// checkpoint.Notifier). One that does not take what is in it fills it, also for others.
	NotificationQueue float64 `json:"notificationQueue"`

	WakeDelay      Histogram `json:"wakeDelay"`      // seconds from when something could go on until it did, see Observer.Woken
	CommitDuration Histogram `json:"commitDuration"` // seconds that a durable write of the store took
	CommitChanges  Histogram `json:"commitChanges"`  // changes that shared one durable write
	ReplayLength   Histogram `json:"replayLength"`   // records that were read to replay an execution
}

// FunctionStats counts what happened to the executions of one function in this
// process. What a crash, or a write that failed, made happen again counts again.
type FunctionStats struct {
	Started        int64 `json:"started"` // created here
	Succeeded      int64 `json:"succeeded"`
	Failed         int64 `json:"failed"`
	TimedOut       int64 `json:"timedOut"`
	Stopped        int64 `json:"stopped"`
	Steps          int64 `json:"steps"`          // steps and conditions that got their outcome
	Attempts       int64 `json:"attempts"`       // calls of bodies
	FailedAttempts int64 `json:"failedAttempts"` // of these, ended with an error or a panic
}

// Histogram counts values by size.
type Histogram struct {
	Bounds []float64 `json:"bounds"` // ascending; a value equal to a bound is below it
	Counts []uint64  `json:"counts"` // of values up to each bound; the last, one more than bounds, is of those above
	Count  uint64    `json:"count"`
	Sum    float64   `json:"sum"`
}

// Stats returns a snapshot. It locks each execution in memory for a moment, and, each
// 5 s at most, asks the store: a few milliseconds with 100,000 suspended executions.
func (e *Engine) Stats() Stats {
	s := Stats{Bodies: int(e.bodies.Load()), Functions: make(map[string]FunctionStats)}
	e.mu.Lock()
	list := e.residentList()
	s.Invocations = e.invocations
	e.mu.Unlock()
	s.Resident = len(list)
	for _, x := range list {
		state := x.state()
		if state.Idle {
			s.Idle++
		}
		if _, ok := state.stalled(); ok {
			s.Stalled++
		}
		s.Timers += x.x.Timers()
	}
	e.byFunction.Range(func(name, t any) bool {
		s.Functions[name.(string)] = t.(*functionTally).stats()
		return true
	})
	backlog, size := e.askStore()
	s.Suspended, s.StoreBytes = backlog.Waiting, size
	s.Timers += backlog.Timed
	if n, ok := e.store.(checkpoint.Notifier); ok {
		s.NotificationQueue = n.NotificationQueue()
	}
	s.WakeDelay, s.CommitDuration = e.wakeDelay.histogram(), e.commitTime.histogram()
	s.CommitChanges, s.ReplayLength = e.commitChanges.histogram(), e.replayLength.histogram()
	return s
}

// tallies are what an engine counts.
type tallies struct {
	invocations int64    // under the engine's mu
	byFunction  sync.Map // name -> *functionTally

	wakeDelay, commitTime, commitChanges, replayLength distribution

	stored struct { // what the store told last
		sync.Mutex
		at      time.Time
		backlog checkpoint.Backlog
		size    int64
	}
}

func (t *tallies) startTallies() {
	seconds := []int64{100e3, 250e3, 500e3, 1e6, 25e5, 5e6, 1e7, 25e6, 5e7, 1e8, 25e7, 5e8, 1e9, 25e8, 5e9, 1e10, 6e10, 6e11}
	t.wakeDelay.start(1e9, seconds)
	t.commitTime.start(1e9, seconds)
	t.commitChanges.start(1, []int64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048})
	t.replayLength.start(1, []int64{10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000})
}

// storeAge is how old what the store told may be.
const storeAge = 5 * time.Second

func (e *Engine) askStore() (checkpoint.Backlog, int64) {
	t := &e.stored
	t.Lock()
	defer t.Unlock()
	if !t.at.IsZero() && time.Since(t.at) < storeAge || e.closed() != nil {
		return t.backlog, t.size
	}
	ctx, cancel := context.WithTimeout(e.life, time.Second)
	defer cancel()
	if s, ok := e.store.(checkpoint.Backlogger); ok {
		if b, err := s.Backlog(ctx); err == nil {
			t.backlog = b
		}
	}
	if s, ok := e.store.(checkpoint.Sizer); ok {
		if n, err := s.Size(ctx); err == nil {
			t.size = n
		}
	}
	t.at = time.Now()
	return t.backlog, t.size
}

// tallyOf is where what happens to the executions of a function is counted.
func (e *Engine) tallyOf(function string) *functionTally {
	if t, ok := e.byFunction.Load(function); ok {
		return t.(*functionTally)
	}
	t, _ := e.byFunction.LoadOrStore(function, &functionTally{name: function})
	return t.(*functionTally)
}

type functionTally struct {
	name                            string
	started                         atomic.Int64
	ended                           [checkpoint.Stopped + 1]atomic.Int64 // by status
	steps, attempts, failedAttempts atomic.Int64
}

func (t *functionTally) stats() FunctionStats {
	return FunctionStats{Started: t.started.Load(),
		Succeeded: t.ended[checkpoint.Succeeded].Load(), Failed: t.ended[checkpoint.Failed].Load(),
		TimedOut: t.ended[checkpoint.TimedOut].Load(), Stopped: t.ended[checkpoint.Stopped].Load(),
		Steps: t.steps.Load(), Attempts: t.attempts.Load(), FailedAttempts: t.failedAttempts.Load()}
}

// distribution is a Histogram that many write to.
type distribution struct {
	unit   float64 // what 1 of a Histogram is in bounds and values
	bounds []int64
	counts []atomic.Uint64
	sum    atomic.Int64
}

func (d *distribution) start(unit float64, bounds []int64) {
	d.unit, d.bounds, d.counts = unit, bounds, make([]atomic.Uint64, len(bounds)+1)
}

func (d *distribution) observe(v int64) {
	i := 0
	for i < len(d.bounds) && v > d.bounds[i] {
		i++
	}
	d.counts[i].Add(1)
	d.sum.Add(v)
}

func (d *distribution) histogram() Histogram {
	h := Histogram{Bounds: make([]float64, len(d.bounds)), Counts: make([]uint64, len(d.counts)), Sum: float64(d.sum.Load()) / d.unit}
	for i, b := range d.bounds {
		h.Bounds[i] = float64(b) / d.unit
	}
	for i := range d.counts {
		h.Counts[i] = d.counts[i].Load()
		h.Count += h.Counts[i]
	}
	return h
}
