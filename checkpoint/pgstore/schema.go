package pgstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// migrations make the schema, each one version of it. $S is the schema's name. One
// that was released is never changed.
var migrations = []string{`
CREATE TABLE $S.process (
	id          bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
	lease_until bigint NOT NULL, -- Unix nanoseconds, as all times; by the database's clock
	round       bigint NOT NULL  -- of the process's last transaction
) WITH (fillfactor = 50);

CREATE SEQUENCE $S.execution_number;

CREATE TABLE $S.execution (
	number             bigint PRIMARY KEY,
	rev                bigint NOT NULL, -- changes with everything that belongs to the execution
	id                 bytea NOT NULL,
	incarnation        bytea NOT NULL,
	function           bytea NOT NULL,
	status             smallint NOT NULL, -- 1 running, 2 succeeded, 3 failed, 4 timed out, 5 stopped
	started_at         bigint NOT NULL,
	ended_at           bigint NOT NULL, -- 0: it is running
	deadline           bigint NOT NULL, -- 0: none
	wake_at            bigint NOT NULL, -- 0: by an event only
	caller_id          bytea, -- null: started from outside
	caller_incarnation bytea,
	caller_operation   bytea,
	caller_number      bigint NOT NULL,
	digest             bytea,
	epoch              bigint NOT NULL,
	owner              bigint, -- process; null: nobody
	lost               boolean NOT NULL,
	cancelled          boolean NOT NULL,
	invoked            boolean NOT NULL,
	callbacks          boolean NOT NULL,
	heartbeats         boolean NOT NULL,
	tail               bigint NOT NULL,
	last_event         bigint NOT NULL,
	inbox_seen         bigint NOT NULL,
	inbox_tail         bigint NOT NULL,
	held_builds        bytea[] NOT NULL,
	held               bytea,
	builds             bytea NOT NULL, -- empty: not held
	queue              bytea NOT NULL, -- of function and builds
	due_at             bigint          -- null: no claim can take it
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX execution_id ON $S.execution (sha256(id));
CREATE INDEX execution_due ON $S.execution (queue, due_at, number) WHERE due_at IS NOT NULL;
CREATE INDEX execution_held ON $S.execution (sha256(function)) WHERE due_at IS NOT NULL AND builds <> '';
CREATE INDEX execution_owner ON $S.execution (owner) WHERE owner IS NOT NULL;
CREATE INDEX execution_caller ON $S.execution (caller_number) WHERE caller_number <> 0 AND status = 1;
CREATE INDEX execution_ended ON $S.execution (ended_at) WHERE status <> 1;

CREATE TABLE $S.journal (
	number    bigint NOT NULL, -- of the execution
	seq       bigint NOT NULL,
	type      smallint NOT NULL,
	operation text NOT NULL,
	at        bigint NOT NULL,
	data      bytea NOT NULL, -- the record in its binary form
	PRIMARY KEY (number, seq)
);

CREATE TABLE $S.inbox (
	number bigint NOT NULL,
	seq    bigint NOT NULL,
	data   bytea NOT NULL,
	PRIMARY KEY (number, seq)
);

CREATE TABLE $S.callback (
	number            bigint NOT NULL,
	operation         bytea NOT NULL,
	timeout_at        bigint NOT NULL, -- 0: never
	heartbeat_timeout bigint NOT NULL, -- 0: none
	heartbeat_at      bigint NOT NULL, -- 0: no heartbeat is awaited
	closed            boolean NOT NULL
);
CREATE UNIQUE INDEX callback_operation ON $S.callback (number, sha256(operation));
CREATE INDEX callback_heartbeat ON $S.callback (number, heartbeat_at) WHERE heartbeat_at <> 0;

-- For people: what is bytes above, as text.
CREATE VIEW $S.executions AS SELECT number, encode(id, 'escape') AS id, encode(function, 'escape') AS function,
	(ARRAY['RUNNING', 'SUCCEEDED', 'FAILED', 'TIMED_OUT', 'STOPPED'])[status] AS status,
	to_timestamp(started_at / 1e9) AS started_at,
	CASE WHEN ended_at <> 0 THEN to_timestamp(ended_at / 1e9) END AS ended_at,
	owner, epoch, tail AS records, builds <> '' AS held
	FROM $S.execution;
`, `
-- Where changes are replicated logically the server refuses UPDATE and DELETE on a table
-- whose rows it can't name. Somebody may have seen to that by hand.
DO $do$ BEGIN
	IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = '$S.callback'::regclass AND contype = 'p') THEN
		ALTER TABLE $S.callback ADD COLUMN id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY;
	END IF;
END $do$;
`, `
-- The queues that builds hold, whatever stands in them. No other index has this expression,
-- nor this condition, so that no other one is taken for it.
DROP INDEX $S.execution_held;
CREATE INDEX execution_held ON $S.execution ((CASE WHEN builds <> '' THEN queue END)) WHERE builds <> '';

-- In an order that one can go on in.
DROP INDEX $S.execution_ended;
CREATE INDEX execution_ended ON $S.execution (ended_at, number) WHERE status <> 1;

-- Each round leaves a dead row of its process. The server finds the living one by going
-- past all that have the same key and can't be removed yet, so the key changes now and then.
ALTER TABLE $S.process ADD COLUMN era bigint NOT NULL DEFAULT 0; -- of its round
ALTER TABLE $S.process DROP CONSTRAINT process_pkey, ADD PRIMARY KEY (id, era);

-- How long the lease is; 0: a program that is older did not say. One that ends later than
-- that from now is from before the server's clock was set back.
ALTER TABLE $S.process ADD COLUMN lease bigint NOT NULL DEFAULT 0;

-- What most executions do not have, or have not got beyond, takes no space: it is null. A rev, an epoch, a tail that is null
-- is 1, a wake_at is due_at, a last_event is tail.
ALTER TABLE $S.execution ALTER ended_at DROP NOT NULL, ALTER deadline DROP NOT NULL, ALTER wake_at DROP NOT NULL,
	ALTER caller_number DROP NOT NULL, ALTER lost DROP NOT NULL, ALTER cancelled DROP NOT NULL, ALTER invoked DROP NOT NULL,
	ALTER callbacks DROP NOT NULL, ALTER heartbeats DROP NOT NULL, ALTER inbox_seen DROP NOT NULL, ALTER inbox_tail DROP NOT NULL,
	ALTER rev DROP NOT NULL, ALTER epoch DROP NOT NULL, ALTER tail DROP NOT NULL, ALTER last_event DROP NOT NULL,
	ALTER held_builds DROP NOT NULL, ALTER builds DROP NOT NULL, ALTER queue DROP NOT NULL;

-- A row of the journal may have several records, one behind the other: it has the number of the last. Of the first one
-- type and at are null, and an operation is null that is none.
ALTER TABLE $S.journal ALTER type DROP NOT NULL, ALTER operation DROP NOT NULL, ALTER at DROP NOT NULL;

-- Keys are shorter in tables that hold nothing yet, and that no older program has open.
ALTER TABLE $S.meta ADD COLUMN layout integer NOT NULL DEFAULT 1;
DO $do$ BEGIN
	IF NOT EXISTS (SELECT FROM $S.process) AND NOT EXISTS (SELECT FROM $S.execution) THEN
		UPDATE $S.meta SET layout = 2;
		DROP INDEX $S.execution_id;
		CREATE UNIQUE INDEX execution_id ON $S.execution (substring(sha256(id) FOR 15));
	END IF;
END $do$;

-- Builds that begin with another byte are of those that could not go on with an execution,
-- when one has since.
CREATE OR REPLACE VIEW $S.executions AS SELECT number, encode(id, 'escape') AS id, encode(function, 'escape') AS function,
	(ARRAY['RUNNING', 'SUCCEEDED', 'FAILED', 'TIMED_OUT', 'STOPPED'])[status] AS status,
	to_timestamp(started_at / 1e9) AS started_at,
	CASE WHEN ended_at <> 0 THEN to_timestamp(ended_at / 1e9) END AS ended_at,
	owner, coalesce(epoch, 1) AS epoch, coalesce(tail, 1) AS records, coalesce(substring(builds FROM 1 FOR 1) = '/', false) AS held
	FROM $S.execution;
`}

