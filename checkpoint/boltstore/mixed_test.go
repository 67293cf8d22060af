package boltstore

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/stretchr/testify/require"
)

// journalOf makes valid appends of one execution.
type journalOf struct {
	t     *testing.T
	s     *Store
	id    string
	epoch uint64
	tail  uint64
	event uint64
}

func (s *Store) begin(t *testing.T, id string, caller *checkpoint.Caller) *journalOf {
	t.Helper()
	_, created, err := s.Create(t.Context(), checkpoint.Creation{
		ID: id, Claim: true, Caller: caller, Incarnation: checkpoint.Incarnation{1}, Digest: []byte("digest"),
		Started: checkpoint.Record{Type: checkpoint.ExecutionStarted, Function: "f", Payload: []byte(`{"input":1}`)},
	})
	require.NoError(t, err)
	require.True(t, created)
	return &journalOf{t, s, id, 1, 1, 1}
}

// append adds records, numbers them, and gives the append to change before it is made.
func (j *journalOf) append(change func(*checkpoint.Append), records ...checkpoint.Record) {
	j.t.Helper()
	a := checkpoint.Append{ID: j.id, Epoch: j.epoch, Tail: j.tail}
	for _, r := range records {
		j.tail++
		r.Seq, r.EventID, r.Events = j.tail, j.event+1, 1
		if r.Type == checkpoint.StepSucceeded {
			r.Events = 2
		}
		j.event += uint64(r.Events)
		r.Time = j.s.Now().UnixNano()
		a.Records = append(a.Records, r)
	}
	if change != nil {
		change(&a)
	}
	require.NoError(j.t, <-j.s.start(a))
}

func (j *journalOf) steps(n, size int) {
	for i := range n {
		j.append(nil, checkpoint.Record{Type: checkpoint.StepSucceeded, SubType: checkpoint.Step, OperationID: fmt.Sprint(i + 1), Payload: bytes.Repeat([]byte{'"'}, size)})
	}
}

func (j *journalOf) release(wake time.Duration, hold *checkpoint.Hold) {
	j.append(func(a *checkpoint.Append) {
		a.Release = &checkpoint.Release{Hold: hold}
		if wake != 0 {
			a.Release.WakeAt = j.s.Now().Add(wake).UnixNano()
		}
	}, checkpoint.Record{Type: checkpoint.InvocationCompleted})
}

func (j *journalOf) end(status checkpoint.Status, t checkpoint.EventType) {
	j.append(func(a *checkpoint.Append) { a.Status = status }, checkpoint.Record{Type: t, Payload: []byte("1")})
}

// callback opens a callback, with a timeout and heartbeats.
func (j *journalOf) callback(operation string) {
	j.append(nil, checkpoint.Record{
		Type: checkpoint.CallbackStarted, SubType: checkpoint.Callback, OperationID: operation,
		TimeoutAt: j.s.Now().Add(time.Hour).UnixNano(), HeartbeatTimeout: int64(time.Minute),
	})
}

// mix puts executions in every state into a store, in batches of some each. Their
// numbers begin with 1, and are those of the first round's names in order.
func (s *Store) mix(t *testing.T, rounds int) {
	ctx := t.Context()
	for round := range rounds {
		name := func(what string) string { return fmt.Sprintf("%s-%d", what, round) }
		owned := s.begin(t, name("owned"), nil) // 1
		owned.steps(3, 100)

		waiting := s.begin(t, name("waiting"), nil) // 2
		waiting.steps(2, 40_000)
		waiting.release(time.Hour, nil)

		s.begin(t, name("nowhere"), nil).release(0, nil) // 3

		held := s.begin(t, name("held"), nil) // 4
		held.release(0, &checkpoint.Hold{Build: "one", Failure: []byte("why")})

		succeeded := s.begin(t, name("succeeded"), nil) // 5
		succeeded.steps(20, 10)
		succeeded.end(checkpoint.Succeeded, checkpoint.ExecutionSucceeded)
		failed := s.begin(t, name("failed"), nil) // 6
		failed.callback("1")
		failed.end(checkpoint.Failed, checkpoint.ExecutionFailed)
		for status, what := range map[checkpoint.Status]checkpoint.EventType{checkpoint.Stopped: checkpoint.ExecutionStopped, checkpoint.TimedOut: checkpoint.ExecutionTimedOut} {
			ended := s.begin(t, name(what.String()), nil) // 7, 8
			ended.steps(1, 10)
			_, err := s.End(ctx, checkpoint.Ending{ID: ended.id, Status: status, Record: checkpoint.Record{Type: what}})
			require.NoError(t, err)
		}

		calls := s.begin(t, name("calls"), nil) // 9
		calls.callback("1")
		calls.callback("2")
		calls.callback("3")
		deliver := func(operation string) {
			require.NoError(t, s.Deliver(ctx, checkpoint.Delivery{ID: calls.id, Record: checkpoint.Record{Type: checkpoint.CallbackSucceeded, OperationID: operation, Payload: []byte("1")}}))
		}
		deliver("2")
		calls.append(func(a *checkpoint.Append) { a.InboxSeen = 1 }, checkpoint.Record{Type: checkpoint.CallbackSucceeded, OperationID: "2"})
		calls.release(time.Hour, nil)
		deliver("3")
		require.NoError(t, s.Heartbeat(ctx, checkpoint.CallbackRef{ID: calls.id, OperationID: "1"}))

		parent := s.begin(t, name("parent"), nil) // 10
		parent.steps(1, 10)
		caller := &checkpoint.Caller{ID: parent.id, Incarnation: checkpoint.Incarnation{1}, OperationID: "2"}
		s.begin(t, name("child"), caller).release(time.Hour, nil) // 11
		s.begin(t, name("done"), caller).end(checkpoint.Succeeded, checkpoint.ExecutionSucceeded)

		gone := s.begin(t, name("gone"), nil)
		gone.steps(5, 1000)
		gone.end(checkpoint.Succeeded, checkpoint.ExecutionSucceeded)
		if round%2 == 0 {
			require.NoError(t, s.awaitApplied(ctx))
		}
		require.NoError(t, s.Delete(ctx, gone.id))
	}
}
