package main

import (
	"context"
	"fmt"
	"time"
)

// A system is one library on one store. To add one, implement this and name it
// in systems.
type system interface {
	// name is the column's head, short, with the store.
	name() string
	// about says version and settings, for the report.
	about() string
	kind() kind
	// limit is how large a workload this system is given in the full run.
	limit(workload string) limit
	// open opens what is in the folder, or starts afresh there, and runs it.
	open(ctx context.Context, folder string, r residence) (engine, error)
}

// An engine is a system at work.
type engine interface {
	// start begins an execution and returns when it is durable.
	start(ctx context.Context, id string, p program) error
	// result waits for the result of what this engine started. It is the fastest
	// way that the system gives: called when the function is about to return.
	result(ctx context.Context, id string) (int, error)
	// run is start to result in the way that the system's documentation shows.
	run(ctx context.Context, id string, p program) (int, error)
	// token is what signal needs besides the ID, also in another process. The
	// execution is about to wait, or waits.
	token(ctx context.Context, id string) (string, error)
	// signal returns when the signal is durable.
	signal(ctx context.Context, id, token string) error
	// idle waits until all that runs has come to rest in the store.
	idle(ctx context.Context) error
	// durability says how it was checked that commits are flushed. It fails if
	// they are not.
	durability(ctx context.Context) (string, error)
	close() error
}

// A reenterer is an engine that enters the function of all that waits again when
// it is opened. Others enter it when there is something to do.
type reenterer interface{ reenters() }

// A kind is what a system is in the comparison.
type kind string

const (
	ours      kind = "ours"
	reference kind = "reference" // ours, but not durable: compared with nobody
	peer      kind = "peer"      // what a user would take instead
)

// A residence is what happens to an execution that waits.
type residence int

const (
	asConfigured residence = iota // as the library does it by default
	kept                          // it stays in memory
	evicted                       // it leaves memory at once
)

// A limit is the size of a workload for a system; -1: it can't. Zero is the
// workload's own.
type limit struct {
	size int
	why  string
}

func cannot(why string) limit { return limit{-1, why} }

// systems are all that take part, in the order of the table.
func systems(url string) []system {
	if url == "" {
		return []system{boltStore{}, memStore{}, dbosSQLite{}, goWorkflows{}, durableTask{}}
	}
	server := postgres{url}
	return []system{boltStore{}, pgStore{server}, memStore{}, dbosSQLite{}, dbosPostgres{server}, goWorkflows{}, durableTask{}}
}

func systemNamed(name, url string) (system, error) {
	for _, s := range systems(url) {
		if s.name() == name {
			return s, nil
		}
	}
	return nil, fmt.Errorf("there is no system %q", name)
}

// rest is for systems that do not tell when they have come to rest.
func rest(ctx context.Context) error {
	select {
	case <-time.After(500 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
