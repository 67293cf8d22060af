package pgstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// What a server, a database or a role is set to decides whether the store keeps what it
// promises. Of each setting that does it is known what follows:
//
//	setting                                  not as it must be
//	server_version                           Open refuses
//	server_encoding                          Open refuses: names are not only ASCII
//	default_transaction_read_only, recovery  Open refuses
//	synchronous_commit = off                 on, in sessions and transactions of the store's own
//	default_transaction_isolation            read committed, in these; where it can't be set,
//	                                         rounds say it, and what collides is made again
//	statement_timeout, transaction_timeout,  none, in these: the store's own patience is the
//	idle_session_timeout                     lease
//	lock_timeout                             the lease, in these, see cancel.go
//	fsync = off                              the log says so
//
// Where sessions can't be set, because somebody else gets them next (Options.NoListen), Open
// refuses synchronous_commit = off, and the log tells of the timeouts.
// Sessions of those who read, and transactions of steps, have the timeouts that they are
// given: whoever asks is told.

// own sets what a session of the store's own needs. Some of it older servers do not have.
const own = `SELECT set_config(name, CASE name WHEN 'synchronous_commit' THEN 'on' WHEN 'default_transaction_isolation' THEN 'read committed' WHEN 'lock_timeout' THEN $1::bigint::text ELSE '0' END, false)
	FROM pg_catalog.pg_settings WHERE CASE name
		WHEN 'synchronous_commit' THEN setting = 'off'
		WHEN 'default_transaction_isolation' THEN setting <> 'read committed'
		WHEN 'lock_timeout' THEN true
		ELSE name IN ('statement_timeout', 'transaction_timeout', 'idle_session_timeout') AND setting <> '0' END`

// keepsCommits is in front of a transaction of a step, which is the body's in all else.
const keepsCommits = `select set_config('synchronous_commit', 'on', true) where current_setting('synchronous_commit') = 'off'`

// oldest is the server's version that is needed.
const oldest = 12

// inspect is what Open looks at.
func (s *Store) inspect(ctx context.Context, conn *pgx.Conn) error {
	var version int
	var encoding, readOnly, commit, fsync, timeouts string
	err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), current_setting('transaction_read_only'),
		current_setting('synchronous_commit'), coalesce(current_setting('fsync', true), ''),
		concat_ws(', ', 'statement_timeout = ' || nullif(current_setting('statement_timeout'), '0'), 'lock_timeout = ' || nullif(current_setting('lock_timeout'), '0'),
			'transaction_timeout = ' || nullif(current_setting('transaction_timeout', true), '0'))`).
		Scan(&version, &encoding, &readOnly, &commit, &fsync, &timeouts)
	if err != nil {
		return err
	}
	switch {
	case version < oldest*10_000:
		return fmt.Errorf("the server is PostgreSQL %d.%d: at least %d is needed", version/10_000, version%10_000, oldest)
	case encoding != "UTF8" && encoding != "SQL_ASCII":
		return fmt.Errorf("the database's encoding is %s, which can't hold every name: make one with CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8'", encoding)
	case readOnly == "on":
		return fmt.Errorf("%w: connect to the primary, or ALTER ROLE … SET default_transaction_read_only = off", errOnlyReads)
	case s.opts.NoListen && commit == "off":
		return errors.New("synchronous_commit is off: a crash of the server would lose what was acknowledged, and with Options.NoListen sessions can't be set: ALTER ROLE … SET synchronous_commit = on")
	}
	if fsync == "off" {
		s.log.Error("durable: fsync is off: if the server's machine fails, the database may be damaged, or lack what was acknowledged (a service that keeps its log elsewhere may have it so)", "schema", s.opts.Schema)
	}
	if s.opts.NoListen && timeouts != "" {
		s.log.Warn("durable: the server ends what the store does after a while, and with Options.NoListen sessions can't be set: what it ends is tried again, but may never be done", "schema", s.opts.Schema, "settings", strings.TrimSpace(timeouts))
	}
	return nil
}
