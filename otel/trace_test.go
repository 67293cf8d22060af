package durableotel_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/memstore"
	durableotel "github.com/durable-go/durable/otel"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

const secret = "4111-1111"

// process is an engine and what it exports, until it is killed: then its store is
// taken as it is, and its engine writes no more.
type process struct {
	*testing.T
	engine *durable.Engine
	store  *memstore.Store
	tracer trace.Tracer
	alive  *exporter
}

// exporter exports nothing any more once its process is dead.
type exporter struct {
	sdktrace.SpanExporter
	dead atomic.Bool
}

func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if e.dead.Load() {
		return nil
	}
	return e.SpanExporter.ExportSpans(ctx, spans)
}

func begin(t *testing.T, to sdktrace.SpanExporter, store *memstore.Store, opts durableotel.Options, functions ...durable.Definition) *process {
	t.Helper()
	alive := &exporter{SpanExporter: to}
	provider := sdktrace.NewTracerProvider(sdktrace.WithIDGenerator(durableotel.IDGenerator(nil)), sdktrace.WithSyncer(alive))
	if opts.TracerProvider == nil {
		opts.TracerProvider = provider
	}
	telemetry, err := durableotel.New(opts)
	require.NoError(t, err)
	engine, err := durable.New(store, &durable.Options{Functions: functions, Observer: telemetry.Observer(), ParkFor: -1})
	require.NoError(t, err)
	t.Cleanup(func() { engine.Close() })
	return &process{t, engine, store, provider.Tracer("test"), alive}
}

// crash returns what a disk would hold if the process died now.
func (p *process) crash() *memstore.Store {
	p.Helper()
	data, err := p.store.Snapshot()
	require.NoError(p, err)
	p.alive.dead.Store(true)
	require.NoError(p, p.engine.Close())
	store, err := memstore.Restore(data)
	require.NoError(p, err)
	return store
}

func named(spans tracetest.SpanStubs, name string) tracetest.SpanStub {
	for _, s := range spans {
		if s.Name == name {
			return s
		}
	}
	panic("no span " + name + " in " + fmt.Sprint(names(spans)))
}

