package pgstore_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
)

// million is a schema with a million executions, made by SQL of a few that a store has made.
type million struct {
	*cluster
	schema string
	caller string // that runs, and has 10,000 children that have ended
}

// kinds are what the last digit of a number says of an execution. What f is asked for is
// rare among it.
//
//	0     ended long ago, invoked by caller (of the first 100,000; the others as 5)
//	1     held by the build "old"
//	2     waits for a day that is far
//	3     waits for a callback, owned by nobody
//	4     is due, of the function busy
//	5–9   ended within the last days
const (
	kinds = 10
	kind  = `CASE WHEN g % 10 = 0 AND g >= 101000 THEN 5 ELSE g % 10 END`
)

func makeMillion(t *testing.T) *million {
	c := need(t)
	m := &million{c, c.Schema(), "caller"}
	name := pgx.Identifier{m.schema}.Sanitize()
	began := time.Now()
	s := open(t, m.schema, pgstore.Options{Poll: time.Hour})
	sql := func(q string) {
		t.Helper()
		c.exec(t, strings.ReplaceAll(q, "$S", name))
	}
	// Without statistics, but such as are made here, and quickly. (Nothing of it has to last.)
	sql(`ALTER TABLE $S.execution SET (autovacuum_enabled = off)`)
	sql(`ALTER TABLE $S.journal SET (autovacuum_enabled = off)`)
	sql(`ALTER TABLE $S.execution SET UNLOGGED`)
	sql(`ALTER TABLE $S.journal SET UNLOGGED`)
	release := func(sum checkpoint.Summary, r *checkpoint.Release, records ...checkpoint.Record) {
		a := checkpoint.Append{ID: sum.ID, Epoch: sum.Epoch, Tail: sum.Tail, Records: records, Release: r}
		require.NoError(t, appendTo(s, a))
	}
	caller := create(t, s, m.caller, true)
	release(caller, &checkpoint.Release{})
	child := creation("kind0", "f", true)
	child.Caller = &checkpoint.Caller{ID: m.caller, Incarnation: checkpoint.Incarnation{1}, OperationID: "1"}
	ended := creation("kind5", "f", true)
	for _, c := range []checkpoint.Creation{child, ended} {
		sum, _, err := s.Create(t.Context(), c)
		require.NoError(t, err)
		require.NoError(t, appendTo(s, checkpoint.Append{ID: sum.ID, Epoch: sum.Epoch, Tail: 1, Status: checkpoint.Succeeded,
			Records: []checkpoint.Record{{Seq: 2, EventID: 2, Events: 1, Type: checkpoint.ExecutionSucceeded, Time: s.Now().UnixNano()}}}))
	}
	release(create(t, s, "kind1", true), &checkpoint.Release{Hold: &checkpoint.Hold{Build: "old"}})
	release(create(t, s, "kind2", true), &checkpoint.Release{WakeAt: s.Now().Add(1000 * time.Hour).UnixNano()})
	release(create(t, s, "kind3", true), &checkpoint.Release{})
	_, _, err := s.Create(t.Context(), creation("kind4", "busy", false))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	// As if it had been a small table when it was looked at.
	sql(`ANALYZE $S.execution`)
	sql(`ANALYZE $S.journal`)

	columns := `rev, function, status, started_at, deadline, wake_at, caller_id, caller_incarnation, caller_operation, caller_number, digest, epoch, owner,
		lost, cancelled, invoked, callbacks, heartbeats, tail, last_event, inbox_seen, inbox_tail, held_builds, held, builds, queue, due_at`
	conn, err := pgx.Connect(t.Context(), c.Cluster.URL())
	require.NoError(t, err)
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), `SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = $1 AND tablename = 'execution' AND indexname NOT LIKE '%_pkey'`, m.schema)
	require.NoError(t, err)
	var index, definition string
	var names, definitions []string
	_, err = pgx.ForEachRow(rows, []any{&index, &definition}, func() error {
		names, definitions = append(names, "$S."+index), append(definitions, definition)
		return nil
	})
	require.NoError(t, err)
	sql(`DROP INDEX ` + strings.Join(names, ", "))
	sql(fmt.Sprintf(`CREATE TABLE $S.kind AS SELECT k, e.number FROM generate_series(0, %d) k JOIN $S.execution e ON e.id = convert_to('kind' || least(k, 5), 'UTF8')`, kinds-1))
	sql(fmt.Sprintf(`INSERT INTO $S.execution (number, id, incarnation, ended_at, %[1]s)
		SELECT g, convert_to('order-' || g, 'UTF8'), t.incarnation,
			CASE k.k WHEN 0 THEN 1 ELSE CASE t.ended_at WHEN 0 THEN 0 ELSE t.ended_at - g::bigint * 500000000 END END, %[1]s
		FROM generate_series(1000, 1000999) g JOIN $S.kind k ON k.k = %[2]s JOIN $S.execution t ON t.number = k.number`, columns, kind))
	sql(fmt.Sprintf(`INSERT INTO $S.journal SELECT g, j.seq, j.type, j.operation, j.at, j.data
		FROM generate_series(1000, 1000999) g JOIN $S.kind k ON k.k = %s JOIN $S.journal j ON j.number = k.number ORDER BY 1, 2`, kind))
	sql(`DROP TABLE $S.kind`)
	for _, definition := range definitions {
		c.exec(t, definition)
	}
	c.exec(t, `SELECT setval('`+name+`.execution_number', 2000000)`)
	t.Logf("a million executions were made in %s", time.Since(began).Round(100*time.Millisecond))
	return m
}

// statistics are what the server knows of how much there is.
func (m *million) statistics(t *testing.T, which string) {
	name := pgx.Identifier{m.schema}.Sanitize()
	sql := func(q string) {
		t.Helper()
		m.exec(t, strings.ReplaceAll(q, "$S", strings.ReplaceAll(name, "'", "''")))
	}
	switch which {
	case "OfAnEmptyTable": // those that makeMillion has made
		sql(`UPDATE pg_class SET reltuples = 1, relpages = 1, relallvisible = 0 WHERE relnamespace = '$S'::regnamespace AND relkind IN ('r', 'i')`)
	case "None":
		sql(`DELETE FROM pg_statistic WHERE starelid IN (SELECT oid FROM pg_class WHERE relnamespace = '$S'::regnamespace)`)
		sql(`UPDATE pg_class SET reltuples = -1, relpages = 0, relallvisible = 0 WHERE relnamespace = '$S'::regnamespace AND relkind IN ('r', 'i')`)
	case "Fresh":
		sql(`VACUUM ANALYZE $S.execution`)
		sql(`VACUUM ANALYZE $S.journal`)
	}
}
