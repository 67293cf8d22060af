package conformance

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/durable-go/durable"
)

// TransientError is an error with a type of its own.
type TransientError struct{ Reason string }

func (e *TransientError) Error() string { return "transient: " + e.Reason }

var errUnreliable = errors.New("unreliable")

// quick retries without the dice, a second apart.
func quick(attempts int) durable.RetryOption {
	return durable.WithRetry(durable.RetryPolicy{MaxAttempts: attempts, Initial: time.Second, Multiplier: 1, Jitter: durable.NoJitter})
}

// failingUntil is a body that fails until its n-th attempt, which returns v.
func failingUntil[O any](n int, v O) func(context.Context) (O, error) {
	return func(ctx context.Context) (O, error) {
		if info, _ := durable.StepInfoFrom(ctx); info.Attempt < n {
			var zero O
			return zero, fmt.Errorf("attempt %d: %w", info.Attempt, errUnreliable)
		}
		return v, nil
	}
}

func greet(name string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return "Hello, " + name + "!", nil }
}

// value is a body that returns v.
func value[O any](v O) func(context.Context) (O, error) {
	return func(context.Context) (O, error) { return v, nil }
}

func fails(context.Context) (string, error) { return "", errUnreliable }

var noRetry = durable.WithRetry(durable.NoRetry())

var stepCases = map[string]handler{
	"step/1-1": handle(func(ctx *durable.Context, name string) (string, error) {
		return durable.Step(ctx, "", greet(name))
	}),

	"step/1-2": handle(func(ctx *durable.Context, name string) (string, error) {
		return durable.Step(ctx, "custom_step_name", greet(name))
	}),

	"step/1-4": handle(func(ctx *durable.Context, in person) (response, error) {
		return durable.Call(ctx, "build_response", func(_ context.Context, in person) (response, error) {
			return response{User: in, Count: len(in.Tags)}, nil
		}, in)
	}),

	"step/1-5": handle(func(ctx *durable.Context, _ any) (any, error) {
		return durable.Step(ctx, "do_nothing", value[any](nil))
	}),

	"step/1-7": handle(func(ctx *durable.Context, name string) (string, error) {
		return durable.Step(ctx, "greet", func(c context.Context) (string, error) {
			info, _ := durable.StepInfoFrom(c)
			info.Logger.Info("Greeting step started for: " + name)
			greeting, err := greet(name)(c)
			info.Logger.Info("Greeting step completed with: " + greeting)
			return greeting, err
		})
	}),

	"step/1-8": handle(func(ctx *durable.Context, _ any) (string, error) {
		result, err := durable.Step(ctx, "compute", value("computed"))
		if err != nil {
			return "", err
		}
		return result, durable.Wait(ctx, "", 2*time.Second)
	}),

	"step/1-10": handle(func(ctx *durable.Context, _ any) (string, error) {
		_, err := durable.Step(ctx, "doomed", func(c context.Context) (string, error) {
			info, _ := durable.StepInfoFrom(c)
			info.Logger.Info("step executed")
			return fails(c)
		}, noRetry)
		if err == nil {
			return "", errors.New("the step succeeded")
		}
		return err.Error(), durable.Wait(ctx, "", time.Second)
	}),

	"step/1-11": handle(func(ctx *durable.Context, _ any) (string, error) {
		return durable.Step(ctx, "unreliable", failingUntil(2, "Operation succeeded"), quick(3))
	}),

	"step/1-13": handle(func(ctx *durable.Context, _ any) (string, error) {
		return durable.Step(ctx, "unreliable", failingUntil(3, "done"))
	}),

	"step/1-14": handle(func(ctx *durable.Context, _ any) (string, error) {
		return durable.Step(ctx, "unreliable", failingUntil(3, "done"),
			durable.WithRetry(durable.RetryPolicy{MaxAttempts: 5, Initial: 2 * time.Second, Multiplier: 3, Jitter: durable.NoJitter}))
	}),

	"step/1-16": handle(func(ctx *durable.Context, _ any) (string, error) {
		return durable.Step(ctx, "transient",
			func(context.Context) (string, error) { return "", &TransientError{"overloaded"} },
			durable.WithRetry(durable.RetryPolicy{MaxAttempts: 3, Retryable: func(err error) bool {
				_, transient := errors.AsType[*TransientError](err)
				return !transient
			}}))
	}),

	"step/1-17": handleIn(func(w *world, ctx *durable.Context, in string) (string, error) {
		return durable.Step(ctx, "at_most_once_flaky_step", func(c context.Context) (string, error) {
			info, _ := durable.StepInfoFrom(c)
			info.Logger.Info("working on " + in)
			w.crash(c)
			return in, nil
		}, durable.AtMostOnce())
	}),

	"step/1-19": handle(func(ctx *durable.Context, _ any) (string, error) {
		return durable.Step(ctx, "failing", fails, noRetry)
	}),

	"step/1-20": handle(func(ctx *durable.Context, _ any) (string, error) {
		result, err := durable.Step(ctx, "failing", fails, noRetry)
		if err != nil {
			result = "fallback_result"
		}
		return durable.Step(ctx, "second", value(result))
	}),
}

type person struct {
	Name string   `json:"name"`
	Tags []string `json:"tags"`
}

type response struct {
	User  person `json:"user"`
	Count int    `json:"count"`
}
