package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// scenario is one execution and everything that is to be seen of it.
type scenario struct {
	name string
	does handler
	in   any

	// outside is what happens outside while the execution runs.
	outside func(w *world)

	status  durable.ExecutionStatus // default: SUCCEEDED
	result  string                  // JSON; "": not looked at
	failure string                  // type of the failure

	// history is that of the execution from its second event on, see line; nil:
	// not looked at.
	history []string
	// anyOrder: branches run at the same time, so the order of the events of one
	// invocation is not looked at.
	anyOrder bool
	// counts are how often the handler counted in its world.
	counts map[string]int
	logs   []string // the lines that were logged, in order; nil: not looked at
}

// runScenarios runs scenarios on each store.
func runScenarios(t *testing.T, scenarios []scenario) {
	t.Parallel()
	for _, store := range stores {
		t.Run(store.name, func(t *testing.T) {
			for _, s := range scenarios {
				t.Run(s.name, func(t *testing.T) {
					store.run(t, func(t *testing.T, w *world) { s.run(t, w) })
				})
			}
		})
	}
}

func (s *scenario) run(t *testing.T, w *world) {
	w.start(s.does)
	input, err := json.Marshal(s.in)
	require.NoError(t, err)
	w.begin(input)
	if s.outside != nil {
		s.outside(w)
	}
	info := w.untilEnd()

	if s.status == "" {
		s.status = durable.ExecutionSucceeded
	}
	require.Equal(t, s.status, info.Status, "%v\n%s", info.Failure, show(shapes(w.history())))
	if s.result != "" {
		require.JSONEq(t, s.result, string(info.Result))
	}
	if s.failure != "" {
		require.NotNil(t, info.Failure)
		require.Equal(t, s.failure, info.Failure.Type)
	}
	if s.history != nil {
		got, want := lines(w.history())[1:], s.history
		if s.anyOrder {
			got, want = sortInvocations(got), sortInvocations(want)
		}
		require.Equal(t, strings.Join(want, "\n"), strings.Join(got, "\n"))
	}
	for key, n := range s.counts {
		require.Equal(t, n, w.counted(key), "%s was counted so often", key)
	}
	if s.logs != nil {
		require.Equal(t, s.logs, w.log.lines())
	}
}

// sortInvocations sorts the lines between the ends of invocations.
func sortInvocations(list []string) []string {
	list = slices.Clone(list)
	from := 0
	for i, l := range list {
		if strings.HasPrefix(l, "InvocationCompleted") {
			slices.Sort(list[from:i])
			from = i + 1
		}
	}
	return list
}

func lines(events []durable.Event) []string {
	list := make([]string, len(events))
	for i, ev := range events {
		list[i] = line(ev)
	}
	return list
}

// line is an event in a line: its type, the sub-type if that does not follow
// from it, the operation's ID and name, and what it says:
//
//	#2          the attempt, if it is not the first or will be followed by one
//	next 1s     the delay before the next attempt
//	1s          the duration of a wait
//	!Timeout    the type of the failure
//	= 42        the result; of a batch its reason and counts
func line(ev durable.Event) string {
	var b strings.Builder
	b.WriteString(ev.Type)
	add := func(format string, args ...any) { fmt.Fprintf(&b, " "+format, args...) }
	switch ev.SubType {
	case "", "Step", "Wait", "Callback", "ChainedInvoke":
	default:
		add("%s", ev.SubType)
	}
	if ev.OperationID != "" {
		add("%s", ev.OperationID)
	}
	if ev.Name != "" {
		add("%s", ev.Name)
	}
	if i := strings.LastIndexByte(ev.OperationID, '-'); ev.ParentID != ev.OperationID[:max(i, 0)] {
		add("in %s", ev.ParentID)
	}
	if ev.Attempt > 1 || ev.NextAttemptDelay > 0 {
		add("#%d", ev.Attempt)
	}
	if ev.NextAttemptDelay > 0 {
		add("next %s", ev.NextAttemptDelay)
	}
	if ev.Type == "WaitStarted" {
		add("%s", ev.Duration)
	}
	if ev.Type == "CallbackStarted" && ev.Timeout > 0 {
		add("timeout %s", ev.Timeout)
	}
	if ev.HeartbeatTimeout > 0 {
		add("heartbeat %s", ev.HeartbeatTimeout)
	}
	if ev.Type == "ChainedInvokeStarted" {
		add("%s(%s)", ev.Function, brief(ev.Input))
	}
	if ev.Failure != nil {
		add("!%s", ev.Failure.Type)
	}
	if ev.Result != nil && ev.Type != "WaitSucceeded" {
		add("= %s", brief(ev.Result))
	}
	return b.String()
}

