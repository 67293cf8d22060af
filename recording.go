package durable

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/jsonform"
)

// Recording is the journal of one execution, taken out of its store by
// Engine.Recording. It is data: marshal it as JSON to keep it in a file, and give
// it to Replay. It holds inputs, results and errors in plain text, also where the
// store has them sealed, and no callback IDs. What MarshalJSON returns, and UnmarshalJSON
// gets, is the caller's.
type Recording struct {
	ID       string
	Function string
	Status   ExecutionStatus

	incarnation checkpoint.Incarnation
	records     []checkpoint.Record
}

// Recording returns the journal of an execution, finished or not. What came from
// outside and was not yet taken over by the execution is not part of it.
func (e *Engine) Recording(ctx context.Context, id string) (*Recording, error) {
	s, err := e.find(ctx, id)
	if err != nil {
		return nil, err
	}
	r := &Recording{ID: s.ID, Function: s.Function, Status: ExecutionStatus(s.Status.String()), incarnation: s.Incarnation}
	for rec, err := range e.journalOf(ctx, &s, 0) {
		if err == nil {
			err = e.openRecord(&rec, s.Incarnation)
		}
		if err != nil {
			return nil, fmt.Errorf("durable: recording of execution %s: %w", id, e.lookup(id, err))
		}
		r.records = append(r.records, rec)
	}
	return r, nil
}

const recordingVersion = 1

// recordingJSON is the form of a Recording in JSON. Fields may be added.
type recordingJSON struct {
	Version     int             `json:"version"`
	ID          string          `json:"id"`
	Function    string          `json:"function"`
	Status      ExecutionStatus `json:"status"`
	Incarnation string          `json:"incarnation"`
	Keys        json.RawMessage `json:"keys,omitempty"` // idempotency keys of the one it began as
	Records     []recordJSON    `json:"records"`
}

type recordJSON struct {
	Seq              uint64          `json:"seq"`
	EventID          uint64          `json:"eventId,omitempty"`
	Events           uint8           `json:"events,omitempty"`
	Type             string          `json:"type"`
	SubType          string          `json:"subType,omitempty"`
	Flags            uint8           `json:"flags,omitempty"`
	Time             time.Time       `json:"time,omitzero"`
	StartedAt        time.Time       `json:"startedAt,omitzero"`
	OperationID      string          `json:"operationId,omitempty"`
	ParentID         string          `json:"parentId,omitempty"`
	Name             string          `json:"name,omitempty"`
	Attempt          uint32          `json:"attempt,omitempty"`
	Duration         int64           `json:"duration,omitempty"`
	Timeout          int64           `json:"timeout,omitempty"`
	HeartbeatTimeout int64           `json:"heartbeatTimeout,omitempty"`
	NextAttemptDelay int64           `json:"nextAttemptDelay,omitempty"`
	WakeAt           time.Time       `json:"wakeAt,omitzero"`
	TimeoutAt        time.Time       `json:"timeoutAt,omitzero"`
	Function         string          `json:"function,omitempty"`
	TargetID         string          `json:"targetId,omitempty"`
	Codec            string          `json:"codec,omitempty"`
	Payload          json.RawMessage `json:"payload,omitempty"` // when it can stand here and comes back as it is
	Bytes            []byte          `json:"bytes,omitempty"`   // a payload that is not
	Failure          json.RawMessage `json:"failure,omitempty"`
	Batch            json.RawMessage `json:"batch,omitempty"`
	Digest           []byte          `json:"digest,omitempty"`
	Key              string          `json:"key,omitempty"`
	Number           int64           `json:"number,omitempty"`
	RestartOf        string          `json:"restartOf,omitempty"`
	Trace            string          `json:"trace,omitempty"`
}