const makeMeta = `CREATE SCHEMA IF NOT EXISTS $S;
CREATE TABLE IF NOT EXISTS $S.meta (
	one     boolean PRIMARY KEY CHECK (one),
	version integer NOT NULL,
	secret  bytea
);
INSERT INTO $S.meta VALUES (true, 0, NULL) ON CONFLICT DO NOTHING;
`

// SQL is what Open runs to make its tables in an empty schema, for people who make
// and migrate schemas by hand. Run it in one transaction, and open the store with
// Options.NoMigrate. An empty name is the default of Options.Schema.
func SQL(schema string) string {
	schema = cmp.Or(schema, defaultSchema)
	return sqlFor(schema, makeMeta) + SQLFrom(schema, 0)
}

// SQLFrom is what Open runs to bring the tables from a version to the one that this
// package needs, for people who migrate by hand; empty if there is nothing to do. The
// version is in the table meta, and in the error of an Open that may not migrate. Run it in
// one transaction, as the owner of the tables.
func SQLFrom(schema string, version int) string {
	if version < 0 || version >= len(migrations) {
		return ""
	}
	return sqlFor(cmp.Or(schema, defaultSchema), strings.Join(migrations[version:], "")+fmt.Sprintf("\nUPDATE $S.meta SET version = %d;\n", len(migrations)))
}

