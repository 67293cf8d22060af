package pgstore

import (
	"context"
	"errors"
	"net"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// When pgx stops waiting for a session it asks the server, over another connection, to give
// up what the session does. If that is a commit which waits for its standby, the server
// makes it without: everybody reads then what was acknowledged to nobody, and what a
// failover undoes. So a session that commits is never asked. What it waits for beside that,
// locks, it gives up by itself (lock_timeout).

// asking says whether a session may be asked to give up.
type asking struct {
	dial   pgconn.DialFunc
	closed atomic.Bool
}

// ask has a session that is made with a configuration be asked only as long as the answer's
// closed is not set: pgx dials it, and again to ask.
func ask(config *pgx.ConnConfig) *asking {
	a := &asking{dial: config.DialFunc}
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if a.closed.Load() {
			return nil, errors.New("a session that commits is not asked to give up")
		}
		return a.dial(ctx, network, address)
	}
	return a
}

// askingKey is where a session of a pool has it.
const askingKey = "durable.asking"

// askEach is ask for each session of a pool that is made with a configuration.
func askEach(before func(context.Context, *pgx.ConnConfig) error) func(context.Context, *pgx.ConnConfig) error {
	return func(ctx context.Context, config *pgx.ConnConfig) error {
		if before != nil {
			if err := before(ctx, config); err != nil {
				return err
			}
		}
		a, after := ask(config), config.AfterConnect
		config.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
			conn.CustomData()[askingKey] = a
			if after == nil {
				return nil
			}
			return after(ctx, conn)
		}
		return nil
	}
}

// committing has a session of a pool not be asked until the answer is called.
func committing(conn *pgx.Conn) (over func()) {
	a, ok := conn.PgConn().CustomData()[askingKey].(*asking)
	if !ok {
		return func() {}
	}
	a.closed.Store(true)
	return func() { a.closed.Store(false) }
}
