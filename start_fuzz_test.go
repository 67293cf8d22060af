package durable_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// FuzzStart starts executions by name with any ID and input: each is refused with
// an error that can be read, or ends, and its result is the input.
func FuzzStart(f *testing.F) {
	for _, id := range badIDs {
		if len(id) < 1000 {
			f.Add("echo", id, `{"a": [1, "ä"]}`)
			f.Add(id, "x", id)
		}
	}
	f.Add("echo", "x", `1e400`)
	f.Add("echo", "x", `"\ud800"`)
	f.Add("typed", "y", `{"N": 1, "n": 2}`)
	echo := durable.Define("echo", func(_ *durable.Context, in json.RawMessage) (json.RawMessage, error) { return in, nil })
	typed := durable.Define("typed", func(_ *durable.Context, in struct{ N int }) (int, error) { return in.N, nil })
	e, err := durable.New(memstore.New(), &durable.Options{Functions: []durable.Definition{echo, typed}, Retention: -1, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(f, err)
	f.Cleanup(func() { e.Close() })
	f.Fuzz(func(t *testing.T, function, id, input string) {
		ctx, done := context.WithTimeout(t.Context(), time.Minute)
		defer done()
		started, err := e.StartByName(ctx, function, json.RawMessage(input), durable.WithExecutionID(id))
		if err != nil {
			readable(t, err)
			known := false
			for _, is := range []error{durable.ErrInvalidID, durable.ErrFunctionNotFound, durable.ErrCodec, durable.ErrExecutionExists, durable.ErrPayloadTooLarge} {
				known = known || errors.Is(err, is)
			}
			require.True(t, known, "%v", err)
			return
		}
		require.Equal(t, id, started)
		out, err := e.ResultJSON(ctx, id)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
		if function == "echo" {
			require.NoError(t, err)
			if !strings.HasPrefix(strings.TrimSpace(input), `"base64:`) { // that one is shown behind another "base64:"
				require.Equal(t, decodedJSON(t, []byte(input)), decodedJSON(t, out))
			}
		}
		require.NoError(t, e.Delete(ctx, id))
	})
}

// decodedJSON is a JSON value with its numbers as they are written.
func decodedJSON(t *testing.T, data []byte) (v any) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	require.NoError(t, d.Decode(&v))
	return v
}
