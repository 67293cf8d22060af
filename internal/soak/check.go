package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// Rule is one promise that is checked.
type Rule string

const (
	ruleProcess  Rule = "a process ends by being killed or asked to, and by nothing else"
	ruleAnswer   Rule = "what is asked for is done, without errors"
	ruleStart    Rule = "an acknowledged start exists"
	ruleResult   Rule = "a result, once given, never changes, and is what is recorded"
	ruleRecord   Rule = "an acknowledged record stays, as it was"
	ruleJournal  Rule = "a journal has no gap, and one outcome of an operation"
	ruleHistory  Rule = "a history tells of starts before outcomes, inside what is open"
	ruleOrder    Rule = "an effect comes after the records that it depends on"
	ruleValue    Rule = "a value that is given out is the recorded one"
	ruleRerun    Rule = "a body whose outcome is recorded or used never runs again"
	ruleTwice    Rule = "an attempt's body runs once in a process"
	ruleShutdown Rule = "after a shutdown no body has to run again"
	ruleOnce     Rule = "an at-most-once attempt runs at most once"
	ruleEarly    Rule = "nothing timed comes early"
	ruleCallback Rule = "an acknowledged callback is delivered, and no other"
	ruleInvoke   Rule = "an invoke is one execution"
	ruleSteer    Rule = "an acknowledged cancel or stop holds"
	ruleAfter    Rule = "nothing runs after the end"
	ruleOwner    Rule = "what is recorded was written by the owner of that time, and by nobody twice"
	ruleTakeover Rule = "others take over in one and a half leases"
	ruleEnds     Rule = "everything ends"
)

// Violation is one that was found.
type Violation struct {
	Rule Rule
	What string
}

func (v Violation) String() string { return string(v.Rule) + ": " + v.What }

// Report is the first few of the Violations.
func (w *World) Report() string {
	var b strings.Builder
	for i, v := range w.Violations {
		if i == 60 {
			fmt.Fprintf(&b, "and %d more", len(w.Violations)-i)
			break
		}
		fmt.Fprintln(&b, v)
	}
	return b.String()
}

func (w *World) violate(r Rule, format string, args ...any) {
	w.Violations = append(w.Violations, Violation{r, fmt.Sprintf(format, args...)})
}

// journal is what the file holds of an execution in the end.
type journal struct {
	checkpoint.Summary
	records []checkpoint.Record
}