func names(spans tracetest.SpanStubs) (names []string) {
	for _, s := range spans {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return names
}

// journey is an execution with a bit of everything, and the function it invokes. The
// first attempt of its step hangs when it is told to.
func journey(tracer func() trace.Tracer, hang chan struct{}) (*durable.Function[string, string], []durable.Definition) {
	charge := durable.Define("charge", func(ctx *durable.Context, in string) (string, error) {
		return durable.Call(ctx, "card", func(_ context.Context, s string) (string, error) { return s, nil }, in)
	})
	order := durable.Define("order", func(ctx *durable.Context, in string) (string, error) {
		_, err := durable.RunInChildContext(ctx, "prepare", func(ctx *durable.Context) (string, error) {
			return durable.Step(ctx, "reserve", func(ctx context.Context) (string, error) {
				_, span := tracer().Start(ctx, "inside")
				defer span.End()
				if info, _ := durable.StepInfoFrom(ctx); info.Attempt == 1 {
					return "", errors.New("no room for " + secret)
				}
				return in, nil
			}, durable.WithRetry(durable.RetryPolicy{Initial: time.Millisecond, MaxAttempts: 3}))
		})
		if err != nil {
			return "", err
		}
		if err := durable.Do(ctx, "hang", func(ctx context.Context) error {
			select {
			case hang <- struct{}{}:
				<-ctx.Done()
				return ctx.Err()
			default:
				return nil
			}
		}); err != nil {
			return "", err
		}
		if _, err := durable.WaitForCallback[string](ctx, "approval", func(context.Context, string) error { return nil }); err != nil {
			return "", err
		}
		return durable.Invoke(ctx, "pay", charge, in)
	})
	return order, []durable.Definition{order, charge}
}

func TestTrace(t *testing.T) {
	t.Run("IsOneOverCrashesAndSuspensions", func(t *testing.T) {
		exporter := tracetest.NewInMemoryExporter()
		var p *process
		hang := make(chan struct{})
		order, functions := journey(func() trace.Tracer { return p.tracer }, hang)
		p = begin(t, exporter, memstore.New(), durableotel.Options{}, functions...)
		ctx, request := p.tracer.Start(t.Context(), "request")
		before := time.Now()
		x, err := order.Start(ctx, p.engine, secret, durable.WithExecutionID("order-1"))
		require.NoError(t, err)
		request.End()

		<-hang // its second step runs: the process dies
		store := p.crash()
		p = begin(t, exporter, store, durableotel.Options{}, functions...)
		callback, err := p.engine.CallbackID(t.Context(), x.ID(), "approval")
		require.NoError(t, err)
		for p.engine.Stats().Resident > 0 { // the submitter's outcome may not be durable yet
			runtime.Gosched()
		}
		store = p.crash() // while it waits
		p = begin(t, exporter, store, durableotel.Options{}, functions...)
		require.NoError(t, p.engine.SucceedCallback(t.Context(), callback, secret))
		out, err := order.Attach(p.engine, x.ID()).Result(t.Context())
		require.NoError(t, err)
		require.Equal(t, secret, out)
		require.NoError(t, p.engine.Shutdown(t.Context()))

		spans := exporter.GetSpans()
		require.Equal(t, []string{
			"Callback approval", "ChainedInvoke pay", "RunInChildContext prepare", "Step approval", "Step card", "Step hang", "Step reserve",
			"WaitForCallback approval", "attempt 1", "attempt 1", "attempt 1", "attempt 1", "attempt 2", "charge", "inside", "inside", "order", "request",
		}, names(spans), "each once; the attempt that was cut off has none")
		root, charge := named(spans, "order"), named(spans, "charge")
		ids := map[trace.SpanID]tracetest.SpanStub{}
		for _, s := range spans {
			require.NotContains(t, ids, s.SpanContext.SpanID())
			ids[s.SpanContext.SpanID()] = s
		}
		for _, s := range spans {
			switch s.Name {
			case "request":
				continue
			case "charge", "Step card":
				require.Equal(t, charge.SpanContext.TraceID(), s.SpanContext.TraceID())
			case "attempt 1": // of one of the two
			default:
				require.Equal(t, root.SpanContext.TraceID(), s.SpanContext.TraceID(), s.Name)
			}
			if s.Parent.IsValid() {
				up, ok := ids[s.Parent.SpanID()]
				require.True(t, ok, "%s has a parent that is not there", s.Name)
				require.Equal(t, up.SpanContext.TraceID(), s.SpanContext.TraceID())
				require.False(t, s.StartTime.Before(up.StartTime), "%s begins %s before %s", s.Name, up.StartTime.Sub(s.StartTime), up.Name)
			}
		}
		parent := func(s tracetest.SpanStub) string { return ids[s.Parent.SpanID()].Name }
		require.Equal(t, "attempt 1", parent(named(spans, "inside")))
		require.Equal(t, "RunInChildContext prepare", parent(named(spans, "Step reserve")))
		require.Equal(t, "order", parent(named(spans, "RunInChildContext prepare")))
		require.Equal(t, "WaitForCallback approval", parent(named(spans, "Callback approval")))
		require.False(t, root.Parent.IsValid())
		require.Len(t, root.Links, 1)
		require.Equal(t, request.SpanContext().SpanID(), root.Links[0].SpanContext.SpanID())
		require.Equal(t, request.SpanContext().TraceID(), root.Links[0].SpanContext.TraceID())
		require.Len(t, charge.Links, 1)
		require.Equal(t, named(spans, "ChainedInvoke pay").SpanContext.SpanID(), charge.Links[0].SpanContext.SpanID())
		require.Equal(t, root.SpanContext.TraceID(), charge.Links[0].SpanContext.TraceID())
		info, err := describe(t, store, functions, x.ID())
		require.NoError(t, err)
		require.True(t, root.StartTime.Equal(info.StartedAt) && !root.StartTime.Before(before))
		require.True(t, root.EndTime.Equal(info.EndedAt))
		require.Equal(t, codes.Error, named(spans, "attempt 1").Status.Code)
		for _, s := range spans {
			require.NotContains(t, fmt.Sprintf("%+v", s), secret, "a payload, or the text of an error, in a span")
		}
		t.Logf("2 crashes, %d spans, each once, in 2 traces", len(spans))
	})

	t.Run("EndsOnceByStopAndDeadline", func(t *testing.T) {
		exporter := tracetest.NewInMemoryExporter()
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 0, durable.Wait(ctx, "long", time.Hour) })
		p := begin(t, exporter, memstore.New(), durableotel.Options{}, f)
		stopped, err := f.Start(t.Context(), p.engine, 0)
		require.NoError(t, err)
		require.NoError(t, p.engine.Stop(t.Context(), stopped.ID(), "because of "+secret))
		require.NoError(t, p.engine.Stop(t.Context(), stopped.ID(), "again"))
		late, err := f.Start(t.Context(), p.engine, 0, durable.WithExecutionTimeout(20*time.Millisecond))
		require.NoError(t, err)
		_, err = late.Result(t.Context())
		require.ErrorIs(t, err, durable.ErrTimeout)
		require.NoError(t, p.engine.Shutdown(t.Context()))
		spans := exporter.GetSpans()
		require.Equal(t, []string{"f", "f"}, names(spans))
		require.Equal(t, []string{"Stopped", "Timeout"}, []string{spans[0].Status.Description, spans[1].Status.Description})
		require.NotContains(t, fmt.Sprintf("%+v", spans), secret)
	})

	t.Run("HasTheTextOfErrorsIfAsked", func(t *testing.T) {
		exporter := tracetest.NewInMemoryExporter()
		f := durable.Define("f", func(*durable.Context, int) (int, error) { return 0, errors.New("no luck") })
		p := begin(t, exporter, memstore.New(), durableotel.Options{ErrorMessages: true}, f)
		_, err := f.Run(t.Context(), p.engine, 0)
		require.Error(t, err)
		require.NoError(t, p.engine.Shutdown(t.Context()))
		require.Equal(t, "error: no luck", named(exporter.GetSpans(), "f").Status.Description)
	})

	t.Run("IsSampledAsAWhole", func(t *testing.T) {
		exporter := tracetest.NewInMemoryExporter()
		provider := sdktrace.NewTracerProvider(sdktrace.WithIDGenerator(durableotel.IDGenerator(nil)), sdktrace.WithSyncer(exporter),
			sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(.5))))
		f := durable.Define("f", func(ctx *durable.Context, i int) (int, error) {
			return durable.Call(ctx, "s", func(_ context.Context, i int) (int, error) { return i, nil }, i)
		})
		p := begin(t, exporter, memstore.New(), durableotel.Options{TracerProvider: provider}, f)
		for i := range 200 {
			_, err := f.Run(t.Context(), p.engine, i)
			require.NoError(t, err)
		}
		require.NoError(t, p.engine.Shutdown(t.Context()))
		each := map[trace.TraceID]int{}
		for _, s := range exporter.GetSpans() {
			each[s.SpanContext.TraceID()]++
		}
		require.InDelta(t, 100, len(each), 60)
		for _, n := range each {
			require.Equal(t, 3, n)
		}
	})

	t.Run("NeedsTheIDGenerator", func(t *testing.T) {
		_, err := durableotel.New(durableotel.Options{TracerProvider: sdktrace.NewTracerProvider()})
		require.ErrorIs(t, err, durableotel.ErrIDGenerator)
	})
}

func describe(t *testing.T, store *memstore.Store, functions []durable.Definition, id string) (durable.ExecutionInfo, error) {
	data, err := store.Snapshot()
	require.NoError(t, err)
	again, err := memstore.Restore(data)
	require.NoError(t, err)
	e, err := durable.New(again, &durable.Options{Functions: functions})
	require.NoError(t, err)
	defer e.Close()
	return e.Describe(t.Context(), id)
}
