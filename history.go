package durable

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/jsonform"
)

// OperationStatus is the status of an operation.
type OperationStatus string

// The statuses of operations. Pending is a failed attempt, or a check that goes
// on, whose delay is not over; Ready is one whose delay is.
const (
	OperationStarted   OperationStatus = "STARTED"
	OperationPending   OperationStatus = "PENDING"
	OperationReady     OperationStatus = "READY"
	OperationSucceeded OperationStatus = "SUCCEEDED"
	OperationFailed    OperationStatus = "FAILED"
	OperationCancelled OperationStatus = "CANCELLED"
	OperationTimedOut  OperationStatus = "TIMED_OUT"
	OperationStopped   OperationStatus = "STOPPED"
)

// Operation is what an operation has become, as Engine.Operations tells it. Times are
// in UTC.
type Operation struct {
	ID        string          `json:"id"`
	ParentID  string          `json:"parentId,omitempty"`
	Type      string          `json:"type"`
	SubType   string          `json:"subType,omitempty"`
	Name      string          `json:"name,omitempty"`
	Status    OperationStatus `json:"status"`
	Attempt   int             `json:"attempt,omitempty"`
	StartedAt time.Time       `json:"startedAt,omitzero"`
	EndedAt   time.Time       `json:"endedAt,omitzero"`
	WakeAt    time.Time       `json:"wakeAt,omitzero"`
	// CallbackID is the ID of an open callback. Who has it may complete it.
	CallbackID string          `json:"callbackId,omitempty"`
	Result     json.RawMessage `json:"result,omitempty"`
	Failure    *Failure        `json:"failure,omitempty"`
	InvokedID  string          `json:"invokedId,omitempty"` // of an invoke: the execution it started
}

// Event is one entry of an execution's history. Types and sub-types are those of
// AWS durable functions. A payload that is not JSON, or too deeply nested to be part of
// other JSON, is shown as a JSON string, or as base64 behind "base64:" if it is not text.
// Times are in UTC.
type Event struct {
	EventID     int64           `json:"eventId"` // 1, 2, 3 … in the order things became so
	Type        string          `json:"type"`
	SubType     string          `json:"subType,omitempty"`
	Time        time.Time       `json:"time"`
	OperationID string          `json:"operationId,omitempty"`
	ParentID    string          `json:"parentId,omitempty"`
	Name        string          `json:"name,omitempty"`
	Attempt     int             `json:"attempt,omitempty"`
	Input       json.RawMessage `json:"input,omitempty"` // executions and invokes
	Result      json.RawMessage `json:"result,omitempty"`
	Failure     *Failure        `json:"failure,omitempty"`
	CallbackID  string          `json:"callbackId,omitempty"` // CallbackStarted
	InvokedID   string          `json:"invokedId,omitempty"`  // ChainedInvokeStarted: the execution it started
	Duration    time.Duration   `json:"duration,omitempty"`   // waits
	Timeout     time.Duration   `json:"timeout,omitempty"`    // callbacks, executions

	HeartbeatTimeout time.Duration `json:"heartbeatTimeout,omitempty"` // callbacks
	NextAttemptDelay time.Duration `json:"nextAttemptDelay,omitempty"` // failed attempts that are retried, polls that go on
	Function         string        `json:"function,omitempty"`         // invokes, ExecutionStarted
}

// History yields the events of an execution in order. What came from outside and
// was not yet taken over by the execution stands at the end.
func (e *Engine) History(ctx context.Context, id string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		s, err := e.find(ctx, id)
		if err != nil {
			yield(Event{}, err)
			return
		}
		e.readHistory(ctx, &s, newBookmark(&s), 0, yield)
	}
}

// HistoryAfter yields what History yields behind the event after, for those who read a
// history in pages: break out of it where a page ends, and go on behind the last event.
// However many pages there are, each record is read once, as long as no more than a
// minute, and few other executions, lie between two of them.
func (e *Engine) HistoryAfter(ctx context.Context, id string, after int64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		s, err := e.find(ctx, id)
		if err != nil {
			yield(Event{}, err)
			return
		}
		b := e.bookmarks.take(&s, after)
		if e.readHistory(ctx, &s, b, after, yield) {
			e.bookmarks.keep(b)
		}
	}
}

// Operations returns the operations of an execution in the order of their IDs.
func (e *Engine) Operations(ctx context.Context, id string) ([]Operation, error) {
	ops, s, err := e.operations(ctx, id)
	if err != nil {
		return nil, err
	}
	now := e.now()
	list := make([]Operation, 0, len(ops))
	for _, o := range ops {
		if o.ID != "" && o.Status != "" && !o.Silent() {
			list = append(list, e.publicOperation(o, s, now))
		}
	}
	slices.SortFunc(list, func(a, b Operation) int { return history.CompareIDs(a.ID, b.ID) })
	return list, nil
}