// MarshalJSON returns the recording in a form that later versions can read.
func (r *Recording) MarshalJSON() ([]byte, error) {
	out := recordingJSON{Version: recordingVersion, ID: r.ID, Function: r.Function, Status: r.Status, Incarnation: r.incarnation.String()}
	if len(r.records) > 0 {
		out.Keys = json.RawMessage(r.records[0].Keys)
	}
	for i := range r.records {
		rec := &r.records[i]
		j := recordJSON{Seq: rec.Seq, EventID: rec.EventID, Events: rec.Events, Type: rec.Type.String(), SubType: rec.SubType.String(), Flags: uint8(rec.Flags),
			Time: timeOf(rec.Time), StartedAt: timeOf(rec.StartedAt), OperationID: rec.OperationID, ParentID: rec.ParentID, Name: rec.Name, Attempt: rec.Attempt,
			Duration: rec.Duration, Timeout: rec.Timeout, HeartbeatTimeout: rec.HeartbeatTimeout, NextAttemptDelay: rec.NextAttemptDelay,
			WakeAt: timeOf(rec.WakeAt), TimeoutAt: timeOf(rec.TimeoutAt), Function: rec.Function, TargetID: rec.TargetID, Codec: rec.Codec,
			Failure: rec.Failure, Batch: rec.Batch, Digest: rec.Digest, Key: rec.Key, Number: rec.Number, RestartOf: rec.RestartOf, Trace: rec.Trace}
		if back, err := json.Marshal(json.RawMessage(rec.Payload)); err == nil && bytes.Equal(back, rec.Payload) && jsonform.Embeddable(back) {
			j.Payload = rec.Payload
		} else {
			j.Bytes = rec.Payload
		}
		if !jsonform.Embeddable(rec.Failure) {
			if failure, err := fault.Decode(rec.Failure); err == nil {
				j.Failure = fault.Encode(failure)
			}
		}
		out.Records = append(out.Records, j)
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote, of this version or an earlier one.
func (r *Recording) UnmarshalJSON(data []byte) error {
	var in recordingJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	if in.Version < 1 || in.Version > recordingVersion {
		return fmt.Errorf("durable: a recording of version %d: this binary reads up to %d", in.Version, recordingVersion)
	}
	*r = Recording{ID: in.ID, Function: in.Function, Status: in.Status}
	if inc, err := hex.DecodeString(in.Incarnation); err != nil || len(inc) != copy(r.incarnation[:], inc) || len(inc) < len(r.incarnation) {
		return fmt.Errorf("durable: recording of execution %s: the incarnation %q is not one", in.ID, in.Incarnation)
	}
	for i := range in.Records {
		j := &in.Records[i]
		rec := checkpoint.Record{Seq: j.Seq, EventID: j.EventID, Events: j.Events, Flags: checkpoint.Flags(j.Flags),
			Time: recordedTime(j.Time), StartedAt: recordedTime(j.StartedAt), OperationID: j.OperationID, ParentID: j.ParentID, Name: j.Name, Attempt: j.Attempt,
			Duration: j.Duration, Timeout: j.Timeout, HeartbeatTimeout: j.HeartbeatTimeout, NextAttemptDelay: j.NextAttemptDelay,
			WakeAt: recordedTime(j.WakeAt), TimeoutAt: recordedTime(j.TimeoutAt), Function: j.Function, TargetID: j.TargetID, Codec: j.Codec,
			Payload: jsonform.Compact(j.Payload), Failure: jsonform.Compact(j.Failure), Batch: jsonform.Compact(j.Batch), Digest: j.Digest, Key: j.Key, Number: j.Number, RestartOf: j.RestartOf, Trace: j.Trace}
		if len(j.Bytes) > 0 {
			rec.Payload = j.Bytes
		}
		var known, knownSub bool
		rec.Type, known = named[checkpoint.EventType](j.Type)
		rec.SubType, knownSub = named[checkpoint.SubType](j.SubType)
		if !known || !knownSub {
			return fmt.Errorf("durable: recording of execution %s, record %d: a record of type %q, sub-type %q: a newer binary wrote it", in.ID, j.Seq, j.Type, j.SubType)
		}
		r.records = append(r.records, rec)
	}
	if len(r.records) > 0 {
		r.records[0].Keys = string(jsonform.Compact(in.Keys))
	}
	return nil
}

// named is the value of a small enumeration with the name.
func named[T interface {
	~uint8
	String() string
}](name string) (T, bool) {
	for v := range 256 {
		if T(v).String() == name {
			return T(v), true
		}
	}
	return 0, false
}

// recordedTime is what timeOf makes a time of.
func recordedTime(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
