package pgstore_test

import (
	"context"
	"encoding/binary"
	"log/slog"
	"testing"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/stretchr/testify/require"
)

// readies finds in what a server says how often it is ready for the next message: the
// round trips that its clients have waited for.
type readies struct {
	head []byte
	skip int
}

func (r *readies) count(b []byte) (n int64) {
	for len(b) > 0 {
		if r.skip > 0 {
			m := min(r.skip, len(b))
			r.skip -= m
			b = b[m:]
			continue
		}
		m := min(5-len(r.head), len(b))
		r.head = append(r.head, b[:m]...)
		b = b[m:]
		if len(r.head) < 5 {
			return n
		}
		if r.head[0] == 'Z' {
			n++
		}
		r.skip = int(binary.BigEndian.Uint32(r.head[1:])) - 4
		r.head = r.head[:0]
	}
	return n
}

var oneStep = durable.Define("one-step", func(ctx *durable.Context, n int) (int, error) {
	return durable.Step(ctx, "s", func(context.Context) (int, error) { return n, nil })
})

var signalled = durable.Define("signalled", func(ctx *durable.Context, n int) (int, error) {
	c, err := durable.CreateCallback[int](ctx, "c")
	if err != nil {
		return 0, err
	}
	if _, err := c.Await(ctx); err != nil {
		return 0, err
	}
	return durable.Step(ctx, "s", func(context.Context) (int, error) { return n, nil })
})

var invoking = durable.Define("invoking", func(ctx *durable.Context, n int) (int, error) {
	return durable.Invoke(ctx, "i", oneStep, n)
})

// TestTurns counts the messages that something takes, in the two processes together: each
// is one whose answer somebody waits for. A creation has one for its number, if the last
// one was too long ago. What it takes beyond the numbers here is needless.
func TestTurns(t *testing.T) {
	c := need(t)
	if *throughBouncer {
		t.Skip("PgBouncer knows no names of connections")
	}
	const times = 20
	type process struct {
		*proxy
		*durable.Engine
	}
	start := func(t *testing.T, schema string, park time.Duration, functions ...durable.Definition) process {
		quiet := slog.New(slog.DiscardHandler)
		p := startProxy(t, c)
		s := openAt(t, p.url(), schema, pgstore.Options{Poll: time.Hour, Lease: time.Hour, Logger: quiet})
		e, err := durable.New(s, &durable.Options{Functions: functions, Logger: quiet, ParkFor: park})
		require.NoError(t, err)
		t.Cleanup(func() { e.Close() })
		return process{p, e}
	}
	run := func(t *testing.T, e *durable.Engine, f *durable.Function[int, int], i int) {
		v, err := f.Run(t.Context(), e, i)
		require.NoError(t, err)
		require.Equal(t, i, v)
	}
	// signal starts an execution that waits, and returns what goes on with it; with b,
	// when it is out of b's memory.
	signal := func(t *testing.T, a, b process, i int) (goOn func()) {
		x, err := signalled.Start(t.Context(), a.Engine, i)
		require.NoError(t, err)
		id, err := a.CallbackID(t.Context(), x.ID(), "c")
		require.NoError(t, err)
		if b.Engine != nil {
			require.Eventually(t, func() bool {
				info, err := b.Describe(t.Context(), x.ID())
				return err == nil && !info.Resident
			}, patience, time.Millisecond)
		}
		return func() {
			require.NoError(t, a.SucceedCallback(t.Context(), id, i))
			v, err := x.Result(t.Context())
			require.NoError(t, err)
			require.Equal(t, i, v)
		}
	}
	for name, test := range map[string]struct {
		park time.Duration
		a, b []durable.Definition // what each process has; no b: it is alone
		do   func(t *testing.T, a, b process, i int) (goOn func())
		most float64
	}{
		"OneStep": {a: []durable.Definition{oneStep}, most: 1 + 2, do: func(t *testing.T, a, b process, i int) func() {
			return func() { run(t, a.Engine, oneStep, i) }
		}},
		"StartedElsewhere": {b: []durable.Definition{oneStep}, most: 1 + 8, do: func(t *testing.T, a, b process, i int) func() {
			return func() { run(t, a.Engine, oneStep, i) }
		}},
		"Invoke": {a: []durable.Definition{invoking}, b: []durable.Definition{oneStep}, most: 2 + 15, do: func(t *testing.T, a, b process, i int) func() {
			return func() { run(t, a.Engine, invoking, i) }
		}},
		"Signal": {park: time.Hour, b: []durable.Definition{signalled}, most: 9, do: func(t *testing.T, a, b process, i int) func() {
			return signal(t, a, process{}, i)
		}},
		"SignalAlone": {park: time.Hour, a: []durable.Definition{signalled}, most: 3, do: func(t *testing.T, a, b process, i int) func() {
			return signal(t, a, process{}, i)
		}},
		"SignalSuspendedAlone": {park: -1, a: []durable.Definition{signalled}, most: 7, do: func(t *testing.T, a, b process, i int) func() {
			return signal(t, a, a, i)
		}},
		"SignalSuspended": {park: -1, b: []durable.Definition{signalled}, most: 10, do: func(t *testing.T, a, b process, i int) func() {
			return signal(t, a, b, i)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			schema := c.Schema()
			a := start(t, schema, test.park, test.a...)
			turns := a.turns.Load
			var b process
			if test.b != nil {
				b = start(t, schema, test.park, test.b...)
				turns = func() int64 { return a.turns.Load() + b.turns.Load() }
			}
			test.do(t, a, b, 0)()
			var all []func()
			for i := range times {
				all = append(all, test.do(t, a, b, i))
			}
			before := turns()
			for _, goOn := range all {
				goOn()
			}
			each := float64(turns()-before) / times // what goes on behind the first and the last one may differ
			t.Logf("%.2f messages each", each)
			require.LessOrEqual(t, each, test.most+0.5)
		})
	}
}
