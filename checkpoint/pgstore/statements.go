package pgstore

import (
	"fmt"
	"strings"
)

// statements are the SQL of the hot paths, with the schema's name in it.
type statements struct {
	renew, draw                                      string
	lock, lockQueues, heldQueues, lockOwned, expired string
	callback, firstBeat, children, record            string

	insert, update, advance, journal, step, inbox string
	deleteExecution, deleteAll                    string
	cutInbox, setCallback, dropCallbacks, notify  string
	deleteProcess, within                         string

	sum, records, inboxAfter, due, expire string
}

// nanoseconds is the database's clock now, not the time when the transaction began.
const nanoseconds = `((extract(epoch from clock_timestamp()) * 1000000)::bigint * 1000)`

// guarded makes a statement with RETURNING 1 fail, and so the transaction, unless it
// has changed as many rows as the expression says. It divides by zero then.
func guarded(sql, rows string) string {
	return `WITH changed AS (` + sql + `) SELECT 1 / CASE WHEN count(*) = ` + rows + ` THEN 1 ELSE 0 END, ` + nanoseconds + ` FROM changed`
}

// renewLease is what each transaction begins with, see outcome.
const renewLease = `UPDATE $S.process SET round = $2::bigint, lease_until = ` + nanoseconds + ` + $3::bigint
	WHERE id = $1 AND round = $2::bigint - 1 AND lease_until > ` + nanoseconds + ` RETURNING 1`

