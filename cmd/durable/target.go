package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/boltstore"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/durable-go/durable/durablehttp"
)

// All commands speak HTTP, so that they do the same wherever the executions are: to a
// running program over the network or the socket beside its file, or to an engine in
// this process that has a file or a database open and no functions.

// connect returns a client for what the flags say; close it.
func (f *flags) connect(ctx context.Context) (*client, error) {
	switch {
	case f.addr != "":
		return overNetwork(f.addr)
	case f.store == "":
		return nil, usageError("where are the executions? Give --store FILE, --store postgres://… or --addr URL")
	case isPostgres(f.store):
		return f.overPostgres(ctx)
	default:
		return overFile(ctx, f.store)
	}
}

func isPostgres(store string) bool {
	return strings.HasPrefix(store, "postgres://") || strings.HasPrefix(store, "postgresql://")
}

func overNetwork(addr string) (*client, error) {
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usageError("--addr is a URL like https://host/durable") // not the URL itself: it may hold a password
	}
	c := &client{http: &http.Client{Transport: http.DefaultTransport}, token: os.Getenv("DURABLE_TOKEN"), user: u.User, about: u.Redacted()}
	u.User = nil
	c.base = strings.TrimSuffix(u.String(), "/")
	return c, nil
}

// overFile asks the program that serves the file beside it, else opens the file.
func overFile(ctx context.Context, path string) (*client, error) {
	beside := func(ctx context.Context, _, _ string) (net.Conn, error) { return durablehttp.DialBeside(ctx, path) }
	conn, err := beside(ctx, "", "")
	if err == nil {
		conn.Close()
		return &client{base: "http://durable", http: &http.Client{Transport: &http.Transport{DialContext: beside}}, about: path + " (through the program that has it open)"}, nil
	}
	if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, errors.ErrUnsupported) {
		return nil, &codedError{exitUnreachable, err}
	}
	if _, err := os.Stat(path); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, &codedError{exitNotFound, fmt.Errorf("%s: no such file", path)}
		}
		return nil, &codedError{exitUnreachable, err}
	}
	store, err := boltstore.Open(path, nil)
	if errors.Is(err, durable.ErrLocked) {
		return nil, &codedError{exitUnreachable, fmt.Errorf("%s is open in another process, which does not serve it beside the file: see durablehttp.ServeBeside, or give its --addr", path)}
	} else if err != nil {
		return nil, &codedError{exitUnreachable, err}
	}
	e, err := durable.New(store, engineOptions())
	if err != nil {
		return nil, err
	}
	return inProcess(e, path), nil
}

func (f *flags) overPostgres(ctx context.Context) (*client, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	store, err := pgstore.Open(ctx, f.store, &pgstore.Options{Schema: f.schema, NoMigrate: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, &codedError{exitUnreachable, err}
	}
	e, err := durable.New(store, engineOptions())
	if err != nil {
		return nil, err
	}
	return inProcess(e, redacted(f.store)), nil
}

func redacted(connection string) string {
	if u, err := url.Parse(connection); err == nil {
		return u.Redacted()
	}
	return "the database"
}

// engineOptions are those of an engine that runs nothing and deletes nothing.
func engineOptions() *durable.Options {
	return &durable.Options{Retention: -1, Logger: slog.New(slog.NewTextHandler(newGuard(os.Stderr), &slog.HandlerOptions{Level: slog.LevelWarn}))}
}

// inProcess is a client of an engine in this process.
func inProcess(e *durable.Engine, about string) *client {
	l := newPipeListener()
	server := &http.Server{Handler: durablehttp.Admin(e, &durablehttp.AdminOptions{AllowUnauthenticated: true, Logger: slog.New(slog.DiscardHandler)})}
	go server.Serve(l)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return l.dial(ctx) }
	return &client{
		base:   "http://localhost",
		http:   &http.Client{Transport: &http.Transport{DialContext: dial}},
		about:  about,
		engine: e,
		end: func() error {
			server.Close()
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			return e.Shutdown(ctx)
		},
	}
}

// pipeListener is a listener within the process.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.closed:
		return nil, io.ErrClosedPipe
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "in process", Net: "pipe"} }