// operations folds what is recorded of an execution, the inbox included.
func (e *Engine) operations(ctx context.Context, id string) (history.Operations, *checkpoint.Summary, error) {
	s, err := e.find(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	ops := history.New(s.Tail)
	for rec, err := range e.records(ctx, &s) {
		if err != nil {
			return nil, nil, err
		}
		if history.FromInbox(rec) && !ops.Awaits(rec) {
			continue
		}
		failure, err := fault.Decode(rec.Failure)
		if err != nil {
			return nil, nil, err
		}
		ops.Apply(rec, failure)
	}
	return ops, &s, nil
}

// records yields the journal of an execution, and behind it what its inbox
// holds, opened.
func (e *Engine) records(ctx context.Context, s *checkpoint.Summary) iter.Seq2[*checkpoint.Record, error] {
	return func(yield func(*checkpoint.Record, error) bool) {
		fail := func(err error) {
			yield(nil, fmt.Errorf("durable: history of execution %s: %w", s.ID, e.lookup(s.ID, err)))
		}
		// The inbox first: what is moved meanwhile is seen twice, never not at all.
		inbox, err := e.store.Inbox(ctx, s.ID, 0)
		if err != nil {
			fail(err)
			return
		}
		settled := make(map[string]bool)
		tail := uint64(0)
		for rec, err := range e.journalOf(ctx, s, 0) {
			if err == nil {
				err = e.openRecord(&rec, s.Incarnation)
			}
			if err != nil {
				fail(err)
				return
			}
			tail = rec.Seq
			if history.IsOutside(rec.Type) {
				settled[rec.OperationID] = true
			}
			if !yield(&rec, nil) {
				return
			}
		}
		if s.Status != checkpoint.Running {
			return
		}
		for i := range inbox {
			rec := &inbox[i]
			if settled[rec.OperationID] || !history.IsOutside(rec.Type) {
				continue
			}
			settled[rec.OperationID] = true
			if err := e.openRecord(rec, s.Incarnation); err != nil {
				fail(err)
				return
			}
			tail++
			rec.Seq = tail
			if !yield(rec, nil) {
				return
			}
		}
	}
}

// eventsOf are the events that a record stands for; o is its operation, nil for
// the execution itself.
func (e *Engine) eventsOf(rec *checkpoint.Record, o *history.Operation, s *checkpoint.Summary) []Event {
	ev := Event{EventID: int64(rec.EventID), Type: rec.Type.String(), SubType: rec.SubType.String(), Time: timeOf(rec.Time), Attempt: int(rec.Attempt),
		Timeout: time.Duration(rec.Timeout), NextAttemptDelay: time.Duration(rec.NextAttemptDelay), Function: rec.Function, InvokedID: rec.TargetID}
	if o != nil && rec.OperationID != "" {
		ev.OperationID, ev.ParentID, ev.Name = o.ID, o.Parent, o.Name
	}
	if failure, err := fault.Decode(rec.Failure); err == nil && failure != nil {
		ev.Failure = e.errs.rebuild(failure)
	}
	switch rec.Type {
	case checkpoint.ExecutionStarted, checkpoint.ChainedInvokeStarted:
		ev.Input = jsonform.Shown(rec.Payload)
	case checkpoint.WaitStarted:
		ev.Duration = time.Duration(rec.Duration)
	case checkpoint.WaitSucceeded, checkpoint.WaitCancelled:
		ev.Duration = time.Duration(o.Duration)
	case checkpoint.CallbackStarted:
		ev.HeartbeatTimeout = time.Duration(rec.HeartbeatTimeout)
		ev.CallbackID = e.callbackID(s.Number, s.Incarnation, rec.OperationID)
	default:
		ev.Result = result(rec)
	}
	if rec.Events < 2 {
		return []Event{ev}
	}
	start := Event{EventID: ev.EventID, Type: history.StartOf(rec.Type), SubType: ev.SubType, Time: timeOf(rec.StartedAt), OperationID: ev.OperationID,
		ParentID: ev.ParentID, Name: ev.Name, Attempt: ev.Attempt, Timeout: ev.Timeout, Duration: ev.Duration}
	ev.EventID++
	return []Event{start, ev}
}

// result is the value that a record shows; of a batch, its summary.
func result(rec *checkpoint.Record) json.RawMessage {
	if rec.Flags&checkpoint.FlagPayload != 0 || len(rec.Payload) > 0 {
		return jsonform.Shown(rec.Payload)
	}
	var decision history.Batch
	if len(rec.Batch) == 0 || json.Unmarshal(rec.Batch, &decision) != nil {
		return nil
	}
	summary, _ := json.Marshal(struct {
		Reason    string `json:"completionReason,omitempty"`
		Total     int    `json:"totalCount"`
		Succeeded int    `json:"successCount"`
		Failed    int    `json:"failureCount"`
		Started   int    `json:"startedCount"`
	}{decision.Reason, len(decision.Items) - bytes.Count([]byte(decision.Items), []byte("-")),
		bytes.Count([]byte(decision.Items), []byte("S")), bytes.Count([]byte(decision.Items), []byte("F")), bytes.Count([]byte(decision.Items), []byte("T"))})
	return summary
}

func (e *Engine) publicOperation(o *history.Operation, s *checkpoint.Summary, now int64) Operation {
	p := Operation{ID: o.ID, ParentID: o.Parent, Type: o.Type.String(), SubType: o.SubType.String(), Name: o.Name, Status: OperationStatus(o.Status), Attempt: int(o.Attempt),
		StartedAt: timeOf(o.StartedAt), EndedAt: timeOf(o.EndedAt), InvokedID: o.Target}
	switch {
	case o.Settled():
		if o.Batch != nil && o.Payload == nil {
			p.Result = result(&checkpoint.Record{Batch: o.Batch})
		} else if o.Failure == nil && !o.Rebuilds() && o.Payload != nil {
			p.Result = jsonform.Shown(o.Payload)
		}
		if o.Failure != nil {
			p.Failure = e.errs.rebuild(o.Failure)
		}
	default:
		p.WakeAt = timeOf(o.WakeAt)
		if p.WakeAt.IsZero() {
			p.WakeAt = timeOf(o.TimeoutAt)
		}
		if o.Status == history.Pending && o.WakeAt <= now {
			p.Status = OperationReady
		}
		if o.Type == history.Callback && !o.Dead() && s.Status == checkpoint.Running {
			p.CallbackID = e.callbackID(s.Number, s.Incarnation, o.ID)
		}
	}
	return p
}
