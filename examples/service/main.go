// Command service is a small shop that embeds the engine: an order API, callbacks, the
// admin API and the console behind a password, a socket beside the file for the durable
// command, metrics, traces, and an end in good order. The README is a walk through it.
//
//	go run . -addr localhost:8080 -db service.db
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/durablehttp"
)

// settings are what flags and the environment say.
type settings struct {
	addr, db, url string
	password      string
}

func main() {
	var s settings
	flag.StringVar(&s.addr, "addr", "localhost:8080", "where to serve; behind a proxy with TLS if others are to reach it")
	flag.StringVar(&s.db, "db", "service.db", "file that keeps everything")
	flag.StringVar(&s.url, "url", "", "of the service as those see it who get its mails; default: that of -addr")
	flag.Parse()
	s.password = os.Getenv("ADMIN_PASSWORD")

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err := run(ctx, s); err != nil {
		slog.Error("the service ends", "error", err)
		os.Exit(1)
	}
}

// run serves until ctx ends, and then ends in good order.
func run(ctx context.Context, s settings) (err error) {
	admin, err := newPassword(s.password)
	if err != nil {
		return err
	}
	telemetry, err := newTelemetry(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, within(5*time.Second, telemetry.shutdown)) }() // last: it exports what the others end

	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	defer l.Close() // when serving has not begun
	if s.url == "" {
		s.url = "http://" + l.Addr().String()
	}

	provider := new(provider)
	payments := newPayments(provider)
	orders := newOrders(payments, s.url)
	engine, err := durable.Open(s.db, &durable.Options{
		Functions: []durable.Definition{orders, payments}, // all that the file may hold executions of
		Errors:    []error{providerError{}},
		Observer:  telemetry.Observer(),
	})
	if err != nil {
		return err
	}
	defer engine.Close() // after Shutdown it does nothing
	unwatch, err := telemetry.Watch(engine)
	if err != nil {
		return err
	}

	server := &http.Server{
		Handler:           routes(engine, &shop{engine, orders}, provider, admin, telemetry.metrics),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	leaveSocket := serveBeside(ctx, engine, s.db)
	defer leaveSocket()
	slog.Info("the service is ready", "url", s.url, "db", s.db)
	fmt.Printf("console: %s/console/  %s\n", s.url, admin.hint)

	select {
	case err = <-served:
	case <-ctx.Done():
		slog.Info("the service stops")
	}
	// First those who ask, then what runs. Each has its time, so that a request that
	// hangs does not use up that of the engine, which lets running bodies end: what does
	// not end in time runs again at the next start. Nothing is lost either way.
	err = errors.Join(err, within(5*time.Second, server.Shutdown), server.Close())
	leaveSocket()
	err = errors.Join(err, unwatch(), within(20*time.Second, engine.Shutdown))
	slog.Info("the service has stopped")
	return err
}

// within calls f with so much time.
func within(d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return f(ctx)
}

// serveBeside lets the durable command in through a socket beside the file, which this
// process has locked, until the function that it returns is called.
func serveBeside(ctx context.Context, e *durable.Engine, db string) (leave func()) {
	ctx, cancel := context.WithCancel(ctx)
	left := make(chan struct{})
	go func() {
		defer close(left)
		if err := durablehttp.ServeBeside(ctx, e, db, nil); err != nil {
			slog.Warn("durable --store can't reach this process", "error", err)
		}
	}()
	return func() {
		cancel()
		<-left
	}
}
