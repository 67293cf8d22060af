package pgstore

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
	"github.com/jackc/pgx/v5"
)

// commit writes what the round has changed, in one message to the database, and
// commits it. Without a transaction that has begun, the message is one.
func (v *view) commit(hints []checkpoint.Hint) error {
	if v.err != nil {
		return v.err
	}
	sql, b := &v.s.sql, &pgx.Batch{}
	works := v.inOrder()
	advances, lines := v.advances(works), v.lines(works)
	switch {
	case v.begun:
	case advances.empty() && lines.empty():
		b.Queue(sql.renew, v.lease()...).QueryRow(v.renewed)
	default:
		args := append(append(v.lease(), advances.args()...), lines.args()...)
		b.Queue(sql.step, args...).QueryRow(v.stepped)
	}
	v.queueExecutions(b, works)
	if v.begun && !advances.empty() {
		b.Queue(sql.advance, advances.args()...).QueryRow(changedRow)
	}
	if v.begun && !lines.empty() {
		b.Queue(sql.journal, lines.args()...)
	}
	for number, w := range v.works {
		if !w.removed {
			v.queueBelongings(b, number, w)
		}
	}
	if len(v.gone) > 0 {
		b.Queue(sql.deleteProcess, v.gone)
	}
	if notes := v.notes(hints); len(notes) > 0 {
		b.Queue(sql.notify, v.s.channel(), notes)
	}
	if v.begun {
		b.Queue("commit")
	}
	return v.s.writer.conn.SendBatch(v.ctx, b).Close()
}

// lease are the first parameters of what renews it.
func (v *view) lease() []any {
	return []any{v.s.process.Load(), v.s.writer.round + 1, int64(v.s.opts.Lease)}
}

// stepped takes the answer of the statement that does all in one.
func (v *view) stepped(row pgx.Row) error {
	var one int64
	var root float64
	err := row.Scan(&one, &v.now, &root)
	return v.sawLease(err)
}

// inOrder are the executions by number: two processes that change the same ones
// wait for each other rarely, and never in a ring.
func (v *view) inOrder() []*work {
	works := make([]*work, 0, len(v.works))
	for _, w := range v.works {
		works = append(works, w)
	}
	slices.SortFunc(works, func(a, b *work) int { return int(int64(a.row.Number) - int64(b.row.Number)) })
	return works
}

func (v *view) queueExecutions(b *pgx.Batch, works []*work) {
	sql := &v.s.sql
	for _, w := range works {
		if w.removed && !w.isNew {
			b.Queue(sql.deleteExecution, int64(w.row.Number), w.rev).QueryRow(changedRow)
			b.Queue(sql.deleteAll, int64(w.row.Number))
		}
	}
	for _, w := range works {
		r := w.row
		switch {
		case w.removed || !w.dirty || w.advanced():
		case w.isNew:
			var callerID, callerIncarnation, callerOp []byte
			if c := r.Caller; c != nil {
				callerID, callerIncarnation, callerOp = []byte(c.ID), c.Incarnation[:], []byte(c.OperationID)
			}
			builds, queue, due := w.queued()
			b.Queue(sql.insert, int64(r.Number), []byte(r.ID), r.Incarnation[:], []byte(r.Function), int16(r.Status),
				r.StartedAt, r.EndedAt, r.Deadline, r.WakeAt, callerID, callerIncarnation, callerOp, int64(r.CallerNumber), r.Digest,
				int64(r.Epoch), w.ownerOrNull(), r.Lost, r.Cancelled, r.Invoked, r.Callbacks, r.Heartbeats,
				int64(r.Tail), int64(r.LastEvent), int64(r.InboxSeen), int64(r.InboxTail), heldBuilds(r), r.Held, builds, queue, due)
		default:
			builds, queue, due := w.queued()
			b.Queue(sql.update, int64(r.Number), w.rev, int16(r.Status), r.EndedAt, r.WakeAt, int64(r.Epoch), w.ownerOrNull(),
				r.Lost, r.Cancelled, r.Invoked, r.Callbacks, r.Heartbeats,
				int64(r.Tail), int64(r.LastEvent), int64(r.InboxSeen), int64(r.InboxTail), heldBuilds(r), r.Held, builds, queue, due).QueryRow(changedRow)
		}
	}
}

