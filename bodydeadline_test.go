package durable_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// TestDeadlineOfABody: what a body passes its context to must know how long it has.
func TestDeadlineOfABody(t *testing.T) {
	look := func(ctx context.Context) (time.Duration, error) {
		at, ok := ctx.Deadline()
		if !ok {
			return 0, nil
		}
		if at.IsZero() {
			return 0, errors.New("a deadline that is none")
		}
		return time.Until(at), nil
	}
	step := func(opts ...durable.StepOption) func(*durable.Context) (time.Duration, error) {
		return func(ctx *durable.Context) (time.Duration, error) { return durable.Step(ctx, "s", look, opts...) }
	}
	const minute, hour = time.Minute, time.Hour
	for name, c := range map[string]struct {
		op   func(ctx *durable.Context) (time.Duration, error)
		want time.Duration // 0: no deadline
		opts []durable.StartOption
	}{
		"None":                  {step(), 0, nil},
		"Timeout":               {step(durable.WithTimeout(minute)), minute, nil},
		"AttemptTimeout":        {step(durable.WithAttemptTimeout(minute)), minute, nil},
		"TheEarlierIsOfAll":     {step(durable.WithTimeout(hour), durable.WithAttemptTimeout(minute)), minute, nil},
		"TheEarlierIsOfOne":     {step(durable.WithTimeout(minute), durable.WithAttemptTimeout(hour)), minute, nil},
		"OfTheExecution":        {step(), hour, []durable.StartOption{durable.WithExecutionTimeout(hour)}},
		"EarlierThanExecutions": {step(durable.WithTimeout(minute)), minute, []durable.StartOption{durable.WithExecutionTimeout(hour)}},
		"LaterThanExecutions":   {step(durable.WithTimeout(2 * hour)), hour, []durable.StartOption{durable.WithExecutionTimeout(hour)}},
		"WhatIsLeft": {func(ctx *durable.Context) (time.Duration, error) {
			if err := durable.Wait(ctx, "w", 20*minute); err != nil {
				return 0, err
			}
			return durable.Step(ctx, "s", look)
		}, 40 * minute, []durable.StartOption{durable.WithExecutionTimeout(hour)}},
		"OfALaterAttempt": {func(ctx *durable.Context) (time.Duration, error) {
			return durable.Step(ctx, "s", func(ctx context.Context) (time.Duration, error) {
				if info, _ := durable.StepInfoFrom(ctx); info.Attempt < 3 {
					return 0, errors.New("not yet")
				}
				return look(ctx)
			}, durable.WithTimeout(hour), durable.WithRetry(durable.RetryPolicy{Initial: 10 * minute, Max: 10 * minute, Jitter: durable.NoJitter}))
		}, 40 * minute, nil},
		"OfAChild": {func(ctx *durable.Context) (time.Duration, error) {
			return durable.RunInChildContext(ctx, "outer", func(ctx *durable.Context) (time.Duration, error) {
				return durable.RunInChildContext(ctx, "inner", step())
			}, durable.WithTimeout(minute))
		}, minute, nil},
		"OfABatch": {func(ctx *durable.Context) (time.Duration, error) {
			b, err := durable.Map(ctx, "m", []int{1}, func(ctx *durable.Context, _, _ int) (time.Duration, error) { return step()(ctx) }, durable.WithTimeout(minute), durable.Flat())
			if err != nil {
				return 0, err
			}
			return b.Values()[0], nil
		}, minute, nil},
		"ShieldedFromAChild": {func(ctx *durable.Context) (time.Duration, error) {
			return durable.RunInChildContext(ctx, "outer", func(ctx *durable.Context) (time.Duration, error) {
				return durable.RunInChildContext(ctx.WithoutCancel(), "inner", step())
			}, durable.WithTimeout(minute))
		}, 0, nil},
		"ShieldedHasItsOwn": {func(ctx *durable.Context) (time.Duration, error) {
			return durable.RunInChildContext(ctx, "outer", func(ctx *durable.Context) (time.Duration, error) {
				return step(durable.WithTimeout(10 * minute))(ctx.WithoutCancel())
			}, durable.WithTimeout(minute))
		}, 10 * minute, []durable.StartOption{durable.WithExecutionTimeout(hour)}},
		"ShieldedNotFromTheExecutions": {func(ctx *durable.Context) (time.Duration, error) { return step()(ctx.WithoutCancel()) },
			hour, []durable.StartOption{durable.WithExecutionTimeout(hour)}},
		"OfACheck": {func(ctx *durable.Context) (time.Duration, error) {
			return durable.WaitForCondition(ctx, "c", time.Duration(0), func(ctx context.Context, _ time.Duration) (time.Duration, error) { return look(ctx) },
				func(_ time.Duration, attempt int) durable.Poll {
					if attempt < 3 {
						return durable.PollAfter(10 * minute)
					}
					return durable.PollDone()
				}, durable.WithTimeout(hour))
		}, 40 * minute, nil},
		"OfASubmitter": {func(ctx *durable.Context) (time.Duration, error) {
			return durable.WaitForCallback[time.Duration](ctx, "cb", func(ctx context.Context, id string) error {
				d, err := look(ctx)
				if err != nil {
					return err
				}
				info, _ := durable.StepInfoFrom(ctx)
				return info.Engine.SucceedCallback(ctx, id, d)
			}, durable.WithAttemptTimeout(minute), durable.WithTimeout(hour))
		}, minute, nil},
		"OfAPlainFunction": {func(ctx *durable.Context) (time.Duration, error) {
			return durable.InvokeByName[time.Duration](ctx, "i", "plain", 0)
		}, minute, nil},
	} {
		bothWays(t, name, func(t *testing.T, parkFor time.Duration) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (time.Duration, error) {
				d, err := c.op(ctx)
				if _, ok := ctx.Context().Deadline(); ok {
					err = errors.New("code of a handler that looks at a deadline is not deterministic")
				}
				return d, err
			})
			plain := durable.DefinePlain("plain", func(ctx context.Context, _ int) (time.Duration, error) { return look(ctx) }, durable.WithExecutionTimeout(minute))
			b := setupWith(t, durable.Options{ParkFor: parkFor}, f, plain)
			got, err := within(b, start(b, f, 0, c.opts...), 2*hour)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}
