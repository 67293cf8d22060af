package durable

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/jsonform"
)

// ExecutionStatus is the status of an execution.
type ExecutionStatus string

// The statuses of executions.
const (
	ExecutionRunning   ExecutionStatus = "RUNNING"
	ExecutionSucceeded ExecutionStatus = "SUCCEEDED"
	ExecutionFailed    ExecutionStatus = "FAILED"
	ExecutionTimedOut  ExecutionStatus = "TIMED_OUT"
	ExecutionStopped   ExecutionStatus = "STOPPED"
)

// ExecutionInfo is what Describe and Executions tell of an execution. Times are in UTC.
type ExecutionInfo struct {
	ID        string          `json:"id"`
	Number    uint64          `json:"number"` // given by the store in the order of creation, never again
	Function  string          `json:"function"`
	Status    ExecutionStatus `json:"status"` // empty: it can't be read
	StartedAt time.Time       `json:"startedAt"`
	EndedAt   time.Time       `json:"endedAt,omitzero"`    // zero while running
	Deadline  time.Time       `json:"deadline,omitzero"`   // zero: none
	WakeAt    time.Time       `json:"wakeAt,omitzero"`     // zero: not suspended, or until something comes from outside
	Resident  bool            `json:"resident"`            // in memory now, also when it has ended and code of it goes on
	Held      *Failure        `json:"held,omitempty"`      // why it is held; nil if it isn't
	Parent    string          `json:"parent,omitempty"`    // the execution that invoked it
	RestartOf string          `json:"restartOf,omitempty"` // the execution whose records it began with, see RestartFrom
	Input     json.RawMessage `json:"input,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Failure   *Failure        `json:"failure,omitempty"`
	// Bodies are the IDs of the operations whose body runs in this process now,
	// those included that ignore their timeout.
	Bodies []string `json:"bodies,omitempty"`
	// StalledSince is since when its code has been busy or blocked in this process
	// outside of operations and bodies, if that is over a minute; or since when it has
	// ended, or was to leave memory, while code of it goes on. Zero: it isn't.
	StalledSince time.Time `json:"stalledSince,omitzero"`
}

// Query selects executions. Zero fields do not restrict.
type Query struct {
	Function      string
	IDPrefix      string
	Status        ExecutionStatus
	StartedAfter  time.Time
	StartedBefore time.Time
	// Before selects executions with a smaller Number: the page behind the one that
	// ended with it. Pages read so neither overlap nor leave anything out, whatever is
	// started or deleted between them.
	Before uint64
	Limit  int // at most so many; 0: all
}

// Describe tells about one execution. An error beside an info that has a Number says
// what of it can't be read.
func (e *Engine) Describe(ctx context.Context, id string) (ExecutionInfo, error) {
	s, err := e.find(ctx, id)
	if err != nil && !partly(&s, err) {
		return ExecutionInfo{}, err
	}
	return e.readable(&s, err)
}

// Executions yields the executions that q selects, newest first. It reads in
// pages; executions that change or are started meanwhile do not disturb it. An
// error beside an execution that has a Number concerns only that one, which can't be
// read in whole: what is there is true, what is missing may be damaged. Behind any
// other error nothing comes.
func (e *Engine) Executions(ctx context.Context, q Query) iter.Seq2[ExecutionInfo, error] {
	return func(yield func(ExecutionInfo, error) bool) {
		if err := e.takes(ctx); err != nil {
			yield(ExecutionInfo{}, err)
			return
		}
		sq, err := q.stored()
		if err != nil {
			yield(ExecutionInfo{}, err)
			return
		}
		for s, err := range e.store.List(ctx, sq) {
			if err != nil && !partly(&s, err) {
				yield(ExecutionInfo{}, e.outward(err))
				return
			}
			if err != nil {
				err = e.outward(err)
			}
			if !yield(e.readable(&s, err)) {
				return
			}
		}
	}
}

// stored is a query as stores take it.
func (q *Query) stored() (checkpoint.Query, error) {
	status, err := parseStatus(q.Status)
	sq := checkpoint.Query{Function: q.Function, IDPrefix: q.IDPrefix, Status: status, Before: q.Before, Limit: q.Limit}
	if !q.StartedAfter.IsZero() {
		sq.StartedAfter = nanoseconds(q.StartedAfter)
	}
	if !q.StartedBefore.IsZero() {
		sq.StartedBefore = nanoseconds(q.StartedBefore)
	}
	return sq, err
}

// Count counts the executions that q selects, by status; a status that none has is
// not in the map. Before and Limit of q don't count. It is cheap enough to be called
// each second with 100,000 executions, where the store is a checkpoint.Counter, as all
// of ours are.
func (e *Engine) Count(ctx context.Context, q Query) (map[ExecutionStatus]int, error) {
	if err := e.takes(ctx); err != nil {
		return nil, err
	}
	sq, err := q.stored()
	if err != nil {
		return nil, err
	}
	sq.Before, sq.Limit = 0, 0
	counts := make(map[ExecutionStatus]int)
	if c, ok := e.store.(checkpoint.Counter); ok {
		by, err := c.Count(ctx, sq)
		for status, n := range by {
			counts[ExecutionStatus(status.String())] = n
		}
		return counts, e.outward(err)
	}
	for s, err := range e.store.List(ctx, sq) {
		if err != nil && !partly(&s, err) {
			return nil, e.outward(err)
		}
		if s.Status != 0 {
			counts[ExecutionStatus(s.Status.String())]++
		}
	}
	return counts, nil
}

// nanoseconds is t as stores count it; what is out of their reach is its end.
func nanoseconds(t time.Time) int64 {
	switch {
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	}
	return t.UnixNano()
}

func parseStatus(s ExecutionStatus) (checkpoint.Status, error) {
	if s == "" {
		return 0, nil
	}
	for st := checkpoint.Running; st <= checkpoint.Stopped; st++ {
		if st.String() == string(s) {
			return st, nil
		}
	}
	return 0, fmt.Errorf("durable: %q is not a status of executions", history.Truncated(string(s)))
}

// find reads the summary of an execution.
func (e *Engine) find(ctx context.Context, id string) (checkpoint.Summary, error) {
	if err := e.takes(ctx); err != nil {
		return checkpoint.Summary{}, err
	}
	if err := history.CheckID("execution ID", id); err != nil {
		return checkpoint.Summary{}, err
	}
	open := e.whileOpen(ctx)
	defer open.left()
	s, err := e.store.Get(open, id)
	if err != nil {
		return s, e.lookup(id, err)
	}
	return s, nil
}

// partly reports whether an error of the store is damage in the execution beside it.
func partly(s *checkpoint.Summary, err error) bool {
	return s.Number != 0 && errors.Is(err, checkpoint.ErrCorrupt)
}

// readable is what can be told of an execution that the store has read with an error.
func (e *Engine) readable(s *checkpoint.Summary, err error) (ExecutionInfo, error) {
	info, failed := e.info(s)
	if s.Status == 0 {
		info.Status = ""
	}
	return info, cmp.Or(err, failed)
}

// isHeld reports whether builds hold an execution, and nobody tries it.
func isHeld(s *checkpoint.Summary) bool { return len(s.HeldBuilds) > 0 && !s.Owned }

func (e *Engine) info(s *checkpoint.Summary) (ExecutionInfo, error) {
	info := ExecutionInfo{ID: s.ID, Number: s.Number, RestartOf: s.Started.RestartOf, Function: s.Function, Status: ExecutionStatus(s.Status.String()), StartedAt: timeOf(s.StartedAt), EndedAt: timeOf(cmp.Or(s.Ended.Time, s.EndedAt)),
		Deadline: timeOf(s.Deadline), WakeAt: timeOf(s.WakeAt)}
	if s.Caller != nil {
		info.Parent = s.Caller.ID
	}
	if x := e.resident(s.ID); x != nil && x.x.Summary().Incarnation == s.Incarnation {
		x.describe(&info)
	}
	if isHeld(s) {
		failure, err := e.decodeHold(s.Held, s.Incarnation)
		if err != nil {
			return info, err
		}
		info.Held = e.errs.rebuild(failure)
	} else if e.lacksFunction(s) {
		info.Held = e.errs.rebuild(fault.Own("FunctionNotFound", fmt.Sprintf("function %q is not in Options.Functions of this engine: it waits for one that has it", s.Function)))
	}
	for _, rec := range []*checkpoint.Record{&s.Started, &s.Ended} {
		if err := e.openRecord(rec, s.Incarnation); err != nil {
			return info, fmt.Errorf("durable: execution %s: %w", s.ID, err)
		}
	}
	info.Input = jsonform.Shown(s.Started.Payload)
	if s.Status == checkpoint.Succeeded {
		info.Result = jsonform.Shown(s.Ended.Payload)
	}
	failure, err := fault.Decode(s.Ended.Failure)
	if err != nil {
		return info, fmt.Errorf("durable: execution %s: %w", s.ID, err)
	}
	if failure != nil {
		info.Failure = e.errs.rebuild(failure)
	}
	return info, nil
}

// describe tells what is known of an execution because it is in memory.
func (r *resident) describe(info *ExecutionInfo) {
	if info.Resident = !r.isGone(); !info.Resident {
		return
	}
	state := r.state()
	info.StalledSince, _ = state.stalled()
	info.Bodies = r.x.Bodies()
	r.e.mu.Lock()
	earlier := r.earlier
	r.e.mu.Unlock()
	if earlier != nil {
		var its ExecutionInfo
		earlier.describe(&its)
		info.Bodies = append(info.Bodies, its.Bodies...)
	}
	slices.SortFunc(info.Bodies, history.CompareIDs)
}

// claimPatience is how long an execution that is due waits at most for a process of
// several to claim it.
const claimPatience = 2 * time.Second

// lacksFunction reports whether a running execution can't go on for want of its
// function, as far as this engine can tell: where processes share the store, another
// one may have it; and an engine without any functions only looks on.
func (e *Engine) lacksFunction(s *checkpoint.Summary) bool {
	if s.Status != checkpoint.Running || e.has(s.Function) {
		return false
	}
	if !e.shared {
		return len(e.defs) > 0
	}
	return !s.Owned && s.WakeAt != 0 && s.WakeAt < e.now()-int64(claimPatience)
}

// encodeHold is why an execution is held, as it is stored when it has been sealed.
func encodeHold(failure *fault.Failure) []byte {
	return append([]byte{0}, fault.Encode(failure)...)
}

// sealHold seals why an execution is held.
func (e *Engine) sealHold(h *checkpoint.Hold, inc checkpoint.Incarnation) {
	rec := checkpoint.Record{Failure: h.Failure[1:]}
	if err := e.sealRecord(&rec, inc); err != nil {
		h.Failure = encodeHold(fault.Own("Codec", "the reason could not be sealed"))
		return
	}
	h.Failure = append([]byte{byte(rec.Flags)}, rec.Failure...)
}

func (e *Engine) decodeHold(data []byte, inc checkpoint.Incarnation) (*fault.Failure, error) {
	if len(data) == 0 {
		return &fault.Failure{Type: "Unknown", Message: "no reason is recorded"}, nil
	}
	rec := checkpoint.Record{Flags: checkpoint.Flags(data[0]), Failure: data[1:]}
	if err := e.openRecord(&rec, inc); err != nil {
		return nil, err
	}
	return fault.Decode(rec.Failure)
}