// advances are the executions of which nothing but counters has changed, by column.
type advances struct{ numbers, revs, epochs, tails, events, seen, inboxTails []int64 }

func (a *advances) empty() bool { return len(a.numbers) == 0 }
func (a *advances) args() []any {
	return []any{a.numbers, a.revs, a.epochs, a.tails, a.events, a.seen, a.inboxTails}
}

func (v *view) advances(works []*work) *advances {
	a := &advances{}
	for _, w := range works {
		if r := w.row; !w.removed && w.dirty && w.advanced() {
			a.numbers, a.revs, a.epochs = append(a.numbers, int64(r.Number)), append(a.revs, w.rev), append(a.epochs, int64(r.Epoch))
			a.tails, a.events = append(a.tails, int64(r.Tail)), append(a.events, int64(r.LastEvent))
			a.seen, a.inboxTails = append(a.seen, int64(r.InboxSeen)), append(a.inboxTails, int64(r.InboxTail))
		}
	}
	return a
}

// changedRow takes the answer of a guarded statement.
func changedRow(row pgx.Row) error {
	var one int
	var now int64
	return row.Scan(&one, &now)
}

func heldBuilds(r *checkpoint.Row) [][]byte {
	builds := make([][]byte, len(r.HeldBuilds))
	for i, b := range r.HeldBuilds {
		builds[i] = []byte(b)
	}
	return builds
}

func (w *work) ownerOrNull() *int64 {
	if w.owner == 0 {
		return nil
	}
	return &w.owner
}

// queued is what the columns say of the place in a queue.
func (w *work) queued() (builds, queue []byte, due *int64) {
	if w.place.Kind != ledger.Queued {
		return []byte{}, []byte{}, nil
	}
	return []byte(w.place.Queue.Builds), queueKey(w.place.Queue), &w.place.At
}

// lines are new records of journals, by column.
type lines struct {
	numbers, seqs, ats []int64
	types              []int16
	operations         []string
	data               [][]byte
}

func (l *lines) empty() bool { return len(l.numbers) == 0 }
func (l *lines) args() []any {
	return []any{l.numbers, l.seqs, l.types, l.operations, l.ats, l.data}
}

func (v *view) lines(works []*work) *lines {
	l := &lines{}
	for _, w := range works {
		if w.removed {
			continue
		}
		l.add(w.row.Number, w.records)
	}
	return l
}

func (l *lines) add(number uint64, records []checkpoint.Record) {
	for i := range records {
		r := &records[i]
		l.numbers, l.seqs = append(l.numbers, int64(number)), append(l.seqs, int64(r.Seq))
		l.types, l.ats = append(l.types, int16(r.Type)), append(l.ats, r.Time)
		l.operations = append(l.operations, legible(r.OperationID))
		l.data = append(l.data, checkpoint.AppendRecord(nil, r))
	}
}

// legible is what a column of text takes.
func legible(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

func (v *view) queueBelongings(b *pgx.Batch, number uint64, w *work) {
	sql, n := &v.s.sql, int64(number)
	if w.cutInbox > 0 {
		b.Queue(sql.cutInbox, n, int64(w.cutInbox))
	}
	for i := range w.inbox {
		b.Queue(sql.inbox, n, int64(w.inbox[i].Seq), checkpoint.AppendRecord(nil, &w.inbox[i]))
	}
	if w.dropCallbacks {
		b.Queue(sql.dropCallbacks, n)
	}
	for operation, c := range w.callbacks {
		b.Queue(sql.setCallback, n, []byte(operation), c.TimeoutAt, c.HeartbeatTimeout, c.HeartbeatAt, c.Closed)
	}
}

// notes are the hints for other processes: who says it, the kind, and the ID.
func (v *view) notes(hints []checkpoint.Hint) (notes []string) {
	if v.s.alone.Load() {
		return nil
	}
	me := v.s.process.Load()
	for _, h := range hints {
		if h.Kind == checkpoint.HintInbox {
			if w := v.works[v.ids[h.ID]]; w != nil && w.owner == me {
				continue
			}
		}
		notes = append(notes, fmt.Sprintf("%d %d %s", me, h.Kind, base64.StdEncoding.EncodeToString([]byte(h.ID))))
	}
	return notes
}
