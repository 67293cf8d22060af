package pgstore

import (
	"slices"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
	"github.com/jackc/pgx/v5"
)

// commit writes what the round has changed, in one message to the database, and
// commits it. Without a transaction that has begun, the message is one. follow is what
// others are told behind it, as far as that may be.
func (v *view) commit(follow []checkpoint.Hint) error {
	if v.err != nil {
		return v.err
	}
	sql, b := &v.s.sql, &pgx.Batch{}
	if !v.begun {
		v.s.set(b)
	}
	works := v.inOrder()
	if more := v.outOfTurn(); len(more) > 0 {
		b.Queue(sql.lockMore, more)
	}
	if !v.begun {
		v.queueStep(b, works)
	}
	for _, w := range works { // before another one gets the ID
		if w.removed && !w.isNew {
			b.Queue(sql.deleteExecution, int64(w.row.Number), w.rev).QueryRow(changedRow)
			b.Queue(sql.deleteAll, int64(w.row.Number))
		}
	}
	if v.begun {
		v.queueStep(b, works)
	}
	for _, w := range works {
		if !w.removed {
			v.queueBelongings(b, w)
		}
	}
	if len(v.gone) > 0 {
		b.Queue(sql.deleteProcess, v.gone)
	}
	// The next round makes as many, perhaps.
	if w := &v.s.writer; v.drew > 0 && (len(w.numbers) < v.drew || time.Since(w.drawn) > fresh/2) {
		w.numbers = nil
		v.queueDraw(b, v.drew)
	}
	if v.begun {
		b.Queue("commit")
	}
	w := &v.s.writer
	told, err := w.pipe.send(b, follow)
	if told {
		w.news = nil
	}
	return err
}

// lease are the first parameters of what renews it.
func (v *view) lease() []any {
	return []any{v.s.process.Load(), v.s.writer.round + 1, int64(v.s.opts.Lease)}
}

// queueStep writes all rows of executions and of journals with one statement.
func (v *view) queueStep(b *pgx.Batch, works []*work) {
	rows := &v.s.writer.rows
	rows.reset()
	created, lone, moved, advanced, written := &rows.created, &rows.lone, &rows.moved, &rows.advanced, &rows.written
	v.moves = slices.ContainsFunc(works, func(w *work) bool { return w.dirty && !w.removed && !w.isNew && !w.advanced() })
	// What was hidden from older programs stays so, whichever come back.
	v.compact = v.compact || slices.ContainsFunc(works, func(w *work) bool { return w.dirty && w.compact })
	for _, w := range works {
		switch {
		case w.removed || !w.dirty:
		case w.lone():
			w.maker.lone = int64(w.row.Number)
			lone.add(w, v.s.sql.layout)
		case w.isNew:
			created.add(w, v.s.sql.layout)
		case v.moves: // all of them, so that they are locked in the order of their numbers
			moved.add(w, v.s.sql.layout)
		default:
			advanced.add(w)
		}
		if !w.removed {
			written.add(w.row.Number, w.records, v.packs(w))
		}
	}
	parts, args := 0, []any(nil)
	if !v.compact {
		parts |= stepPlainly
	}
	if max(len(created.numbers), len(lone.numbers), len(moved.numbers), len(advanced.numbers)) == 1 {
		parts |= stepLone
	}
	if len(written.numbers) == 1 {
		parts |= stepLine
	}
	add := func(part, one int, more []any) {
		if parts |= part; parts&one != 0 {
			for i := range more {
				more[i] = first(more[i])
			}
		}
		args = append(args, more...)
	}
	if !v.begun {
		add(stepRenews, 0, v.lease())
	}
	if len(created.numbers) > 0 {
		add(stepCreates, stepLone, append(created.origins(), created.args()...))
	}
	if len(lone.numbers) > 0 {
		add(stepTries, stepLone, append(lone.origins(), lone.args()...))
	}
	if len(advanced.numbers) > 0 {
		add(stepAdvances, stepLone, advanced.args())
	}
	if len(moved.numbers) > 0 {
		add(stepMoves, stepLone, append([]any{moved.numbers, moved.revs}, moved.args()...))
	}
	if len(written.numbers) > 0 {
		add(stepWrites, stepLine, written.args())
	}
	if parts&^(stepLone|stepLine|stepPlainly) == 0 {
		return
	}
	changed := len(advanced.numbers) + len(moved.numbers)
	if changed > 0 {
		args = append(args, int64(changed))
	}
	if changed > 1 && v.s.opts.NoListen { // see connect
		parts |= stepOrders
	}
	if parts&stepTries == 0 {
		b.Queue(v.s.sql.step(parts), args...).QueryRow(v.stepped)
		return
	}
	b.Queue(v.s.sql.step(parts), args...).QueryRow(func(row pgx.Row) error {
		var one int64
		var root float64
		return v.sawLease(row.Scan(&one, &v.now, &root, &v.missed))
	})
}

