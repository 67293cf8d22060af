package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/examples/fullworkflow/workflow"
)

// progress is how far an execution has come, told by its events.
type progress struct {
	opened   time.Time
	resident bool              // in memory
	left     chan struct{}     // it has left memory
	names    map[string]string // of the operations at the top, by ID
	stages   map[string]*stage // by name
}

// stage is one of the stages.
type stage struct {
	started, ended time.Time
	failure        string // why it failed
	parts          parts

	waitsFor string    // what it waits for, "" if it does not
	until    time.Time // when that is due; zero: nobody knows
	waiting  time.Time // since when
}

// timeLeft stands, in what a stage waits for, for the time that is left.
const timeLeft = "{left}"

// parts are the branches of a parallel operation, or the items of a map.
type parts struct {
	what string // "branches", "items"
	// When each part ended, by operation ID; zero while it runs.
	ended map[string]time.Time
}

func newProgress(opened time.Time) *progress {
	p := &progress{opened: opened, left: make(chan struct{}, 1), names: make(map[string]string), stages: make(map[string]*stage)}
	for _, name := range workflow.Stages {
		p.stages[name] = &stage{parts: parts{ended: make(map[string]time.Time)}}
	}
	return p
}

// apply takes an event into account. Applying it again changes nothing.
func (p *progress) apply(ev durable.Event) {
	top, _, nested := strings.Cut(ev.OperationID, "-")
	if !nested && ev.Name != "" {
		p.names[top] = ev.Name
	}
	s := p.stages[p.names[top]]
	if s == nil {
		return
	}
	if nested {
		s.applyNested(ev)
	} else {
		s.apply(ev)
	}
}

// apply is for the events of the stage's own operation.
func (s *stage) apply(ev durable.Event) {
	switch {
	case strings.HasSuffix(ev.Type, "Started"):
		if s.started.IsZero() {
			s.started = ev.Time
		}
		switch {
		case ev.Type == "WaitStarted":
			s.wait(ev.Time, "goes on in "+timeLeft, ev.Time.Add(ev.Duration))
		case ev.Type == "ChainedInvokeStarted":
			s.wait(ev.Time, "waits for "+ev.Function, time.Time{})
		}
	case ev.NextAttemptDelay > 0 && ev.Failure != nil:
		s.wait(ev.Time, fmt.Sprintf("attempt %d in %s, after: %s", ev.Attempt+1, timeLeft, ev.Failure.Message), ev.Time.Add(ev.NextAttemptDelay))
	case ev.NextAttemptDelay > 0:
		s.wait(ev.Time, fmt.Sprintf("check %d in %s", ev.Attempt+1, timeLeft), ev.Time.Add(ev.NextAttemptDelay))
	default:
		s.ended = ev.Time
		if ev.Failure != nil {
			s.failure = ev.Failure.Error()
		}
	}
}

// applyNested is for the events of operations inside the stage's.
func (s *stage) applyNested(ev durable.Event) {
	switch ev.SubType {
	case "ParallelBranch", "MapIteration":
		s.parts.what = "items"
		if ev.SubType == "ParallelBranch" {
			s.parts.what = "branches"
		}
		switch {
		case !strings.HasSuffix(ev.Type, "Started"):
			s.parts.ended[ev.OperationID] = ev.Time
		case s.parts.ended[ev.OperationID].IsZero():
			s.parts.ended[ev.OperationID] = time.Time{}
		}
	case "Callback":
		if ev.Type == "CallbackStarted" {
			s.wait(ev.Time, "an answer is due in "+timeLeft, ev.Time.Add(ev.Timeout))
		} else {
			s.wait(ev.Time, "", time.Time{})
		}
	}
}

// wait notes what the stage waits for since t, unless something later is known.
func (s *stage) wait(t time.Time, what string, until time.Time) {
	if t.Before(s.waiting) {
		return
	}
	s.waiting, s.waitsFor, s.until = t, what, until
}

// row is a stage as it is shown.
type row struct {
	number    int
	name      string
	state     state
	took      time.Duration // so far, if it has not ended
	note      string
	due       time.Time // what timeLeft in the note is about
	suspended bool      // it waits and is not in memory
	replayed  bool
}

type state int

const (
	statePending state = iota
	stateRunning
	stateWaiting
	stateDone
	stateFailed
)

func (p *progress) rows(now time.Time) []row {
	rows := make([]row, len(workflow.Stages))
	for i, name := range workflow.Stages {
		rows[i] = p.stages[name].row(now, p.opened)
		rows[i].number, rows[i].name = i+1, name
		rows[i].suspended = rows[i].state == stateWaiting && !p.resident
	}
	return rows
}

func (s *stage) row(now, opened time.Time) (r row) {
	switch {
	case s.started.IsZero():
		return r
	case !s.ended.IsZero():
		r.state, r.note = stateDone, s.parts.String()
		r.took, r.replayed = s.ended.Sub(s.started), s.ended.Before(opened)
		if s.failure != "" {
			r.state, r.note = stateFailed, s.failure
		}
		return r
	}
	r.took = max(now.Sub(s.started), 0)
	if s.waitsFor != "" && (s.until.IsZero() || s.until.After(now)) {
		r.state, r.note, r.due = stateWaiting, s.waitsFor, s.until
		return r
	}
	r.state, r.note = stateRunning, s.parts.String()
	if n := s.parts.before(opened); n > 0 {
		r.note += fmt.Sprintf(", %d of them replayed", n)
	}
	return r
}

// String tells how many of the parts are done.
func (p parts) String() string {
	if len(p.ended) == 0 {
		return ""
	}
	done := 0
	for _, ended := range p.ended {
		if !ended.IsZero() {
			done++
		}
	}
	if done == len(p.ended) {
		return fmt.Sprintf("%d %s", done, p.what)
	}
	return fmt.Sprintf("%d of %d %s", done, len(p.ended), p.what)
}

// before counts the parts that had ended before t.
func (p parts) before(t time.Time) (n int) {
	for _, ended := range p.ended {
		if !ended.IsZero() && ended.Before(t) {
			n++
		}
	}
	return n
}
