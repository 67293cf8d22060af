package selecting

import (
	"context"
	"time"

	"github.com/durable-go/durable"
)

func bad(ctx *durable.Context, a, b <-chan int) {
	select { // want `durable.Wait in a case of a select statement: which case comes first is not recorded.*; use durable.Select .* \(select\)`
	case <-a:
		_ = durable.Wait(ctx, "a", time.Second)
	case <-b:
	}
	select { // want `durable.Do in a case of a select statement`
	case <-a:
	default:
		_ = durable.Do(ctx, "b", func(context.Context) error { return nil })
	}
}

func good(ctx *durable.Context, a, b <-chan int) (sum int, err error) {
	select {
	case n := <-a:
		sum += n
	case n := <-b:
		sum += n
	}
	select {
	case <-a:
		_ = durable.Wait(ctx, "a", time.Second) // there is no choice
	}
	future := durable.Go(ctx, "go", func(ctx *durable.Context) (int, error) { return 1, nil })
	timer := durable.After(ctx, "patience", time.Hour)
	first, err := durable.Select(ctx, "first", future, timer)
	if err != nil {
		return 0, err
	}
	switch first {
	case future:
		return future.Await(ctx)
	}
	return sum, nil
}
