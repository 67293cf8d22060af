package durablehttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// TestRefusedRetries are retries that would do harm: the answer has what the next request
// needs.
func TestRefusedRetries(t *testing.T) {
	t.Parallel()
	var mended atomic.Bool
	ship := func(context.Context) error {
		if mended.Load() {
			return nil
		}
		return durable.Permanent(errors.New("the carrier is down"))
	}
	var keys []string
	key := func(ctx context.Context) error {
		info, _ := durable.StepInfoFrom(ctx)
		keys = append(keys, info.IdempotencyKey)
		return nil
	}
	order := durable.Define("order", func(ctx *durable.Context, _ int) (int, error) {
		if err := durable.Do(ctx, "charge", key); err != nil {
			return 0, err
		}
		err := durable.Do(ctx, "ship", ship)
		if err != nil {
			err = errors.Join(err, durable.Do(ctx, "refund", func(context.Context) error { return nil }))
		}
		return 0, err
	})
	invoked := durable.Define("invoked", func(ctx *durable.Context, _ int) (int, error) { return 0, durable.Do(ctx, "ship", ship) })
	invokes := durable.Define("invokes", func(ctx *durable.Context, _ int) (int, error) { return durable.Invoke(ctx, "i", invoked, 0) })
	d := newDesk(t, nil, order, invoked, invokes)
	defer d.engine.Close()
	for _, id := range []string{"order", "invokes"} {
		d.post("/executions", `{"function":"`+id+`","id":"`+id+`","input":0}`, http.StatusCreated)
		_, err := d.ended(id)
		require.Error(t, err)
	}
	mended.Store(true)
	w := d.do("POST", "/executions/order/retry", "")
	require.Equal(t, http.StatusConflict, w.Code)
	var refusal struct {
		Error, Code string
		Dropped     json.RawMessage
		Retry       string
	}
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &refusal))
	require.Equal(t, "would_drop", refusal.Code)
	require.JSONEq(t, `[{"executionId":"order","operationId":"3","type":"STEP","name":"refund","status":"SUCCEEDED"}]`, string(refusal.Dropped))
	require.NotContains(t, d.log.String(), "/executions/{id}/retry", "nothing was steered")
	_, err := d.ended(d.post("/executions/order/retry", `{"allowDrop":true}`, http.StatusCreated))
	require.NoError(t, err)
	for body, times := range map[string]int{`{"operation":"1"}`: 1, `{"operation":"1","newIdempotencyKeys":true}`: 2} {
		keys = keys[:1]
		_, err = d.ended(d.post("/executions/order/restart", body, http.StatusCreated))
		require.NoError(t, err)
		require.Len(t, keys, 2)
		require.Equal(t, times == 1, keys[0] == keys[1], body)
	}

	var children struct{ Executions []durable.ExecutionInfo }
	d.get("/executions/invokes/children", &children)
	w = d.do("POST", "/executions/"+children.Executions[0].ID+"/retry", "")
	require.Equal(t, http.StatusConflict, w.Code)
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &refusal))
	require.Equal(t, "invoked", refusal.Code)
	require.Equal(t, "invokes", refusal.Retry)
	_, err = d.ended(d.post("/executions/"+refusal.Retry+"/retry", `{"newIdempotencyKeys":true}`, http.StatusCreated))
	require.NoError(t, err)

	recording := d.do("GET", "/executions/order/recording?payloads=true", "").Body.String()
	d.post("/import?id=copy&newIdempotencyKeys=true", recording, http.StatusCreated)
	require.Equal(t, http.StatusBadRequest, d.do("POST", "/import?id=copy2&newIdempotencyKeys=yes", recording).Code)
}
