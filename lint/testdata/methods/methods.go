//go:build go1.27

package methods

import (
	"context"
	"time"

	"github.com/durable-go/durable"
)

func one(context.Context) (int, error) { return 1, nil }

func bad(ctx *durable.Context, m map[string]int) {
	go func() {
		_, _ = ctx.Step("step", one) // want `ctx.Step on a goroutine`
	}()
	_ = ctx.Do("outer", func(context.Context) error {
		return ctx.Wait("inner", time.Second) // want `ctx.Wait inside a body`
	})
	_, _ = ctx.RunInChildContext("child", func(child *durable.Context) (int, error) {
		_ = ctx.Now()                // want `ctx.Now on ctx`
		return ctx.Step("step", one) // want `ctx.Step on ctx`
	})
	for name := range m { // want `ctx.Wait in a loop over m`
		_ = ctx.Wait(name, time.Second)
	}
	sum := 0
	_, _ = ctx.Step[int]("sum", func(context.Context) (int, error) {
		sum++ // want `a body writes to sum`
		return sum, nil
	})
}

func good(ctx *durable.Context) (int, error) {
	go func() { _ = ctx.ExecutionID() }()
	future := ctx.Go("go", func(ctx *durable.Context) (int, error) { return ctx.Step("step", one) })
	_, _ = ctx.WithoutCancel().Step("undo", one)
	return future.Await(ctx)
}
