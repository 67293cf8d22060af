package durableotel

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"strconv"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// IDGenerator is for sdktrace.WithIDGenerator: spans of executions and operations get
// the IDs that derive from their execution, all others those of next; nil: random ones.
func IDGenerator(next sdktrace.IDGenerator) sdktrace.IDGenerator {
	if next == nil {
		next = randomIDs{}
	}
	return generator{next}
}

type generator struct{ next sdktrace.IDGenerator }

// idsKey is under which the context of one call of Tracer.Start has the IDs of its span.
type idsKey struct{}

type ids struct {
	trace trace.TraceID
	span  trace.SpanID
}

func (g generator) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if want, ok := ctx.Value(idsKey{}).(ids); ok {
		return want.trace, want.span
	}
	return g.next.NewIDs(ctx)
}

func (g generator) NewSpanID(ctx context.Context, traceID trace.TraceID) trace.SpanID {
	if want, ok := ctx.Value(idsKey{}).(ids); ok && want.trace == traceID {
		return want.span
	}
	return g.next.NewSpanID(ctx, traceID)
}

type randomIDs struct{}

func (randomIDs) NewIDs(ctx context.Context) (t trace.TraceID, s trace.SpanID) {
	for !t.IsValid() {
		rand.Read(t[:])
	}
	return t, randomIDs{}.NewSpanID(ctx, t)
}

func (randomIDs) NewSpanID(context.Context, trace.TraceID) (s trace.SpanID) {
	for !s.IsValid() {
		rand.Read(s[:])
	}
	return s
}

// traceID is that of the trace of an execution. It is hashed, as the incarnation is part
// of callbacks' addresses.
func traceID(incarnation [16]byte) (id trace.TraceID) {
	sum := sha256.Sum256(append([]byte("trace "), incarnation[:]...))
	copy(id[:], sum[:])
	id[0] |= 1 // not all zero
	return id
}

// spanID is that of the span of an operation, or with "" of the execution.
func spanID(incarnation [16]byte, operationID string) (id trace.SpanID) {
	sum := sha256.Sum256(append(append([]byte("span "), incarnation[:]...), strconv.Quote(operationID)...))
	copy(id[:], sum[:])
	id[0] |= 1
	return id
}
