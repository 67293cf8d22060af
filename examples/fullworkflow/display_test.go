package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/examples/fullworkflow/workflow"
)

// scene is a board that is told of events by their time, and its displays.
type scene struct {
	begin time.Time
	board *board
	next  int64
}

func newScene() *scene {
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := &scene{begin: begin, board: newBoard(begin)}
	s.board.observer().InvocationStarted("x", "full-workflow", false)
	return s
}

// at tells of an event d after the beginning.
func (s *scene) at(d time.Duration, ev durable.Event) {
	s.next++
	ev.EventID, ev.Time = s.next, s.begin.Add(d)
	s.board.observer().Event("x", ev)
}

// rows are the stages d after the beginning, as a terminal without colours shows them.
func (s *scene) rows(d time.Duration) []string {
	now := s.begin.Add(d)
	var lines []string
	for _, r := range s.board.rows("x", now) {
		lines = append(lines, (&display{}).line(r, now))
	}
	return lines
}

func (s *scene) stage(number int, d time.Duration) string {
	return strings.Join(strings.Fields(s.rows(d)[number-1]), " ")
}

func TestTable(t *testing.T) {
	t.Parallel()
	s := newScene()
	require.Equal(t, " · 1  processInputData", s.rows(0)[0])

	s.at(0, durable.Event{Type: "StepStarted", SubType: "Step", OperationID: "1", Name: "processInputData", Attempt: 1})
	require.Equal(t, "● 1 processInputData 20 ms", s.stage(1, 20*time.Millisecond))
	s.at(0, durable.Event{Type: "StepFailed", SubType: "Step", OperationID: "1", Attempt: 1, Name: "processInputData",
		Failure: &durable.Failure{Message: "no luck"}, NextAttemptDelay: 2 * time.Second})
	require.Equal(t, "◌ 1 processInputData 500 ms attempt 2 in 1.5 s, after: no luck", s.stage(1, 500*time.Millisecond))
	require.Equal(t, "● 1 processInputData 2.50 s", s.stage(1, 2500*time.Millisecond))
	s.at(3*time.Second, durable.Event{Type: "StepSucceeded", SubType: "Step", OperationID: "1", Name: "processInputData", Attempt: 2})
	require.Equal(t, "✓ 1 processInputData 3.00 s", s.stage(1, time.Hour))

	s.at(3*time.Second, durable.Event{Type: "ContextStarted", SubType: "WaitForCallback", OperationID: "2", Name: workflow.CallbackName})
	s.at(3*time.Second, durable.Event{Type: "CallbackStarted", SubType: "Callback", OperationID: "2-1", ParentID: "2", Name: workflow.CallbackName, Timeout: time.Hour})
	require.Equal(t, "◌ 2 wait-for-external-callback 2.00 s an answer is due in 59:58", s.stage(2, 5*time.Second))
	s.board.observer().InvocationEnded("x", "full-workflow")
	require.Equal(t, "◌ 2 wait-for-external-callback 2.00 s an answer is due in 59:58, suspended", s.stage(2, 5*time.Second))
	s.board.observer().InvocationStarted("x", "full-workflow", true)
	s.at(6*time.Second, durable.Event{Type: "CallbackSucceeded", SubType: "Callback", OperationID: "2-1", ParentID: "2", Name: workflow.CallbackName})
	require.Equal(t, "● 2 wait-for-external-callback 3.00 s", s.stage(2, 6*time.Second))
	s.at(6*time.Second, durable.Event{Type: "ContextSucceeded", SubType: "WaitForCallback", OperationID: "2", Name: workflow.CallbackName})
	require.Equal(t, "✓ 2 wait-for-external-callback 3.00 s", s.stage(2, time.Hour))

	s.at(6*time.Second, durable.Event{Type: "WaitStarted", SubType: "Wait", OperationID: "3", Name: "simple-wait", Duration: 5 * time.Second})
	require.Equal(t, "◌ 3 simple-wait 1.00 s goes on in 4.0 s", s.stage(3, 7*time.Second))
	s.at(11*time.Second, durable.Event{Type: "WaitSucceeded", SubType: "Wait", OperationID: "3", Name: "simple-wait"})

	s.at(11*time.Second, durable.Event{Type: "ContextStarted", SubType: "Map", OperationID: "5", Name: "map-operations"})
	for i := range 3 {
		s.at(11*time.Second, durable.Event{Type: "ContextStarted", SubType: "MapIteration", OperationID: fmt.Sprintf("5-%d", i+1), ParentID: "5"})
	}
	s.at(12*time.Second, durable.Event{Type: "ContextSucceeded", SubType: "MapIteration", OperationID: "5-2", ParentID: "5"})
	require.Equal(t, "● 5 map-operations 1.00 s 1 of 3 items", s.stage(5, 12*time.Second))

	s.at(20*time.Second, durable.Event{Type: "StepStarted", SubType: "WaitForCondition", OperationID: "6", Name: "wait-for-condition", Attempt: 1})
	s.at(20*time.Second, durable.Event{Type: "StepSucceeded", SubType: "WaitForCondition", OperationID: "6", Name: "wait-for-condition", Attempt: 1, NextAttemptDelay: 3 * time.Second})
	require.Equal(t, "◌ 6 wait-for-condition 1.00 s check 2 in 2.0 s", s.stage(6, 21*time.Second))
	s.at(23*time.Second, durable.Event{Type: "StepFailed", SubType: "WaitForCondition", OperationID: "6", Name: "wait-for-condition", Attempt: 2,
		Failure: &durable.Failure{Type: "error", Message: "out of order"}})
	require.Equal(t, "✗ 6 wait-for-condition 3.00 s out of order", s.stage(6, time.Hour))

	s.at(24*time.Second, durable.Event{Type: "ChainedInvokeStarted", SubType: "ChainedInvoke", OperationID: "8", Name: "invoke-hello-world", Function: "hello-world"})
	require.Equal(t, "◌ 7 invoke-hello-world 10 ms waits for hello-world", s.stage(7, 24*time.Second+10*time.Millisecond))
	require.Equal(t, " · 9  aggregateResults", s.rows(time.Hour)[8])
}

