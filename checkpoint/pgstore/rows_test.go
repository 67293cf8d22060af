package pgstore_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/jackc/pgx/v5"
)

// waits is an append that begins a wait and parks the execution.
func waits(s checkpoint.Store, sum checkpoint.Summary) checkpoint.Append {
	now := s.Now().UnixNano()
	wake := now + int64(time.Hour)
	return checkpoint.Append{ID: sum.ID, Epoch: sum.Epoch, Tail: sum.Tail, Release: &checkpoint.Release{WakeAt: wake}, Records: []checkpoint.Record{
		{Seq: sum.Tail + 1, EventID: sum.LastEvent + 1, Events: 1, Type: checkpoint.WaitStarted, OperationID: "1", Time: now, WakeAt: wake},
		{Seq: sum.Tail + 2, EventID: sum.LastEvent + 2, Events: 1, Type: checkpoint.InvocationCompleted, Time: now},
	}}
}

// rowsOf counts the rows of an execution, and those of its columns that only new programs
// can read.
func rowsOf(t *testing.T, c *cluster, schema, id string) (journal, nulls int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), c.Cluster.URL())
	require.NoError(t, err)
	defer conn.Close(t.Context())
	require.NoError(t, conn.QueryRow(t.Context(), strings.ReplaceAll(`SELECT (SELECT count(*) FROM $S.journal j WHERE j.number = e.number),
		num_nulls(e.rev, e.epoch, e.tail, e.last_event, e.ended_at, e.deadline, e.wake_at, e.caller_number, e.lost, e.cancelled, e.invoked, e.callbacks, e.heartbeats, e.inbox_seen, e.inbox_tail, e.held_builds, e.builds, e.queue)
		FROM $S.execution e WHERE id = $1`, "$S", pgx.Identifier{schema}.Sanitize()), []byte(id)).Scan(&journal, &nulls))
	return journal, nulls
}

// reads reads all that there is of an execution, in every way that there is.
func reads(t *testing.T, s checkpoint.Store, id string, tail uint64) checkpoint.Summary {
	t.Helper()
	sum, err := s.Get(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, tail, sum.Tail)
	require.EqualValues(t, 1, sum.Started.Seq)
	if sum.Status != checkpoint.Running {
		require.Equal(t, tail, sum.Ended.Seq)
	}
	for listed, err := range s.List(t.Context(), checkpoint.Query{IDPrefix: id}) {
		require.NoError(t, err)
		if listed.ID == id {
			require.Equal(t, sum, listed)
		}
	}
	for after := range tail + 1 {
		want := after
		for r, err := range s.Records(t.Context(), id, after) {
			require.NoError(t, err)
			want++
			require.Equal(t, want, r.Seq)
		}
		require.Equal(t, tail, want, "behind %d", after)
	}
	return sum
}

// TestParkedRows: an execution that waits is three rows, of which none says what is not so.
// While programs of before the schema's version 3 live, and for what one of them may
// have read, it is as they know it.
func TestParkedRows(t *testing.T) {
	t.Parallel()
	c := need(t)
	schema := c.Schema()
	require.NoError(t, openAt(t, c.url, schema, pgstore.Options{}).Close())
	older(t, c.url, schema)
	s := openAt(t, c.url, schema, pgstore.Options{Lease: time.Second})
	parks := func(id string) {
		t.Helper()
		require.NoError(t, appendTo(s, waits(s, create(t, s, id, true))))
	}
	goesOn := func(id string, tail uint64) checkpoint.Summary { // it is cancelled, and taken
		t.Helper()
		require.NoError(t, s.Deliver(t.Context(), checkpoint.Delivery{ID: id, Record: checkpoint.Record{Type: checkpoint.CancelRequested}}))
		claims, err := s.Claim(t.Context(), checkpoint.ClaimRequest{Functions: []string{"f"}, Build: "b", Max: 10})
		require.NoError(t, err)
		require.Len(t, claims, 1)
		require.Len(t, claims[0].Records, int(tail))
		require.Len(t, claims[0].Inbox, 1)
		return claims[0].Summary
	}
	parks("plain")
	mine := create(t, s, "mine", true)
	journal, nulls := rowsOf(t, c, schema, "plain")
	require.Equal(t, 3, journal)
	require.Zero(t, nulls, "older programs can't read that")

	endsOlder(t, c, schema)
	for n := 0; ; n++ {
		id := fmt.Sprint("soon", n)
		parks(id)
		if _, nulls = rowsOf(t, c, schema, id); nulls > 0 {
			break
		}
		require.Less(t, n, 100_000)
	}
	parks("x")
	journal, nulls = rowsOf(t, c, schema, "x")
	require.Equal(t, 2, journal)
	require.Equal(t, 15, nulls, "all but its revision, its tail and its queue")
	sum := reads(t, s, "x", 3)
	require.NotZero(t, sum.WakeAt)

	// What one may have read has a row a record, until all of the execution's row is written.
	two := checkpoint.Append{ID: "mine", Epoch: mine.Epoch, Tail: 1, Records: []checkpoint.Record{
		{Seq: 2, EventID: 2, Events: 1, Type: checkpoint.StepSucceeded, OperationID: "1"}, {Seq: 3, EventID: 3, Events: 1, Type: checkpoint.StepSucceeded, OperationID: "2"},
	}}
	require.NoError(t, appendTo(s, two))
	journal, _ = rowsOf(t, c, schema, "mine")
	require.Equal(t, 3, journal)
	mine.Tail, mine.LastEvent = 3, 3
	require.NoError(t, appendTo(s, waits(s, mine)))
	journal, nulls = rowsOf(t, c, schema, "mine")
	require.Equal(t, 4, journal)
	require.Equal(t, 13, nulls, "all but these, and what is written once")
	reads(t, s, "mine", 5)

	mine = goesOn("mine", 5)
	require.NoError(t, appendTo(s, checkpoint.Append{ID: "mine", Epoch: mine.Epoch, Tail: 5, Release: &checkpoint.Release{Hold: &checkpoint.Hold{Build: "b"}}}))

	// One that comes back, having been away for a lease, does not get to see the others.
	older(t, c.url, schema)
	require.NoError(t, s.Close())
	s = openAt(t, c.url, schema, pgstore.Options{})
	sum = goesOn("x", 3)
	end := step(sum, 3)
	end.InboxSeen, end.Status = 1, checkpoint.Succeeded
	end.Records = append(end.Records, checkpoint.Record{Seq: 5, EventID: 5, Events: 1, Type: checkpoint.ExecutionSucceeded})
	require.NoError(t, appendTo(s, end))
	journal, nulls = rowsOf(t, c, schema, "x")
	require.Equal(t, 3, journal)
	require.NotZero(t, nulls)
	reads(t, s, "x", 5)
	require.NoError(t, s.Resume(t.Context(), "mine"))
	_, nulls = rowsOf(t, c, schema, "mine")
	require.NotZero(t, nulls)
}
