package ledger

import (
	"errors"
	"fmt"

	"github.com/durable-go/durable/checkpoint"
)

// End gives an execution a final status without its owner's help.
func (r *Round) End(e *checkpoint.Ending) (ended bool, err error) {
	if e.Status != checkpoint.Stopped && e.Status != checkpoint.TimedOut {
		return false, fmt.Errorf("durable: end %s: the status is %s: it must be %s or %s", e.ID, e.Status, checkpoint.Stopped, checkpoint.TimedOut)
	}
	for i := range e.Deliver {
		if err := checkDelivery(&e.Deliver[i]); err != nil {
			return false, err
		}
	}
	row, err := r.find(e.ID, e.Incarnation)
	if err != nil || row.Status != checkpoint.Running {
		return false, err
	}
	final := e.Record
	if final.Time == 0 {
		final.Time = r.now
	}
	var records []checkpoint.Record
	if row.Owned {
		records = append(records, checkpoint.Record{Type: checkpoint.InvocationCompleted, Time: final.Time})
	}
	records = append(records, final)
	for i := range records {
		records[i].Seq = row.Tail + 1 + uint64(i)
		records[i].EventID, records[i].Events = row.LastEvent+1+uint64(i), 1
	}
	err = r.change(row, func() {
		r.write(row, records, nil)
		r.finish(row, e.Status, final.Time)
	})
	if err != nil {
		return false, err
	}
	if err := r.finished(row); err != nil {
		return false, err
	}
	return true, r.deliverAll(e.Deliver)
}

// Delete removes an execution that has ended.
func (r *Round) Delete(id string) error {
	row, err := r.find(id, checkpoint.Incarnation{})
	if d, ok := r.view.(Destroyer); ok && errors.Is(err, checkpoint.ErrCorrupt) {
		return d.Destroy(id) // nobody can run it any more
	}
	if err != nil {
		return err
	}
	if row.Status != checkpoint.Running {
		return r.remove(row)
	}
	return fmt.Errorf("delete %s: %w", id, checkpoint.ErrRunning)
}

func (r *Round) remove(row *checkpoint.Row) error {
	from, err := r.place(row)
	if err != nil {
		return err
	}
	r.view.Remove(row)
	r.move(row.Number, from, Place{})
	return nil
}

// Expire deletes the execution with that number if it ended before t and is
// Expirable.
func (r *Round) Expire(number uint64, t int64) (deleted bool, err error) {
	row, err := r.view.Load(number)
	if err != nil || row == nil || row.Status == checkpoint.Running || row.EndedAt >= t {
		return false, err
	}
	if ok, err := Expirable(row, r.view.Load); !ok {
		return false, err
	}
	return true, r.remove(row)
}

// Expirable reports whether nobody needs an execution that has ended: its caller
// might ask for its outcome again as long as it runs.
func Expirable(row *checkpoint.Row, load func(number uint64) (*checkpoint.Row, error)) (bool, error) {
	if row.CallerNumber == 0 {
		return true, nil
	}
	caller, err := load(row.CallerNumber)
	return err == nil && (caller == nil || caller.Status != checkpoint.Running), err
}
