package durable

import (
	"errors"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/invocation"
)

// Select waits for the first of the awaitables that settles and returns it; the
// choice is recorded. Look at the error, then tell which with a switch:
//
//	first, err := durable.Select(ctx, "answer or patience", approval, timer)
//	if err != nil {
//		return err
//	}
//	switch first { case approval: … case timer: … }
//
// What has failed has settled: Await tells its error. When a cancel reaches Select before
// that, its error is ErrCanceled or ErrTimeout, and nothing is chosen, as neither has
// anybody answered nor is the time over. It returns that when the futures that the cancel
// reached, too, have settled: they may be compensating.
func Select(ctx *Context, name string, as ...Awaitable) (Awaitable, error) {
	if len(as) == 0 {
		return nil, ctx.misused(history.Context, name, errNothingToAwait, "")
	}
	i, err := ctx.in.Select(checkpoint.Select, name, pendings(as))
	if err != nil {
		return nil, ctx.v.public(err)
	}
	return as[i], nil
}

var errNothingToAwait = errors.New("there is nothing to wait for: give it at least one awaitable")

// pendings are what an invocation knows of awaitables. One that is nil panics.
func pendings[A Awaitable](as []A) []invocation.Pending {
	ps := make([]invocation.Pending, len(as))
	for i, a := range as {
		if any(a) != nil {
			ps[i] = a.pending()
		}
		if ps[i].IsNone() {
			panic(errNilAwaited)
		}
	}
	return ps
}

// All waits until all futures have succeeded and returns their results in order,
// or until the first one fails and returns its error. A cancel is its error as it is
// that of Select.
func All[O any](ctx *Context, name string, fs ...*Future[O]) ([]O, error) {
	i, err := ctx.in.All(name, pendings(fs))
	if err != nil {
		return nil, ctx.v.public(err)
	}
	if i >= 0 {
		_, err := fs[i].Await(ctx)
		return nil, err
	}
	out := make([]O, len(fs))
	for i, f := range fs {
		if out[i], err = f.Await(ctx); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Any waits for the first future that succeeds and returns its result; when all
// have failed, it returns their errors joined. A cancel is its error as it is that of
// Select.
func Any[O any](ctx *Context, name string, fs ...*Future[O]) (O, error) {
	var zero O
	if len(fs) == 0 {
		return zero, ctx.misused(history.Context, name, errNothingToAwait, "")
	}
	i, err := ctx.in.Any(name, pendings(fs))
	if err != nil {
		return zero, ctx.v.public(err)
	}
	if i >= 0 {
		return fs[i].Await(ctx)
	}
	var errs []error
	for _, f := range fs {
		_, err := f.Await(ctx)
		errs = append(errs, err)
	}
	return zero, errors.Join(errs...)
}

// Race waits for the first future that settles and returns its result or error.
// The others go on until the function that started them returns. A cancel is its error
// as it is that of Select.
func Race[O any](ctx *Context, name string, fs ...*Future[O]) (O, error) {
	var zero O
	if len(fs) == 0 {
		return zero, ctx.misused(history.Context, name, errNothingToAwait, "")
	}
	i, err := ctx.in.Select(checkpoint.Race, name, pendings(fs))
	if err != nil {
		return zero, ctx.v.public(err)
	}
	return fs[i].Await(ctx)
}
