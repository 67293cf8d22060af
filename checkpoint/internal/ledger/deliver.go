package ledger

import (
	"fmt"
	"math"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

// checkDelivery reports what is wrong with a delivery whatever the store holds.
func checkDelivery(d *checkpoint.Delivery) error {
	switch d.Record.Type {
	case checkpoint.CallbackSucceeded, checkpoint.CallbackFailed, checkpoint.CallbackTimedOut,
		checkpoint.ChainedInvokeSucceeded, checkpoint.ChainedInvokeFailed, checkpoint.ChainedInvokeTimedOut,
		checkpoint.ChainedInvokeStopped, checkpoint.CancelRequested:
		return nil
	}
	return fmt.Errorf("durable: deliver to %s: %s does not come from outside", d.ID, d.Record.Type)
}

// Deliver puts an event from outside into an inbox.
func (r *Round) Deliver(d *checkpoint.Delivery) error {
	if err := checkDelivery(d); err != nil {
		return err
	}
	return r.deliver(d)
}

func (r *Round) deliver(d *checkpoint.Delivery) error {
	row, err := r.target(d.ID, d.Number, d.Incarnation)
	if err != nil {
		return err
	}
	switch d.Record.Type {
	case checkpoint.CancelRequested:
		return r.requestCancel(row, d.Record)
	case checkpoint.CallbackSucceeded, checkpoint.CallbackFailed, checkpoint.CallbackTimedOut:
		return r.completeCallback(row, d.Record)
	}
	if row.Status != checkpoint.Running {
		return nil
	}
	return r.putInbox(row, d.Record, func() {})
}

func (r *Round) requestCancel(row *checkpoint.Row, rec checkpoint.Record) error {
	if row.Status != checkpoint.Running || row.Cancelled {
		return nil
	}
	return r.putInbox(row, rec, func() { row.Cancelled = true })
}

func (r *Round) completeCallback(row *checkpoint.Row, rec checkpoint.Record) error {
	c, err := r.openCallback(row, rec.OperationID)
	if err != nil {
		return err
	}
	due := c.due()
	if rec.Type == checkpoint.CallbackTimedOut {
		offered := c.TimeoutAt
		if rec.HeartbeatTimeout > 0 {
			offered = c.HeartbeatAt
		}
		// The earlier one of the two is the outcome when both have passed.
		if due == 0 {
			due = math.MaxInt64
		}
		if r.now < due || offered != due {
			return &checkpoint.NotDueError{Due: time.Unix(0, due)}
		}
		rec.TimeoutAt = due
	} else if due != 0 && r.now >= due {
		return callbackClosed(row, rec.OperationID)
	}
	return r.putInbox(row, rec, func() {
		r.setCallback(row, callbackChange{rec.OperationID, c, closed(c), false})
	})
}

// openCallback finds a callback that has no outcome. It may be due.
func (r *Round) openCallback(row *checkpoint.Row, operationID string) (Callback, error) {
	if row.Status != checkpoint.Running {
		return Callback{}, callbackClosed(row, operationID)
	}
	c, ok, err := r.view.Callback(row.Number, operationID)
	switch {
	case err != nil:
		return c, err
	case !ok:
		return c, fmt.Errorf("callback %s of %s: %w", operationID, row.ID, checkpoint.ErrNotFound)
	case c.Closed:
		return c, callbackClosed(row, operationID)
	}
	return c, nil
}

func callbackClosed(row *checkpoint.Row, operationID string) error {
	return fmt.Errorf("callback %s of %s: %w", operationID, row.ID, checkpoint.ErrCallbackClosed)
}

// putInbox enters rec as the newest entry, makes the execution due or tells its
// owner, and makes the change f along with it.
func (r *Round) putInbox(row *checkpoint.Row, rec checkpoint.Record, f func()) error {
	err := r.change(row, func() {
		row.InboxTail++
		rec.Seq = row.InboxTail
		if rec.Time == 0 {
			rec.Time = r.now
		}
		r.view.PutInbox(row, rec)
		if !row.Owned {
			row.WakeAt = earlier(row.WakeAt, r.now)
		}
		f()
	})
	if err == nil && row.Owned {
		r.hint(checkpoint.HintInbox, row.ID)
	}
	return err
}

// Heartbeat moves the heartbeat due time of an open callback.
func (r *Round) Heartbeat(ref *checkpoint.CallbackRef) error {
	row, err := r.target(ref.ID, ref.Number, ref.Incarnation)
	if err != nil {
		return err
	}
	c, err := r.openCallback(row, ref.OperationID)
	if err != nil {
		return err
	}
	if due := c.due(); due != 0 && r.now >= due {
		return callbackClosed(row, ref.OperationID)
	}
	if c.HeartbeatTimeout == 0 {
		return nil
	}
	from, err := r.place(row)
	if err != nil {
		return err
	}
	moved := c
	moved.HeartbeatAt = after(r.now, c.HeartbeatTimeout)
	r.view.SetCallback(row.Number, ref.OperationID, c, moved)
	to, err := r.place(row)
	if err != nil {
		return err
	}
	r.move(row.Number, from, to)
	return nil
}

// Disown gives up ownership as if the owner had died.
func (r *Round) Disown(id string, epoch uint64) error {
	row, err := r.view.Find(id)
	if err != nil || row == nil || !row.Owned || row.Epoch != epoch {
		return err
	}
	return r.lose(row)
}

// Recover takes an execution from an owner whose process is gone.
func (r *Round) Recover(number uint64) error {
	row, err := r.view.Load(number)
	if err != nil || row == nil || !row.Owned {
		return err
	}
	return r.lose(row)
}

// Resume lifts a hold.
func (r *Round) Resume(id string) error {
	row, err := r.find(id, checkpoint.Incarnation{})
	if err != nil || len(row.HeldBuilds)+len(row.Unfit) == 0 {
		return err
	}
	return r.change(row, func() {
		held := len(row.HeldBuilds) > 0
		forgive(row)
		if held && !row.Owned {
			row.WakeAt = r.now
		}
	})
}
