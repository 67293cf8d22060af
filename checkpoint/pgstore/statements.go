package pgstore

import (
	"fmt"
	"strings"
)

// statements are the SQL of the hot paths, with the schema's name in it.
type statements struct {
	renew, draw                           string
	lock, lockNow, lockFamilies, lockMore string
	claim, claimed, lockOwned, expired    string
	callback, firstBeat, children, record string

	schema                                       string
	layout                                       layout
	steps                                        [1 << stepParts]string // see step
	hold, inbox                                  string
	deleteExecution, deleteAll                   string
	cutInbox, setCallback, dropCallbacks, notify string
	deleteProcess, within                        string

	get, find, list              reading
	records, inboxAfter, owned   string
	due, behind                  string
	expire, count, backlog, size string
	row, firstBeatOf, broken     string // where the server can't read all
	news, ended, glance          string
	isCurrent                    string

	// Of processes.
	processes, shorten, endListeners                string
	register, round, lockRound, settleRound, resign string

	// Of changes whose answer did not arrive.
	made, lockStep, stepWrites string
}

// nanoseconds is the database's clock now, not the time when the transaction began.
const nanoseconds = `((extract(epoch from clock_timestamp()) * 1000000)::bigint * 1000)`

// guarded makes a statement with RETURNING 1 fail, and so the transaction, unless it
// has changed as many rows as the expression says. It divides by zero then.
func guarded(sql, rows string) string {
	return `WITH changed AS (` + sql + `) SELECT 1 / CASE WHEN count(*) = ` + rows + ` THEN 1 ELSE 0 END, ` + nanoseconds + ` FROM changed`
}

// renewLease is what each transaction begins with, see outcome.
const renewLease = `UPDATE $S.process SET ` + ofRound + `, lease_until = ` + nanoseconds + ` + $3::bigint
	WHERE id = $1 AND era = ($2::bigint - 1) / 256 AND round = $2::bigint - 1 AND lease_until > ` + nanoseconds + ` RETURNING 1`

// lock reads executions and locks them, in the order of all rounds: those with IDs ($1) and
// with numbers ($2). First it looks for all of them, so that the rows are found by one index:
// what is said with OR the server may understand as it likes.
const lock = `SELECT ` + columnNames + ` FROM $S.execution e WHERE e.number = ANY(ARRAY(
				SELECT x.number FROM $S.execution x WHERE $ID(x.id) = ANY($1::bytea[]) UNION ALL SELECT unnest($2::bigint[])`

// inOrder are the ends of lock.
const inOrder = `)) ORDER BY e.number FOR UPDATE`

// queuesOf are the queues of functions, with their marks: $1 are the keys of those that are
// not held, $2 the marks of those. turn is the place of a function in $1. The queues that builds hold are found in an
// index of theirs, by going from one to the next past all that stands in one.
const queuesOf = `held (turn, function, queue, builds) AS (
				SELECT f.turn, substring(f.key FOR 16), x.queue, x.builds FROM unnest($1::bytea[]) WITH ORDINALITY AS f (key, turn)
				CROSS JOIN LATERAL (SELECT x.queue, x.builds FROM $S.execution x WHERE x.builds <> ''
					AND ` + heldIn + ` > substring(f.key FOR 16) AND ` + heldIn + ` < substring(f.key FOR 16) || '\xffffffffffffffffffffffffffffffffff'
					ORDER BY ` + heldIn + ` LIMIT 1) x
				UNION ALL
				SELECT h.turn, h.function, x.queue, x.builds FROM held h
				CROSS JOIN LATERAL (SELECT x.queue, x.builds FROM $S.execution x WHERE x.builds <> ''
					AND ` + heldIn + ` > h.queue AND ` + heldIn + ` < h.function || '\xffffffffffffffffffffffffffffffffff'
					ORDER BY ` + heldIn + ` LIMIT 1) x),
			queues (turn, queue, builds, mark) AS MATERIALIZED (
				SELECT turn, queue, builds, (-9223372036854775808)::bigint FROM held
				UNION ALL SELECT f.turn, f.key, ''::bytea, f.mark FROM unnest($1::bytea[], $2::bigint[]) WITH ORDINALITY AS f (key, mark, turn))`

