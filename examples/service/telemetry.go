package main

import (
	"context"
	"errors"
	"net/http"
	"os"

	durableotel "github.com/durable-go/durable/otel"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// telemetry is what the outside learns of the engine: metrics that Prometheus fetches,
// and traces that are sent if the usual variables of OpenTelemetry say where to.
type telemetry struct {
	*durableotel.Telemetry
	metrics  http.Handler
	shutdown func(context.Context) error
}

func newTelemetry(ctx context.Context) (*telemetry, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo())
	if err != nil {
		return nil, err
	}
	meters := metric.NewMeterProvider(metric.WithReader(exporter))
	t := &telemetry{
		metrics:  promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
		shutdown: meters.Shutdown,
	}
	opts := durableotel.Options{MeterProvider: meters, TracerProvider: noop.NewTracerProvider(), OperationNames: true}
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "" {
		spans, err := otlptracehttp.New(ctx)
		if err != nil {
			return nil, err
		}
		tracers := trace.NewTracerProvider(trace.WithBatcher(spans), trace.WithIDGenerator(durableotel.IDGenerator(nil)))
		opts.TracerProvider = tracers
		t.shutdown = func(ctx context.Context) error { return errors.Join(tracers.Shutdown(ctx), meters.Shutdown(ctx)) }
	}
	t.Telemetry, err = durableotel.New(opts)
	return t, err
}
