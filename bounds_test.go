package durable_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// What the library promises to bear, each with a crash in the middle. With -v the
// time and memory it takes are printed; docs/limits.md has them.

var fullBounds = flag.Bool("bounds.full", false, "test the bounds at their full size, one after another")

// sized is the full size, or the smaller one if the full ones are not asked for.
func sized(full, small int) int {
	if *fullBounds {
		return full
	}
	return small
}

// onBothStores runs a test on a machine in memory, and on one with a file.
func onBothStores(t *testing.T, test func(t *testing.T, m func(t *testing.T) *machine)) {
	if !*fullBounds {
		t.Parallel()
	}
	t.Run("Memory", func(t *testing.T) { test(t, newMachine) })
	t.Run("File", func(t *testing.T) {
		test(t, func(t *testing.T) *machine { return newFileMachine(t, false) })
	})
}

// gauge measures what a test takes.
type gauge struct {
	began     time.Time
	allocated uint64
	peak      atomic.Uint64
	disk      int64
	finish    func()
}

func startGauge() *gauge {
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	g := &gauge{began: time.Now(), allocated: before.TotalAlloc}
	done := make(chan struct{})
	var sampler sync.WaitGroup
	sampler.Go(func() {
		for sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}; ; {
			metrics.Read(sample)
			g.peak.Store(max(g.peak.Load(), sample[0].Value.Uint64()))
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	g.finish = func() { close(done); sampler.Wait() }
	return g
}

// measure looks at the machine's file.
func (g *gauge) measure(m *machine) {
	if m.path != "" {
		info, err := os.Stat(m.path)
		require.NoError(m, err)
		g.disk = info.Size()
	}
}

func (g *gauge) report(t *testing.T, note string) {
	took := time.Since(g.began)
	g.finish()
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	const mib = 1 << 20
	t.Logf("%s: %s, peak heap %d MiB, allocated %d MiB, on disk %.1f MiB%s", t.Name(), took.Round(time.Millisecond),
		g.peak.Load()/mib, (after.TotalAlloc-g.allocated)/mib, float64(g.disk)/mib, note)
}

// interrupted runs f to its end, and lets the process die halfway. It returns the
// time from the next start until a body runs again.
func interrupted[O any](t *testing.T, m *machine, f *durable.Function[int, O], h *halfway) (out O, replay time.Duration) {
	b := m.open(durable.Options{}, f)
	x := start(b, f, 0, durable.WithExecutionID("x"))
	<-h.half
	b.store.(*tap).dead.Store(true)
	require.NoError(t, b.engine.Close())
	m.recover()
	began := time.Now()
	h.crashed.Store(true)
	b = m.open(durable.Options{}, f)
	x = f.Attach(b.engine, x.ID())
	<-h.again
	replay = time.Since(began)
	out, err := x.Result(b.ctx)
	require.NoError(t, err)
	return out, replay
}

// halfway counts bodies. The n-th closes half, and is cut off by a crash; the first
// one after that closes again.
type halfway struct {
	n           int64
	calls       atomic.Int64
	crashed     atomic.Bool
	once        sync.Once
	half, again chan struct{}
}

func newHalfway(n int) *halfway {
	return &halfway{n: int64(n), half: make(chan struct{}), again: make(chan struct{})}
}

// pass is called by each body.
func (h *halfway) pass(ctx context.Context) {
	if h.calls.Add(1) == h.n {
		close(h.half)
		<-ctx.Done()
	}
	if h.crashed.Load() && ctx.Err() == nil {
		h.once.Do(func() { close(h.again) })
	}
}

func TestBoundsMap(t *testing.T) {
	for _, concurrency := range []int{0, 100} {
		name := "AllAtOnce"
		var opts []durable.BatchOption
		if concurrency > 0 {
			name, opts = "AHundredAtOnce", []durable.BatchOption{durable.WithMaxConcurrency(concurrency)}
		}
		t.Run(name, func(t *testing.T) {
			onBothStores(t, func(t *testing.T, machine func(t *testing.T) *machine) {
				items := make([]int, sized(100_000, 2000))
				h := newHalfway(len(items) / 2)
				f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
					batch, err := durable.Map(ctx, "map", items, func(ctx *durable.Context, _, i int) (int, error) {
						return durable.Step(ctx, "step", func(ctx context.Context) (int, error) {
							h.pass(ctx)
							return i, nil
						})
					}, opts...)
					if err != nil {
						return 0, err
					}
					for i, v := range batch.Values() {
						if v != i {
							return 0, fmt.Errorf("item %d is %d", i, v)
						}
					}
					return batch.Succeeded(), nil
				})
				g := startGauge()
				m := machine(t)
				out, replay := interrupted(t, m, f, h)
				require.Equal(t, len(items), out)
				g.measure(m)
				g.report(t, fmt.Sprintf(", replay of a half %s, bodies %d", replay.Round(time.Millisecond), h.calls.Load()))
			})
		})
	}
}

