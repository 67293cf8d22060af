package durable_test

import (
	"context"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// unanswerable are the operations that return no error. Each is used through the context
// that it is given, which belongs to another function than the one that calls.
var unanswerable = map[string]struct {
	prepare func(ctx *durable.Context) (use func() any)
}{
	"Now":     {func(ctx *durable.Context) func() any { return func() any { return durable.Now(ctx) } }},
	"NewUUID": {func(ctx *durable.Context) func() any { return func() any { return durable.NewUUID(ctx) } }},
	"Version": {func(ctx *durable.Context) func() any { return func() any { return durable.Version(ctx, "change", 3) } }},
	"Settled": {func(ctx *durable.Context) func() any {
		fs := three(ctx)
		return func() any { return sum(durable.Settled(ctx, "each", durable.Awaitables(fs)...)) }
	}},
	"RangeOverSettled": {func(ctx *durable.Context) func() any {
		each := durable.Settled(ctx, "each", durable.Awaitables(three(ctx))...)
		return func() any { return sum(each) }
	}},
	"PullFromSettled": {func(ctx *durable.Context) func() any {
		each := durable.Settled(ctx, "each", durable.Awaitables(three(ctx))...)
		return func() any {
			next, stop := iter.Pull(each)
			defer stop()
			n := 0
			for _, ok := next(); ok; _, ok = next() {
				n++
			}
			return n
		}
	}},
}

func three(ctx *durable.Context) (fs []*durable.Future[int]) {
	for range 3 {
		fs = append(fs, durable.Go(ctx, "one", func(*durable.Context) (int, error) { return 1, nil }))
	}
	return fs
}

func sum(each iter.Seq[durable.Awaitable]) (n int) {
	for range each {
		n++
	}
	return n
}

// TestMisuseThatReturnsNoErrorHolds: what such an operation returns, when it is called
// where it may not be, looks like an answer, so nobody may go on with it.
func TestMisuseThatReturnsNoErrorHolds(t *testing.T) {
	places := map[string]func(ctx *durable.Context, use func() any) (any, error){
		"Child": func(ctx *durable.Context, use func() any) (any, error) {
			return durable.RunInChildContext(ctx, "around", func(*durable.Context) (any, error) { return use(), nil })
		},
		"Future": func(ctx *durable.Context, use func() any) (any, error) {
			return durable.Go(ctx, "around", func(*durable.Context) (any, error) {
				time.Sleep(time.Second) // its caller awaits it by then
				return use(), nil
			}).Await(ctx)
		},
		"Item": func(ctx *durable.Context, use func() any) (any, error) {
			batch, err := durable.Map(ctx, "around", []int{1}, func(*durable.Context, int, int) (any, error) { return use(), nil })
			if err != nil {
				return nil, err
			}
			return batch.Values()[0], nil
		},
		"Body": func(ctx *durable.Context, use func() any) (any, error) {
			return durable.Step(ctx, "around", func(context.Context) (any, error) { return use(), nil })
		},
		"BodyOnAGoroutineOfItsOwn": func(ctx *durable.Context, use func() any) (any, error) {
			return durable.Step(ctx, "around", func(context.Context) (any, error) { return use(), nil }, durable.WithTimeout(time.Hour))
		},
		"GoroutineOfABody": func(ctx *durable.Context, use func() any) (any, error) {
			return durable.Step(ctx, "around", func(context.Context) (any, error) {
				answer := make(chan any)
				go func() { answer <- use() }()
				return <-answer, nil
			})
		},
		"BodyInAChild": func(ctx *durable.Context, use func() any) (any, error) {
			return durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (any, error) {
				return durable.Step(ctx, "around", func(context.Context) (any, error) { return use(), nil }, durable.WithTimeout(time.Hour))
			})
		},
		"Check": func(ctx *durable.Context, use func() any) (any, error) {
			return durable.WaitForCondition(ctx, "around", any(0), func(context.Context, any) (any, error) { return use(), nil },
				func(any, int) durable.Poll { return durable.PollDone() }, durable.WithTimeout(time.Hour))
		},
		"Submitter": func(ctx *durable.Context, use func() any) (any, error) {
			return durable.WaitForCallback[any](ctx, "around", func(context.Context, string) error { use(); return nil })
		},
	}
	for operation, o := range unanswerable {
		for place, around := range places {
			inBubble(t, operation+"/"+place, func(t *testing.T) {
				f := durable.Define("f", func(ctx *durable.Context, _ int) (any, error) {
					use := o.prepare(ctx)
					time.Sleep(time.Second) // what it waits for, if anything, is there
					return around(ctx, use)
				})
				b := setup(t, f)
				x := start(b, f, 0)
				time.Sleep(time.Minute)
				require.ErrorIs(t, b.held(x.ID()), durable.ErrConcurrentUse)
				for ev := range b.events(x.ID()) {
					require.False(t, ev.Name == "around" && (ev.Type == "StepSucceeded" || ev.Type == "ContextSucceeded"), "what was made of it is not recorded: %v", ev)
				}
			})
		}
		inBubble(t, operation+"/BehindTheReturn", func(t *testing.T) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (any, error) {
				var use func() any
				if _, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
					use = o.prepare(ctx)
					return 0, nil
				}); err != nil {
					return 0, err
				}
				return use(), nil
			})
			b := setup(t, f)
			x := start(b, f, 0)
			time.Sleep(time.Minute)
			require.ErrorIs(t, b.held(x.ID()), durable.ErrConcurrentUse)
		})
	}

	for place, elsewhere := range map[string]func(ctx *durable.Context, f func()){
		"Future": func(ctx *durable.Context, f func()) {
			durable.Go(ctx, "branch", func(*durable.Context) (int, error) { f(); return 0, nil })
		},
		"UsersGoroutine": func(_ *durable.Context, f func()) { go f() },
	} {
		inBubble(t, "RangeOverSettled/WhileItsOwnerIsBusyElsewhere/"+place, func(t *testing.T) {
			// Nothing overlaps here: only who calls tells that it is wrong.
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				each := durable.Settled(ctx, "each", durable.Awaitables(three(ctx))...)
				time.Sleep(time.Second)
				answer := make(chan int, 1)
				elsewhere(ctx, func() { answer <- sum(each) })
				select {
				case n := <-answer:
					return n, nil
				case <-time.After(time.Minute):
					return 0, nil
				}
			})
			b := setup(t, f)
			x := start(b, f, 0)
			time.Sleep(2 * time.Minute)
			require.ErrorIs(t, b.held(x.ID()), durable.ErrConcurrentUse)
		})
	}

	inBubble(t, "BodiesBesideItAreRecorded", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			durable.Go(ctx, "branch", func(ctx *durable.Context) (int, error) {
				return durable.Step(ctx, "beside", func(context.Context) (int, error) { time.Sleep(time.Hour); return 1, nil })
			})
			return durable.RunInChildContext(ctx, "child", func(child *durable.Context) (int, error) {
				return durable.Step(child, "wrong", func(context.Context) (int, error) {
					time.Sleep(time.Minute)
					return durable.Version(child, "x", 1), nil
				})
			})
		})
		b := setup(t, f)
		x := start(b, f, 0)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		require.ErrorIs(t, b.held(x.ID()), durable.ErrConcurrentUse)
		require.Contains(t, b.history(x.ID()), "StepSucceeded 1-1 beside")
	})

	inBubble(t, "WithFailOnMismatchItFails", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (uuid.UUID, error) {
			return durable.Step(ctx, "wrong", func(context.Context) (uuid.UUID, error) { return durable.NewUUID(ctx), nil })
		})
		b := setupWith(t, durable.Options{ParkFor: -1, FailOnMismatch: true}, f)
		_, err := within(b, start(b, f, 0), time.Hour)
		require.ErrorIs(t, err, durable.ErrConcurrentUse)
	})

	inBubble(t, "DeferredCallsOfASuspensionAreNone", func(t *testing.T) {
		n := 0
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			each := durable.Settled(ctx, "each", durable.Awaitables(three(ctx))...)
			defer func() { sum(each); durable.Version(ctx, "x", 1); durable.Now(ctx) }()
			return durable.RunInChildContext(ctx, "child", func(child *durable.Context) (int, error) {
				defer func() { n++; sum(each) }() // its own context is in use, but nothing runs any more
				if err := durable.Wait(child, "sleep", time.Hour); err != nil {
					return 0, err
				}
				return 7, nil
			})
		})
		b := setup(t, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, 1, n)
		require.Nil(t, b.describe(x.ID()).Held, "it is suspended, as ever")
	})
}
