
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
