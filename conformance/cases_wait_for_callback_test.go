package conformance

import (
	"context"
	"errors"
	"time"

	"github.com/durable-go/durable"
)

func submitted(context.Context, string) error { return nil }

func notSubmitted(context.Context, string) error { return errors.New("the submitter fails") }

// waitingForCallback waits for a callback named like the input.
func waitingForCallback(submit func(context.Context, string) error, opts ...durable.CallbackOption) handler {
	return handle(func(ctx *durable.Context, name string) (string, error) {
		return durable.WaitForCallback[string](ctx, name, submit, opts...)
	})
}

var waitForCallbackCases = map[string]handler{
	"wait_for_callback/7-1": waitingForCallback(submitted),

	"wait_for_callback/7-2": handle(func(ctx *durable.Context, _ any) (string, error) {
		return durable.WaitForCallback[string](ctx, "approval", submitted)
	}),

	"wait_for_callback/7-4": waitingForCallback(submitted),
	"wait_for_callback/7-5": waitingForCallback(submitted, durable.WithTimeout(3*time.Second)),
	"wait_for_callback/7-7": waitingForCallback(notSubmitted, quick(2)),

	"wait_for_callback/7-8": handle(func(ctx *durable.Context, name string) (string, error) {
		return durable.RunInChildContext(ctx, "wrapper", func(c *durable.Context) (string, error) {
			return durable.WaitForCallback[string](c, name, submitted)
		})
	}),

	"wait_for_callback/7-10": handle(func(ctx *durable.Context, name string) (string, error) {
		if err := durable.Wait(ctx, "", time.Second); err != nil {
			return "", err
		}
		if _, err := durable.Step(ctx, "fetch", value(map[string]int{"id": 1})); err != nil {
			return "", err
		}
		return durable.WaitForCallback[string](ctx, name, submitted)
	}),

	"wait_for_callback/7-11": handle(func(ctx *durable.Context, name string) (string, error) {
		answer, err := durable.WaitForCallback[struct{ Status string }](ctx, name, submitted)
		return answer.Status, err
	}),

	"wait_for_callback/7-13": waitingForCallback(submitted, durable.WithHeartbeatTimeout(10*time.Second)),

	"wait_for_callback/7-14": handle(func(ctx *durable.Context, name string) (string, error) {
		answer, err := durable.WaitForCallback[string](ctx, name, submitted, durable.WithTimeout(3*time.Second))
		if errors.Is(err, durable.ErrTimeout) {
			return "timed-out-handled", nil
		}
		return answer, err
	}),
}
