package goroutine

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/durable-go/durable"
)

func fetch(context.Context) (int, error) { return 1, nil }

// fetchAll performs operations.
func fetchAll(ctx *durable.Context) { _, _ = durable.Step(ctx, "fetch", fetch) }

// describe takes a context and performs none.
func describe(ctx *durable.Context) string { return ctx.ExecutionID() }

type workflow struct{ ctx *durable.Context }

func (w workflow) run() error {
	return durable.Do(w.ctx, "run", func(context.Context) error { return nil })
}

func bad(ctx *durable.Context, f *durable.Future[int], cb *durable.Callback[int]) {
	go func() {
		_, _ = durable.Step(ctx, "fetch", fetch) // want `durable.Step on a goroutine that the library did not start: operations are numbered .*; use durable.Go, Parallel or Map.* \(goroutine\)`
		_ = durable.Now(ctx)                     // want `durable.Now on a goroutine`
		_, _ = f.Await(ctx)                      // want `f.Await on a goroutine`
		_, _ = cb.Await(ctx)                     // want `cb.Await on a goroutine`
		func() {
			_ = durable.Wait(ctx, "wait", time.Hour) // want `durable.Wait on a goroutine`
		}()
		fetchAll(ctx) // want `fetchAll on a goroutine`
	}()
	go fetchAll(ctx)                        // want `fetchAll on a goroutine`
	go durable.Wait(ctx, "wait", time.Hour) // want `durable.Wait on a goroutine`
	go func(ctx *durable.Context) {
		_, _ = durable.CreateCallback[string](ctx, "callback") // want `durable.CreateCallback on a goroutine`
	}(ctx)

	var g errgroup.Group
	g.Go(func() error { return durable.Wait(ctx, "wait", time.Hour) })    // want `durable.Wait on a goroutine`
	g.TryGo(func() error { return durable.Wait(ctx, "wait", time.Hour) }) // want `durable.Wait on a goroutine`
	g.Go(workflow{ctx}.run)                                               // want `workflow\{…\}.run on a goroutine`
	_ = g.Wait()

	var wg sync.WaitGroup
	wg.Go(func() { fetchAll(ctx) }) // want `fetchAll on a goroutine`
	wg.Wait()

	wait := func() { _ = durable.Wait(ctx, "wait", time.Hour) } // want `durable.Wait on a goroutine`
	go wait()

	context.AfterFunc(ctx.Context(), func() { fetchAll(ctx) }) // want `fetchAll on a goroutine`
}

func good(ctx *durable.Context, engine *durable.Engine, f *durable.Function[int, int]) (int, error) {
	go func() {
		_ = describe(ctx)
		ctx.Logger().Info("pure code may have goroutines")
	}()
	go describe(ctx)
	go around(engine)
	later := func() {}
	go later()
	later = func() { fetchAll(ctx) }
	later()
	future := durable.Go(ctx, "fetch", func(ctx *durable.Context) (int, error) {
		return durable.Step(ctx, "fetch", fetch)
	})
	_, err := durable.Step(ctx, "both", func(ctx context.Context) (int, error) {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { _, err := fetch(ctx); return err }) // a body may do as it likes
		return 1, g.Wait()
	})
	if err != nil {
		return 0, err
	}
	return future.Await(ctx)
}

func around(engine *durable.Engine) {
	go func() {
		f := durable.Define("f", func(ctx *durable.Context, in int) (int, error) {
			return durable.Step(ctx, "fetch", fetch) // the library runs it
		})
		_, _ = f.Run(context.Background(), engine, 1)
	}()
}

// spawner brings its own idea of Go, with a context for each function.
type spawner struct{}

func (spawner) Go(ctx *durable.Context, fn func(*durable.Context) (int, error)) *durable.Future[int] {
	return durable.Go(ctx, "", fn)
}

// pool runs functions as durable branches.
type pool struct{}

func (pool) Go(func(*durable.Context)) {}

func wrapped(ctx *durable.Context, p pool) {
	p.Go(fetchAll)
	p.Go(func(ctx *durable.Context) { fetchAll(ctx) })
	spawner{}.Go(ctx, func(ctx *durable.Context) (int, error) { return durable.Step(ctx, "fetch", fetch) })
}
