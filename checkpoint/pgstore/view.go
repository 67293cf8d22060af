package pgstore

import (
	"bytes"
	"slices"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
	"github.com/jackc/pgx/v5"
)

// work is an execution as a round sees it.
type work struct {
	row   *checkpoint.Row
	base  checkpoint.Row // as it was read, and so are had and from
	rev   int64
	owner int64 // process; 0: nobody
	had   int64
	place ledger.Place
	from  ledger.Place
	known known // of its callbacks

	compact bool // programs of before the schema's version 3 can't read the row

	// What the round has changed.
	isNew, removed, dirty, moved bool
	records                      []checkpoint.Record
	inbox                        []checkpoint.Record
	cutInbox                     uint64
	callbacks                    map[string]ledger.Callback
	dropCallbacks                bool
	first                        *checkpoint.Record // of the journal, if it is known
	maker                        *command           // that makes it, if no other one changes what it makes

	// What a claim has read.
	journal, entries []checkpoint.Record
	beat             *int64 // the earliest heartbeat
	damage           error  // of the first record
}

// keep makes a work that a round is done with one that another can begin with.
func (w *work) keep() {
	if w.dirty {
		w.rev++
		w.based()
	}
	if w.dropCallbacks {
		w.known = nil
	}
	for operation, c := range w.callbacks {
		w.known.learn(operation, c, true)
	}
	*w = work{row: w.row, base: w.base, rev: w.rev, owner: w.owner, had: w.had, place: w.place, from: w.from, known: w.known, compact: w.compact}
}

// restore makes a kept work of a round that was not made what it was before.
func (w *work) restore() {
	*w.row = w.base
	*w = work{row: w.row, base: w.base, rev: w.rev, owner: w.had, had: w.had, place: w.from, from: w.from, known: w.known, compact: w.compact}
}

// based makes a work as it is what it was read as.
func (w *work) based() { w.base, w.had, w.from = *w.row, w.owner, w.place }

// view is the ledger.View of one try to make a round. What it has not kept from
// earlier rounds it reads and locks in a transaction, which begins with the first
// such read.
type view struct {
	s      *Store
	strict bool      // nothing that was kept is used
	sent   time.Time // before the first message

	compact bool // no programs of before the schema's version 3 live

	begun  bool // the transaction
	now    int64
	err    error
	works  map[uint64]*work
	ids    map[string]uint64 // 0: there is none
	locks  locks
	drew   int // numbers used
	queues map[ledger.Queue][]ledgerDue
	held   map[string][]ledger.Queue
	// emptied are the queues of which all was taken that is due until a time, by their key.
	emptied map[string]emptied
	writes  int
	moves   bool    // it writes more than counters of executions
	gone    []int64 // processes to delete

	families map[uint64][]uint64 // children of parents that were asked for

	hoped   map[string]bool // IDs that there are no executions of, as is hoped
	at      *command        // the one that is run
	leansOn []*work         // what it has looked at, as it is believed to be, or as another one makes it and it may be left out
	hopes   bool            // it has looked for what is hoped not to be there
	missed  []int64         // what was left out: there are executions of the IDs
}

type emptied struct{ from, until int64 }

type ledgerDue struct {
	at     int64
	number uint64
}

var _ ledger.View = (*view)(nil)

// newView begins a try of so many commands.
func (s *Store) newView(strict bool, commands int) *view {
	return &view{
		s: s, strict: strict, sent: time.Now(), now: s.Now().UnixNano(), compact: !s.older.Load(),
		works: make(map[uint64]*work, commands), ids: make(map[string]uint64, commands),
		queues: make(map[ledger.Queue][]ledgerDue), held: make(map[string][]ledger.Queue), emptied: make(map[string]emptied), hoped: make(map[string]bool),
	}
}

// failed keeps an error of the connection, or of the server: the try has failed.
func (v *view) failed(err error) error {
	if v.err == nil {
		v.err = err
	}
	return err
}

// known is what the database has of callbacks of an execution, in the revision of which
// the work is: each change of one of them changes it. So nobody asks again about those
// that this process opened or closed itself, or was told of with the execution.
type known map[string]knownCallback

type knownCallback struct {
	ledger.Callback
	there bool
}

// maxKnown bounds what is kept of an execution with many callbacks.
const maxKnown = 16

func (k *known) learn(operationID string, c ledger.Callback, there bool) {
	if *k == nil {
		*k = make(known)
	}
	if len(*k) >= maxKnown {
		clear(*k)
	}
	(*k)[operationID] = knownCallback{c, there}
}

// learn learns of entries of the inbox that callbacks are closed.
func (w *work) learn(entries []checkpoint.Record) {
	for i := range entries {
		switch entries[i].Type {
		case checkpoint.CallbackSucceeded, checkpoint.CallbackFailed, checkpoint.CallbackTimedOut:
			w.known.learn(entries[i].OperationID, ledger.Callback{Closed: true}, true)
		}
	}
}

