package pgstore

import (
	"strings"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
)

// What most executions do not have, or have not got beyond, takes no space in their rows: it is
// null, not 0, false or empty, and so are a rev, an epoch and a tail that are 1, a wake_at that
// is due_at, and a last_event that is tail. Rows of before the schema's version 3 have no nulls
// there, and nor have those that are written while programs of before it live, which can't
// read them: see isOlder.

// columnNames are those of an execution that a work is read from, e being the table.
const columnNames = `e.number, coalesce(e.rev, 1) AS rev, e.id, e.incarnation, e.function, e.status, e.started_at, coalesce(e.ended_at, 0) AS ended_at, coalesce(e.deadline, 0) AS deadline,
	coalesce(e.wake_at, e.due_at, 0) AS wake_at, e.caller_id, e.caller_incarnation, e.caller_operation, coalesce(e.caller_number, 0) AS caller_number, e.digest, coalesce(e.epoch, 1) AS epoch, e.owner,
	coalesce(e.lost, false) AS lost, coalesce(e.cancelled, false) AS cancelled, coalesce(e.invoked, false) AS invoked, coalesce(e.callbacks, false) AS callbacks, coalesce(e.heartbeats, false) AS heartbeats,
	coalesce(e.tail, 1) AS tail, coalesce(e.last_event, e.tail, 1) AS last_event, coalesce(e.inbox_seen, 0) AS inbox_seen, coalesce(e.inbox_tail, 0) AS inbox_tail, e.held_builds, e.held, e.builds, e.due_at,
	e.ended_at IS NULL OR e.held_builds IS NULL`

// nullable are the columns with nulls.
var nullable = strings.NewReplacer("u.owner", "nullif(u.owner, 0)", "u.due_at", "nullif(u.due_at, 0)", "u.wake_at", "nullif(u.wake_at, u.due_at)",
	"u.ended_at", "nullif(u.ended_at, 0)", "u.deadline", "nullif(u.deadline, 0)", "u.caller_number", "nullif(u.caller_number, 0)",
	"u.lost", "nullif(u.lost, false)", "u.cancelled", "nullif(u.cancelled, false)", "u.invoked", "nullif(u.invoked, false)",
	"u.callbacks", "nullif(u.callbacks, false)", "u.heartbeats", "nullif(u.heartbeats, false)",
	"u.inbox_seen", "nullif(u.inbox_seen, 0)", "u.inbox_tail", "nullif(u.inbox_tail, 0)",
	"u.epoch", "nullif(u.epoch, 1)", "u.tail", "nullif(u.tail, 1)", "u.last_event", "nullif(u.last_event, u.tail)",
	"u.type", "nullif(u.type, 0)", "u.operation", "nullif(u.operation, '')", "u.at", "nullif(u.at, 0)",
	"u.builds", "nullif(u.builds, '')", "u.queue", "nullif(u.queue, '')")

// plainly are those that were null before, too.
var plainly = strings.NewReplacer("u.owner", "nullif(u.owner, 0)", "u.due_at", "nullif(u.due_at, 0)")

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
		&c.heldBuilds, &r.Held, &c.builds, &c.dueAt, &c.w.compact}
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
