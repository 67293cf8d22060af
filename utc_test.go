package durable_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// TestTimesAreInUTC: a process in another zone must see what this one sees.
func TestTimesAreInUTC(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		seen := make(map[string]int)
		look := func(what string, v any) { // observers are told on goroutines of their own
			mu.Lock()
			defer mu.Unlock()
			eachTime(reflect.ValueOf(v), what, func(where string, at time.Time) {
				if !at.IsZero() {
					require.Same(t, time.UTC, at.Location(), where)
					seen[where]++
				}
			})
		}
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			look("Now", durable.Now(ctx))
			look("Context.StartedAt", ctx.StartedAt())
			look("Context.Deadline", ctx.Deadline())
			if err := durable.Do(ctx, "retried", func(ctx context.Context) error {
				if info, _ := durable.StepInfoFrom(ctx); info.Attempt == 1 {
					return errors.New("once")
				}
				return nil
			}, durable.WithRetry(durable.RetryPolicy{Jitter: durable.NoJitter})); err != nil {
				return 0, err
			}
			if _, err := durable.CreateCallback[int](ctx, "cb", durable.WithTimeout(time.Hour)); err != nil {
				return 0, err
			}
			return 1, durable.Wait(ctx, "w", time.Minute)
		})
		busy := durable.Define("busy", func(ctx *durable.Context, _ int) (int, error) { time.Sleep(time.Hour); return 1, nil })
		b := setupWith(t, durable.Options{Observer: &durable.Observer{
			Event:            func(_ string, ev durable.Event) { look("Observer.Event", ev) },
			ExecutionStarted: func(x durable.ObservedExecution) { look("Observer.ExecutionStarted", x) },
			ExecutionEnded: func(x durable.ObservedExecution, _ durable.ExecutionStatus, at time.Time, _ *durable.Failure) {
				look("Observer.ExecutionEnded", at)
			},
			OperationEnded: func(_ context.Context, _ string, op durable.Operation) { look("Observer.OperationEnded", op) },
		}}, f, busy)
		everything := func(id string) {
			look("Describe", b.describe(id))
			for info, err := range b.engine.Executions(b.ctx, durable.Query{}) {
				require.NoError(t, err)
				look("Executions", info)
			}
			ops, err := b.engine.Operations(b.ctx, id)
			require.NoError(t, err)
			look("Operations", ops)
			for ev := range b.events(id) {
				look("History", ev)
			}
		}
		x := start(b, f, 1, durable.WithExecutionTimeout(24*time.Hour))
		time.Sleep(time.Second)
		everything(x.ID())
		time.Sleep(10 * time.Second)
		_, err := x.Result(b.ctx)
		require.NoError(t, err)
		everything(x.ID())
		y := start(b, busy, 1)
		time.Sleep(10 * time.Minute)
		look("Describe", b.describe(y.ID()))
		time.Sleep(time.Hour)
		mu.Lock()
		defer mu.Unlock()
		for _, where := range []string{"Now", "Context.StartedAt", "Context.Deadline",
			"Describe.StartedAt", "Describe.EndedAt", "Describe.Deadline", "Describe.WakeAt", "Describe.StalledSince", "Executions.StartedAt",
			"Operations.StartedAt", "Operations.EndedAt", "Operations.WakeAt", "History.Time",
			"Observer.Event.Time", "Observer.ExecutionStarted.StartedAt", "Observer.ExecutionEnded", "Observer.OperationEnded.EndedAt"} {
			require.NotZero(t, seen[where], fmt.Sprintf("%s was never looked at: %v", where, seen))
		}
	})
}

// eachTime calls f for the times that v holds.
func eachTime(v reflect.Value, where string, f func(where string, at time.Time)) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		f(where, v.Interface().(time.Time))
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		for i := range v.Len() {
			eachTime(v.Index(i), where, f)
		}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if field := v.Type().Field(i); field.IsExported() {
				eachTime(v.Field(i), where+"."+field.Name, f)
			}
		}
	}
}
