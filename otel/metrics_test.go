package durableotel_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/memstore"
	durableotel "github.com/durable-go/durable/otel"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// collected are the values by name and labels: of a histogram, how many there were.
func collected(t *testing.T, reader *metric.ManualReader) (values map[string]int64, units map[string]string) {
	values, units = map[string]int64{}, map[string]string{}
	var all metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &all))
	for _, s := range all.ScopeMetrics {
		for _, m := range s.Metrics {
			units[m.Name] = m.Unit
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range d.DataPoints {
					values[fmt.Sprint(m.Name, p.Attributes.ToSlice())] = p.Value
				}
			case metricdata.Gauge[int64]:
				for _, p := range d.DataPoints {
					values[fmt.Sprint(m.Name, p.Attributes.ToSlice())] = p.Value
				}
			case metricdata.Histogram[float64]:
				for _, p := range d.DataPoints {
					values[fmt.Sprint(m.Name, p.Attributes.ToSlice())] = int64(p.Count)
				}
			case metricdata.Histogram[int64]:
				for _, p := range d.DataPoints {
					values[fmt.Sprint(m.Name, p.Attributes.ToSlice())] = int64(p.Count)
				}
			default:
				t.Errorf("%s is a %T", m.Name, d)
			}
		}
	}
	return values, units
}

func TestMetrics(t *testing.T) {
	reader := metric.NewManualReader()
	telemetry, err := durableotel.New(durableotel.Options{TracerProvider: noop.NewTracerProvider(), MeterProvider: metric.NewMeterProvider(metric.WithReader(reader)), OperationNames: true})
	require.NoError(t, err)
	f := durable.Define("f", func(ctx *durable.Context, fail bool) (int, error) {
		err := durable.Do(ctx, "try", func(ctx context.Context) error {
			if info, _ := durable.StepInfoFrom(ctx); fail || info.Attempt == 1 {
				return errors.New("no")
			}
			return nil
		}, durable.WithRetry(durable.RetryPolicy{Initial: time.Millisecond, MaxAttempts: 2}))
		return 0, err
	})
	waits := durable.Define("waits", func(ctx *durable.Context, _ int) (int, error) { return 0, durable.Wait(ctx, "long", time.Hour) })
	e, err := durable.Open(filepath.Join(t.TempDir(), "metrics.db"), &durable.Options{Functions: []durable.Definition{f, waits}, Observer: telemetry.Observer(), ParkFor: -1})
	require.NoError(t, err)
	defer e.Close()
	stop, err := telemetry.Watch(e)
	require.NoError(t, err)
	defer stop()
	for range 3 {
		_, err := f.Run(t.Context(), e, false)
		require.NoError(t, err)
	}
	_, err = f.Run(t.Context(), e, true, durable.WithExecutionID("secret-id"))
	require.Error(t, err)
	x, err := waits.Start(t.Context(), e, 0)
	require.NoError(t, err)
	require.NoError(t, e.Stop(t.Context(), x.ID(), ""))

	values, units := collected(t, reader)
	const f1, w = `{"durable.function":"f"}`, `{"durable.function":"waits"}`
	status := func(function, status string) string { return "[" + function + ` {"durable.status":"` + status + `"}]` }
	named := func(status string) string {
		return "[" + f1 + ` {"durable.operation.name":"try"} {"durable.status":"` + status + `"}]`
	}
	for name, n := range map[string]int64{
		"durable.execution.started[" + f1 + "]": 4, "durable.execution.started[" + w + "]": 1,
		"durable.execution.completed" + status(f1, "SUCCEEDED"): 3, "durable.execution.completed" + status(f1, "FAILED"): 1, "durable.execution.completed" + status(w, "STOPPED"): 1,
		"durable.execution.duration" + status(f1, "SUCCEEDED"): 3, "durable.execution.duration" + status(f1, "FAILED"): 1, "durable.execution.duration" + status(w, "STOPPED"): 1,
		"durable.step.duration" + named("SUCCEEDED"): 3, "durable.step.duration" + named("FAILED"): 1,
		`durable.attempts[` + f1 + ` {"durable.outcome":"ok"}]`: 3, `durable.attempts[` + f1 + ` {"durable.outcome":"error"}]`: 5,
		`durable.errors[` + f1 + ` {"error.type":"*errors.errorString"}]`: 5,
		"durable.replay.records[" + f1 + "]":                              4, "durable.attempt.running[]": 0, "durable.execution.stalled[]": 0,
	} {
		require.Equal(t, n, values[name], "%s in %v", name, values)
	}
	require.GreaterOrEqual(t, values["durable.wake.delay["+f1+"]"], int64(8), "four starts, four delays of retries")
	require.Greater(t, values["durable.store.size[]"], int64(1<<15))
	require.Positive(t, values["durable.commit.duration[]"])
	require.Equal(t, values["durable.commit.duration[]"], values["durable.commit.changes[]"])
	for name := range values {
		require.NotContains(t, name, "secret-id")
	}
	require.Equal(t, map[string]string{
		"durable.execution.started": "{execution}", "durable.execution.completed": "{execution}", "durable.execution.duration": "s",
		"durable.execution.resident": "{execution}", "durable.execution.suspended": "{execution}", "durable.execution.stalled": "{execution}",
		"durable.step.duration": "s", "durable.attempts": "{attempt}", "durable.attempt.running": "{attempt}", "durable.errors": "{error}",
		"durable.timer.pending": "{timer}", "durable.wake.delay": "s", "durable.commit.duration": "s", "durable.commit.changes": "{change}",
		"durable.replay.records": "{record}", "durable.store.size": "By",
	}, units)
}