// stepRows are the rows of the statement of a step, by column. The writer uses them again.
type stepRows struct {
	created, lone, moved states
	advanced             advances
	written              lines
}

// reset empties the columns. What a round of many has left is kept for the next one, bytes
// as far as values keeps them.
func (r *stepRows) reset() {
	for _, s := range []*states{&r.created, &r.lone, &r.moved} {
		s.reset()
	}
	r.advanced.reset()
	r.written.reset()
}

// cleared is a column without rows, which has forgotten what was in it.
func cleared[T any](column []T) []T {
	clear(column)
	return column[:0]
}

// first is the one value of a column.
func first(column any) any {
	switch c := column.(type) {
	case []int64:
		return c[0]
	case []int16:
		return c[0]
	case []bool:
		return c[0]
	case []string:
		return c[0]
	}
	return column.([][]byte)[0]
}

// stepped takes the answer of the statement that does all in one.
func (v *view) stepped(row pgx.Row) error {
	var one int64
	var root float64
	err := row.Scan(&one, &v.now, &root)
	return v.sawLease(err)
}

// inOrder are the executions by number, in the order in which they are locked.
func (v *view) inOrder() []*work {
	works := make([]*work, 0, len(v.works))
	for _, w := range v.works {
		works = append(works, w)
	}
	slices.SortFunc(works, func(a, b *work) int { return int(int64(a.row.Number) - int64(b.row.Number)) })
	return works
}

// changedRow takes the answer of a guarded statement.
func changedRow(row pgx.Row) error {
	var one int
	var now int64
	return row.Scan(&one, &now)
}

// advances are the executions of which nothing but counters has changed, by column.
type advances struct{ numbers, revs, epochs, tails, events, seen, inboxTails []int64 }

func (a *advances) reset() {
	a.numbers, a.revs, a.epochs = a.numbers[:0], a.revs[:0], a.epochs[:0]
	a.tails, a.events, a.seen, a.inboxTails = a.tails[:0], a.events[:0], a.seen[:0], a.inboxTails[:0]
}

func (a *advances) add(w *work) {
	r := w.row
	a.numbers, a.revs, a.epochs = append(a.numbers, int64(r.Number)), append(a.revs, w.rev), append(a.epochs, int64(r.Epoch))
	a.tails, a.events = append(a.tails, int64(r.Tail)), append(a.events, int64(r.LastEvent))
	a.seen, a.inboxTails = append(a.seen, int64(r.InboxSeen)), append(a.inboxTails, int64(r.InboxTail))
}

func (a *advances) args() []any {
	return []any{a.numbers, a.revs, a.epochs, a.tails, a.events, a.seen, a.inboxTails}
}

// states are executions, by column: new ones, or those that are changed.
type states struct {
	numbers, revs []int64

	ids, incarnations, functions               [][]byte
	started, deadlines                         []int64
	callerIDs, callerIncarnations, callerOps   [][]byte
	callerNumbers                              []int64
	digests                                    [][]byte
	statuses                                   []int16
	ended, wakes, epochs, owners               []int64
	lost, cancelled, invoked, callbacks, beats []bool
	tails, events, seen, inboxTails            []int64
	builds, queues                             [][]byte
	dues                                       []int64
}

func (s *states) reset() {
	s.numbers, s.revs = s.numbers[:0], s.revs[:0]
	s.ids, s.incarnations, s.functions = cleared(s.ids), cleared(s.incarnations), cleared(s.functions)
	s.started, s.deadlines = s.started[:0], s.deadlines[:0]
	s.callerIDs, s.callerIncarnations, s.callerOps = cleared(s.callerIDs), cleared(s.callerIncarnations), cleared(s.callerOps)
	s.callerNumbers, s.digests = s.callerNumbers[:0], cleared(s.digests)
	s.statuses, s.ended, s.wakes, s.epochs, s.owners = s.statuses[:0], s.ended[:0], s.wakes[:0], s.epochs[:0], s.owners[:0]
	s.lost, s.cancelled, s.invoked, s.callbacks, s.beats = s.lost[:0], s.cancelled[:0], s.invoked[:0], s.callbacks[:0], s.beats[:0]
	s.tails, s.events, s.seen, s.inboxTails = s.tails[:0], s.events[:0], s.seen[:0], s.inboxTails[:0]
	s.builds, s.queues, s.dues = cleared(s.builds), cleared(s.queues), s.dues[:0]
}