// brief is a payload in short.
func brief(data json.RawMessage) string {
	var batch struct {
		Reason    string `json:"completionReason"`
		Succeeded int    `json:"successCount"`
		Failed    int    `json:"failureCount"`
		Started   *int   `json:"startedCount"`
	}
	if json.Unmarshal(data, &batch) == nil && batch.Reason != "" && batch.Started != nil {
		return fmt.Sprintf("%s: %d ok, %d failed, %d started", batch.Reason, batch.Succeeded, batch.Failed, *batch.Started)
	}
	if len(data) > 80 {
		return fmt.Sprintf("%d bytes", len(data))
	}
	return string(data)
}

// openCallback waits until a callback of this name is open and returns its ID.
func (w *world) openCallback(name string) (id string) {
	w.Helper()
	w.until(func() bool {
		ops, err := w.engine.Operations(w.ctx, w.id)
		require.NoError(w, err)
		i := slices.IndexFunc(ops, func(o durable.Operation) bool { return o.Name == name && o.CallbackID != "" })
		if i >= 0 {
			id = ops[i].CallbackID
		}
		return i >= 0
	})
	return id
}

// succeed completes the open callback of this name once its execution has left memory.
func (w *world) succeed(name string, payload any) {
	w.Helper()
	id := w.openCallback(name)
	w.untilSuspended()
	require.NoError(w, w.engine.SucceedCallback(w.ctx, id, payload))
}

// fail lets the open callback of this name fail, likewise.
func (w *world) fail(name string, f durable.Failure) {
	w.Helper()
	id := w.openCallback(name)
	w.untilSuspended()
	require.NoError(w, w.engine.FailCallback(w.ctx, id, f))
}

// untilSuspended waits until the execution is not in memory.
func (w *world) untilSuspended() {
	w.Helper()
	w.until(func() bool {
		events := w.history()
		return !w.describe().Resident && events[len(events)-1].Type == "InvocationCompleted"
	})
}

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	w.Helper()
	began := time.Now()
	w.until(func() bool { return time.Since(began) >= d })
}

// rejected is a failure from outside.
var rejected = durable.Failure{Type: "RejectedError", Message: "not approved"}

// caught returns the error as text, to be compared on replay; v if there is none.
func caught(v string, err error) string {
	if err != nil {
		return fmt.Sprintf("caught %s", describeError(err))
	}
	return v
}

// describeError tells all of an error that code may look at.
func describeError(err error) string {
	var b strings.Builder
	if op, ok := errors.AsType[*durable.OpError](err); ok {
		fmt.Fprintf(&b, "%s %q ", op.Type, op.Name)
	}
	if f, ok := errors.AsType[*durable.Failure](err); ok {
		fmt.Fprintf(&b, "%s: %s", f.Type, f.Message)
	}
	for _, sentinel := range []error{durable.ErrTimeout, durable.ErrCanceled, durable.ErrInterrupted, durable.ErrStopped, durable.ErrCallbackFailed,
		durable.ErrHeartbeatTimeout, durable.ErrFailureToleranceExceeded, durable.ErrMinSuccessfulNotReached, durable.ErrPanic, durable.ErrCodec} {
		if errors.Is(err, sentinel) {
			fmt.Fprintf(&b, " (%s)", strings.TrimPrefix(sentinel.Error(), "durable: "))
		}
	}
	return b.String()
}