// rewrites reports whether the round writes all of a row that changes.
func (v *view) rewrites(w *work) bool { return w.dirty && !w.removed && (w.isNew || v.moves) }

// packs reports whether new records of an execution may share rows of the journal.
func (v *view) packs(w *work) bool { return v.compact && (w.compact || v.rewrites(w)) }

// knows reports whether an execution can be used without reading it.
func (v *view) knows(id string) bool {
	if _, ok := v.ids[id]; ok {
		return true
	}
	if v.strict {
		return false
	}
	number, ok := v.s.writer.ids[id]
	if ok {
		v.use(number)
	}
	return ok
}

func (v *view) knowsNumber(number uint64) bool {
	if _, ok := v.works[number]; ok {
		return true
	}
	_, ok := v.s.writer.cache[number]
	if ok = ok && !v.strict; ok {
		v.use(number)
	}
	return ok
}

// use takes an execution as it was kept.
func (v *view) use(number uint64) {
	b := v.s.writer.cache[number]
	v.locks.believe(b)
	v.put(b.work)
}

// look returns the row of an execution to the command that is run.
func (v *view) look(w *work) *checkpoint.Row {
	if _, ok := v.locks.believed[w.row.Number]; ok || w.maker != nil && w.maker != v.at {
		v.leansOn = append(v.leansOn, w)
	}
	return w.row
}

func (v *view) put(w *work) {
	v.works[w.row.Number] = w
	v.ids[w.row.ID] = w.row.Number
}

func (v *view) Find(id string) (*checkpoint.Row, error) {
	if !v.knows(id) {
		if err := v.load([]string{id}, nil); err != nil {
			return nil, err
		}
	}
	if number := v.ids[id]; number != 0 {
		return v.look(v.works[number]), nil
	}
	v.hopes = v.hopes || v.hoped[id]
	return nil, nil
}

func (v *view) Load(number uint64) (*checkpoint.Row, error) {
	if w := v.works[number]; w == nil {
		if v.knowsNumber(number) {
			return v.look(v.works[number]), nil
		}
		if err := v.load(nil, []int64{int64(number)}); err != nil {
			return nil, err
		}
	}
	if w := v.works[number]; w != nil && !w.removed {
		return v.look(w), nil
	}
	return nil, nil
}

func (v *view) Summary(row *checkpoint.Row) (sum checkpoint.Summary, err error) {
	w := v.works[row.Number]
	sum = row.Summary
	if sum.WakeAt, err = ledger.WakeAt(row, v); err != nil {
		return sum, err
	}
	record := func(seq uint64) (checkpoint.Record, error) {
		for _, r := range w.records {
			if r.Seq == seq {
				return r, nil
			}
		}
		return v.record(row.Number, seq)
	}
	if w.damage != nil {
		return sum, w.damage
	}
	if w.first == nil {
		r, err := record(1)
		if err != nil {
			return sum, err
		}
		w.first = &r
	}
	sum.Started = *w.first
	if row.Status != checkpoint.Running {
		sum.Ended, err = record(row.Tail)
	}
	return sum, err
}

func (v *view) NextNumber() uint64 {
	w := &v.s.writer
	if len(w.numbers) == 0 {
		v.draw(1)
	}
	if v.err != nil || len(w.numbers) == 0 {
		return 0
	}
	n := w.numbers[0]
	w.numbers = w.numbers[1:]
	v.drew++
	return uint64(n)
}

func (v *view) Insert(row *checkpoint.Row) {
	v.writes++
	w := &work{row: row, isNew: true, dirty: true}
	if v.hoped[row.ID] {
		w.maker = v.at
	}
	v.put(w)
}

// lone reports whether a round is as good without an execution that it makes: nothing
// else in it is about that. If there is one of the ID, it is left out, so that the round
// need not be made again.
func (w *work) lone() bool {
	return w.isNew && w.maker != nil && w.row.CallerNumber == 0 &&
		!w.removed && len(w.inbox) == 0 && len(w.callbacks) == 0 && !w.dropCallbacks && len(w.row.HeldBuilds)+len(w.row.Unfit) == 0
}

func (v *view) Save(row *checkpoint.Row) {
	v.writes++
	v.works[row.Number].dirty = true
}

func (v *view) Remove(row *checkpoint.Row) {
	v.writes++
	v.works[row.Number].removed = true
	v.ids[row.ID] = 0
}

func (v *view) WriteJournal(row *checkpoint.Row, records []checkpoint.Record, _ []byte) {
	v.writes++
	w := v.works[row.Number]
	if w.records == nil {
		w.records = slices.Clip(records)
		return
	}
	w.records = append(w.records, records...)
}

func (v *view) PutInbox(row *checkpoint.Row, r checkpoint.Record) {
	v.writes++
	w := v.works[row.Number]
	w.inbox = append(w.inbox, r)
}