func (s *states) add(w *work, l layout) {
	r := w.row
	s.numbers, s.revs = append(s.numbers, int64(r.Number)), append(s.revs, w.rev)
	if w.isNew {
		var callerID, callerIncarnation, callerOp []byte
		if c := r.Caller; c != nil {
			callerID, callerIncarnation, callerOp = []byte(c.ID), c.Incarnation[:], []byte(c.OperationID)
		}
		s.ids, s.incarnations, s.functions = append(s.ids, []byte(r.ID)), append(s.incarnations, r.Incarnation[:]), append(s.functions, []byte(r.Function))
		s.started, s.deadlines = append(s.started, r.StartedAt), append(s.deadlines, r.Deadline)
		s.callerIDs, s.callerIncarnations = append(s.callerIDs, callerID), append(s.callerIncarnations, callerIncarnation)
		s.callerOps, s.callerNumbers = append(s.callerOps, callerOp), append(s.callerNumbers, int64(r.CallerNumber))
		s.digests = append(s.digests, r.Digest)
	}
	s.statuses, s.ended, s.wakes = append(s.statuses, int16(r.Status)), append(s.ended, r.EndedAt), append(s.wakes, r.WakeAt)
	s.epochs, s.owners = append(s.epochs, int64(r.Epoch)), append(s.owners, w.owner)
	s.lost, s.cancelled, s.invoked = append(s.lost, r.Lost), append(s.cancelled, r.Cancelled), append(s.invoked, r.Invoked)
	s.callbacks, s.beats = append(s.callbacks, r.Callbacks), append(s.beats, r.Heartbeats)
	s.tails, s.events = append(s.tails, int64(r.Tail)), append(s.events, int64(r.LastEvent))
	s.seen, s.inboxTails = append(s.seen, int64(r.InboxSeen)), append(s.inboxTails, int64(r.InboxTail))
	builds, queue, due := w.queued(l)
	s.builds, s.queues, s.dues = append(s.builds, builds), append(s.queues, queue), append(s.dues, due)
}

// origins are what only new ones have.
func (s *states) origins() []any {
	return []any{s.numbers, s.ids, s.incarnations, s.functions, s.started, s.deadlines,
		s.callerIDs, s.callerIncarnations, s.callerOps, s.callerNumbers, s.digests}
}

func (s *states) args() []any {
	return []any{s.statuses, s.ended, s.wakes, s.epochs, s.owners, s.lost, s.cancelled, s.invoked, s.callbacks, s.beats,
		s.tails, s.events, s.seen, s.inboxTails, s.builds, s.queues, s.dues}
}

// queued is what the columns say of the place in a queue; due is 0 where there is none.
func (w *work) queued(l layout) (builds, queue []byte, due int64) {
	if w.place.Kind != ledger.Queued {
		return []byte{}, []byte{}, 0
	}
	return []byte(w.place.Queue.Builds), l.queueKey(w.place.Queue), w.place.At
}

// heldBy is what the columns say of builds that could not go on with it; held is null when
// another one could since.
func (w *work) heldBy() (builds [][]byte, held []byte) {
	held = w.row.Held
	list := w.row.HeldBuilds
	switch {
	case len(list) == 0:
		list = w.row.Unfit
	case held == nil:
		held = []byte{}
	}
	for _, build := range list {
		builds = append(builds, []byte(build))
	}
	return builds, held
}

func (v *view) queueBelongings(b *pgx.Batch, w *work) {
	sql, n := &v.s.sql, int64(w.row.Number)
	if builds, held := w.heldBy(); v.rewrites(w) && len(builds) > 0 {
		b.Queue(sql.hold, n, builds, held)
	}
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

// forOthers are those of a round's hints that other processes are told.
func (v *view) forOthers(hints []checkpoint.Hint) (others []checkpoint.Hint) {
	if v.s.company.alone.Load() {
		v.s.writer.untold = len(hints) > 0
		return nil
	}
	me := v.s.process.Load()
	for _, h := range hints {
		if h.Kind == checkpoint.HintInbox {
			if w := v.works[v.ids[h.ID]]; w != nil && w.owner == me {
				continue
			}
		}
		others = append(others, h)
	}
	return others
}