func newStatements(schema string) statements {
	q := func(sql string) string { return sqlFor(schema, sql) }
	// Of parameters from that number on.
	advance := func(from int) string {
		return `UPDATE $S.execution e SET rev = e.rev + 1, tail = u.tail, last_event = u.last_event,
			inbox_seen = u.inbox_seen, inbox_tail = u.inbox_tail
			FROM unnest(` + arrays(from, "bigint", "bigint", "bigint", "bigint", "bigint", "bigint", "bigint") + `)
				AS u (number, rev, epoch, tail, last_event, inbox_seen, inbox_tail)
			WHERE e.number = u.number AND e.rev = u.rev AND e.epoch = u.epoch RETURNING 1`
	}
	journal := func(from int) string {
		return `INSERT INTO $S.journal (number, seq, type, operation, at, data)
			SELECT * FROM unnest(` + arrays(from, "bigint", "bigint", "smallint", "text", "bigint", "bytea") + `)`
	}
	return statements{
		renew: q(guarded(renewLease, `1`)),
		draw:  q(`SELECT nextval('$S.execution_number') FROM generate_series(1, $1::integer)`),

		lock: q(`SELECT ` + columnNames + ` FROM $S.execution e
			WHERE sha256(e.id) = ANY($1::bytea[]) OR e.number = ANY($2::bigint[]) ORDER BY e.number FOR UPDATE`),
		lockQueues: q(`SELECT ` + columnNames + `, f.data FROM unnest($1::bytea[], $2::bigint[]) AS q (queue, before)
			CROSS JOIN LATERAL (SELECT * FROM $S.execution x WHERE x.queue = q.queue AND x.due_at IS NOT NULL AND x.due_at <= q.before
				ORDER BY x.due_at, x.number LIMIT $3 FOR UPDATE SKIP LOCKED) e
			LEFT JOIN $S.journal f ON f.number = e.number AND f.seq = 1
			ORDER BY e.due_at, e.number`),
		heldQueues: q(`SELECT DISTINCT function, builds FROM $S.execution
			WHERE sha256(function) = ANY($1::bytea[]) AND due_at IS NOT NULL AND builds <> ''`),
		expired: q(`SELECT id FROM $S.process WHERE lease_until <= ` + nanoseconds + ` ORDER BY id LIMIT 16 FOR UPDATE SKIP LOCKED`),
		lockOwned: q(`SELECT ` + columnNames + ` FROM $S.execution e
			WHERE e.owner = ANY($1::bigint[]) ORDER BY e.number LIMIT $2 FOR UPDATE`),

		callback: q(`SELECT timeout_at, heartbeat_timeout, heartbeat_at, closed FROM $S.callback
			WHERE number = $1 AND sha256(operation) = $2`),
		firstBeat: q(`SELECT operation, heartbeat_at FROM $S.callback
			WHERE number = $1 AND heartbeat_at <> 0 ORDER BY heartbeat_at LIMIT $2`),
		children: q(`SELECT number FROM $S.execution WHERE caller_number = $1 AND caller_number <> 0 AND status = 1`),
		record:   q(`SELECT data FROM $S.journal WHERE number = $1 AND seq = $2`),

		insert: q(`INSERT INTO $S.execution (number, rev, id, incarnation, function, status, started_at, ended_at, deadline, wake_at,
				caller_id, caller_incarnation, caller_operation, caller_number, digest, epoch, owner,
				lost, cancelled, invoked, callbacks, heartbeats, tail, last_event, inbox_seen, inbox_tail,
				held_builds, held, builds, queue, due_at)
			VALUES ($1, 1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
				$17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30)`),
		update: q(guarded(`UPDATE $S.execution SET rev = rev + 1, status = $3, ended_at = $4, wake_at = $5, epoch = $6, owner = $7,
				lost = $8, cancelled = $9, invoked = $10, callbacks = $11, heartbeats = $12,
				tail = $13, last_event = $14, inbox_seen = $15, inbox_tail = $16,
				held_builds = $17, held = $18, builds = $19, queue = $20, due_at = $21
			WHERE number = $1 AND rev = $2 RETURNING 1`, `1`)),
		advance: q(guarded(advance(1), `cardinality($1)`)),
		journal: q(journal(1)),
		// The three in one, which spares time. It divides by zero when the lease is over, and
		// takes the root of a negative number when an execution was changed by others.
		step: q(`WITH renewed AS (` + renewLease + `), advanced AS (` + advance(4) + `), written AS (` + journal(11) + `)
			SELECT 1 / (SELECT count(*) FROM renewed), ` + nanoseconds + `,
				sqrt((SELECT count(*) FROM advanced) - coalesce(cardinality($4), 0))`),
		// For the transaction of a step. It divides by zero when the execution was changed by
		// others, or the transaction is not the one that was begun.
		within: q(`WITH changed AS (UPDATE $S.execution e SET rev = e.rev + 1, tail = $5, last_event = greatest(e.last_event, $6)
				WHERE sha256(e.id) = $1 AND e.owner = $2 AND e.epoch = $3 AND e.tail = $4 AND current_setting('durable.step', true) = 'open'
				RETURNING number, rev),
			written AS (INSERT INTO $S.journal (number, seq, type, operation, at, data)
				SELECT c.number, u.* FROM changed c, unnest(` + arrays(7, "bigint", "smallint", "text", "bigint", "bytea") + `) AS u)
			SELECT 1 / count(*), max(number), max(rev) FROM changed`),
		inbox:           q(`INSERT INTO $S.inbox (number, seq, data) VALUES ($1, $2, $3)`),
		cutInbox:        q(`DELETE FROM $S.inbox WHERE number = $1 AND seq <= $2`),
		deleteExecution: q(guarded(`DELETE FROM $S.execution WHERE number = $1 AND rev = $2 RETURNING 1`, `1`)),
		deleteAll: q(`WITH j AS (DELETE FROM $S.journal WHERE number = $1), i AS (DELETE FROM $S.inbox WHERE number = $1)
			DELETE FROM $S.callback WHERE number = $1`),
		setCallback: q(`INSERT INTO $S.callback (number, operation, timeout_at, heartbeat_timeout, heartbeat_at, closed)
			VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (number, sha256(operation)) DO UPDATE SET timeout_at = excluded.timeout_at,
			heartbeat_timeout = excluded.heartbeat_timeout, heartbeat_at = excluded.heartbeat_at, closed = excluded.closed`),
		dropCallbacks: q(`DELETE FROM $S.callback WHERE number = $1`),
		deleteProcess: q(`DELETE FROM $S.process WHERE id = ANY($1::bigint[])`),
		notify:        `SELECT pg_notify($1, hint) FROM unnest($2::text[]) AS hint`,

		sum: q(`SELECT ` + columnNames + `, f.data, l.data,
				CASE WHEN e.heartbeats THEN (SELECT min(c.heartbeat_at) FROM $S.callback c WHERE c.number = e.number AND c.heartbeat_at <> 0) END
			FROM $S.execution e LEFT JOIN $S.journal f ON f.number = e.number AND f.seq = 1
			LEFT JOIN $S.journal l ON l.number = e.number AND l.seq = e.tail AND e.status <> 1 `),
		records: q(`SELECT e.number, e.tail, p.seq, p.data FROM $S.execution e LEFT JOIN LATERAL (
				SELECT seq, data, sum(octet_length(data)) OVER (ORDER BY seq) - octet_length(data) AS before FROM (
					SELECT seq, data FROM $S.journal j WHERE j.number = e.number AND j.seq > $2 ORDER BY seq LIMIT 256) j
			) p ON p.before < 4194304 WHERE sha256(e.id) = $1 ORDER BY p.seq`),
		inboxAfter: q(`SELECT e.number, i.data FROM $S.execution e LEFT JOIN $S.inbox i ON i.number = e.number AND i.seq > $2
			WHERE sha256(e.id) = $1 ORDER BY i.seq`),
		due: q(`SELECT q.queue, (SELECT x.due_at FROM $S.execution x WHERE x.queue = q.queue AND x.due_at IS NOT NULL ORDER BY x.due_at LIMIT 1)
			FROM unnest($1::bytea[]) AS q (queue)`),
		expire: q(`WITH x AS (SELECT e.number FROM $S.execution e LEFT JOIN $S.execution c ON c.number = e.caller_number
				WHERE e.status <> 1 AND e.ended_at < $1 AND (c.number IS NULL OR c.status <> 1)
				ORDER BY e.ended_at LIMIT $2 FOR UPDATE OF e SKIP LOCKED),
			j AS (DELETE FROM $S.journal USING x WHERE journal.number = x.number),
			i AS (DELETE FROM $S.inbox USING x WHERE inbox.number = x.number),
			c AS (DELETE FROM $S.callback USING x WHERE callback.number = x.number)
			DELETE FROM $S.execution USING x WHERE execution.number = x.number`),
	}
}

// arrays are parameters of those types.
func arrays(from int, types ...string) string {
	var all []string
	for i, t := range types {
		all = append(all, fmt.Sprintf("$%d::%s[]", from+i, t))
	}
	return strings.Join(all, ", ")
}
