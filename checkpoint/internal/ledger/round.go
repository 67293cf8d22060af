package ledger

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

// Round makes changes that become durable together. Each of its methods is the
// method of checkpoint.Store of that name: it first checks everything, then
// writes, so that one that returns an error of the contract has changed nothing.
type Round struct {
	view  View
	turns *Turns
	now   int64

	due   bool
	hints []checkpoint.Hint

	// Forgives is whether no builds are known to be unfit: programs that know of no such
	// thing work on the store, too.
	Forgives bool
}

// NewRound begins a round. turns lasts as long as the store.
func NewRound(view View, turns *Turns) *Round {
	return &Round{view: view, turns: turns}
}

// Begin begins the round anew, at that time.
func (r *Round) Begin(now time.Time) {
	r.now = now.UnixNano()
	r.due, r.hints = false, r.hints[:0]
}

// At sets the time of the next change.
func (r *Round) At(now time.Time) { r.now = now.UnixNano() }

// Hints are what to tell the watcher once the round is durable.
func (r *Round) Hints() []checkpoint.Hint {
	if r.due {
		return append(r.hints, checkpoint.Hint{Kind: checkpoint.HintDue})
	}
	return r.hints
}

func (r *Round) hint(kind checkpoint.HintKind, id string) {
	r.hints = append(r.hints, checkpoint.Hint{Kind: kind, ID: id})
}

// find is Find for an execution that must be there, in that incarnation if it
// is not zero.
func (r *Round) find(id string, incarnation checkpoint.Incarnation) (*checkpoint.Row, error) {
	row, err := r.view.Find(id)
	if err != nil {
		return nil, err
	}
	if row == nil || !incarnation.IsZero() && row.Incarnation != incarnation {
		return nil, notFound(id)
	}
	return row, nil
}

// target is find, by number where there is no ID.
func (r *Round) target(id string, number uint64, incarnation checkpoint.Incarnation) (*checkpoint.Row, error) {
	if id != "" || number == 0 {
		return r.find(id, incarnation)
	}
	row, err := r.view.Load(number)
	if err != nil {
		return nil, err
	}
	if row == nil || !incarnation.IsZero() && row.Incarnation != incarnation {
		return nil, notFound(fmt.Sprint("number ", number))
	}
	return row, nil
}

func notFound(id string) error { return fmt.Errorf("execution %s: %w", id, checkpoint.ErrNotFound) }

// change lets f change a row and what belongs to it, and moves the execution to
// the place that follows from that.
func (r *Round) change(row *checkpoint.Row, f func()) error {
	from, err := r.place(row)
	if err != nil {
		return err
	}
	f()
	to, err := r.place(row)
	if err != nil {
		return &tornError{err}
	}
	r.view.Save(row)
	r.move(row.Number, from, to)
	return nil
}

// tornError is an error that came after something was written: the whole method
// has failed, whomever the error concerns.
type tornError struct{ err error }

func (e *tornError) Error() string { return e.err.Error() }
func (e *tornError) Unwrap() error { return e.err }

func (r *Round) move(number uint64, from, to Place) {
	if from == to {
		return
	}
	first := r.view.Move(number, from, to)
	later := from.Kind == Queued && from.Queue == to.Queue && from.At < to.At
	if to.Kind == Queued && !later && (first || to.At <= r.now || to.Queue.Stuck()) {
		r.due = true
	}
}

func (r *Round) place(row *checkpoint.Row) (Place, error) { return PlaceOf(row, r.view) }

// Beats knows the heartbeats that executions wait for.
type Beats interface {
	FirstBeat(number uint64) (int64, error) // the earliest due time; 0: none
}

// PlaceOf is where an execution stands.
func PlaceOf(row *checkpoint.Row, beats Beats) (Place, error) {
	switch {
	case row.Status != checkpoint.Running:
		return Place{Kind: Ended, At: row.EndedAt}, nil
	case row.Owned:
		return Place{Kind: Owned}, nil
	case len(row.HeldBuilds) > 0:
		// Its builds may claim it from the deadline on, all others at once.
		at := row.Deadline
		if at == 0 {
			at = math.MaxInt64
		}
		return Place{Kind: Queued, Queue: Queue{row.Function, joinBuilds(row.HeldBuilds)}, At: at}, nil
	}
	at, err := WakeAt(row, beats)
	if at == 0 || err != nil {
		return Place{}, err
	}
	q := Queue{Function: row.Function}
	if len(row.Unfit) > 0 {
		q.Builds = unfitMark + joinBuilds(row.Unfit)
	}
	return Place{Kind: Queued, Queue: q, At: at}, nil
}

// WakeAt is what a Summary says under that name: the due time of a row with its
// heartbeats.
func WakeAt(row *checkpoint.Row, beats Beats) (int64, error) {
	if row.Status != checkpoint.Running || row.Owned {
		return 0, nil
	}
	if !row.Heartbeats {
		return row.WakeAt, nil
	}
	beat, err := beats.FirstBeat(row.Number)
	return earlier(row.WakeAt, beat), err
}

// Restore puts a row that was inserted with all that belongs to it into its place.
// Its owner, if it had one, is gone.
func (r *Round) Restore(row *checkpoint.Row) error {
	place, err := r.place(row)
	if err != nil {
		return err
	}
	r.move(row.Number, Place{}, place)
	if row.Owned {
		return r.lose(row)
	}
	return nil
}

// write appends records to a journal. They are numbered already.
func (r *Round) write(row *checkpoint.Row, records []checkpoint.Record, encoded []byte) {
	if len(records) == 0 {
		return
	}
	r.view.WriteJournal(row, records, encoded)
	row.Tail += uint64(len(records))
	for i := range records {
		if rec := &records[i]; rec.EventID > 0 && rec.Events > 0 {
			row.LastEvent = rec.EventID + uint64(rec.Events) - 1
		}
	}
}

// hold adds a build to those that hold a row.
//
//	               HeldBuilds       Unfit                  who may claim it
//	never held     none             none                   all, when it is due
//	hold by b      those, Unfit, b  none                   all but those, at once
//	release        none             HeldBuilds, or as was  all but those, when it is due;
//	                                                       those unfitFor later
//	resume, end    none             none                   all
func hold(row *checkpoint.Row, h *checkpoint.Hold) {
	isIt := func(b string) bool { return b == h.Build }
	builds := append(slices.DeleteFunc(slices.Concat(row.Unfit, row.HeldBuilds), isIt), h.Build)
	row.HeldBuilds, row.Held, row.Unfit = builds[max(len(builds)-maxBuilds, 0):], h.Failure, nil
}

// goesOn takes note that whoever releases a row could go on with it.
func (r *Round) goesOn(row *checkpoint.Row) {
	if len(row.HeldBuilds) > 0 {
		row.Unfit = row.HeldBuilds
	}
	if r.Forgives {
		row.Unfit = nil
	}
	row.HeldBuilds, row.Held = nil, nil
}

// forgive forgets which builds could not go on with a row.
func forgive(row *checkpoint.Row) { row.HeldBuilds, row.Held, row.Unfit = nil, nil, nil }

// maxBuilds is how many builds may hold an execution. The oldest one may try
// again when there are more.
const maxBuilds = 16

// lose takes an execution from its owner, who is gone, and makes it due.
func (r *Round) lose(row *checkpoint.Row) error {
	return r.change(row, func() {
		row.Owned, row.Lost = false, true
		row.WakeAt = r.now
	})
}
