package main

import (
	"context"
	"log/slog"
	"runtime"
	"strconv"
	"time"

	"github.com/durable-go/durable"
)

// durableEngine is ours on whatever store.
type durableEngine struct {
	*durable.Engine
	flushed string
}

var durableProgram = durable.Define("program", func(ctx *durable.Context, p program) (int, error) {
	id := ctx.ExecutionID()
	if err := durableSteps(ctx, p.Steps); err != nil {
		return 0, err
	}
	watch.mark(id, replayed)
	if p.Fan > 0 {
		items := make([]int, p.Fan)
		for i := range items {
			items[i] = i
		}
		_, err := durable.Map(ctx, "fan", items, durable.AsStep(func(_ context.Context, i int) (int, error) { return step(i) }))
		if err != nil {
			return 0, err
		}
	}
	if p.Sleep > 0 {
		watch.mark(id, asleep)
		if err := durable.Wait(ctx, "sleep", p.Sleep); err != nil {
			return 0, err
		}
		watch.mark(id, awake)
	}
	if p.Signal {
		cb, err := durable.CreateCallback[int](ctx, "signal")
		if err != nil {
			return 0, err
		}
		watch.mark(id, waiting)
		if _, err := cb.Await(ctx); err != nil {
			return 0, err
		}
		watch.mark(id, signaled)
	}
	if err := durableSteps(ctx, p.More); err != nil {
		return 0, err
	}
	watch.mark(id, ended)
	return p.total(), nil
})

func durableSteps(ctx *durable.Context, n int) error {
	for i := range n {
		if _, err := durable.Step(ctx, "step", func(context.Context) (int, error) { return step(i) }); err != nil {
			return err
		}
	}
	return nil
}

func durableOptions(r residence) *durable.Options {
	o := &durable.Options{Functions: []durable.Definition{durableProgram}, Logger: slog.New(slog.DiscardHandler), Build: "bench"}
	switch r {
	case kept:
		o.ParkFor = time.Hour
	case evicted:
		o.ParkFor = -1
	}
	return o
}

func (e durableEngine) start(ctx context.Context, id string, p program) error {
	_, err := durableProgram.Start(ctx, e.Engine, p, durable.WithExecutionID(id))
	return err
}

func (e durableEngine) result(ctx context.Context, id string) (int, error) {
	return durableProgram.Attach(e.Engine, id).Result(ctx)
}

func (e durableEngine) run(ctx context.Context, id string, p program) (int, error) {
	return durableProgram.Run(ctx, e.Engine, p, durable.WithExecutionID(id))
}

func (e durableEngine) token(ctx context.Context, id string) (string, error) {
	return e.CallbackID(ctx, id, "signal")
}

func (e durableEngine) signal(ctx context.Context, _, token string) error {
	return e.SucceedCallback(ctx, token, 1)
}

// idle waits until nothing is in memory: what parks for ParkFor is waited for.
func (e durableEngine) idle(ctx context.Context) error {
	for e.Stats().Resident > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

func (e durableEngine) durability(context.Context) (string, error) { return e.flushed, nil }

func (e durableEngine) close() error { return e.Engine.Close() }

func durableVersion() string {
	return "this repository, GOMAXPROCS=" + strconv.Itoa(runtime.GOMAXPROCS(0))
}