// BenchmarkObserver is an execution of ten steps, observed and not.
func BenchmarkObserver(b *testing.B) {
	f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
		for range 10 {
			if err := durable.Do(ctx, "step", func(context.Context) error { return nil }); err != nil {
				return 0, err
			}
		}
		return 0, nil
	})
	tracers := sdktrace.NewTracerProvider(sdktrace.WithIDGenerator(durableotel.IDGenerator(nil)), sdktrace.WithBatcher(nowhere{}))
	meters := metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))
	for _, c := range []struct {
		name string
		opts *durableotel.Options
	}{
		{"Nobody", nil},
		{"Metrics", &durableotel.Options{TracerProvider: noop.NewTracerProvider(), MeterProvider: meters}},
		{"MetricsAndTraces", &durableotel.Options{TracerProvider: tracers, MeterProvider: meters}},
	} {
		b.Run(c.name, func(b *testing.B) {
			opts := durable.Options{Functions: []durable.Definition{f}}
			if c.opts != nil {
				telemetry, err := durableotel.New(*c.opts)
				require.NoError(b, err)
				opts.Observer = telemetry.Observer()
			}
			e, err := durable.New(memstore.New(), &opts)
			require.NoError(b, err)
			defer e.Close()
			b.ReportAllocs()
			for b.Loop() {
				_, err := f.Run(b.Context(), e, 0)
				require.NoError(b, err)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(10*b.N), "ns/step")
		})
	}
}

type nowhere struct{}

func (nowhere) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return nil }
func (nowhere) Shutdown(context.Context) error                             { return nil }

// notifying is a store that tells others by way of a queue.
type notifying struct {
	checkpoint.Store
	usage float64
}

func (n *notifying) NotificationQueue() float64 { return n.usage }

// TestNotificationQueue is a gauge where there is such a queue, and something in it.
func TestNotificationQueue(t *testing.T) {
	reader := metric.NewManualReader()
	telemetry, err := durableotel.New(durableotel.Options{MeterProvider: metric.NewMeterProvider(metric.WithReader(reader)), TracerProvider: noop.NewTracerProvider()})
	require.NoError(t, err)
	store := &notifying{Store: memstore.New()}
	e, err := durable.New(store, nil)
	require.NoError(t, err)
	defer e.Close()
	stop, err := telemetry.Watch(e)
	require.NoError(t, err)
	defer stop()
	for _, usage := range []float64{0, 0.25, 0} {
		store.usage = usage
		require.Equal(t, usage, e.Stats().NotificationQueue)
		var data metricdata.ResourceMetrics
		require.NoError(t, reader.Collect(t.Context(), &data))
		var got float64
		for _, scope := range data.ScopeMetrics {
			for _, m := range scope.Metrics {
				if m.Name == "durable.store.notification.queue" {
					require.Equal(t, "1", m.Unit)
					got = m.Data.(metricdata.Gauge[float64]).DataPoints[0].Value
				}
			}
		}
		require.Equal(t, usage, got)
	}
}