func TestTableAfterAnInterruption(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.at(-time.Minute, durable.Event{Type: "StepStarted", OperationID: "1", Name: "processInputData"})
	s.at(-time.Minute+time.Second, durable.Event{Type: "StepSucceeded", OperationID: "1", Name: "processInputData"})
	s.at(-2*time.Second, durable.Event{Type: "ContextStarted", SubType: "Map", OperationID: "5", Name: "map-operations"})
	s.at(-2*time.Second, durable.Event{Type: "ContextStarted", SubType: "MapIteration", OperationID: "5-1"})
	s.at(-2*time.Second, durable.Event{Type: "ContextStarted", SubType: "MapIteration", OperationID: "5-2"})
	s.at(-1*time.Second, durable.Event{Type: "ContextSucceeded", SubType: "MapIteration", OperationID: "5-1"})
	require.Equal(t, "✓ 1 processInputData 1.00 s replayed", s.stage(1, 0))
	require.Equal(t, "● 5 map-operations 2.00 s 1 of 2 items, 1 of them replayed", s.stage(5, 0))
	require.Equal(t, 1, s.board.replayed("x"))
	require.Equal(t, 2, s.board.current("x"))
}

// TestEventsInAnyOrder tells of the same events twice, the second time all of
// them once more: the history may come after the observer has told of its end.
func TestEventsInAnyOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := open(t)
		defer e.Close()
		_, err := runToEnd(t.Context(), e, "x", eventOf(3))
		require.NoError(t, err)
		h, err := readHistory(t.Context(), e, "x")
		require.NoError(t, err)

		inOrder, overlapping := newBoard(time.Now()), newBoard(time.Now())
		for _, ev := range h.Events {
			inOrder.observer().Event("x", ev)
		}
		for _, ev := range h.Events[len(h.Events)/2:] {
			overlapping.observer().Event("x", ev)
		}
		require.NoError(t, overlapping.catchUp(t.Context(), e, "x"))
		now := time.Now()
		require.Equal(t, inOrder.rows("x", now), overlapping.rows("x", now))
		for _, r := range inOrder.rows("x", now) {
			require.Equal(t, stateDone, r.state, r.name)
		}
	})
}

