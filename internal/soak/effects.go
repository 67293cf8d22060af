package soak

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

// place is an operation of an execution.
type place struct{ execution, operation string }

// follower reads the witness line by line, knowing what the file holds in the end.
type follower struct {
	*World
	journals map[string]*journal
	durable  durability
	lines    []line

	owners   map[string]place      // of recorded values: who made them
	outcomes map[place]uint64      // the number of the record
	attempts map[place][]attempted // that have ended
	finals   map[string]int        // the line that has the last record of an execution

	runs   map[place]*run
	made   map[string]line // values, also those that a crash took
	given  map[string]int  // executions whose result the outside has
	lost   map[string]int  // how often an owner of an execution did not release it
	thawed map[int]int64   // when lives were let go on that had been stopped
	shaky  map[string]bool // executions that did something in doubt
}

// attempted is the record of an attempt's end.
type attempted struct {
	seq uint64
	n   int
}

// owner is a process while it owns an execution.
type owner struct{ life, ownership int }

func (l *line) owner() owner { return owner{l.Life, l.Owned} }

// tenure is the time under one claim.
type tenure struct {
	life  int
	epoch uint64
}

func (l *line) tenure() tenure { return tenure{l.Life, l.Epoch} }

// run is what the lines so far tell of an operation's bodies.
type run struct {
	last  line
	lost  int            // how often the execution had been lost then
	used  string         // who was given its value
	lives map[owner]bool // in which the last attempt ran
}

func (w *World) checkEffects(lines []line, journals map[string]*journal, d durability, shaky map[string]bool) {
	f := &follower{World: w, journals: journals, durable: d, lines: lines, owners: make(map[string]place), outcomes: make(map[place]uint64),
		attempts: make(map[place][]attempted), finals: make(map[string]int), given: make(map[string]int), lost: make(map[string]int), thawed: make(map[int]int64),
		shaky: shaky, runs: make(map[place]*run), made: make(map[string]line)}
	for _, j := range journals {
		f.learn(j)
	}
	for i, l := range lines {
		switch l.Kind {
		case effect:
			f.follow(i, l)
		case heard:
			f.given[l.Execution] = l.Life
		case claimed:
			if l.Lost {
				f.lost[l.Execution]++
			}
		case mended:
			if l.Name == faultStop {
				f.thawed[l.Life] = l.At
			}
		}
	}
	for id, j := range journals {
		f.checkResult(id, j)
	}
}

// learn reads a journal.
func (f *follower) learn(j *journal) {
	for i := range j.records {
		r := &j.records[i]
		p := place{j.ID, r.OperationID}
		if ends(r) {
			f.outcomes[p] = r.Seq
			f.own(r.Payload, p)
		}
		switch r.Type {
		case checkpoint.StepSucceeded, checkpoint.StepFailed:
			f.attempts[p] = append(f.attempts[p], attempted{r.Seq, int(r.Attempt)})
		case checkpoint.ExecutionSucceeded: // a plain function is its only body
			f.outcomes[p] = r.Seq
			var values []json.RawMessage
			if j.Function == "echo" && json.Unmarshal(r.Payload, &values) == nil && len(values) == 1 {
				f.own(values[0], p)
			}
		}
	}
	if at, ok := f.durable[recordOf{j.ID, uint64(len(j.records))}]; ok && j.Status != checkpoint.Running {
		f.finals[j.ID] = at
	}
}

// own notes who made a value: what stands around an operation may have the same.
func (f *follower) own(payload []byte, p place) {
	var value string
	if json.Unmarshal(payload, &value) != nil || value == "" {
		return
	}
	if _, ok := f.owners[token(value)]; !ok {
		f.owners[token(value)] = p
	}
}

