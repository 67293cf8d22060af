package outercontext

import (
	"context"
	"time"

	"github.com/durable-go/durable"
)

func one(context.Context) (int, error) { return 1, nil }

func charge(ctx *durable.Context) error {
	return durable.Do(ctx, "charge", func(context.Context) error { return nil })
}

type workflow struct{ ctx *durable.Context }

func bad(ctx *durable.Context, w workflow) {
	_, _ = durable.RunInChildContext(ctx, "child", func(child *durable.Context) (int, error) {
		return durable.Step(ctx, "step", one) // want `durable.Step on ctx, in a function that has a context of its own: .*; use child \(outercontext\)`
	})
	future := durable.Go(ctx, "go", func(*durable.Context) (int, error) {
		return durable.Step(ctx, "step", one) // want `durable.Step on ctx, .*; name the function's own \*durable.Context and use that`
	})
	_, _ = durable.Parallel(ctx, "parallel", []durable.Branch[int]{
		{Name: "a", Run: func(c *durable.Context) (int, error) { return 1, charge(ctx) }},    // want `charge on ctx`
		{Name: "b", Run: func(c *durable.Context) (int, error) { return future.Await(ctx) }}, // want `future.Await on ctx`
	})
	_, _ = durable.Map(ctx, "map", []int{1}, func(c *durable.Context, item, _ int) (int, error) {
		return item, durable.Wait(ctx.WithoutCancel(), "wait", time.Second) // want `durable.Wait on ctx.WithoutCancel\(\)`
	})
	undo := ctx.WithoutCancel()
	pause := func(name string) error { return durable.Wait(ctx, name, time.Second) }
	_, _ = durable.RunInChildContext(ctx, "child", func(c *durable.Context) (int, error) {
		_ = durable.Wait(w.ctx, "wait", time.Second) // want `durable.Wait on w.ctx`
		_ = pause("pause")                           // want `pause performs operations \(durable.Wait\) on a context of outside, .*; give it the context as a parameter, and use c`
		return 1, charge(undo)                       // want `charge on undo`
	})
	_, _ = durable.RunInChildContext(ctx, "outer", func(outer *durable.Context) (int, error) {
		return durable.RunInChildContext(outer, "inner", func(inner *durable.Context) (int, error) {
			return durable.Step(outer, "step", one) // want `durable.Step on outer, .*; use inner`
		})
	})
}

func good(ctx *durable.Context) {
	pause := func(name string) error { return durable.Wait(ctx, name, time.Second) }
	_ = pause("before")
	_, _ = durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
		_ = charge(ctx.WithoutCancel())
		undo := ctx.WithoutCancel()
		_ = charge(undo)
		w := workflow{ctx}
		_ = charge(w.ctx)
		func() { _ = charge(ctx) }()
		again := func() error { return charge(ctx) }
		_ = again()
		return durable.Step(ctx, "step", one)
	})
	_, _ = durable.RunInChildContext(ctx, "child", func(*durable.Context) (string, error) {
		return ctx.ExecutionID(), nil // reading it is no operation
	})
}
