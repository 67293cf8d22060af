package durable_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// outcome is what a run of a program came to: nothing of it depends on time, or
// on what happened to the process.
type outcome struct {
	result  string
	ops     string // all executions and their operations
	history string // what became of each operation, event by event
	calls   string // the bodies that ran
	trace   string // all that happened, with its times; not compared
}

// outcome looks at all that the program left behind, without what was abandoned:
// how far that came is a matter of time.
func (p *program) outcome(b *bundle, result string) outcome {
	ctx := context.Background()
	synctest.Wait()
	time.Sleep(time.Hour)
	synctest.Wait()
	var ops, history, trace []string
	p.mu.Lock()
	names, log := maps.Clone(p.names), slices.Clone(p.log)
	p.mu.Unlock()
	for info, err := range b.engine.Executions(ctx, durable.Query{}) {
		require.NoError(p, err, p.what)
		name := names[info.ID]
		if info.Status == durable.ExecutionRunning {
			p.Errorf("%s: execution %s is %+v", p.what, name, info)
		}
		list, err := b.engine.Operations(ctx, info.ID)
		require.NoError(p, err, p.what)
		lost := map[string]bool{}
		byID := map[string]durable.Operation{}
		for _, o := range list {
			byID[o.ID] = o
			if o.Name == "loser" || lost[o.ParentID] {
				lost[o.ID] = true
				continue
			}
			ops = append(ops, name+" "+operationLine(o))
		}
		ops = append(ops, fmt.Sprintf("%s %s %s %s", name, info.Status, info.Result, failureType(info.Failure)))
		events := map[string][]string{}
		for ev := range b.events(info.ID) {
			trace = append(trace, fmt.Sprint(name, " ", ev.Time.Format(time.TimeOnly+".000000"), " ", line(ev), " ", failureType(ev.Failure)))
			if !lost[ev.OperationID] && ev.Type != "InvocationCompleted" {
				events[ev.OperationID] = append(events[ev.OperationID], eventLine(ev, byID[ev.OperationID]))
			}
		}
		for id, lines := range events {
			if once(byID[id].Name) { // each crash is a failed attempt
				lines = []string{lines[0], lines[len(lines)-1]}
			}
			history = append(history, fmt.Sprint(name, " ", id, ": ", strings.Join(lines, "; ")))
		}
		checkHistory(b, p.what, info.ID)
	}
	slices.Sort(ops)
	slices.Sort(history)
	trace = append(trace, log...)
	return outcome{strings.ReplaceAll(result, " ", "\n"), strings.Join(ops, "\n"), strings.Join(history, "\n"), p.callLines(), strings.Join(trace, "\n")}
}

// callLines are the bodies that ran, with how often where it is known. Those of
// a step that runs an attempt once may need more attempts.
func (p *program) callLines() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var lines []string
	for call, times := range p.calls {
		if strings.HasPrefix(call, "once ") {
			continue
		}
		if times > 1 && !p.variant.disturbed() {
			call += fmt.Sprintf(" %d times", times)
		}
		if times > 1+p.faults && !p.variant.kills && !p.variant.flaky {
			call += fmt.Sprintf(" %d times with %d faults", times, p.faults)
		}
		lines = append(lines, call)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func once(name string) bool { return strings.HasPrefix(name, "once ") }

// madeUp reports whether the result of an operation is another in each run.
func madeUp(sub, name string) bool {
	return sub == "Now" || sub == "UUID" || sub == "Settled" || sub == "Callback" && name == "" || strings.HasPrefix(name, "note ")
}

func operationLine(o durable.Operation) string {
	line := fmt.Sprintf("%s in %q %s %s %q %s %s", o.ID, o.ParentID, o.Type, o.SubType, o.Name, o.Status, failureType(o.Failure))
	if !madeUp(o.SubType, o.Name) {
		line += " " + string(o.Result)
	}
	if o.Type == "STEP" && !once(o.Name) {
		line += fmt.Sprint(" ", o.Attempt)
	}
	return line
}

func eventLine(ev durable.Event, o durable.Operation) string {
	line := fmt.Sprintf("%s %s %q in %q %s %s", ev.Type, ev.SubType, ev.Name, ev.ParentID, ev.Function, failureType(ev.Failure))
	if ev.Duration+ev.Timeout+ev.HeartbeatTimeout+ev.NextAttemptDelay != 0 {
		line += fmt.Sprint(" ", ev.Duration, ev.Timeout, ev.HeartbeatTimeout, ev.NextAttemptDelay)
	}
	if !madeUp(o.SubType, o.Name) {
		line += fmt.Sprintf(" %s%s", ev.Input, ev.Result)
	}
	if o.Type == "STEP" && !once(o.Name) {
		line += fmt.Sprint(" ", ev.Attempt)
	}
	return line
}

func failureType(f *durable.Failure) string {
	if f == nil {
		return ""
	}
	return f.Type
}

// checkHistory checks what holds for every history: numbers without gaps, one
// outcome an operation, behind its start, and the end at the end.
func checkHistory(b *bundle, what, id string) {
	b.Helper()
	last := int64(0)
	ended := map[string]string{}
	started := map[string]bool{}
	final := ""
	for ev := range b.events(id) {
		if ev.EventID != last+1 {
			b.Errorf("%s: %s: event %d follows %d", what, id, ev.EventID, last)
		}
		last = ev.EventID
		if final != "" {
			b.Errorf("%s: %s: %s behind %s", what, id, line(ev), final)
		}
		switch {
		case strings.HasPrefix(ev.Type, "Execution") && ev.Type != "ExecutionStarted":
			final = ev.Type
		case ev.OperationID == "":
		case strings.HasSuffix(ev.Type, "Started"):
			if ended[ev.OperationID] != "" {
				b.Errorf("%s: %s: %s behind %s", what, id, line(ev), ended[ev.OperationID])
			}
			if ev.ParentID != "" && (!started[ev.ParentID] || ended[ev.ParentID] != "") {
				b.Errorf("%s: %s: %s, its parent started %v, ended %q", what, id, line(ev), started[ev.ParentID], ended[ev.ParentID])
			}
			started[ev.OperationID] = true
		case ev.NextAttemptDelay == 0 && !(ev.SubType == "WaitForCondition" && ev.Type == "StepSucceeded"):
			if ended[ev.OperationID] != "" || !started[ev.OperationID] {
				b.Errorf("%s: %s: %s, started %v, ended %q", what, id, line(ev), started[ev.OperationID], ended[ev.OperationID])
			}
			ended[ev.OperationID] = ev.Type
		}
	}
}
