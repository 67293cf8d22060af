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

// TestDeadRows: beside a transaction of somebody's that lasts, a report or a dump, the server
// can remove nothing of what was changed since. It must not be gone past again and again.
func TestDeadRows(t *testing.T) {
	c := need(t)
	t.Parallel()
	schema := c.Schema()
	name := pgx.Identifier{schema}.Sanitize()
	statements := pgstore.Statements(schema)
	var p plans
	pool := p.explained(t, c.url)
	s, err := pgstore.New(t.Context(), pool, &pgstore.Options{Schema: schema, Poll: time.Hour, NoListen: *throughBouncer})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	at := create(t, s, "x", false)

	report, err := pgx.Connect(t.Context(), c.Cluster.URL())
	require.NoError(t, err)
	defer report.Close(t.Context())
	_, err = report.Exec(t.Context(), `BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT txid_current_snapshot()`, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	sql := func(q string) { t.Helper(); c.exec(t, strings.ReplaceAll(q, "$S", name)) }
	looked := func(statement string) (most int) {
		t.Helper()
		seen := false
		for _, e := range p.take() {
			if e.sql == statements[statement] {
				seen, most = true, max(most, e.blocks(), e.rows())
			}
		}
		require.True(t, seen, statement)
		return most
	}

	t.Run("OfQueues", func(t *testing.T) {
		// Fifty thousand that were due in the last hour, and are taken.
		columns := `rev, incarnation, function, status, started_at, ended_at, deadline, wake_at, caller_number, epoch, lost, cancelled,
			invoked, callbacks, heartbeats, tail, last_event, inbox_seen, inbox_tail, held_builds, builds, queue`
		sql(fmt.Sprintf(`INSERT INTO $S.execution (number, id, due_at, %[1]s) SELECT 1000 + g, convert_to('dead' || g, 'UTF8'), due_at - 3600000000000 + g, %[1]s
			FROM $S.execution e, generate_series(1, 50000) g WHERE e.number = %[2]d`, columns, at.Number))
		sql(`UPDATE $S.execution SET due_at = NULL, queue = '', owner = 1 WHERE number > 1000`)
		req := checkpoint.ClaimRequest{Functions: []string{"f"}, Max: 10}
		claim := func(n int) {
			t.Helper()
			claims, err := s.Claim(t.Context(), req)
			require.NoError(t, err)
			require.Len(t, claims, n)
		}
		claim(1)
		require.Greater(t, looked("claim"), 1000, "they are there")
		for i := range 20 {
			if i == 10 { // the server learns that next to nothing is due, and makes other plans
				sql(`ANALYZE $S.execution`)
			}
			claim(0)
			require.Less(t, looked("claim"), 100)
			create(t, s, fmt.Sprint("y", i), false)
			_, err := s.NextDue(t.Context(), req)
			require.NoError(t, err)
			require.Less(t, looked("due"), 100)
			claim(1)
			require.Less(t, looked("claim"), 200)
		}
	})

	// Each round leaves a dead row of the process that makes it.
	t.Run("OfProcesses", func(t *testing.T) {
		conn, err := pgx.Connect(t.Context(), c.url)
		require.NoError(t, err)
		defer conn.Close(t.Context())
		const process, rounds = 4711, 20_000
		_, err = conn.Exec(t.Context(), statements["register"], process, int64(time.Hour))
		require.NoError(t, err)
		b := &pgx.Batch{}
		for round := range rounds {
			b.Queue(statements["renew"], process, round+1, int64(time.Hour))
		}
		require.NoError(t, conn.SendBatch(t.Context(), b).Close())
		p.take()
		_, err = pool.Exec(t.Context(), statements["renew"], process, rounds+1, int64(time.Hour))
		require.NoError(t, err)
		require.Less(t, looked("renew"), 50)
	})
}
