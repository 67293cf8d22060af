package conformance

import (
	"context"
	"encoding/base64"
	"errors"
	"time"

	"github.com/durable-go/durable"
)

func increment(_ context.Context, n int) (int, error) { return n + 1, nil }

// reaches goes on, d between checks, until the state has come to a threshold.
func reaches(threshold int, d time.Duration) func(int, int) durable.Poll {
	return durable.PollEvery(d, func(n int) bool { return n >= threshold })
}

// counting polls a counter from initial until the input.
func counting(initial int, d time.Duration) handler {
	return handle(func(ctx *durable.Context, threshold int) (int, error) {
		return durable.WaitForCondition(ctx, "", initial, increment, reaches(threshold, d))
	})
}

func checkFails(_ context.Context, n int) (int, error) { return n, errors.New("the check fails") }

var conditionCases = map[string]handler{
	"wait_for_condition/6-1": counting(0, time.Second),

	"wait_for_condition/6-2": handle(func(ctx *durable.Context, threshold int) (int, error) {
		return durable.WaitForCondition(ctx, "", 5, func(_ context.Context, n int) (int, error) { return n, nil }, reaches(threshold, time.Second))
	}),

	"wait_for_condition/6-4": counting(5, time.Second),
	"wait_for_condition/6-5": counting(0, 2*time.Second),

	"wait_for_condition/6-7": handle(func(ctx *durable.Context, _ any) (int, error) {
		return durable.WaitForCondition(ctx, "", 0, checkFails, reaches(1, time.Second))
	}),

	"wait_for_condition/6-8": handle(func(ctx *durable.Context, _ any) (string, error) {
		if _, err := durable.WaitForCondition(ctx, "", 0, checkFails, reaches(1, time.Second)); err != nil {
			return "recovered", nil
		}
		return "succeeded", nil
	}),

	"wait_for_condition/6-10": handle(func(ctx *durable.Context, _ any) (any, error) {
		return durable.WaitForCondition[any](ctx, "", "something",
			func(context.Context, any) (any, error) { return nil, nil },
			func(any, int) durable.Poll { return durable.PollDone() })
	}),

	"wait_for_condition/6-11": handle(func(ctx *durable.Context, _ any) (string, error) {
		return durable.WaitForCondition(ctx, "", "",
			func(_ context.Context, s string) (string, error) { return s + "x", nil },
			durable.PollEvery(time.Second, func(s string) bool { return len(s) >= 2 }),
			durable.WithCodec(base64Codec))
	}),

	"wait_for_condition/6-13": handle(func(ctx *durable.Context, _ any) (int, error) {
		two, err := durable.WaitForCondition(ctx, "", 0, increment, reaches(2, time.Second))
		if err != nil {
			return 0, err
		}
		return durable.WaitForCondition(ctx, "", two, increment, reaches(4, time.Second))
	}),
}

var base64Codec = textCodec{
	name:   "base64",
	encode: func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	decode: func(s string) (string, error) {
		data, err := base64.StdEncoding.DecodeString(s)
		return string(data), err
	},
}
