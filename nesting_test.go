package durable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// nested is an array so many levels deep.
func nested(levels int) json.RawMessage {
	return json.RawMessage(strings.Repeat("[", levels) + strings.Repeat("]", levels))
}

// bottomless holds what is deeply nested.
type bottomless struct{ At any }

func (*bottomless) Error() string { return "deep" }

// TestNesting: what can be recorded can be told, and taken elsewhere.
func TestNesting(t *testing.T) {
	t.Parallel()
	f := durable.Define("f", func(ctx *durable.Context, in json.RawMessage) (json.RawMessage, error) {
		out, err := durable.Step(ctx, "s", func(context.Context) (json.RawMessage, error) { return in, nil })
		if err != nil {
			return nil, err
		}
		var deep any
		if err := json.Unmarshal(in, &deep); err != nil {
			return nil, err
		}
		for i, err := range []error{
			&durable.Failure{Type: "T", Data: in},
			fmt.Errorf("x: %w", &durable.Failure{Type: "T", Data: in}),
			&bottomless{deep},
			&numbered{1, &durable.Failure{Type: "T", Data: in}},
			&numbered{1, &durable.Failure{Type: "T", Data: json.RawMessage("{not JSON")}},
			&numbered{1, &numbered{2, &bottomless{deep}}},
		} {
			if durable.Do(ctx, fmt.Sprint("fails ", i), func(context.Context) error { return durable.Permanent(err) }) == nil {
				return nil, errors.New("it has not failed")
			}
		}
		cb, err := durable.CreateCallback[json.RawMessage](ctx, "cb")
		if err != nil {
			return nil, err
		}
		if _, err := cb.Await(ctx); !errors.Is(err, durable.ErrCallbackFailed) {
			return nil, fmt.Errorf("a callback that was failed: %w", err)
		}
		return out, durable.Wait(ctx, "w", time.Hour)
	})
	for _, levels := range []int{1, 9000, 9499, 9500, 9501, 9990, 9999, 10_000} {
		t.Run(fmt.Sprint(levels), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opts := durable.Options{Errors: []error{&bottomless{}, &numbered{}}, ParkFor: -1}
				b := setupWith(t, opts, f)
				value := nested(levels)
				x := start(b, f, value)
				synctest.Wait()
				require.NoError(t, b.engine.FailCallback(b.ctx, callbacksOf(b, x.ID())[0], durable.Failure{Type: "T", Data: value}))
				check := func(what string, v any) {
					data, err := json.Marshal(v)
					require.NoError(t, err, what)
					var back any
					require.NoError(t, json.Unmarshal(data, &back), what)
				}
				var last *bundle
				for range 3 { // it goes on in another engine, twice
					time.Sleep(time.Minute)
					r, err := b.engine.Recording(b.ctx, x.ID())
					require.NoError(t, err)
					data, err := json.Marshal(map[string]any{"recording": r})
					require.NoError(t, err)
					var in struct{ Recording *durable.Recording }
					require.NoError(t, json.Unmarshal(data, &in))
					last = setupWith(t, opts, f)
					_, err = last.engine.Import(b.ctx, in.Recording)
					require.NoError(t, err)
					b = last
				}
				got, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
				require.NoError(t, err)
				require.Equal(t, string(value), string(got))
				list := []durable.ExecutionInfo{}
				for info, err := range b.engine.Executions(b.ctx, durable.Query{}) {
					require.NoError(t, err)
					list = append(list, info)
				}
				require.Len(t, list, 1)
				check("executions", map[string]any{"executions": list})
				ops, err := b.engine.Operations(b.ctx, x.ID())
				require.NoError(t, err)
				check("operations", map[string]any{"operations": ops})
				var events []durable.Event
				for ev, err := range b.engine.History(b.ctx, x.ID()) {
					require.NoError(t, err)
					events = append(events, ev)
				}
				check("history", map[string]any{"events": events})
				result, err := b.engine.ResultJSON(b.ctx, x.ID())
				require.NoError(t, err)
				require.Equal(t, string(value), string(result))
				if levels <= 9500 {
					require.Equal(t, string(value), string(list[0].Result), "it is shown as it is")
				} else {
					var text string
					require.NoError(t, json.Unmarshal(list[0].Result, &text))
					require.Equal(t, string(value), text, "it is shown as a string")
				}
			})
		})
	}

	t.Run("TooDeepToBeRead", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t, f)
			_, err := f.Start(b.ctx, b.engine, nested(10_001))
			require.ErrorIs(t, err, durable.ErrCodec)
		})
	})
}