func TestBoundsLoop(t *testing.T) {
	onBothStores(t, func(t *testing.T, machine func(t *testing.T) *machine) {
		n := sized(10_000, 500)
		h := newHalfway(n / 2)
		f := durable.Define("f", func(ctx *durable.Context, _ int) (sum int, err error) {
			for range n {
				one, err := durable.Step(ctx, "step", func(ctx context.Context) (int, error) {
					h.pass(ctx)
					return 1, nil
				})
				if err != nil {
					return 0, err
				}
				sum += one
			}
			return sum, nil
		})
		g := startGauge()
		m := machine(t)
		out, replay := interrupted(t, m, f, h)
		require.Equal(t, n, out)
		require.EqualValues(t, n+1, h.calls.Load(), "only the step that was cut off runs twice")
		g.measure(m)
		g.report(t, fmt.Sprintf(", replay of a half %s", replay.Round(time.Millisecond)))
	})
}

func TestBoundsNesting(t *testing.T) {
	for _, depth := range []int{50, sized(500, 100)} {
		t.Run(fmt.Sprint(depth), func(t *testing.T) {
			onBothStores(t, func(t *testing.T, machine func(t *testing.T) *machine) {
				h := newHalfway(depth + depth/2) // on the way up again
				step := func(ctx *durable.Context) (int, error) {
					return durable.Step(ctx, "step", func(ctx context.Context) (int, error) {
						h.pass(ctx)
						return 1, nil
					})
				}
				var nest func(ctx *durable.Context, depth int) (int, error)
				nest = func(ctx *durable.Context, depth int) (int, error) {
					down, err := step(ctx)
					if err != nil || depth == 1 {
						return down, err
					}
					in, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) { return nest(ctx, depth-1) })
					if err != nil {
						return 0, err
					}
					up, err := step(ctx)
					return down + in + up, err
				}
				f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return nest(ctx, depth+1) })
				g := startGauge()
				m := machine(t)
				out, replay := interrupted(t, m, f, h)
				require.Equal(t, 2*depth+1, out)
				g.measure(m)
				g.report(t, fmt.Sprintf(", replay of three quarters %s", replay.Round(time.Millisecond)))
			})
		})
	}
}

func TestBoundsPayload(t *testing.T) {
	const limit = 2 << 20
	onBothStores(t, func(t *testing.T, machine func(t *testing.T) *machine) {
		n := sized(50, 4)
		h := newHalfway(n / 2)
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			for i := range n {
				s, err := durable.Step(ctx, "step", func(ctx context.Context) (string, error) {
					h.pass(ctx)
					return strings.Repeat(string('a'+rune(i%26)), limit-2), nil // and its quotes
				})
				if err != nil || len(s) != limit-2 {
					return "", fmt.Errorf("%d bytes: %w", len(s), err)
				}
			}
			child, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (string, error) {
				return durable.Step(ctx, "step", func(context.Context) (string, error) { return strings.Repeat("z", limit-2), nil })
			})
			if err != nil {
				return "", err
			}
			_, err = durable.Step(ctx, "too large", func(context.Context) (string, error) { return strings.Repeat("x", limit-1), nil }, durable.WithRetry(durable.NoRetry()))
			if !errors.Is(err, durable.ErrPayloadTooLarge) {
				return "", fmt.Errorf("a result that is too large: %w", err)
			}
			return child, nil
		})
		g := startGauge()
		m := machine(t)
		out, replay := interrupted(t, m, f, h)
		require.Len(t, out, limit-2)
		g.measure(m)
		g.report(t, fmt.Sprintf(", replay of a half %s", replay.Round(time.Millisecond)))
	})
}

// TestBoundsYear: each day ends the stay in memory, so each day all days before
// it are replayed.
func TestBoundsYear(t *testing.T) {
	onBothStores(t, func(t *testing.T, machine func(t *testing.T) *machine) {
		days := sized(365, 30)
		var bodies int
		f := durable.Define("f", func(ctx *durable.Context, _ int) (sum int, err error) {
			for range days {
				one, err := durable.Step(ctx, "work", func(context.Context) (int, error) {
					bodies++
					return 1, nil
				})
				if err != nil {
					return 0, err
				}
				sum += one
				if err := durable.Wait(ctx, "day", 24*time.Hour); err != nil {
					return 0, err
				}
			}
			return sum, nil
		})
		g := startGauge()
		defer func() { g.report(t, "") }() // by the real clock
		synctest.Test(t, func(t *testing.T) {
			m := machine(t)
			b := m.open(durable.Options{}, f)
			began := time.Now()
			start(b, f, 0, durable.WithExecutionID("x"))
			time.Sleep(time.Duration(days/2)*24*time.Hour + time.Minute)
			m.kill(b)
			b = m.open(durable.Options{}, f)
			out, err := f.Attach(b.engine, "x").Result(b.ctx)
			require.NoError(t, err)
			require.Equal(t, days, out)
			require.Equal(t, days, bodies)
			require.Equal(t, time.Duration(days)*24*time.Hour, time.Since(began).Truncate(time.Second))
			g.measure(m)
		})
	})
}
