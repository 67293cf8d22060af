package pgstore_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/stretchr/testify/require"
)

// oneBuffer is a codec that uses the same bytes again and again, and changes those that
// it gets. What is encoded here is encoded one after another.
type oneBuffer struct {
	mu  sync.Mutex
	buf []byte
}

func (*oneBuffer) Name() string { return "one buffer" }

func (o *oneBuffer) Encode(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.buf)
	o.buf = append(o.buf[:0], data...)
	return o.buf, err
}

func (o *oneBuffer) Decode(data []byte, v any) error {
	defer clear(data)
	return json.Unmarshal(append([]byte{}, data...), v)
}

// inPlace is a sealer that works in the bytes that it gets.
type inPlace struct{}

func (inPlace) turn(data []byte) ([]byte, error) {
	for i := range data {
		data[i] ^= 0x55
	}
	return data, nil
}
func (s inPlace) Seal(_, plain []byte, _ durable.Place) ([]byte, error)  { return s.turn(plain) }
func (s inPlace) Open(_, sealed []byte, _ durable.Place) ([]byte, error) { return s.turn(sealed) }

// TestBytesAreOfWhomTheyWereGivenTo: what the user's code does later with bytes that it was
// given, or has given, changes no record.
func TestBytesAreOfWhomTheyWereGivenTo(t *testing.T) {
	c := need(t)
	schema := c.Schema()
	f := durable.Define("f", func(ctx *durable.Context, in string) (string, error) {
		a, err := durable.Step(ctx, "a", func(context.Context) (string, error) { return "a of " + in, nil })
		if err != nil {
			return "", err
		}
		b, err := durable.WaitForCallback[string](ctx, "b", func(ctx context.Context, id string) error {
			info, _ := durable.StepInfoFrom(ctx)
			buf := json.RawMessage(`"payload"`)
			defer clear(buf)
			return info.Engine.SucceedCallback(ctx, id, buf)
		})
		if err != nil {
			return "", err
		}
		return a + ", " + b, durable.Wait(ctx, "sleep", 50*time.Millisecond)
	})
	quiet := slog.New(slog.DiscardHandler)
	opts := &durable.Options{Functions: []durable.Definition{f}, Codec: new(oneBuffer), Sealer: inPlace{}, Logger: quiet, ParkFor: -1,
		Observer: &durable.Observer{Event: func(_ string, ev durable.Event) { clear(ev.Input); clear(ev.Result) }}}
	e, err := durable.New(open(t, schema, pgstore.Options{Logger: quiet}), opts)
	require.NoError(t, err)
	defer e.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, in := range []string{"one", "another"} {
		out, err := f.Run(ctx, e, in, durable.WithExecutionID(in))
		require.NoError(t, err)
		require.Equal(t, "a of "+in+", payload", out)
		for range 2 {
			info, err := e.Describe(ctx, in)
			require.NoError(t, err)
			require.Equal(t, `"`+in+`"`, string(info.Input))
			require.Equal(t, `"`+out+`"`, string(info.Result))
			clear(info.Input)
			clear(info.Result)
		}
	}
}