// reading is a statement that reads summaries, and one that reads their numbers alone, for
// when the server can't read all of them.
type reading struct{ summaries, numbers string }

// summaryColumns are what a summary is made of, e being the table.
const summaryColumns = columnNames + `, (SELECT f.data FROM $S.journal f WHERE f.number = e.number AND f.seq = 1) AS first,
				CASE WHEN e.status <> 1 THEN (SELECT l.data FROM $S.journal l WHERE l.number = e.number AND l.seq = coalesce(e.tail, 1)) END AS last,
				CASE WHEN e.heartbeats THEN (SELECT min(c.heartbeat_at) FROM $S.callback c WHERE c.number = e.number AND c.heartbeat_at <> 0) END AS beat`

// selected is the condition that a query is, with the parameters of selecting, and listed
// is a page of what it selects.
const (
	selected = `WHERE ($1::bytea IS NULL OR e.function = $1) AND ($2::smallint = 0 OR e.status = $2)
		AND ($3::bigint = 0 OR e.started_at > $3) AND ($4::bigint = 0 OR e.started_at < $4)
		AND ($5::bytea IS NULL OR substring(e.id FOR octet_length($5)) = $5)`
	listed = selected + ` AND e.number < $6 ORDER BY e.number DESC LIMIT $7`
)

// isAhead says of a row of process that its lease ends later than a lease from now: the
// database's clock was set back since. Whoever is alive renews it; of whoever is gone it
// would not end before the clock is there again.
const isAhead = `lease <> 0 AND lease_until > ` + nanoseconds + ` + lease`

// stuck says of a table's builds that what has them is held, and not only left to others.
func stuck(table string) string { return `substring(` + table + `.builds FROM 1 FOR 1) = '/'` }

// heldIn is what the index of held executions is of. No other index can serve instead, not
// even read as a whole: what has builds stands in a queue, but the server is not told so.
const heldIn = `(CASE WHEN x.builds <> '' THEN x.queue END)`

// dueInOpen are the executions of a queue o, from its mark until a time, in their order.
const dueInOpen = `FROM $S.execution d WHERE d.queue = o.queue AND d.due_at >= o.mark AND d.due_at <= o.until ORDER BY d.due_at, d.number`

// isOlder says of a row of process that it is one of a program from before the schema's
// version 3, which knows of no builds that are unfit. None can begin any more.
const isOlder = `lease = 0 AND lease_until > ` + nanoseconds

// ofRound sets what a process's row says of its last round, $2. era is a part of the key, so
// that who looks for the row by both goes past no more dead ones than were left in one era.
const ofRound = `round = $2::bigint, era = $2::bigint / 256`

