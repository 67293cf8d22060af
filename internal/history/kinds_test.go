package history_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
)

// TestKinds goes through all types of records: what they are of, and what they are.
func TestKinds(t *testing.T) {
	t.Parallel()
	const (
		start   = "start of an operation"
		outside = "outcome from outside"
		final   = "end of the execution"
		other   = ""
	)
	kinds := map[checkpoint.EventType]struct {
		of   history.Type
		kind string
	}{
		checkpoint.ExecutionStarted:       {history.Context, other},
		checkpoint.ExecutionSucceeded:     {history.Context, final},
		checkpoint.ExecutionFailed:        {history.Context, final},
		checkpoint.ExecutionTimedOut:      {history.Context, final},
		checkpoint.ExecutionStopped:       {history.Context, final},
		checkpoint.ContextStarted:         {history.Context, start},
		checkpoint.ContextSucceeded:       {history.Context, other},
		checkpoint.ContextFailed:          {history.Context, other},
		checkpoint.StepStarted:            {history.Step, start},
		checkpoint.StepSucceeded:          {history.Step, other},
		checkpoint.StepFailed:             {history.Step, other},
		checkpoint.WaitStarted:            {history.Wait, start},
		checkpoint.WaitSucceeded:          {history.Wait, other},
		checkpoint.WaitCancelled:          {history.Wait, other},
		checkpoint.CallbackStarted:        {history.Callback, start},
		checkpoint.CallbackSucceeded:      {history.Callback, outside},
		checkpoint.CallbackFailed:         {history.Callback, outside},
		checkpoint.CallbackTimedOut:       {history.Callback, outside},
		checkpoint.ChainedInvokeStarted:   {history.Invoke, start},
		checkpoint.ChainedInvokeSucceeded: {history.Invoke, outside},
		checkpoint.ChainedInvokeFailed:    {history.Invoke, outside},
		checkpoint.ChainedInvokeTimedOut:  {history.Invoke, outside},
		checkpoint.ChainedInvokeStopped:   {history.Invoke, outside},
		checkpoint.InvocationCompleted:    {history.Context, other},
		checkpoint.ScopeCancelled:         {history.Context, other},
		checkpoint.VersionChosen:          {history.Context, other},
		checkpoint.AwaitableChosen:        {history.Context, other},
		checkpoint.CancelRequested:        {history.Context, other},
		checkpoint.OperationRefused:       {history.Context, other}, // its number says it
		checkpoint.ContextLooked:          {history.Context, other},
	}
	for v := range 256 {
		typ := checkpoint.EventType(v)
		is, known := kinds[typ]
		require.Equal(t, !strings.HasPrefix(typ.String(), "EventType("), known, "%s: say what it is", typ)
		require.Equal(t, is.kind == start, history.IsStart(typ), typ)
		require.Equal(t, is.kind == outside, history.IsOutside(typ), typ)
		require.Equal(t, is.kind == final, history.IsFinal(typ), typ)
		if known {
			require.Equal(t, is.of, history.TypeOf(typ), typ)
		}
		// In the inbox it has no number of an event; the journal gives it one.
		require.Equal(t, is.kind == outside, history.FromInbox(&checkpoint.Record{Type: typ}), typ)
		require.False(t, history.FromInbox(&checkpoint.Record{Type: typ, EventID: 1}), typ)
	}
	for end, of := range map[checkpoint.EventType]string{
		checkpoint.StepSucceeded: "StepStarted", checkpoint.StepFailed: "StepStarted", checkpoint.WaitSucceeded: "WaitStarted", checkpoint.WaitCancelled: "WaitStarted",
		checkpoint.ContextSucceeded: "ContextStarted", checkpoint.ContextFailed: "ContextStarted",
		checkpoint.CallbackFailed: "CallbackStarted", checkpoint.ChainedInvokeFailed: "ChainedInvokeStarted", // as a recording may have it
	} {
		require.Equal(t, of, history.StartOf(end), end)
	}
}

// TestDescribe checks how an operation is named to people, and the names that are part of
// what users see.
func TestDescribe(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		`STEP (Step) "reserve"`:             history.Describe(history.Step, checkpoint.Step, "reserve"),
		`STEP (WaitForCondition) "shipped"`: history.Describe(history.Step, checkpoint.WaitForCondition, "shipped"),
		`WAIT (Wait) ""`:                    history.Describe(history.Wait, checkpoint.Wait, ""),
		`CALLBACK (Callback) "a \"b\""`:     history.Describe(history.Callback, checkpoint.Callback, `a "b"`),
		`CHAINED_INVOKE "ship"`:             history.Describe(history.Invoke, checkpoint.SubTypeNone, "ship"),
		`CONTEXT (Map) "items"`:             history.Describe(history.Context, checkpoint.Map, "items"),
		`EXECUTION "f"`:                     history.Describe(history.Execution, checkpoint.SubTypeNone, "f"),
	} {
		require.Equal(t, want, got)
	}
	ops := history.New(0)
	o := ops.Add("1-3-1", "pack", history.Step, checkpoint.Step, checkpoint.FlagParent, "1")
	require.Equal(t, "1", o.RecordedParent(), "it does not follow from the ID")
	require.Empty(t, ops.Add("1-2", "b", history.Step, checkpoint.Step, 0, "").RecordedParent())
}
