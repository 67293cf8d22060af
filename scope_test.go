package durable_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// TestTwoCancels: of several cancels that reach a scope the first one is the one that
// counts, on the first run as on replay.
func TestTwoCancels(t *testing.T) {
	// Two scopes, one in the other, and when each is cancelled; the handler's is
	// cancelled from outside. The inner one compensates for ten hours.
	for _, c := range []struct {
		name            string
		outer, inner    time.Duration // timeouts
		cancelled       time.Duration // from outside; 0: never
		seen            error
		outcome, failed string // of the inner scope's operation
	}{
		{"FromOutsideThenItsTimeout", 0, 2 * time.Hour, time.Hour, durable.ErrCanceled, "Canceled", "Timeout"},
		{"ItsTimeoutThenFromOutside", 0, time.Hour, 2 * time.Hour, durable.ErrTimeout, "Timeout", "Timeout"},
		{"FromOutsideThenTheOuterTimeout", 2 * time.Hour, 0, time.Hour, durable.ErrCanceled, "Canceled", ""},
		{"TheOuterTimeoutThenFromOutside", time.Hour, 0, 2 * time.Hour, durable.ErrTimeout, "Timeout", ""},
		{"TheOuterTimeoutThenTheInner", time.Hour, 2 * time.Hour, 0, durable.ErrTimeout, "Timeout", "Timeout"},
		{"TheInnerTimeoutThenTheOuter", 2 * time.Hour, time.Hour, 0, durable.ErrTimeout, "Timeout", "Timeout"},
		{"AllThree", 2 * time.Hour, 3 * time.Hour, time.Hour, durable.ErrCanceled, "Canceled", "Timeout"},
	} {
		bothWays(t, c.name, func(t *testing.T, parkFor time.Duration) {
			var n notes
			scope := func(d time.Duration) []durable.ChildOption {
				if d == 0 {
					return nil
				}
				return []durable.ChildOption{durable.WithTimeout(d)}
			}
			inner := func(ctx *durable.Context) (string, error) {
				err := durable.Wait(ctx, "sleep", 100*time.Hour)
				arm := fmt.Sprint("next ", err)
				if ctx.Context().Err() != nil {
					arm = fmt.Sprint("undo ", context.Cause(ctx.Context()) == c.seen)
				}
				n.add("%s", arm)
				if _, err := durable.Step(ctx.WithoutCancel(), arm, n.body("body")); err != nil {
					return "", err
				}
				for i := range 10 {
					if err := durable.Wait(ctx.WithoutCancel(), "calm down", time.Hour); err != nil {
						return "", err
					}
					if refused := durable.Wait(ctx, "more", time.Hour); !errors.Is(refused, c.seen) {
						return "", fmt.Errorf("refused %d with %w", i, refused)
					}
				}
				return "undone", nil
			}
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				_, err := durable.RunInChildContext(ctx, "outer", func(ctx *durable.Context) (string, error) {
					return durable.RunInChildContext(ctx, "inner", inner, scope(c.inner)...)
				}, scope(c.outer)...)
				return fmt.Sprint(err == nil), durable.Wait(ctx.WithoutCancel(), "end", time.Hour)
			})
			b := setupWith(t, durable.Options{ParkFor: parkFor}, f)
			x := start(b, f, 0)
			if c.cancelled > 0 {
				time.Sleep(c.cancelled)
				b.cancel(x.ID())
			}
			time.Sleep(100 * time.Hour)
			info := b.describe(x.ID())
			require.Nil(t, info.Held)
			require.Equal(t, durable.ExecutionSucceeded, info.Status)
			for _, arm := range n.all() {
				require.Contains(t, []string{"undo true", "body"}, arm)
			}
			require.Equal(t, c.outcome, failureType(b.operation(x.ID(), "1-1-1").Failure))
			require.Equal(t, c.failed, failureType(b.operation(x.ID(), "1-1").Failure))
			checkHistory(b, c.name, x.ID())
		})
	}
}
