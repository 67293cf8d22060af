package durabletest_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/durabletest"
)

// rent charges a card each month for a year, unless somebody objects to the first bill.
var rent = durable.Define("rent", func(ctx *durable.Context, tenant string) (int, error) {
	_, err := durable.WaitForCallback[string](ctx, "objections", func(ctx context.Context, id string) error {
		return nil // a letter with the ID goes out
	})
	if err != nil {
		return 0, err
	}
	total := 0
	for range 12 {
		cents, err := durable.Step(ctx, "charge", func(ctx context.Context) (int, error) { return 0, nil })
		if err != nil {
			return total, err
		}
		total += cents
		if err := durable.Wait(ctx, "next month", 30*24*time.Hour); err != nil {
			return total, err
		}
	}
	return total, nil
})

var rentConfig = durabletest.Config{
	Functions: []durable.Definition{rent},
	Steps: map[string]durabletest.Step{
		"charge": func(context.Context, durable.StepInfo) (any, error) { return 700_00, nil },
	},
	Answers: map[string]durabletest.Answer{
		"objections": func(cb *durabletest.Callback) { cb.Succeed("none") },
	},
}

// A year in virtual time.
func ExampleTest() {
	test := func(t *testing.T) {
		durabletest.Test(t, rentConfig, func(t *testing.T, e *durabletest.Engine) {
			total, err := rent.Run(t.Context(), e.Engine, "Ada")
			if err != nil || total != 12*700_00 {
				t.Error(total, err)
			}
		})
	}
	_ = test // go test calls it
}

// Crash at each checkpoint of the year.
func ExampleCrashEverywhere() {
	test := func(t *testing.T) {
		durabletest.CrashEverywhere(t, rentConfig, rent, "Ada")
	}
	_ = test
}

// Say what may differ, and what the world outside must look like in the end.
func ExampleConfig() {
	charged := map[string]int{} // a fake of the bank, which knows idempotency keys
	_ = durabletest.Config{
		Functions: []durable.Definition{rent},
		Steps: map[string]durabletest.Step{
			"charge": func(_ context.Context, info durable.StepInfo) (any, error) {
				charged[info.IdempotencyKey] = 700_00
				return 700_00, nil
			},
		},
		Before:    func() { clear(charged) },
		Outside:   func() any { return len(charged) },
		Normalize: func(result json.RawMessage, _ *durable.Failure) any { return len(result) },
	}
}

// Today's code must still go the way that an execution of last month went.
func ExampleReplay() {
	test := func(t *testing.T) {
		durabletest.Replay(t, durabletest.Config{Functions: []durable.Definition{orders, ship}}, "testdata/orders.recording.json")
	}
	_ = test
}

func TestRent(t *testing.T) {
	t.Parallel()
	durabletest.Test(t, rentConfig, func(t *testing.T, e *durabletest.Engine) {
		total, err := rent.Run(t.Context(), e.Engine, "Ada")
		if err != nil || total != 12*700_00 {
			t.Error(total, err)
		}
	})
	durabletest.CrashEverywhere(t, rentConfig, rent, "Ada")
}
