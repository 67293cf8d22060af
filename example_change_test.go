package durable_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/durable-go/durable"
)

// A release puts a step in front of one that is recorded: the execution is held.
// The next release guards the new step with Version, and the execution goes on.
func ExampleNonDeterministicError() {
	dir, err := os.MkdirTemp("", "durable")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	step := func(ctx *durable.Context, name string) error {
		return durable.Do(ctx, name, func(context.Context) error { fmt.Println(name); return nil })
	}
	approval := func(ctx *durable.Context) (string, error) {
		approved, err := durable.CreateCallback[string](ctx, "approval")
		if err != nil {
			return "", err
		}
		return approved.Await(ctx)
	}
	left := make(chan string, 10) // executions that have left memory
	release := func(build string, handler func(ctx *durable.Context, _ durable.None) (string, error)) (*durable.Engine, *durable.Function[durable.None, string]) {
		order := durable.Define("order", handler)
		engine, err := durable.Open(filepath.Join(dir, "orders.db"), &durable.Options{
			Functions: []durable.Definition{order},
			Build:     build,
			Logger:    slog.New(slog.DiscardHandler),
			Observer:  &durable.Observer{InvocationEnded: func(id, _ string) { left <- id }},
			ParkFor:   -1,
		})
		if err != nil {
			panic(err)
		}
		return engine, order
	}

	engine, order := release("1", func(ctx *durable.Context, _ durable.None) (string, error) {
		if err := step(ctx, "reserve"); err != nil {
			return "", err
		}
		return approval(ctx)
	})
	if _, err := order.Start(ctx, engine, durable.None{}, durable.WithExecutionID("order-42")); err != nil {
		fmt.Println(err)
	}
	callback, err := engine.CallbackID(ctx, "order-42", "approval")
	<-left
	fmt.Println(err, engine.Close())

	engine, _ = release("2", func(ctx *durable.Context, _ durable.None) (string, error) {
		if err := step(ctx, "check stock"); err != nil {
			return "", err
		}
		if err := step(ctx, "reserve"); err != nil {
			return "", err
		}
		return approval(ctx)
	})
	fmt.Println(engine.SucceedCallback(ctx, callback, "approved by Ada")) // wakes it
	<-left
	info, err := engine.Describe(ctx, "order-42")
	fmt.Println(info.Status, info.Held, err)
	fmt.Println(engine.Close())

	engine, order = release("3", func(ctx *durable.Context, _ durable.None) (string, error) {
		if durable.Version(ctx, "check stock", 1) >= 1 {
			if err := step(ctx, "check stock"); err != nil {
				return "", err
			}
		}
		if err := step(ctx, "reserve"); err != nil {
			return "", err
		}
		return approval(ctx)
	})
	defer engine.Close()
	fmt.Println(order.Attach(engine, "order-42").Result(ctx))
	// Output:
	// reserve
	// <nil> <nil>
	// <nil>
	// RUNNING durable: execution order-42, operation 1: recorded is STEP (Step) "reserve", the code now asks for STEP (Step) "check stock": deploy code that asks for what is recorded, or guard the change with durable.Version (see docs/changing-code.md) <nil>
	// <nil>
	// approved by Ada <nil>
}