func newStatements(schema string, l layout) statements {
	q := func(sql string) string { return sqlFor(schema, l.sql(sql)) }
	one := func(condition string) reading {
		return reading{
			summaries: q(`SELECT ` + summaryColumns + `, 1 FROM $S.execution e ` + condition),
			numbers:   q(`SELECT e.number FROM $S.execution e ` + condition),
		}
	}
	return statements{
		schema: schema, layout: l,

		renew: q(guarded(renewLease, `1`)),
		draw:  q(`SELECT nextval('$S.execution_number') FROM generate_series(1, $1::integer)`),

		lock:    q(lock + inOrder),
		lockNow: q(lock + inOrder + ` NOWAIT`),
		lockFamilies: q(lock + ` UNION ALL SELECT x.number FROM $S.execution x
				WHERE x.caller_number = ANY($3::bigint[]) AND x.caller_number <> 0 AND x.status = 1` + inOrder),
		lockMore: q(`SELECT FROM $S.execution e WHERE e.number = ANY($1::bigint[]) ORDER BY e.number FOR UPDATE NOWAIT`),
		claim:    q(takeDue + strings.ReplaceAll(columnNames, "e.", "x.") + `, ` + taken + ` FROM x`),
		claimed:  q(`SELECT number FROM $S.execution WHERE owner = $1 AND wake_at = $2`),
		expired:  q(`SELECT id FROM $S.process WHERE lease_until <= ` + nanoseconds + ` ORDER BY id LIMIT 16 FOR UPDATE SKIP LOCKED`),
		// The sum has no index, so that the server does not look for owners in the order of numbers.
		lockOwned: q(`SELECT ` + columnNames + ` FROM $S.execution e
			WHERE e.owner = ANY($1::bigint[]) ORDER BY e.number + 0 LIMIT $2 FOR UPDATE`),

		callback: q(`SELECT timeout_at, heartbeat_timeout, heartbeat_at, closed FROM $S.callback
			WHERE number = $1 AND sha256(operation) = $2`),
		firstBeat: q(`SELECT operation, heartbeat_at FROM $S.callback
			WHERE number = $1 AND heartbeat_at <> 0 ORDER BY heartbeat_at LIMIT $2`),
		children: q(`SELECT caller_number, number FROM $S.execution
			WHERE caller_number = ANY($1::bigint[]) AND caller_number <> 0 AND status = 1 ORDER BY number`),
		record: q(`SELECT data FROM $S.journal WHERE number = $1 AND seq = $2`),

		hold: q(`UPDATE $S.execution SET held_builds = $2, held = $3 WHERE number = $1`),
		// For the transaction of a step. It divides by zero when the execution was changed by
		// others, or the transaction is not the one that was begun.
		within: q(`WITH changed AS (UPDATE $S.execution e SET rev = coalesce(e.rev, 1) + 1, tail = $5, last_event = greatest(coalesce(e.last_event, e.tail, 1), $6)
				WHERE $ID(e.id) = $1 AND e.owner = $2 AND coalesce(e.epoch, 1) = $3 AND coalesce(e.tail, 1) = $4 AND current_setting('durable.step', true) = 'open'
				RETURNING number, rev),
			written AS (INSERT INTO $S.journal (number, seq, type, operation, at, data)
				SELECT c.number, u.* FROM changed c, unnest(` + arrays(7, "bigint", "smallint", "text", "bigint", "bytea") + `) AS u)
			SELECT 1 / count(*), max(number), max(rev) FROM changed`),
		inbox:           q(`INSERT INTO $S.inbox (number, seq, data) VALUES ($1, $2, $3)`),
		cutInbox:        q(`DELETE FROM $S.inbox WHERE number = $1 AND seq <= $2`),
		deleteExecution: q(guarded(`DELETE FROM $S.execution WHERE number = $1 AND coalesce(rev, 1) = $2 RETURNING 1`, `1`)),
		deleteAll: q(`WITH j AS (DELETE FROM $S.journal WHERE number = $1), i AS (DELETE FROM $S.inbox WHERE number = $1)
			DELETE FROM $S.callback WHERE number = $1`),
		setCallback: q(`INSERT INTO $S.callback (number, operation, timeout_at, heartbeat_timeout, heartbeat_at, closed)
			VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (number, sha256(operation)) DO UPDATE SET timeout_at = excluded.timeout_at,
			heartbeat_timeout = excluded.heartbeat_timeout, heartbeat_at = excluded.heartbeat_at, closed = excluded.closed`),
		dropCallbacks: q(`DELETE FROM $S.callback WHERE number = $1`),
		deleteProcess: q(`DELETE FROM $S.process WHERE id = ANY($1::bigint[])`),
		// A notification needs not be durable, so nobody waits for a disk while it keeps others
		// from being sent.
		notify: `WITH off AS (SELECT set_config('synchronous_commit', 'off', true)) SELECT pg_notify($1, hint) FROM off, unnest($2::text[]) AS hint`,

		get:  one(`WHERE $ID(e.id) = $1`),
		find: one(`WHERE e.number = $1`),
		list: reading{
			summaries: q(`SELECT ` + columnNames + `, e.first, e.last, e.beat, e.selected FROM (
				SELECT e.*, count(*) OVER () AS selected, sum(e.bytes) OVER (ORDER BY e.number DESC) - e.bytes AS before FROM (
				SELECT e.*, octet_length(e.id) + coalesce(octet_length(e.first), 0) + coalesce(octet_length(e.last), 0) + coalesce(octet_length(e.held), 0) AS bytes FROM (
				SELECT ` + summaryColumns + ` FROM $S.execution e ` + listed + `) e) e) e
				WHERE e.before < ` + fmt.Sprint(pageBytes) + ` ORDER BY e.number DESC`),
			numbers: q(`SELECT e.number FROM $S.execution e ` + listed),
		},
		records: q(`SELECT e.number, coalesce(e.tail, 1), p.seq, p.data FROM $S.execution e LEFT JOIN LATERAL (
				SELECT seq, data, sum(octet_length(data)) OVER (ORDER BY seq) - octet_length(data) AS before FROM (
					SELECT seq, data FROM $S.journal j WHERE j.number = e.number AND j.seq > $2 ORDER BY seq LIMIT 256) j
			) p ON p.before < 4194304 WHERE $ID(e.id) = $1 ORDER BY p.seq`),
		inboxAfter: q(`SELECT e.number, i.data FROM $S.execution e LEFT JOIN $S.inbox i ON i.number = e.number AND i.seq > $2
			WHERE $ID(e.id) = $1 ORDER BY i.seq`),
		owned: q(`SELECT ` + columnNames + ` FROM $S.execution e WHERE $ID(e.id) = $1 AND e.owner = $2`),
		due: q(`WITH RECURSIVE ` + queuesOf + `
			SELECT q.turn, q.builds, (SELECT x.due_at FROM $S.execution x WHERE x.queue = q.queue AND x.due_at >= q.mark ORDER BY x.due_at LIMIT 1)
			FROM queues q`),
		behind: q(`SELECT q.queue, (SELECT x.due_at FROM $S.execution x WHERE x.queue = q.queue AND x.due_at < q.mark ORDER BY x.due_at LIMIT 1)
			FROM unnest($1::bytea[], $2::bigint[]) AS q (queue, mark)`),
		// It looks at 500 of those that have ended, and deletes so many of them that no more
		// than 20,000 records go, but one at least. It tells how many, and where to go on.
		expire: q(`WITH seen AS MATERIALIZED (SELECT e.ended_at, e.number, coalesce(e.caller_number, 0) AS caller_number, coalesce(e.tail, 1) AS tail FROM $S.execution e
				WHERE e.status <> 1 AND e.ended_at < $1 AND (e.ended_at, e.number) > ($2::bigint, $3::bigint)
				ORDER BY e.ended_at, e.number LIMIT 500),
			free AS MATERIALIZED (SELECT s.ended_at, s.number, sum(s.tail) OVER (ORDER BY s.ended_at, s.number) - s.tail AS before FROM seen s
				WHERE s.caller_number = 0 OR (SELECT c.status FROM $S.execution c WHERE c.number = s.caller_number) IS DISTINCT FROM 1
				ORDER BY s.ended_at, s.number LIMIT $4),
			chosen AS MATERIALIZED (SELECT * FROM free WHERE before < 20000),
			bounded AS MATERIALIZED (SELECT (SELECT count(*) FROM chosen) = $4 OR (SELECT count(*) FROM free) > (SELECT count(*) FROM chosen) AS cut),
			until AS (SELECT ended_at, number FROM chosen WHERE (SELECT cut FROM bounded)
				UNION ALL SELECT ended_at, number FROM seen WHERE NOT (SELECT cut FROM bounded) AND (SELECT count(*) FROM seen) = 500),
			x AS MATERIALIZED (SELECT e.number FROM $S.execution e WHERE e.number = ANY(ARRAY(SELECT number FROM chosen)) FOR UPDATE SKIP LOCKED),
			j AS (DELETE FROM $S.journal WHERE number = ANY(ARRAY(SELECT number FROM x))),
			i AS (DELETE FROM $S.inbox WHERE number = ANY(ARRAY(SELECT number FROM x))),
			c AS (DELETE FROM $S.callback WHERE number = ANY(ARRAY(SELECT number FROM x))),
			gone AS (DELETE FROM $S.execution WHERE number = ANY(ARRAY(SELECT number FROM x)) RETURNING 1)
			SELECT (SELECT count(*) FROM gone), u.ended_at, u.number
			FROM (VALUES (1)) one LEFT JOIN LATERAL (SELECT * FROM until ORDER BY ended_at DESC, number DESC LIMIT 1) u ON true`),
		// These two read all.
		count: q(`SELECT e.status, count(*) FROM $S.execution e ` + selected + ` GROUP BY e.status`),
		backlog: q(`SELECT count(*), count(*) FILTER (WHERE due_at < 9223372036854775807)
			FROM $S.execution WHERE status = 1 AND owner IS NULL`),
		size: q(`SELECT coalesce(sum(pg_total_relation_size(t::regclass)), 0)::bigint
			FROM unnest(ARRAY['$S.execution', '$S.journal', '$S.inbox', '$S.callback', '$S.process']) t`),

		row:         q(`SELECT ` + columnNames + ` FROM $S.execution e WHERE e.number = $1`),
		firstBeatOf: q(`SELECT min(heartbeat_at) FROM $S.callback WHERE number = $1 AND heartbeat_at <> 0`),
		broken: q(`WITH RECURSIVE ` + queuesOf + `
			SELECT x.number FROM queues q CROSS JOIN LATERAL (SELECT x.number, x.due_at FROM $S.execution x
				WHERE x.queue = q.queue AND x.due_at >= q.mark AND (` + stuck("q") + ` OR x.due_at <= ` + nanoseconds + `)
				ORDER BY x.due_at, x.number LIMIT $3) x ORDER BY x.due_at, x.number`),

		processes: q(`SELECT count(*) FILTER (WHERE lease_until <= ` + nanoseconds + `), count(*) FILTER (WHERE id <> $1),
			min(lease_until - ` + nanoseconds + `) FILTER (WHERE id <> $1 AND lease_until > ` + nanoseconds + `),
			count(*) FILTER (WHERE ` + isAhead + `), count(*) FILTER (WHERE ` + isOlder + `) > 0 FROM $S.process`),
		shorten: q(`UPDATE $S.process SET lease_until = ` + nanoseconds + ` + lease
			WHERE id IN (SELECT id FROM $S.process WHERE ` + isAhead + ` ORDER BY id FOR UPDATE SKIP LOCKED)`),
		endListeners: q(`SELECT pg_terminate_backend(l.pid) FROM pg_locks l
			WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.classid = $1::integer::oid AND l.granted
			AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
			AND NOT EXISTS (SELECT FROM $S.process p WHERE (p.id & 4294967295) = l.objid::bigint)`),
		register: q(`INSERT INTO $S.process (id, lease_until, round, lease) OVERRIDING SYSTEM VALUE
			VALUES ($1, ` + nanoseconds + ` + $2::bigint, 0, $2) RETURNING ` + nanoseconds + `, NOT EXISTS (SELECT FROM $S.process),
			EXISTS (SELECT FROM $S.process WHERE ` + isOlder + `)`),
		round:       q(`SELECT round FROM $S.process WHERE id = $1`),
		lockRound:   q(`SELECT round FROM $S.process WHERE id = $1 FOR UPDATE`),
		settleRound: q(`UPDATE $S.process SET ` + ofRound + ` WHERE id = $1`),
		resign:      q(`UPDATE $S.process SET lease_until = 0 WHERE id = $1`),

		made:       q(`SELECT number FROM $S.execution WHERE number = ANY($1::bigint[])`),
		lockStep:   q(`SELECT number, coalesce(rev, 1), owner, coalesce(epoch, 1), coalesce(tail, 1) FROM $S.execution WHERE $ID(id) = $1 FOR UPDATE`),
		stepWrites: q(`SELECT data FROM $S.journal WHERE number = $1 AND seq > $2 ORDER BY seq LIMIT $3`),

		news:      q(`SELECT id FROM $S.execution WHERE owner = $1 AND inbox_tail > coalesce(inbox_seen, 0)`),
		isCurrent: q(isCurrent),
		glance: q(`SELECT id, incarnation, status, coalesce(tail, 1), held IS NOT NULL AND owner IS NULL
			FROM $S.execution WHERE $ID(id) = ANY($1::bytea[])`),
		ended: q(`SELECT id FROM $S.execution WHERE status <> 1 AND ended_at >= $1`),
	}
}

