package nested

import (
	"context"
	"time"

	"github.com/durable-go/durable"
)

func charge(ctx *durable.Context) error {
	return durable.Do(ctx, "charge", func(context.Context) error { return nil })
}

func bad(ctx *durable.Context) {
	_ = durable.Do(ctx, "outer", func(context.Context) error {
		return durable.Wait(ctx, "inner", time.Second) // want `durable.Wait inside a body.*: a replay does not run .*; call it in the handler.* \(nested\)`
	})
	_ = durable.Do(ctx, "outer", func(context.Context) error {
		return charge(ctx) // want `charge inside a body`
	})
	_ = durable.Do(ctx, "loop", func(context.Context) error {
		for name := range map[string]int{} { // reported once, below
			_ = durable.Wait(ctx, name, time.Second) // want `durable.Wait inside a body`
		}
		return nil
	})
	body := func(context.Context) error {
		return durable.Wait(ctx, "inner", time.Second) // want `durable.Wait inside a body`
	}
	_ = durable.Do(ctx, "named", body)
	_, _ = durable.WaitForCondition(ctx, "ready", 0,
		func(_ context.Context, n int) (int, error) {
			return n, durable.Wait(ctx, "inner", time.Second) // want `durable.Wait inside a body`
		},
		func(n, attempt int) durable.Poll {
			durable.Now(ctx) // want `durable.Now inside a body`
			return durable.PollDone()
		})
	_, _ = durable.WaitForCallback[int](ctx, "approval", func(_ context.Context, id string) error {
		return durable.Wait(ctx, "inner", time.Second) // want `durable.Wait inside a body`
	})
	_, _ = durable.Map(ctx, "each", []int{1}, durable.AsStep(func(_ context.Context, n int) (int, error) {
		return n, charge(ctx) // want `charge inside a body`
	}))
	_ = durable.Do(ctx, "retried", func(context.Context) error { return nil }, durable.WithRetry(durable.RetryPolicy{
		Retryable: func(error) bool { return charge(ctx) == nil }, // want `charge inside a body`
	}))
}

func good(ctx *durable.Context) (int, error) {
	_ = durable.Do(ctx, "first", func(context.Context) error {
		ctx.Logger().Info("reading is fine", "id", ctx.ExecutionID())
		return nil
	})
	return durable.RunInChildContext(ctx, "both", func(ctx *durable.Context) (int, error) {
		if err := charge(ctx); err != nil {
			return 0, err
		}
		return 1, durable.Wait(ctx, "pause", time.Second)
	})
}