// check compares what the outside knows, what the processes did, and what the
// file holds in the end.
func (w *World) check(dir string, store checkpoint.Store) error {
	lines, cut, err := readWitness(dir)
	if err != nil {
		store.Close()
		return err
	}
	w.Figures.cut = cut
	journals := make(map[string]*journal)
	for s, err := range store.List(context.Background(), checkpoint.Query{}) {
		if err != nil {
			store.Close()
			return err
		}
		j := &journal{Summary: s}
		for r, err := range store.Records(context.Background(), s.ID, 0) {
			if err != nil {
				store.Close()
				return err
			}
			j.records = append(j.records, r)
		}
		journals[s.ID] = j
	}
	w.Figures.executions = len(journals)
	doubtful, shaky := doubtOf(lines)
	for _, j := range journals {
		w.checkJournal(j, journals)
	}
	w.checkEffects(lines, journals, w.checkRecorded(lines, journals, doubtful), shaky)
	w.checkOwners(lines, journals, doubtful)
	w.checkAsked(journals, lines)
	if w.fleet != nil {
		w.checkFaults(lines)
		w.Figures.pauses = pauses(lines)
	}
	// The engine's own view of it, with nothing that it could run.
	e, err := durable.New(store, &durable.Options{Retention: -1, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	w.checkCallbacks(e)
	for id := range journals {
		w.checkHistory(e, id)
	}
	return e.Close()
}

// ends tells of the types of records that are an operation's outcome.
func ends(r *checkpoint.Record) bool {
	switch r.Type {
	case checkpoint.StepSucceeded, checkpoint.StepFailed:
		return r.WakeAt == 0 // else it is tried, or polled, again then
	case checkpoint.ContextSucceeded, checkpoint.ContextFailed, checkpoint.WaitSucceeded, checkpoint.WaitCancelled,
		checkpoint.CallbackSucceeded, checkpoint.CallbackFailed, checkpoint.CallbackTimedOut,
		checkpoint.ChainedInvokeSucceeded, checkpoint.ChainedInvokeFailed, checkpoint.ChainedInvokeTimedOut, checkpoint.ChainedInvokeStopped:
		return true
	}
	return false
}

func (w *World) checkJournal(j *journal, journals map[string]*journal) {
	if j.Status == checkpoint.Running {
		w.violate(ruleEnds, "%s: is still running", j.ID)
	}
	if j.Deadline != 0 && j.Status == checkpoint.TimedOut && j.EndedAt < j.Deadline && len(w.jumps) == 0 { // both by the store's clock
		w.violate(ruleEarly, "%s: timed out before its deadline", j.ID)
	}
	outcomes := make(map[string]bool)
	event := uint64(1)
	for i := range j.records {
		r := &j.records[i]
		if r.Seq != uint64(i+1) || r.EventID != 0 && r.EventID != event {
			w.violate(ruleJournal, "%s: record %d has the number %d and the event %d instead of %d", j.ID, i+1, r.Seq, r.EventID, event)
			return
		}
		event += uint64(r.Events)
		if r.Type == checkpoint.InvocationCompleted && strings.Contains(string(r.Failure), "Runtime.ExitError") {
			w.Figures.invocations++
		}
		if ends(r) {
			if outcomes[r.OperationID] {
				w.violate(ruleJournal, "%s: operation %s has two outcomes", j.ID, r.OperationID)
			}
			outcomes[r.OperationID] = true
		}
	}
	if uint64(len(j.records)) != j.Tail {
		w.violate(ruleJournal, "%s: %d records of %d", j.ID, len(j.records), j.Tail)
	}
	if c := j.Caller; c != nil && journals[c.ID] == nil {
		w.violate(ruleInvoke, "%s: its caller %s does not exist", j.ID, c.ID)
	}
	targets := make(map[string]int)
	for _, other := range journals {
		if c := other.Caller; c != nil && c.ID == j.ID {
			targets[c.OperationID]++
		}
	}
	for _, r := range j.records {
		if r.Type == checkpoint.ChainedInvokeSucceeded && targets[r.OperationID] == 0 {
			w.violate(ruleInvoke, "%s: operation %s has a result of no execution", j.ID, r.OperationID)
		}
	}
	for o, n := range targets {
		if n > 1 {
			w.violate(ruleInvoke, "%s: operation %s started %d executions", j.ID, o, n)
		}
	}
}

// recordOf names a record of an execution's journal.
type recordOf struct {
	execution string
	seq       uint64
}

// durability has the line of the witness at which a record was durable.
type durability map[recordOf]int

// checkRecorded looks for every record that the store said is durable.
func (w *World) checkRecorded(lines []line, journals map[string]*journal, doubtful []bool) durability {
	d := make(durability)
	for i, l := range lines {
		if l.Kind != recorded {
			continue
		}
		j := journals[l.Execution]
		if j == nil && doubtful[i] {
			w.Figures.goneRecords += len(l.Records)
			continue
		}
		if j == nil {
			w.violate(ruleRecord, "%s: has records and does not exist", l.Execution)
			continue
		}
		for k, sum := range l.Records {
			w.Figures.records++
			seq := l.Seq + uint64(k)
			there := seq <= uint64(len(j.records)) && checksum(&j.records[seq-1]) == sum
			if !there && doubtful[i] {
				w.Figures.goneRecords++
				continue
			}
			switch {
			case seq > uint64(len(j.records)):
				w.violate(ruleRecord, "%s: record %d of life %d is gone", l.Execution, seq, l.Life)
			case !there:
				w.violate(ruleRecord, "%s: record %d of life %d is another one now", l.Execution, seq, l.Life)
			}
			d[recordOf{l.Execution, seq}] = i
		}
	}
	return d
}

// status is how executions of a function end.
func status(function string) checkpoint.Status {
	switch expected[function] {
	case "canceled":
		return checkpoint.Failed
	case "stopped":
		return checkpoint.Stopped
	case "timeout":
		return checkpoint.TimedOut
	}
	return checkpoint.Succeeded
}

// checkAsked is about what was asked for.
func (w *World) checkAsked(journals map[string]*journal, lines []line) {
	undone := make(map[string]bool)
	for _, l := range lines {
		if l.Name == "undo" {
			undone[l.Execution] = true
		}
	}
	for _, x := range w.order {
		j := journals[x.id]
		if j == nil {
			switch {
			case x.gone:
				w.Figures.gone++
			case x.acknowledged:
				w.violate(ruleStart, "%s: does not exist", x.id)
			}
			continue
		}
		if x.gone {
			w.violate(ruleStart, "%s: was said not to exist", x.id)
		}
		if j.Function != x.function || string(j.Started.Payload) != strconv.Itoa(x.input) {
			w.violate(ruleStart, "%s: is an execution of %s with the input %s", x.id, j.Function, j.Started.Payload)
		}
		if want := status(x.function); x.steered && j.Status != want {
			w.violate(ruleSteer, "%s: is %s instead of %s", x.id, j.Status, want)
		} else if j.Status != want && j.Status != checkpoint.Running {
			w.violate(ruleAnswer, "%s: is %s instead of %s: %s", x.id, j.Status, want, j.Ended.Failure)
		}
		if steering[x.function] == "cancel" && x.steered && !undone[x.id] {
			w.violate(ruleSteer, "%s: was cancelled and did nothing about it", x.id)
		}
	}
	for id := range journals {
		if !strings.HasPrefix(id, "inv-") && w.executions[id] == nil {
			w.violate(ruleStart, "%s: nobody asked for it", id)
		}
	}
}

// checkCallbacks is about the outcomes of callbacks, as everyone sees them.
func (w *World) checkCallbacks(e *durable.Engine) {
	for _, x := range w.order {
		if len(x.tried) == 0 || x.gone {
			continue
		}
		operations, err := e.Operations(context.Background(), x.id)
		if err != nil {
			w.violate(ruleCallback, "%s: %v", x.id, err)
			continue
		}
		for _, o := range operations {
			if o.Type != "CALLBACK" {
				continue
			}
			outcome := ""
			switch {
			case o.Status == durable.OperationSucceeded:
				json.Unmarshal(o.Result, &outcome) // what isn't JSON is none of ours
			case o.Failure != nil && o.Failure.Type == "Refused":
				outcome = o.Failure.Message
			}
			switch {
			case x.delivered != "" && outcome != x.delivered:
				w.violate(ruleCallback, "%s: %q was acknowledged, %s %q is recorded", x.id, x.delivered, o.Status, outcome)
			case outcome != "" && !slices.Contains(x.tried, outcome):
				w.violate(ruleCallback, "%s: nobody sent %q", x.id, outcome)
			case outcome == "" && x.refused && x.function != "race":
				w.violate(ruleCallback, "%s: told to be completed, and it is %s", x.id, o.Status)
			}
		}
	}
}

// checkHistory is about what everyone is told of an execution.
func (w *World) checkHistory(e *durable.Engine, id string) {
	var last int64
	var final string
	state := map[string]string{"": "open"} // of operations: open, or how they ended
	for ev, err := range e.History(context.Background(), id) {
		told := fmt.Sprintf("%s: event %d, %s of operation %q", id, ev.EventID, ev.Type, ev.OperationID)
		if err != nil || ev.EventID != last+1 || final != "" {
			w.violate(ruleHistory, "%s: behind event %d %s: %v", told, last, final, err)
			return
		}
		last = ev.EventID
		was := state[ev.OperationID]
		switch {
		case ev.OperationID == "":
			if ev.Type != "ExecutionStarted" && ev.Type != "InvocationCompleted" {
				final = ev.Type
			}
		case strings.HasSuffix(ev.Type, "Started"):
			if was != "" && was != "open" || state[ev.ParentID] != "open" {
				w.violate(ruleHistory, "%s: it is %q, and its parent %q", told, was, state[ev.ParentID])
			}
			state[ev.OperationID] = "open"
		case was != "open":
			w.violate(ruleHistory, "%s: it is %q", told, was)
		case ev.NextAttemptDelay == 0:
			state[ev.OperationID] = ev.Type
		}
	}
}