func (v *view) CutInbox(row *checkpoint.Row, upTo uint64) {
	v.writes++
	w := v.works[row.Number]
	w.cutInbox = max(w.cutInbox, upTo)
	w.inbox = slices.DeleteFunc(w.inbox, func(r checkpoint.Record) bool { return r.Seq <= upTo })
}

func (v *view) Callback(number uint64, operationID string) (c ledger.Callback, ok bool, err error) {
	w := v.works[number]
	if c, ok := w.callbacks[operationID]; ok || w.isNew || w.dropCallbacks {
		return c, ok, nil
	}
	if c, ok := w.known[operationID]; ok {
		return c.Callback, c.there, nil
	}
	return v.callback(number, operationID)
}

func (v *view) SetCallback(number uint64, operationID string, _, to ledger.Callback) {
	v.writes++
	w := v.works[number]
	w.dirty = true
	if w.callbacks == nil {
		w.callbacks = make(map[string]ledger.Callback)
	}
	w.callbacks[operationID] = to
}

func (v *view) DropCallbacks(number uint64) {
	v.writes++
	w := v.works[number]
	w.callbacks, w.dropCallbacks = nil, true
}

func (v *view) FirstBeat(number uint64) (first int64, err error) {
	w := v.works[number]
	if w.beat != nil {
		return *w.beat, nil
	}
	if !w.isNew && !w.dropCallbacks && w.base.Heartbeats {
		if first, err = v.firstBeat(number, w.callbacks); err != nil {
			return 0, err
		}
	}
	for _, c := range w.callbacks {
		if c.HeartbeatAt != 0 && (first == 0 || c.HeartbeatAt < first) {
			first = c.HeartbeatAt
		}
	}
	return first, nil
}

// AddChild changes the caller's revision, so that nobody ends it who has not seen the
// child. Who invoked whom is in the rows.
func (v *view) AddChild(parent, _ uint64) {
	v.writes++
	v.works[parent].dirty = true
}

// RemoveChild has nothing to do.
func (v *view) RemoveChild(_, _ uint64) {}

func (v *view) Children(parent uint64) (children []uint64, err error) {
	if children, err = v.children(parent); err != nil {
		return nil, err
	}
	for number, w := range v.works {
		if w.isNew && !w.removed && w.row.CallerNumber == parent && w.row.Status == checkpoint.Running {
			children = append(children, number)
		}
	}
	slices.Sort(children)
	return children, nil
}

// Move says that nothing is due earlier, unless a hint of this process has told of
// something that is, and that was not taken since. To look that up would cost more than
// a needless hint.
func (v *view) Move(number uint64, from, to ledger.Place) (first bool) {
	v.writes++
	w := v.works[number]
	next := v.s.writer.next
	if from.Kind == ledger.Queued {
		if from.At <= next[from.Queue] {
			delete(next, from.Queue)
		}
		v.queues[from.Queue] = slices.DeleteFunc(v.queues[from.Queue], func(d ledgerDue) bool { return d.number == number })
	}
	w.place, w.moved, w.dirty = to, true, true // also when it is only taken out, because it is damaged
	w.owner = 0
	if to.Kind == ledger.Owned {
		w.owner = v.s.process.Load()
	}
	if to.Kind != ledger.Queued {
		return false
	}
	if at := next[to.Queue]; v.now < at && at <= to.At {
		return false
	}
	next[to.Queue] = to.At
	return true
}

func (v *view) First(q ledger.Queue) (at int64, number uint64, err error) {
	if due := v.queues[q]; len(due) > 0 {
		return due[0].at, due[0].number, nil
	}
	return 0, 0, nil
}

func (v *view) Held(function string) []ledger.Queue { return slices.Clone(v.held[function]) }

func (v *view) Report(err error) {
	v.s.log.Error("durable: the store goes on without damaged data", "schema", v.s.opts.Schema, "error", err.Error())
}

// rowOf reads a row of columns.
func rowOf(rows pgx.CollectableRow) (*work, error) {
	w := &work{row: new(checkpoint.Row)}
	c := newColumns(w)
	if err := rows.Scan(c.targets()...); err != nil {
		return nil, err
	}
	c.done()
	w.based()
	return w, nil
}

// advanced reports whether nothing but counters has changed.
func (w *work) advanced() bool {
	a, b := &w.base, w.row
	return !w.isNew && !w.moved && a.Status == b.Status && a.EndedAt == b.EndedAt && a.WakeAt == b.WakeAt && a.Epoch == b.Epoch &&
		a.Owned == b.Owned && a.Lost == b.Lost && a.Cancelled == b.Cancelled && a.Invoked == b.Invoked &&
		a.Callbacks == b.Callbacks && a.Heartbeats == b.Heartbeats &&
		slices.Equal(a.HeldBuilds, b.HeldBuilds) && bytes.Equal(a.Held, b.Held) && slices.Equal(a.Unfit, b.Unfit)
}
