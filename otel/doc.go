// Package durableotel makes OpenTelemetry traces and metrics of durable executions.
//
//	tracers := sdktrace.NewTracerProvider(
//		sdktrace.WithIDGenerator(durableotel.IDGenerator(nil)), // traces need it
//		sdktrace.WithBatcher(exporter))
//	telemetry, err := durableotel.New(durableotel.Options{TracerProvider: tracers, MeterProvider: meters})
//	engine, err := durable.Open("orders.db", &durable.Options{Observer: telemetry.Observer(), …})
//	stop, err := telemetry.Watch(engine) // gauges: what is in memory, suspended, in the store
//
// # Traces
//
// An execution is one trace, however often it is suspended, restarted, or moved to
// another process: the IDs of the trace, of the root span and of the span of each
// operation derive from the execution's incarnation, so whoever ends an operation
// knows them. Each span is made when the outcome is durable, with the times that are
// recorded, and by the process that wrote it; a replay makes none.
//
//	order                             root, from start to final status   → link to who started it
//	├── Step reserve                  an operation, from start to outcome
//	│   ├── attempt 1 (error)         a call of the body
//	│   └── attempt 2
//	│       └── POST /reserve         a span of the body's code
//	├── Wait cool-off
//	└── ChainedInvoke charge          ← link from the trace of the invoked execution
//
// The body's context carries the span of its attempt. An attempt that a crash cut off
// has none; the body's own spans that had ended by then have lost their parent. A trace
// is whole when its execution has ended: the root comes last.
//
// Whether a trace is sampled is asked of the provider's sampler each time the execution
// comes into memory, by starting its root span; only the one who ends the execution
// ends that span, the others are dropped and never exported. Samplers that decide by
// trace ID (the SDK's own) so decide the same in all processes.
//
// Spans hold names, IDs, statuses and types of errors. Inputs, results and the text of
// errors stay out; Options.ErrorMessages adds the text.
package durableotel
