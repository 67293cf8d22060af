package durableotel

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

const scope = "github.com/durable-go/durable/otel"

// Options of New. The zero value of each field is its default.
type Options struct {
	// TracerProvider makes the spans; default otel.GetTracerProvider(). One of the SDK
	// must have been made with sdktrace.WithIDGenerator(durableotel.IDGenerator(nil)).
	// No traces: go.opentelemetry.io/otel/trace/noop.
	TracerProvider trace.TracerProvider
	// MeterProvider makes the instruments; default otel.GetMeterProvider(). No metrics:
	// go.opentelemetry.io/otel/metric/noop.
	MeterProvider metric.MeterProvider
	// ErrorMessages adds the text of errors to spans. It is the text of user code, and
	// may hold what a Sealer hides in the store. Default: only the type of an error.
	ErrorMessages bool
	// OperationNames adds durable.operation.name to metrics of steps: a series for
	// each name, so the names must be few: no IDs in them, nor in WithItemNames.
	OperationNames bool
}

// Telemetry is an Observer that makes traces and metrics. It may serve several engines.
type Telemetry struct {
	opts   Options
	tracer trace.Tracer
	meters
	wrongIDs sync.Once
}

// ErrIDGenerator says that a provider makes spans with other IDs than it was asked for.
var ErrIDGenerator = errors.New("durableotel: the TracerProvider lacks our ID generator: make it with sdktrace.WithIDGenerator(durableotel.IDGenerator(nil))")

// New makes the instruments and checks that the provider gives spans the IDs that they
// must have; ErrIDGenerator if it does not.
func New(opts Options) (*Telemetry, error) {
	if opts.TracerProvider == nil {
		opts.TracerProvider = otel.GetTracerProvider()
	}
	if opts.MeterProvider == nil {
		opts.MeterProvider = otel.GetMeterProvider()
	}
	t := &Telemetry{opts: opts, tracer: opts.TracerProvider.Tracer(scope)}
	probe := durable.ObservedExecution{Incarnation: [16]byte{1}}
	if sc := t.startRoot(&probe).SpanContext(); sc.IsValid() && sc.TraceID() != traceID(probe.Incarnation) {
		return nil, ErrIDGenerator
	}
	var err error
	if t.meters, err = newMeters(opts.MeterProvider.Meter(scope)); err != nil {
		return nil, fmt.Errorf("durableotel: %w", err)
	}
	return t, nil
}

// Observer is for durable.Options. It may be given to any number of engines.
func (t *Telemetry) Observer() *durable.Observer {
	o := &durable.Observer{
		Inject:           inject,
		ExecutionStarted: t.executionStarted,
		ExecutionEnded:   t.executionEnded,
		BeginInvocation:  t.beginInvocation,
		OperationEnded:   t.operationEnded,
		AttemptEnded:     t.attemptEnded,
		Woken:            t.woken,
		Committed:        t.committed,
	}
	if _, none := t.opts.TracerProvider.(noop.TracerProvider); !none {
		o.AttemptStarted = t.attemptStarted
	}
	return o
}

// invocation is what is known of an execution while it is in memory.
type invocation struct {
	durable.ObservedExecution
	root trace.SpanContext // sampled: its spans are made
}

type invocationKey struct{}

func invocationOf(ctx context.Context) *invocation {
	inv, _ := ctx.Value(invocationKey{}).(*invocation)
	return inv
}

func (t *Telemetry) executionStarted(x durable.ObservedExecution) {
	t.started.Add(context.Background(), 1, t.ofFunction(x.Function))
}

func (t *Telemetry) executionEnded(x durable.ObservedExecution, status durable.ExecutionStatus, at time.Time, failure *durable.Failure) {
	set := t.ofStatus(x.Function, string(status))
	t.completed.Add(context.Background(), 1, set)
	t.duration.Record(context.Background(), at.Sub(x.StartedAt).Seconds(), set)
	t.endRoot(&x, status, at, failure)
}

func (t *Telemetry) beginInvocation(ctx context.Context, x durable.ObservedExecution, inv durable.Invocation) context.Context {
	if inv.Replay {
		t.replay.Record(ctx, int64(inv.Records), t.ofFunction(x.Function))
	}
	in := &invocation{ObservedExecution: x, root: t.startRoot(&x).SpanContext()}
	if in.root.IsValid() && in.root.TraceID() != traceID(x.Incarnation) {
		t.wrongIDs.Do(func() { otel.Handle(ErrIDGenerator) }) // a global provider that was set later
		in.root = trace.SpanContext{}
	}
	return trace.ContextWithSpanContext(context.WithValue(ctx, invocationKey{}, in), in.root)
}

func (t *Telemetry) operationEnded(ctx context.Context, _ string, op durable.Operation) {
	in := invocationOf(ctx)
	if in == nil {
		return
	}
	if op.Type == "STEP" {
		t.step.Record(ctx, op.EndedAt.Sub(op.StartedAt).Seconds(), t.ofStep(in.Function, op.Name, string(op.Status)))
	}
	if in.root.IsSampled() {
		t.operation(in, &op)
	}
}

func (t *Telemetry) attemptStarted(ctx context.Context, info durable.StepInfo) context.Context {
	in := invocationOf(ctx)
	if in == nil || !in.root.IsSampled() {
		return nil
	}
	return trace.ContextWithSpan(ctx, t.startAttempt(in, &info))
}

func (t *Telemetry) attemptEnded(ctx context.Context, _ durable.StepInfo, err error) {
	in := invocationOf(ctx)
	if in == nil {
		return
	}
	t.attempts.Add(ctx, 1, t.ofOutcome(in.Function, err == nil))
	if err != nil {
		t.errors.Add(ctx, 1, t.ofError(in.Function, typeOf(err)))
	}
	if in.root.IsSampled() {
		t.endAttempt(trace.SpanFromContext(ctx), err)
	}
}

func (t *Telemetry) woken(function string, late time.Duration) {
	t.wake.Record(context.Background(), late.Seconds(), t.ofFunction(function))
}

func (t *Telemetry) committed(c checkpoint.Commit) {
	t.commit.Record(context.Background(), c.Took.Seconds())
	t.changes.Record(context.Background(), int64(c.Changes))
}
