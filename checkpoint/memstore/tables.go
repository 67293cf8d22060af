package memstore

import (
	"cmp"
	"container/heap"
	"slices"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
)

// tables is everything a store holds: the ledger.View of its rounds.
type tables struct {
	byID     map[string]*execution
	byNumber map[uint64]*execution
	ordered  []*execution // by number; deleted ones stay until they are half of it
	deleted  int
	number   uint64
	queues   map[ledger.Queue]*dueHeap[*execution]
	held     map[string][]ledger.Queue
	ended    dueHeap[*execution]
}

var _ ledger.View = (*tables)(nil)

type execution struct {
	row       checkpoint.Row
	journal   journal
	inbox     []checkpoint.Record
	callbacks map[string]ledger.Callback
	beats     dueHeap[*beat]   // of the open callbacks that have a HeartbeatAt
	beating   map[string]*beat // the same by operation
	children  map[uint64]struct{}
	kept      map[*execution]struct{} // those it has invoked that have ended, as long as it runs
	at        int64                   // its key in the heap it stands in
	index     int                     // its place there
	deleted   bool
}

func newTables() tables {
	return tables{
		byID:     make(map[string]*execution),
		byNumber: make(map[uint64]*execution),
		queues:   make(map[ledger.Queue]*dueHeap[*execution]),
		held:     make(map[string][]ledger.Queue),
	}
}

func (t *tables) Find(id string) (*checkpoint.Row, error) {
	if x := t.byID[id]; x != nil {
		return &x.row, nil
	}
	return nil, nil
}

func (t *tables) Load(number uint64) (*checkpoint.Row, error) {
	if x := t.byNumber[number]; x != nil {
		return &x.row, nil
	}
	return nil, nil
}

func (t *tables) Summary(row *checkpoint.Row) (checkpoint.Summary, error) {
	return t.byNumber[row.Number].summary(), nil
}

func (x *execution) summary() checkpoint.Summary {
	s := x.row.Summary
	s.WakeAt, _ = ledger.WakeAt(&x.row, x)
	if len(x.journal) > 0 {
		s.Started = x.journal.first()
	}
	if s.Status != checkpoint.Running {
		s.Ended = x.journal.last()
	}
	return s
}

func (t *tables) NextNumber() uint64 {
	t.number++
	return t.number
}

func (t *tables) Insert(row *checkpoint.Row) {
	x := &execution{}
	t.byID[row.ID], t.byNumber[row.Number] = x, x
	t.ordered = append(t.ordered, x)
	x.row = *row
}

func (t *tables) Save(row *checkpoint.Row) {
	if x := t.byNumber[row.Number]; &x.row != row {
		x.row = *row
	}
}

func (t *tables) Remove(row *checkpoint.Row) {
	x := t.byNumber[row.Number]
	delete(t.byID, row.ID)
	x.deleted = true
	x.journal, x.inbox, x.children = nil, nil, nil
	x.callbacks, x.beats, x.beating = nil, nil, nil
	if t.deleted++; t.deleted > len(t.ordered)/2 {
		t.ordered = slices.DeleteFunc(t.ordered, func(x *execution) bool { return x.deleted })
		t.deleted = 0
	}
}

func (t *tables) WriteJournal(row *checkpoint.Row, records []checkpoint.Record, _ []byte) {
	x := t.byNumber[row.Number]
	x.journal = append(x.journal, records)
}

func (t *tables) PutInbox(row *checkpoint.Row, r checkpoint.Record) {
	x := t.byNumber[row.Number]
	x.inbox = append(x.inbox, r)
}

func (t *tables) CutInbox(row *checkpoint.Row, upTo uint64) {
	x := t.byNumber[row.Number]
	left := behind(x.inbox, upTo)
	clear(x.inbox[:len(x.inbox)-len(left)])
	if len(left) == 0 {
		left = x.inbox[:0]
	}
	x.inbox = left
}

// behind are the entries of an inbox behind a sequence number.
func behind(inbox []checkpoint.Record, seq uint64) []checkpoint.Record {
	i, _ := slices.BinarySearchFunc(inbox, seq+1, func(r checkpoint.Record, seq uint64) int { return cmp.Compare(r.Seq, seq) })
	return inbox[i:]
}

func (t *tables) Callback(number uint64, operationID string) (ledger.Callback, bool, error) {
	c, ok := t.byNumber[number].callbacks[operationID]
	return c, ok, nil
}

func (t *tables) SetCallback(number uint64, operationID string, _, to ledger.Callback) {
	x := t.byNumber[number]
	if x.callbacks == nil {
		x.callbacks, x.beating = make(map[string]ledger.Callback), make(map[string]*beat)
	}
	x.callbacks[operationID] = to
	if b := x.beating[operationID]; b != nil {
		heap.Remove(&x.beats, b.index)
		delete(x.beating, operationID)
	}
	if to.HeartbeatAt != 0 {
		b := &beat{at: to.HeartbeatAt}
		x.beating[operationID] = b
		heap.Push(&x.beats, b)
	}
}

func (t *tables) DropCallbacks(number uint64) {
	x := t.byNumber[number]
	x.callbacks, x.beats, x.beating = nil, nil, nil
}

