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

// TestExpireInBites: no statement of Expire looks at much, or deletes much, whatever there is.
func TestExpireInBites(t *testing.T) {
	c := need(t)
	t.Parallel()
	schema := c.Schema()
	var p plans
	s, err := pgstore.New(t.Context(), p.explained(t, c.url), &pgstore.Options{Schema: schema, Poll: time.Hour, NoListen: *throughBouncer})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	sql := func(q string) { t.Helper(); c.exec(t, strings.ReplaceAll(q, "$S", pgx.Identifier{schema}.Sanitize())) }
	expire := func(limit, n int) (bites []executed) {
		t.Helper()
		p.take()
		got, err := s.Expire(t.Context(), s.Now(), limit)
		require.NoError(t, err)
		require.Equal(t, n, got)
		for _, e := range p.take() {
			if e.sql == pgstore.Statements(schema)["expire"] {
				bites = append(bites, e)
			}
		}
		return bites
	}
	end := func(id string, caller *checkpoint.Caller) {
		x := creation(id, "f", false)
		x.Caller, x.Status = caller, checkpoint.Succeeded
		x.Records = []checkpoint.Record{{Seq: 2, EventID: 2, Events: 1, Type: checkpoint.ExecutionSucceeded}}
		_, _, err := s.Create(t.Context(), x)
		require.NoError(t, err)
	}

	// Some with long journals.
	for i := range 5 {
		end(fmt.Sprint("long", i), nil)
	}
	sql(`UPDATE $S.execution SET tail = 15000`)
	require.GreaterOrEqual(t, len(expire(5, 5)), 3, "no more than 20,000 records at a time, and what was over")
	end("longest", nil)
	sql(`UPDATE $S.execution SET tail = 1000000`)
	require.Len(t, expire(5, 1), 2, "it, and nothing else")

	// Many that must be kept, in front of two that need not be.
	create(t, s, "caller", true)
	end("child", &checkpoint.Caller{ID: "caller", Incarnation: checkpoint.Incarnation{1}, OperationID: "1"})
	columns := `rev, incarnation, function, status, started_at, deadline, wake_at, caller_id, caller_incarnation, caller_operation, caller_number, epoch, lost, cancelled,
		invoked, callbacks, heartbeats, tail, last_event, inbox_seen, inbox_tail, held_builds, builds, queue`
	sql(`INSERT INTO $S.execution (number, id, ended_at, ` + columns + `) SELECT 1000 + g, convert_to('child' || g, 'UTF8'), 1, ` + columns + `
		FROM $S.execution e, generate_series(1, 1200) g WHERE e.id = 'child'`)
	end("one", nil)
	end("two", nil)
	require.Len(t, expire(1, 1), 3, "no more than 500 at a time")
	require.Len(t, expire(1, 1), 1, "it goes on behind what it has seen")
	require.Len(t, expire(1, 0), 4, "the end, and once more what had to be kept")
	_, err = s.End(t.Context(), checkpoint.Ending{ID: "caller", Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
	require.NoError(t, err)
	expire(5000, 1202)
}