// TestLines shows a whole run on something that is no terminal.
func TestLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := open(t)
		defer e.Close()
		var out bytes.Buffer
		b := newBoard(time.Now())
		d := newDisplay(&out, b, false)
		_, err := runToEnd(t.Context(), e, "x", eventOf(3))
		require.NoError(t, err)
		require.NoError(t, b.catchUp(t.Context(), e, "x"))
		d.start("x", beginning(nil, "x", "some.db", b))
		d.close()
		d.close()
		d.note("by the way")
		require.Equal(t, `Execution x begins in some.db.

1/9 processInputData            done in <0.1 ms
2/9 wait-for-external-callback  done in 1.00 s
3/9 simple-wait                 done in 5.00 s
4/9 parallel-operations         done in 150 ms, 3 branches
5/9 map-operations              done in 150 ms, 3 items
6/9 wait-for-condition          done in 6.00 s
7/9 invoke-hello-world          done in <0.1 ms
8/9 isolated-operations         done in <0.1 ms
9/9 aggregateResults            done in <0.1 ms
by the way
`, out.String())
	})
}

func TestTerminal(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.at(0, durable.Event{Type: "WaitStarted", OperationID: "3", Name: "simple-wait", Duration: 5 * time.Second})
	var out bytes.Buffer
	d := &display{out: &out, board: s.board, id: "x", terminal: true, color: true}
	paint := func() string {
		out.Reset()
		d.paint(s.board.rows("x", s.begin), s.begin)
		return out.String()
	}
	first := paint()
	require.Equal(t, len(workflow.Stages), strings.Count(first, "\n"))
	require.Contains(t, first, yellow+"◌"+plainText)
	require.Equal(t, "\r\x1b[9A\x1b[J"+first, paint(), "it is painted over")

	out.Reset()
	d.note("stays above")
	require.Equal(t, "\r\x1b[9A\x1b[Jstays above\n", out.String())
	require.Equal(t, first, paint())

	d.color = false
	require.NotContains(t, paint(), yellow)
}

func TestQuiet(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	d := newDisplay(&out, newBoard(time.Now()), true)
	d.start("x", "not this")
	d.logger().Info("not this")
	d.logger().Error("but this")
	d.close()
	require.Contains(t, out.String(), "but this")
	require.Equal(t, 1, strings.Count(out.String(), "\n"))
}

func TestCountdown(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second: "0.0 s", 4940 * time.Millisecond: "4.9 s", time.Minute: "1:00", 59*time.Minute + 58*time.Second + 400*time.Millisecond: "59:58",
		time.Hour: "1:00:00", 25*time.Hour + 61*time.Second: "25:01:01",
	} {
		require.Equal(t, want, countdown(d))
	}
}

func TestHistoryTable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := open(t)
		defer e.Close()
		_, err := runToEnd(t.Context(), e, "x", eventOf(1))
		require.NoError(t, err)
		h, err := readHistory(t.Context(), e, "")
		require.NoError(t, err)
		var out bytes.Buffer
		require.NoError(t, h.print(program{stdout: &out}))
		table := out.String()
		require.Contains(t, table, "x of full-workflow: SUCCEEDED")
		require.Contains(t, table, "check")
		for _, name := range workflow.Stages {
			require.Contains(t, table, name)
		}
		require.Contains(t, table, "timeout 1h0m0s")
		encoded, err := json.Marshal(h)
		require.NoError(t, err)
		require.NotContains(t, string(encoded), "callbackId")
		for ev, err := range e.History(t.Context(), "x") {
			require.NoError(t, err)
			if ev.CallbackID != "" {
				require.NotContains(t, table, ev.CallbackID)
			}
		}
	})
}

// TestPrintable checks that nothing from outside gets at the terminal.
func TestPrintable(t *testing.T) {
	t.Parallel()
	s := newScene()
	s.at(0, durable.Event{Type: "StepStarted", OperationID: "1", Name: "processInputData"})
	s.at(0, durable.Event{Type: "StepFailed", OperationID: "1", Name: "processInputData", Failure: &durable.Failure{Message: "a\x1b[2J\nb"}})
	require.Equal(t, "✗ 1 processInputData <0.1 ms a [2J b", s.stage(1, 0))
	require.Equal(t, "a [2J; b", plain(errors.New("durable: a\x1b[2J\nb")))
}