func (t *tables) FirstBeat(number uint64) (int64, error) { return t.byNumber[number].FirstBeat(number) }

// FirstBeat is FirstBeat of the one execution.
func (x *execution) FirstBeat(uint64) (int64, error) {
	if len(x.beats) == 0 {
		return 0, nil
	}
	return x.beats[0].at, nil
}

func (t *tables) AddChild(parent, child uint64) {
	x := t.byNumber[parent]
	if x.children == nil {
		x.children = make(map[uint64]struct{})
	}
	x.children[child] = struct{}{}
}

func (t *tables) RemoveChild(parent, child uint64) {
	if x := t.byNumber[parent]; x != nil {
		delete(x.children, child)
	}
}

func (t *tables) Children(parent uint64) (children []uint64, err error) {
	for child := range t.byNumber[parent].children {
		children = append(children, child)
	}
	slices.Sort(children)
	return children, nil
}

func (t *tables) Move(number uint64, from, to ledger.Place) (first bool) {
	x := t.byNumber[number]
	switch from.Kind {
	case ledger.Queued:
		q := t.queues[from.Queue]
		heap.Remove(q, x.index)
		if q.Len() == 0 {
			t.dropQueue(from.Queue)
		}
	case ledger.Ended:
		if caller := t.callerOf(x); caller != nil {
			delete(caller.kept, x)
		} else {
			heap.Remove(&t.ended, x.index)
		}
	}
	x.at = to.At
	switch to.Kind {
	case ledger.Queued:
		q := t.queue(to.Queue)
		heap.Push(q, x)
		first = x.index == 0
	case ledger.Ended:
		t.end(x)
	}
	if x.deleted {
		delete(t.byNumber, number)
	}
	return first
}

// end puts an execution among those that have ended, or, while one runs that may ask for
// its outcome, with that one.
func (t *tables) end(x *execution) {
	for child := range x.kept {
		heap.Push(&t.ended, child)
	}
	x.kept = nil
	caller := t.callerOf(x)
	if caller == nil {
		heap.Push(&t.ended, x)
		return
	}
	if caller.kept == nil {
		caller.kept = make(map[*execution]struct{})
	}
	caller.kept[x] = struct{}{}
}

// callerOf returns the execution that has invoked x, if it runs.
func (t *tables) callerOf(x *execution) *execution {
	if x.row.CallerNumber == 0 {
		return nil
	}
	if caller := t.byNumber[x.row.CallerNumber]; caller != nil && caller.row.Status == checkpoint.Running {
		return caller
	}
	return nil
}

func (t *tables) queue(name ledger.Queue) *dueHeap[*execution] {
	q := t.queues[name]
	if q == nil {
		q = new(dueHeap[*execution])
		t.queues[name] = q
		if name.Builds != "" {
			t.held[name.Function] = append(t.held[name.Function], name)
		}
	}
	return q
}

// dropQueue forgets an empty queue.
func (t *tables) dropQueue(name ledger.Queue) {
	delete(t.queues, name)
	if name.Builds == "" {
		return
	}
	held := t.held[name.Function]
	i := slices.Index(held, name)
	t.held[name.Function] = slices.Concat(held[:i], held[i+1:])
	if len(held) == 1 {
		delete(t.held, name.Function)
	}
}

func (t *tables) First(name ledger.Queue) (at int64, number uint64, err error) {
	if q := t.queues[name]; q != nil {
		first := (*q)[0]
		return first.at, first.row.Number, nil
	}
	return 0, 0, nil
}

func (t *tables) Held(function string) []ledger.Queue { return slices.Clone(t.held[function]) }

// Report is never called: memory is not damaged.
func (t *tables) Report(error) {}

// expire deletes up to limit executions that ended before t, the oldest first.
func (t *tables) expire(r *ledger.Round, before int64, limit int) (n int, err error) {
	for n < limit && err == nil && len(t.ended) > 0 && t.ended[0].at < before {
		var deleted bool
		if deleted, err = r.Expire(t.ended[0].row.Number, before); deleted {
			n++
		} else if err == nil {
			break
		}
	}
	return n, err
}

// list looks at a page of executions with numbers below before and returns those
// that q selects, and where the next page begins: 0 at the end.
func (t *tables) list(q *checkpoint.Query, before uint64) (found []checkpoint.Summary, next uint64) {
	next = t.look(before, func(x *execution) {
		if ledger.Selects(q, &x.row) {
			found = append(found, x.summary())
		}
	})
	return found, next
}

// look shows a page of executions with numbers below before, the newest first, and
// returns where the next page begins: 0 at the end.
func (t *tables) look(before uint64, see func(*execution)) (next uint64) {
	end, _ := slices.BinarySearchFunc(t.ordered, before, func(x *execution, n uint64) int {
		switch {
		case x.row.Number < n:
			return -1
		case x.row.Number > n:
			return 1
		}
		return 0
	})
	start := max(end-page, 0)
	for _, x := range slices.Backward(t.ordered[start:end]) {
		if !x.deleted {
			see(x)
		}
	}
	if start == 0 {
		return 0
	}
	return t.ordered[start].row.Number
}
