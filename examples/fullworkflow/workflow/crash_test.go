package workflow

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/durabletest"
	"github.com/durable-go/durable/examples/helloworld/hello"
)

// TestCrashEverywhere crashes the workflow at each of its checkpoints.
func TestCrashEverywhere(t *testing.T) {
	t.Parallel()
	durabletest.CrashEverywhere(t, durabletest.Config{
		Functions: []durable.Definition{Function, hello.Function},
		Answers: map[string]durabletest.Answer{CallbackName: func(cb *durabletest.Callback) {
			time.Sleep(answerDelay)
			cb.Succeed(Approval{Approved: true, ApprovedBy: "external-system"})
		}},
		Normalize: func(result json.RawMessage, _ *durable.Failure) any {
			var v any
			if json.Unmarshal(result, &v) != nil {
				return string(result)
			}
			return withoutTimes(v)
		},
		MaxCrashes: 25,
	}, Function, eventOf(3))
}

// withoutTimes drops what a crash may delay.
func withoutTimes(v any) any {
	switch v := v.(type) {
	case map[string]any:
		maps.DeleteFunc(v, func(key string, _ any) bool {
			return strings.HasSuffix(key, "At") || strings.HasSuffix(key, "Time") || key == "timestamp" || key == "totalDuration"
		})
		for key := range v {
			v[key] = withoutTimes(v[key])
		}
	case []any:
		for i := range v {
			v[i] = withoutTimes(v[i])
		}
	}
	return v
}