// What a step may do.
const (
	stepRenews = 1 << iota
	stepCreates
	stepTries // to create, unless there are executions of the IDs
	stepAdvances
	stepMoves
	stepWrites
	stepOrders  // it locks the rows first, whatever the server plans
	stepLone    // of each of them there is one row, but for records
	stepLine    // it writes one row of a journal
	stepPlainly // so that programs of before the schema's version 3 can read it

	stepParts = iota
)

// The columns that unnest makes of a step's parameters.
const (
	createdColumns = "number bigint, id bytea, incarnation bytea, function bytea, started_at bigint, deadline bigint, " +
		"caller_id bytea, caller_incarnation bytea, caller_operation bytea, caller_number bigint, digest bytea, " + stateColumns
	advancedColumns = "number bigint, rev bigint, epoch bigint, tail bigint, last_event bigint, inbox_seen bigint, inbox_tail bigint"
	movedColumns    = "number bigint, rev bigint, " + stateColumns
	stateColumns    = "status smallint, ended_at bigint, wake_at bigint, epoch bigint, owner bigint, lost boolean, cancelled boolean, " +
		"invoked boolean, callbacks boolean, heartbeats boolean, tail bigint, last_event bigint, inbox_seen bigint, inbox_tail bigint, " +
		"builds bytea, queue bytea, due_at bigint"
	writtenColumns = "number bigint, seq bigint, type smallint, operation text, at bigint, data bytea"
)