// follow looks at an effect, line i.
func (f *follower) follow(i int, l line) {
	f.Figures.effects++
	p := place{l.Execution, l.Operation}
	if f.shaky[l.Execution] {
		f.made[l.Value] = l
		return
	}
	told := fmt.Sprintf("%s: operation %s (%s), attempt %d, life %d", l.Execution, l.Operation, l.Name, l.Attempt, l.Life)
	if f.journals[l.Execution] == nil {
		f.violate(ruleStart, "%s: it runs and does not exist", told)
		return
	}
	if l.Entered < f.thawed[l.Life] {
		// The process was stopped past its lease between the decision that this body may
		// run and its first line. It runs late, which nothing can prevent, and once.
		f.Figures.late++
		if r := f.runs[p]; r != nil && l.Once && l.Attempt == r.last.Attempt {
			f.violate(ruleOnce, "%s: it ran in life %d", told, r.last.Life)
		}
		return
	}
	if at, ok := f.finals[l.Execution]; ok && at < i {
		f.violate(ruleAfter, "%s: the execution had ended", told)
	}
	j := f.journals[l.Execution]
	if f.fleet != nil && (j.Status == checkpoint.Stopped || j.Status == checkpoint.TimedOut) {
		// Another process ended it. The owner hears of that, or its lease runs out.
		if len(f.jumps) == 0 && l.At > j.EndedAt+int64(f.fleet.Lease) {
			f.violate(ruleAfter, "%s: it had been ended from outside for longer than a lease", told)
		}
	} else if life, ok := f.given[l.Execution]; ok && (f.fleet != nil || life < l.Life) {
		f.violate(ruleAfter, "%s: life %d had given its result", told, life) // as heard; in one life a body may have begun before
	}
	for _, a := range f.attempts[p] {
		if at, ok := f.durable[recordOf{l.Execution, a.seq}]; ok && at < i && l.Attempt <= a.n {
			f.violate(ruleRerun, "%s: the outcome was durable", told)
		}
	}
	r := f.runs[p]
	if r == nil {
		r = &run{lives: make(map[owner]bool)}
		f.runs[p] = r
	} else {
		f.again(told, r, l)
	}
	r.lives[l.owner()], r.last, r.lost = true, l, f.lost[l.Execution]
	for _, v := range l.Depends {
		f.depends(told, v, i, l)
	}
	if from, ok := f.made[l.Since]; ok && f.early(&from, &l, l.Pause) {
		f.violate(ruleEarly, "%s: after %s instead of %s", told, time.Duration(l.Clock-from.Clock), l.Pause)
	}
	f.made[l.Value] = l
}

// again is about an operation whose body ran before.
func (f *follower) again(told string, r *run, l line) {
	if r.used != "" {
		f.violate(ruleRerun, "%s: its result had been used by %s", told, r.used)
	}
	switch {
	case l.Attempt < r.last.Attempt:
		f.violate(ruleRerun, "%s: attempt %d had begun", told, r.last.Attempt)
	case l.Attempt > r.last.Attempt:
		clear(r.lives)
		if f.early(&r.last, &l, r.last.Next) {
			f.violate(ruleEarly, "%s: %s after the last attempt instead of %s", told, time.Duration(l.Clock-r.last.Clock), r.last.Next)
		}
	default:
		f.Figures.again++
		if l.Once {
			f.violate(ruleOnce, "%s: it ran in life %d", told, r.last.Life)
		}
		// In a fleet it may have been lost before that, and was claimed as lost since.
		if f.shutDown[r.last.Life] && (f.fleet == nil || l.Life != r.last.Life && r.lost == f.lost[l.Execution]) {
			f.violate(ruleShutdown, "%s: life %d had shut down", told, r.last.Life)
		}
		if r.lives[l.owner()] && (f.fleet == nil || r.lost == f.lost[l.Execution]) { // nobody else had it in between
			f.violate(ruleTwice, "%s", told)
		}
	}
}

// depends is about a value that the body of line i was given.
func (f *follower) depends(told, value string, i int, l line) {
	maker, ok := f.owners[value]
	if !ok {
		f.violate(ruleValue, "%s: it was given %s, which no record holds", told, value)
		return
	}
	if r := f.runs[maker]; r != nil && r.used == "" {
		r.used = told
	}
	at, seen := f.durable[recordOf{maker.execution, f.outcomes[maker]}]
	from, body := f.made[value]
	switch {
	case seen && at > i && f.heard(maker, f.lines[at], l):
		f.violate(ruleOrder, "%s: the record of %s, operation %s, became durable only then", told, maker.execution, maker.operation)
	case !seen && body && f.heard(maker, from, l):
		f.violate(ruleOrder, "%s: the record of %s, operation %s, was not durable", told, maker.execution, maker.operation)
	}
}

// heard reports whether the process of l knows of a record of the maker's, made by
// another line, only by what the store answered. In a fleet answers are lost, or late:
// who claims the execution then, or another one, reads the record.
func (f *follower) heard(maker place, made, l line) bool {
	if f.fleet == nil {
		return made.Life >= l.Life
	}
	return maker.execution == l.Execution && made.tenure() == l.tenure()
}

// checkResult is about the result of an execution, which is made of recorded values.
func (f *follower) checkResult(id string, j *journal) {
	if j.Status != checkpoint.Succeeded {
		return
	}
	var values []string
	if err := json.Unmarshal(j.Ended.Payload, &values); err != nil {
		f.violate(ruleResult, "%s: %v", id, err)
		return
	}
	for _, v := range values {
		if _, ok := f.owners[v]; !ok {
			f.violate(ruleValue, "%s: its result has %s, which no other record holds", id, v)
		}
	}
	if x := f.executions[id]; x != nil && x.result != "" && x.result != given("", values) {
		f.violate(ruleResult, "%s: it gave %s, and %s is recorded", id, x.result, values)
	}
}
