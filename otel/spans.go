package durableotel

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/durable-go/durable"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

var w3c propagation.TraceContext

// inject is the W3C context of who starts an execution: traceparent, and behind a space
// tracestate.
func inject(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	w3c.Inject(ctx, carrier)
	return strings.TrimSpace(carrier["traceparent"] + " " + carrier["tracestate"])
}

func extract(text string) trace.SpanContext {
	parent, state, _ := strings.Cut(text, " ")
	return trace.SpanContextFromContext(w3c.Extract(context.Background(), propagation.MapCarrier{"traceparent": parent, "tracestate": state}))
}

// links lead to who started the execution.
func links(x *durable.ObservedExecution) (links []trace.Link) {
	add := func(sc trace.SpanContext, how string) {
		if sc.IsValid() {
			links = append(links, trace.Link{SpanContext: sc, Attributes: []attribute.KeyValue{attribute.String("durable.link", how)}})
		}
	}
	add(extract(x.Trace), "started_by")
	if c := x.Caller; c != nil {
		add(trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID(c.Incarnation), SpanID: spanID(c.Incarnation, c.OperationID), Remote: true}), "invoked_by")
	}
	return links
}

// start starts the span of an operation, or with "" of the execution. The context that
// has its IDs is for this one span alone.
func (t *Telemetry) start(ctx context.Context, x *durable.ObservedExecution, operationID, name string, opts ...trace.SpanStartOption) trace.Span {
	ctx = context.WithValue(ctx, idsKey{}, ids{traceID(x.Incarnation), spanID(x.Incarnation, operationID)})
	_, span := t.tracer.Start(ctx, name, opts...)
	return span
}

func (t *Telemetry) startRoot(x *durable.ObservedExecution) trace.Span {
	return t.start(context.Background(), x, "", x.Function, trace.WithNewRoot(), trace.WithTimestamp(x.StartedAt), trace.WithLinks(links(x)...),
		trace.WithAttributes(functionKey.String(x.Function), attribute.String("durable.execution.id", x.ID)))
}

func (t *Telemetry) endRoot(x *durable.ObservedExecution, status durable.ExecutionStatus, at time.Time, failure *durable.Failure) {
	span := t.startRoot(x)
	if sc := span.SpanContext(); !span.IsRecording() || sc.TraceID() != traceID(x.Incarnation) {
		return
	}
	span.SetAttributes(attribute.String("durable.execution.status", string(status)))
	t.fail(span, failure, at)
	span.End(trace.WithTimestamp(at))
}

// below is the context of spans below that of an operation, or of the root.
func (in *invocation) below(operationID string) context.Context {
	sc := in.root
	if operationID != "" {
		sc = sc.WithSpanID(spanID(in.Incarnation, operationID))
	}
	return trace.ContextWithSpanContext(context.Background(), sc)
}

func (t *Telemetry) operation(in *invocation, op *durable.Operation) {
	attributes := []attribute.KeyValue{functionKey.String(in.Function), attribute.String("durable.execution.id", in.ID),
		attribute.String("durable.operation.id", op.ID), attribute.String("durable.operation.type", op.Type),
		nameKey.String(op.Name), attribute.String("durable.operation.status", string(op.Status))}
	if op.Attempt > 0 {
		attributes = append(attributes, attribute.Int("durable.operation.attempts", op.Attempt))
	}
	if op.InvokedID != "" {
		attributes = append(attributes, attribute.String("durable.invoked.execution.id", op.InvokedID))
	}
	what := op.SubType
	if what == "" {
		what = op.Type
	}
	span := t.start(in.below(op.ParentID), &in.ObservedExecution, op.ID, strings.TrimSpace(what+" "+op.Name), trace.WithTimestamp(op.StartedAt), trace.WithAttributes(attributes...))
	t.fail(span, op.Failure, op.EndedAt)
	span.End(trace.WithTimestamp(op.EndedAt))
}

// startAttempt starts the span of a call of a body. Its ID is random: a body that is
// called again after a crash is another call.
func (t *Telemetry) startAttempt(in *invocation, info *durable.StepInfo) trace.Span {
	_, span := t.tracer.Start(in.below(info.OperationID), "attempt "+strconv.Itoa(info.Attempt), trace.WithAttributes(
		functionKey.String(in.Function), attribute.String("durable.execution.id", in.ID), attribute.String("durable.operation.id", info.OperationID),
		nameKey.String(info.Name), attribute.Int("durable.attempt", info.Attempt)))
	return span
}

func (t *Telemetry) endAttempt(span trace.Span, err error) {
	defer span.End()
	if err == nil {
		return
	}
	failure := &durable.Failure{Type: typeOf(err)}
	if t.opts.ErrorMessages {
		failure.Message = err.Error()
	}
	t.fail(span, failure, time.Now())
}

// fail records an error on a span: its type, and its text if that is asked for.
func (t *Telemetry) fail(span trace.Span, failure *durable.Failure, at time.Time) {
	if failure == nil {
		return
	}
	exception := []attribute.KeyValue{attribute.String("exception.type", failure.Type)}
	text := failure.Type
	if t.opts.ErrorMessages {
		exception = append(exception, attribute.String("exception.message", failure.Message))
		text += ": " + failure.Message
	}
	span.SetAttributes(attribute.String("error.type", failure.Type))
	span.AddEvent("exception", trace.WithTimestamp(at), trace.WithAttributes(exception...))
	span.SetStatus(codes.Error, text)
}

// typeOf is the type of the innermost error. Types are few: they may be labels.
func typeOf(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return fmt.Sprintf("%T", err)
		}
		err = inner
	}
}