// step is stepOf, made when it is needed first. It is the writer's.
func (s *statements) step(parts int) string {
	if s.steps[parts] == "" {
		s.steps[parts] = sqlFor(s.schema, s.layout.sql(stepOf(parts)))
	}
	return s.steps[parts]
}

// stepOf is a statement that does all that most rounds need, of as many executions as
// there are: one statement has one price, however many rows it changes. With one row its
// parameters are values, which cost less than arrays. It divides by
// zero when the lease is over, and takes the root of a negative number when an
// execution was changed by others. Those that are tried, and not made, are its last column.
//
// It waits in the order of all rounds, see locks.go: for the process's row, for the rows that
// it changes by number, for others that create what it creates by the hash of the ID. What
// comes first is what the next one looks at.
func stepOf(parts int) string {
	var with []string
	next := 1
	from := func(columns string, lone int) string {
		var params, names []string
		array := "[]"
		if parts&lone != 0 {
			array = ""
		}
		for column := range strings.SplitSeq(columns, ", ") {
			name, typ, _ := strings.Cut(column, " ")
			params, names = append(params, fmt.Sprintf("$%d::%s%s", next, typ, array)), append(names, name)
			next++
		}
		if parts&lone != 0 {
			return "(SELECT " + strings.Join(params, ", ") + ") AS u (" + strings.Join(names, ", ") + ")"
		}
		return "unnest(" + strings.Join(params, ", ") + ") AS u (" + strings.Join(names, ", ") + ")"
	}
	numbers := func() string {
		if parts&stepLone != 0 {
			return fmt.Sprintf("ARRAY[$%d::bigint]", next)
		}
		return fmt.Sprintf("$%d::bigint[]", next)
	}
	renewed := "1"
	if parts&stepRenews != 0 {
		with, renewed = append(with, `renewed AS (`+renewLease+`)`), `1 / (SELECT count(*) FROM renewed)`
		next += 3
	}
	creates := parts & (stepCreates | stepTries)
	form, one, empty := nullable, `NULL::bigint`, `NULL::bytea[]`
	if parts&stepPlainly != 0 {
		form, one, empty = plainly, `1`, `'{}'`
	}
	values := func(columns string) string { return form.Replace(namesOf(columns, "u.")) }
	var made []string // what it creates
	var must, may string
	if parts&stepCreates != 0 {
		must, made = numbers(), append(made, `SELECT * FROM `+from(createdColumns, stepLone))
	}
	if parts&stepTries != 0 {
		may, made = numbers(), append(made, `SELECT * FROM `+from(createdColumns, stepLone))
	}
	var counts []string // of what it changes
	change := func(name, set, columns, same string) {
		counts = append(counts, `(SELECT count(*) FROM `+name+`)`)
		behind := ``
		if parts&stepRenews != 0 {
			behind = ` AND (SELECT count(*) FROM renewed) = 1`
		}
		if parts&stepOrders != 0 {
			with = append(with, fmt.Sprintf(`ordered AS MATERIALIZED (SELECT FROM $S.execution e WHERE e.number = ANY($%d::bigint[])%s ORDER BY e.number FOR UPDATE)`, next, behind))
			behind = ` AND (SELECT count(*) FROM ordered) >= 0`
		}
		with = append(with, name+` AS (UPDATE $S.execution e SET rev = coalesce(e.rev, 1) + 1, `+set+` FROM `+from(columns, stepLone)+`
			WHERE e.number = u.number AND coalesce(e.rev, 1) = u.rev`+same+behind+` RETURNING 1)`)
	}
	if parts&stepAdvances != 0 {
		change("advanced", form.Replace(`tail = u.tail, last_event = u.last_event, inbox_seen = u.inbox_seen, inbox_tail = u.inbox_tail`), advancedColumns, ` AND coalesce(e.epoch, 1) = u.epoch`)
	}
	if parts&stepMoves != 0 {
		change("moved", `held_builds = `+empty+`, held = NULL, (`+namesOf(stateColumns, "")+`) = ROW(`+values(stateColumns)+`)`, movedColumns, ``)
	}
	if creates != 0 {
		behind, conflict := `true`, ``
		switch {
		case len(counts) > 0:
			behind = strings.Join(counts, " + ") + ` >= 0`
		case parts&stepRenews != 0:
			behind = `(SELECT count(*) FROM renewed) = 1`
		}
		if parts&stepTries != 0 {
			conflict = ` ON CONFLICT ($ID(id)) DO NOTHING RETURNING number`
		}
		with = append(with, `created AS (INSERT INTO $S.execution (rev, held_builds, `+namesOf(createdColumns, "")+`)
			SELECT `+one+`, `+empty+`, `+values(createdColumns)+` FROM (`+strings.Join(made, " UNION ALL ")+`) u WHERE `+behind+` ORDER BY $ID(u.id)`+conflict+`)`)
	}
	writes, missed, lacks := "", "", "0"
	if parts&stepTries != 0 {
		with = append(with, `missed AS (SELECT CASE WHEN (SELECT count(*) FROM created WHERE number = ANY(`+may+`)) = cardinality(`+may+`) THEN '{}'::bigint[]
				ELSE ARRAY(SELECT unnest(`+may+`) EXCEPT SELECT number FROM created) END AS numbers)`)
		writes, missed = ` WHERE u.number <> ALL ((SELECT numbers FROM missed)::bigint[])`, `, (SELECT numbers FROM missed)`
		if must != "" {
			lacks = `cardinality(` + must + `) - (SELECT count(*) FROM created WHERE number = ANY(` + must + `))`
		}
	}
	if parts&stepWrites != 0 {
		with = append(with, `written AS (INSERT INTO $S.journal (`+namesOf(writtenColumns, "")+`)
			SELECT `+values(writtenColumns)+` FROM `+from(writtenColumns, stepLine)+writes+`)`)
	}
	guard := `sqrt(-(` + lacks + `)::float8)`
	if len(counts) > 0 {
		guard = fmt.Sprintf(`sqrt((%s - $%d::bigint - (%s))::float8)`, strings.Join(counts, " + "), next, lacks)
	}
	sql := `SELECT ` + renewed + `, ` + nanoseconds + `, ` + guard + missed
	if len(with) > 0 {
		sql = `WITH ` + strings.Join(with, ", ") + ` ` + sql
	}
	return sql
}

func namesOf(columns, table string) string {
	var names []string
	for column := range strings.SplitSeq(columns, ", ") {
		name, _, _ := strings.Cut(column, " ")
		names = append(names, table+name)
	}
	return strings.Join(names, ", ")
}

// arrays are parameters of those types.
func arrays(from int, types ...string) string {
	var all []string
	for i, t := range types {
		all = append(all, fmt.Sprintf("$%d::%s[]", from+i, t))
	}
	return strings.Join(all, ", ")
}
