package boltstore

import (
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/stretchr/testify/require"
)

func TestDeletedExecutionsLeaveNothing(t *testing.T) {
	s := openTemp(t)
	ctx := t.Context()
	now := s.Now().UnixNano()
	s.own(t, "caller")
	caller, err := s.Get(ctx, "caller")
	require.NoError(t, err)
	ids := []string{"caller", "invoked", "held", "asleep"}
	for _, id := range ids[1:] {
		c := checkpoint.Creation{ID: id, Claim: true, Started: checkpoint.Record{Function: "f"}}
		if id == "invoked" {
			c.Caller = &checkpoint.Caller{ID: "caller", Incarnation: caller.Incarnation, OperationID: "1"}
		}
		_, _, err := s.Create(ctx, c)
		require.NoError(t, err)
	}
	for _, id := range ids {
		a := step(id, 1)
		for i, op := range []string{"1", "2", "3"} {
			r := a.Records[0]
			r.Seq, r.EventID, r.Type, r.OperationID = uint64(2+i), uint64(2+i), checkpoint.CallbackStarted, op
			r.Time, r.HeartbeatTimeout = now, int64(time.Hour)
			a.Records = append(a.Records[:i], r)
		}
		require.NoError(t, <-s.start(a))
		require.NoError(t, s.Heartbeat(ctx, checkpoint.CallbackRef{ID: id, OperationID: "1"}))
		require.NoError(t, s.Deliver(ctx, checkpoint.Delivery{ID: id, Record: checkpoint.Record{Type: checkpoint.CallbackSucceeded, OperationID: "2"}}))
	}
	for id, release := range map[string]*checkpoint.Release{
		"held":   {Hold: &checkpoint.Hold{Build: "one"}},
		"asleep": {WakeAt: now + int64(time.Hour)},
	} {
		a := step(id, 4)
		a.InboxSeen, a.Release = 1, release
		require.NoError(t, <-s.start(a))
	}
	for _, id := range ids { // the caller first: what it invoked is still running
		_, err := s.End(ctx, checkpoint.Ending{ID: id, Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
		require.NoError(t, err)
		require.NoError(t, s.Delete(ctx, id))
	}
	require.NoError(t, s.read(ctx, func(p *snapshot) error {
		for table := range tables {
			if table != metaTable && table != queueTable {
				require.Zero(t, p.bucket(table).Stats().KeyN, "keys in %s", tableNames[table])
			}
		}
		return nil
	}))
	require.Empty(t, s.writer.rows)
	require.Empty(t, s.writer.ids)

	require.NoError(t, s.Close())
	s, err = Open(s.path, nil)
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.read(ctx, func(p *snapshot) error {
		require.Equal(t, 1, p.bucket(queueTable).Stats().KeyN, "queues of builds are removed when they are empty")
		return nil
	}))
}
