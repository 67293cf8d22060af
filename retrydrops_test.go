package durable_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// TestRetryForgetsNothing are retries that would do harm if they forgot what happened.
func TestRetryForgetsNothing(t *testing.T) {
	down := func(n *notes, name string, is *bool) func(context.Context) error {
		return func(context.Context) error {
			if *is {
				return durable.Permanent(errors.New(name + " is down"))
			}
			n.add("%s", name)
			return nil
		}
	}
	inBubble(t, "ACompensatedOrderIsNotShippedUnpaid", func(t *testing.T) {
		var n notes
		isDown := true
		f := durable.Define("order", func(ctx *durable.Context, _ int) (string, error) {
			if err := durable.Do(ctx, "charge", down(&n, "charge", new(bool))); err != nil {
				return "", err
			}
			if err := durable.Do(ctx, "ship", down(&n, "ship", &isDown)); err != nil {
				return "", errors.Join(err, durable.Do(ctx.WithoutCancel(), "refund", down(&n, "refund", new(bool))))
			}
			return "shipped", nil
		})
		b := setup(t, f)
		id := start(b, f, 0).ID()
		ended(b, id)
		isDown = false
		_, err := b.engine.Retry(b.ctx, id)
		require.ErrorIs(t, err, durable.ErrWouldDrop)
		refusal, _ := errors.AsType[*durable.DropError](err)
		require.Equal(t, &durable.DropError{ExecutionID: id, Operations: []durable.DroppedOperation{
			{ExecutionID: id, OperationID: "3", Type: "STEP", Name: "refund", Status: durable.OperationSucceeded}}}, refusal)
		require.ErrorContains(t, err, `operation 3 of `+id+`, step "refund", SUCCEEDED`)
		require.Equal(t, 1, b.count(durable.Query{}), "nothing was started")
		again, err := b.engine.RestartFrom(b.ctx, id, "1", durable.WithNewIdempotencyKeys())
		require.NoError(t, err)
		require.JSONEq(t, `"shipped"`, string(ended(b, again).Result))
		require.Equal(t, []string{"charge", "refund", "charge", "ship"}, n.take())
	})

	// A compensation that has not come to its end is what a retry goes on with.
	inBubble(t, "ACompensationThatFailedGoesOn", func(t *testing.T) {
		var n notes
		isDown := true
		f := durable.Define("order", func(ctx *durable.Context, _ int) (string, error) {
			if err := durable.Do(ctx, "ship", down(&n, "ship", &isDown)); err != nil {
				return "", errors.Join(err, durable.Do(ctx, "release", down(&n, "release", new(bool))), durable.Do(ctx, "refund", down(&n, "refund", &isDown)))
			}
			return "shipped", nil
		})
		b := setup(t, f)
		id := start(b, f, 0).ID()
		ended(b, id)
		isDown = false
		again := retry(b, id, "")
		require.Equal(t, durable.ExecutionFailed, ended(b, again).Status)
		require.Equal(t, []string{"release", "refund"}, n.take())
		again = retry(b, again, "release refund")
		require.Equal(t, durable.ExecutionSucceeded, ended(b, again).Status)
	})

	// One whose failure was swallowed may have happened.
	inBubble(t, "ACompensationInDoubt", func(t *testing.T) {
		var n notes
		isDown := true
		f := durable.Define("order", func(ctx *durable.Context, _ int) (string, error) {
			err := durable.Do(ctx, "ship", down(&n, "ship", &isDown))
			if err != nil {
				_ = durable.Do(ctx, "refund", down(&n, "refund", &isDown))
				if err := durable.Wait(ctx, "settle", time.Minute); err != nil {
					return "", err
				}
				_ = durable.NewUUID(ctx)
			}
			return "", err
		})
		b := setup(t, f)
		id := start(b, f, 0).ID()
		ended(b, id)
		retry(b, id, "refund")
	})

	inBubble(t, "AnAnswerAndAnInvoke", func(t *testing.T) {
		var n notes
		isDown := true
		child := durable.Define("child", func(*durable.Context, int) (int, error) { return 1, nil })
		f := durable.Define("order", func(ctx *durable.Context, _ int) (string, error) {
			err := durable.Do(ctx, "ship", down(&n, "ship", &isDown))
			if err != nil {
				_, _ = durable.WaitForCallback[string](ctx, "answered", func(context.Context, string) error { return nil })
				_, _ = durable.CreateCallback[string](ctx, "open")
				_, _ = durable.Invoke(ctx, "undo", child, 0)
			}
			return "", err
		})
		b := setup(t, f, child)
		id := start(b, f, 0).ID()
		time.Sleep(time.Minute)
		b.complete(id, "answered", "yes")
		ended(b, id)
		retry(b, id, "answered answered undo")
	})

	// What was under way at a cancel, or at the timeout of a context, did not come of it.
	for name, timeout := range map[string]bool{"UnderWayAtACancel": false, "UnderWayAtATimeout": true} {
		inBubble(t, name, func(t *testing.T) {
			var n notes
			cut := true
			body := func(name string, heeds bool) func(context.Context) error {
				return func(ctx context.Context) error {
					n.add("%s", name)
					if cut {
						<-ctx.Done()
						if heeds {
							return ctx.Err()
						}
					}
					return nil
				}
			}
			work := func(ctx *durable.Context) (int, error) {
				side := durable.Go(ctx, "side", func(ctx *durable.Context) (int, error) { return 0, durable.Do(ctx, "gives up", body("gives up", true)) })
				if err := durable.Do(ctx, "ends well", body("ends well", false)); err != nil {
					return 0, err
				}
				return side.Await(ctx)
			}
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				if timeout {
					return durable.RunInChildContext(ctx, "child", work, durable.WithTimeout(time.Minute))
				}
				return work(ctx)
			})
			b := setup(t, f)
			id := start(b, f, 0).ID()
			time.Sleep(30 * time.Second)
			if !timeout {
				require.NoError(t, b.engine.Cancel(b.ctx, id, ""))
			}
			require.Equal(t, durable.ExecutionFailed, ended(b, id).Status)
			n.clear()
			cut = false
			again := retry(b, id, "")
			require.Equal(t, durable.ExecutionSucceeded, ended(b, again).Status, "%v", b.history(again))
			require.Equal(t, []string{"gives up"}, n.take())
		})
	}
}
