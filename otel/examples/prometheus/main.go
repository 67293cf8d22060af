// Command prometheus runs orders on a durable engine and exports its metrics:
//
//	go run ./examples/prometheus -addr 127.0.0.1:9464
//	curl 127.0.0.1:9464/metrics
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/durable-go/durable"
	durableotel "github.com/durable-go/durable/otel"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:9464", "where /metrics is served")
	db := flag.String("db", filepath.Join(os.TempDir(), "durable-prometheus.db"), "file of the engine")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	l, err := net.Listen("tcp", *addr)
	if err == nil {
		log.Printf("metrics at http://%s/metrics", l.Addr())
		err = run(ctx, l, *db)
	}
	if err != nil {
		log.Fatal(err)
	}
}

var charge = durable.Define("charge", func(ctx *durable.Context, amount int) (int, error) {
	return durable.Step(ctx, "card", func(context.Context) (int, error) {
		if rand.IntN(10) == 0 {
			return 0, errors.New("the bank does not answer")
		}
		return amount, nil
	}, durable.WithRetry(durable.RetryPolicy{Initial: 50 * time.Millisecond, MaxAttempts: 3}))
})

var order = durable.Define("order", func(ctx *durable.Context, amount int) (int, error) {
	if err := durable.Do(ctx, "reserve", func(context.Context) error {
		if rand.IntN(20) == 0 {
			return durable.Permanent(errors.New("sold out"))
		}
		return nil
	}); err != nil {
		return 0, err
	}
	if err := durable.Wait(ctx, "cool-off", time.Duration(1+rand.IntN(300))*time.Millisecond); err != nil {
		return 0, err
	}
	return durable.Invoke(ctx, "pay", charge, amount)
})

// run serves the metrics on l and starts an order now and then, until ctx ends.
func run(ctx context.Context, l net.Listener, db string) (err error) {
	registry := prometheus.NewRegistry()
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry))
	if err != nil {
		return err
	}
	telemetry, err := durableotel.New(durableotel.Options{
		MeterProvider:  metric.NewMeterProvider(metric.WithReader(exporter)),
		TracerProvider: tracenoop.NewTracerProvider(),
	})
	if err != nil {
		return err
	}
	engine, err := durable.Open(db, &durable.Options{
		Functions: []durable.Definition{order, charge},
		Observer:  telemetry.Observer(),
		ParkFor:   -1, // leave memory at each wait, so that there are replays to see
	})
	if err != nil {
		return err
	}
	stop, err := telemetry.Watch(engine)
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()

	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for ctx.Err() == nil && err == nil {
		select {
		case <-ctx.Done():
		case err = <-served:
		case <-ticker.C:
			if _, err = order.Start(ctx, engine, rand.IntN(100)); errors.Is(err, context.Canceled) {
				err = nil
			}
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err != nil {
		err = fmt.Errorf("serve: %w", err)
	}
	return errors.Join(err, server.Shutdown(last), stop(), engine.Shutdown(last))
}
