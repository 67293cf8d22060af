package pgstore

import (
	"log/slog"
	"time"
)

// Options of a store. The zero value is good.
type Options struct {
	// Schema holds the store's tables. Default: "durable".
	Schema string

	// Lease is how long a process owns its executions after it was last heard
	// of. Default: 15 s; at least 300 ms.
	Lease time.Duration

	// Poll is how often the store looks for what no notification has told: work
	// that is due, news, processes that are gone. Default: 1 s.
	Poll time.Duration

	// StepConns bounds the connections for transactions of steps (package pgstep), one
	// for each body that runs. They are made as the pool's are, when they are needed, and
	// not taken from it, so that bodies never keep the store from its work. Default: as
	// many as the pool may have.
	StepConns int32

	// NoListen is for connections that can't LISTEN, as through PgBouncer in
	// transaction mode. What other processes do is then noticed by looking alone.
	NoListen bool

	// NoMigrate leaves the schema as it is. Open fails when it is not of the
	// version that this package needs; see SQL.
	NoMigrate bool

	// Logger gets what nobody else is told. Nobody waits for it, but Close, for a second.
	// Default: slog.Default().
	Logger *slog.Logger
}

const (
	defaultSchema = "durable"
	defaultLease  = 15 * time.Second
	minLease      = 300 * time.Millisecond
	defaultPoll   = time.Second
)

func (o *Options) orDefaults() Options {
	var opts Options
	if o != nil {
		opts = *o
	}
	if opts.Schema == "" {
		opts.Schema = defaultSchema
	}
	if opts.Lease == 0 {
		opts.Lease = defaultLease
	}
	opts.Lease = max(opts.Lease, minLease)
	if opts.Poll <= 0 {
		opts.Poll = defaultPoll
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	return opts
}
