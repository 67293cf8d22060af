package pgstore

import (
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
)

// columnNames are those of an execution that a work is read from, e being the table.
const columnNames = `e.number, e.rev, e.id, e.incarnation, e.function, e.status, e.started_at, e.ended_at, e.deadline, e.wake_at,
	e.caller_id, e.caller_incarnation, e.caller_operation, e.caller_number, e.digest, e.epoch, e.owner,
	e.lost, e.cancelled, e.invoked, e.callbacks, e.heartbeats, e.tail, e.last_event, e.inbox_seen, e.inbox_tail,
	e.held_builds, e.held, e.builds, e.due_at`

// columns takes what a row of columnNames holds into a work.
type columns struct {
	w                                     *work
	number, callerNumber, epoch           int64
	tail, lastEvent, inboxSeen, inboxTail int64
	status                                int16
	id, incarnation, function             []byte
	callerID, callerIncarnation, callerOp []byte
	builds                                []byte
	heldBuilds                            [][]byte
	owner, dueAt                          *int64
}

func newColumns(w *work) *columns { return &columns{w: w} }

func (c *columns) targets() []any {
	r := c.w.row
	return []any{&c.number, &c.w.rev, &c.id, &c.incarnation, &c.function, &c.status, &r.StartedAt, &r.EndedAt, &r.Deadline, &r.WakeAt,
		&c.callerID, &c.callerIncarnation, &c.callerOp, &c.callerNumber, &r.Digest, &c.epoch, &c.owner,
		&r.Lost, &r.Cancelled, &r.Invoked, &r.Callbacks, &r.Heartbeats, &c.tail, &c.lastEvent, &c.inboxSeen, &c.inboxTail,
		&c.heldBuilds, &r.Held, &c.builds, &c.dueAt}
}

// done fills the work from what was scanned.
func (c *columns) done() {
	w, r := c.w, c.w.row
	r.Number, r.CallerNumber, r.Epoch = uint64(c.number), uint64(c.callerNumber), uint64(c.epoch)
	r.Tail, r.LastEvent, r.InboxSeen, r.InboxTail = uint64(c.tail), uint64(c.lastEvent), uint64(c.inboxSeen), uint64(c.inboxTail)
	r.Status = checkpoint.Status(c.status)
	r.ID, r.Function = string(c.id), string(c.function)
	copy(r.Incarnation[:], c.incarnation)
	if c.callerID != nil {
		r.Caller = &checkpoint.Caller{ID: string(c.callerID), OperationID: string(c.callerOp)}
		copy(r.Caller.Incarnation[:], c.callerIncarnation)
	}
	for _, b := range c.heldBuilds {
		if r.Held == nil {
			r.Unfit = append(r.Unfit, string(b))
		} else {
			r.HeldBuilds = append(r.HeldBuilds, string(b))
		}
	}
	switch {
	case c.owner != nil:
		r.Owned, w.owner = true, *c.owner
		r.WakeAt = 0 // see wakeAtOf
		w.place = ledger.Place{Kind: ledger.Owned}
	case r.Status != checkpoint.Running:
		w.place = ledger.Place{Kind: ledger.Ended, At: r.EndedAt}
	case c.dueAt != nil:
		w.place = ledger.Place{Kind: ledger.Queued, Queue: ledger.Queue{Function: r.Function, Builds: string(c.builds)}, At: *c.dueAt}
	}
}
