package conformance

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/durable-go/durable"
)

// What is named otherwise here than on AWS, in one place.

// ourNames are the types of errors that a case asks for literally.
var ourNames = map[string]string{
	"Callback.Timeout":   "Timeout",
	"Callback.Heartbeat": "HeartbeatTimeout",
}

// onlyOnLambda are fields of events that mean nothing outside of Lambda.
var onlyOnLambda = map[string]bool{
	"ExecutedVersion": true, // of the function that was invoked
}

// On AWS a logger can be told to log on replay too ("replay logging"). Here
// that is any *slog.Logger which is not the context's: handlers use world.slog.
//
// Delays and timeouts are whole seconds there and have any precision here:
// they are shown rounded up.

// shapes are events in the form in which AWS shows a history.
func shapes(events []durable.Event) []map[string]any {
	list := make([]map[string]any, len(events))
	for i, ev := range events {
		list[i] = shape(ev)
	}
	return list
}

func shape(ev durable.Event) map[string]any {
	m := map[string]any{"EventType": ev.Type, "EventId": int(ev.EventID), "EventTimestamp": ev.Time}
	set := func(m map[string]any, key, value string) {
		if value != "" {
			m[key] = value
		}
	}
	set(m, "SubType", ev.SubType)
	set(m, "Id", ev.OperationID)
	set(m, "ParentId", ev.ParentID)
	set(m, "Name", ev.Name)
	details := make(map[string]any)
	m[ev.Type+"Details"] = details

	switch ev.Type {
	case "StepSucceeded", "StepFailed":
		retry := map[string]any{"CurrentAttempt": ev.Attempt}
		if ev.NextAttemptDelay > 0 {
			retry["NextAttemptDelaySeconds"] = seconds(ev.NextAttemptDelay)
		}
		details["RetryDetails"] = retry
	case "WaitStarted", "WaitSucceeded", "WaitCancelled":
		details["Duration"] = seconds(ev.Duration)
	case "CallbackStarted":
		details["CallbackId"] = ev.CallbackID
		if ev.Timeout > 0 {
			details["Timeout"] = seconds(ev.Timeout)
		}
		if ev.HeartbeatTimeout > 0 {
			details["HeartbeatTimeout"] = seconds(ev.HeartbeatTimeout)
		}
	case "ExecutionStarted":
		details["Input"] = payloadShape(ev.Input)
	case "ChainedInvokeStarted":
		details["Input"] = payloadShape(ev.Input)
		details["FunctionName"] = ev.Function
		details["DurableExecutionArn"] = ev.InvokedID
	}
	switch {
	case ev.Failure != nil:
		details["Error"] = map[string]any{"Payload": errorShape(ev.Failure)}
	case strings.HasSuffix(ev.Type, "Succeeded") && ev.Type != "WaitSucceeded":
		details["Result"] = payloadShape(ev.Result)
	}
	return m
}

func payloadShape(data json.RawMessage) map[string]any {
	if data == nil {
		return map[string]any{}
	}
	return map[string]any{"Payload": payload(data)}
}

func errorShape(f *durable.Failure) map[string]any {
	m := map[string]any{"ErrorType": f.Type, "ErrorMessage": f.Message}
	if f.Data != nil {
		m["ErrorData"] = payload(f.Data)
	}
	if f.Stack != "" {
		m["StackTrace"] = f.Stack
	}
	return m
}

func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

// show writes a history for whoever reads why a case failed.
func show(history []map[string]any) string {
	var b strings.Builder
	for _, ev := range history {
		fmt.Fprintf(&b, "  %3d %-22v", ev["EventId"], ev["EventType"])
		for _, key := range []string{"SubType", "Id", "ParentId", "Name"} {
			if v, ok := ev[key]; ok {
				fmt.Fprintf(&b, " %s=%v", key, v)
			}
		}
		if details := fmt.Sprint(ev[fmt.Sprint(ev["EventType"])+"Details"]); details != "map[]" {
			fmt.Fprintf(&b, " %.300s", details)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
