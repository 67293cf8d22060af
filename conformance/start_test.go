package conformance

import (
	"context"
	"encoding/json"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

func TestStart(t *testing.T) {
	t.Parallel()
	for _, store := range stores {
		t.Run(store.name+"/ManyStartsWithOneIDAreOneExecution", func(t *testing.T) {
			store.run(t, func(t *testing.T, w *world) {
				w.start(handleIn(func(w *world, ctx *durable.Context, in int) (int, error) {
					return durable.Call(ctx, "", func(_ context.Context, n int) (int, error) { w.count("steps"); return 2 * n, nil }, in)
				}))
				w.id = "order-42"
				var all sync.WaitGroup
				for range 20 {
					all.Go(func() {
						id, err := w.engine.StartByName(w.ctx, functionName, json.RawMessage(`21`), durable.WithExecutionID(w.id))
						if err == nil && id == w.id {
							w.count("starts")
						}
					})
				}
				all.Wait()
				info := w.untilEnd()
				require.JSONEq(t, `42`, string(info.Result))
				require.Equal(t, 20, w.counted("starts"))
				require.Equal(t, 1, w.counted("steps"))
				require.Equal(t, []string{"ExecutionStarted", "StepStarted 1", "StepSucceeded 1 = 42", "InvocationCompleted", "ExecutionSucceeded = 42"}, lines(w.history()))
			})
		})
	}
}