func sqlFor(schema, sql string) string {
	name := pgx.Identifier{schema}.Sanitize()
	return strings.NewReplacer("'$S", "'"+strings.ReplaceAll(name, "'", "''"), "$S", name).Replace(sql)
}

// migrate brings the schema to its version and returns the store's secret and layout. Of many
// processes that do it at once, one does and the others wait.
func migrate(ctx context.Context, conn *pgx.Conn, opts *Options) (secret []byte, keys layout, err error) {
	q := func(sql string) string { return sqlFor(opts.Schema, sql) }
	// Whoever has waited for the lock sees what was made meanwhile.
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('durable schema ' || $1, 0))`, opts.Schema); err != nil {
			return err
		}
		version := -1
		err := tx.QueryRow(ctx, `SELECT 0 FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = 'meta'`, opts.Schema).Scan(&version)
		switch {
		case errors.Is(err, pgx.ErrNoRows) && opts.NoMigrate:
			return fmt.Errorf("there are no tables of a store in it: make them with what pgstore.SQL returns, or open it without Options.NoMigrate")
		case errors.Is(err, pgx.ErrNoRows):
			_, err := tx.Exec(ctx, q(makeMeta), pgx.QueryExecModeSimpleProtocol)
			if e := refusal(err); e != nil && e.Code == insufficientPrivilege {
				return fmt.Errorf("it has no tables of a store, and this role may not make them: run what pgstore.SQL returns as another one, or GRANT CREATE ON DATABASE: %w", err)
			}
			if err != nil {
				return err
			}
		case err != nil:
			return err
		}
		if err := tx.QueryRow(ctx, q(`SELECT version FROM $S.meta`)).Scan(&version); err != nil {
			return err
		}
		switch {
		case version > len(migrations):
			return fmt.Errorf("it has version %d, this program knows %d: use a newer one", version, len(migrations))
		case version < len(migrations) && opts.NoMigrate:
			return fmt.Errorf("it has version %d, this program needs %d: run what pgstore.SQLFrom(%q, %d) returns, or open it without Options.NoMigrate", version, len(migrations), opts.Schema, version)
		}
		if version < len(migrations) {
			_, err := tx.Exec(ctx, SQLFrom(opts.Schema, version), pgx.QueryExecModeSimpleProtocol)
			if e := refusal(err); e != nil && e.Code == insufficientPrivilege {
				return fmt.Errorf("it has version %d, this program needs %d, and this role may not migrate it: open it once as the owner of its tables, or run what pgstore.SQLFrom(%q, %d) returns: %w", version, len(migrations), opts.Schema, version, err)
			}
			if err != nil {
				return err
			}
		}
		fresh := make([]byte, 32)
		rand.Read(fresh)
		if _, err := tx.Exec(ctx, q(`UPDATE $S.meta SET secret = $1 WHERE secret IS NULL`), fresh); err != nil {
			return err
		}
		return tx.QueryRow(ctx, q(`SELECT secret, layout FROM $S.meta`)).Scan(&secret, &keys)
	})
	if err != nil {
		return nil, 0, fmt.Errorf("durable: schema %s of the database: %w", opts.Schema, err)
	}
	return secret, keys, nil
}

// Codes of the database that the store acts on.
const (
	featureNotSupported   = "0A000"
	programLimitExceeded  = "54000"
	divisionByZero        = "22012" // a guard of ours, see guarded
	negativeRoot          = "2201F" // another one
	uniqueViolation       = "23505"
	readOnlyTransaction   = "25006"
	serialization         = "40001"
	insufficientPrivilege = "42501"
	invalidStatementName  = "26000"
	deadlock              = "40P01"
	lockNotAvailable      = "55P03"
)

// refusal is what a server that goes on serving said of a statement: its transaction
// was not made. Anything else may mean that it was.
func refusal(err error) *pgconn.PgError {
	// Severity is in the server's language. PgBouncer sends nothing else, in English.
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && cmp.Or(e.SeverityUnlocalized, e.Severity) == "ERROR" {
		return e
	}
	return nil
}
