package ledger

import (
	"errors"
	"fmt"

	"github.com/durable-go/durable/checkpoint"
)

// maxKey bounds IDs, of executions and of operations: stores use them as keys.
// The names of functions and builds are parts of keys.
const (
	maxKey   = 4096
	maxBuild = 512
)

func checkKey(what, key string) error {
	if key == "" || len(key) > maxKey {
		return fmt.Errorf("durable: the %s has %d bytes: it must have 1 to %d", what, len(key), maxKey)
	}
	return nil
}

// CheckAppend reports what is wrong with an append whatever the store holds.
func CheckAppend(a *checkpoint.Append) error {
	for i := range a.Records {
		rec := &a.Records[i]
		if want := a.Tail + 1 + uint64(i); rec.Seq != want {
			return fmt.Errorf("durable: append to %s: record %d has sequence number %d, not %d", a.ID, i, rec.Seq, want)
		}
		if rec.Type == checkpoint.CallbackStarted {
			if err := checkKey("ID of an operation", rec.OperationID); err != nil {
				return err
			}
		}
	}
	for i := range a.Deliver {
		if err := checkDelivery(&a.Deliver[i]); err != nil {
			return fmt.Errorf("append to %s: %w", a.ID, err)
		}
	}
	if a.Release != nil && a.Release.Hold != nil && len(a.Release.Hold.Build) > maxBuild {
		return fmt.Errorf("durable: release of %s: the name of the build that holds it has more than %d bytes", a.ID, maxBuild)
	}
	switch {
	case a.Status == 0:
		return nil
	case a.Status == checkpoint.Running || a.Status > checkpoint.Stopped:
		return fmt.Errorf("durable: append to %s: %s is not a final status", a.ID, a.Status)
	case len(a.Records) == 0:
		return fmt.Errorf("durable: append to %s: a final status without a final record", a.ID)
	case a.Release != nil:
		return fmt.Errorf("durable: append to %s: both a final status and a release", a.ID)
	}
	return nil
}

// Append makes an append that CheckAppend found right. encoded is the binary
// form of its records, or nil.
func (r *Round) Append(a *checkpoint.Append, encoded []byte) error {
	row, err := r.view.Find(a.ID)
	switch {
	case err != nil:
		return err
	case row == nil || !row.Owned || row.Epoch != a.Epoch:
		return fmt.Errorf("append to %s under epoch %d: %w", a.ID, a.Epoch, checkpoint.ErrFenced)
	case row.Tail != a.Tail:
		return fmt.Errorf("append to %s after record %d, it ends with %d: %w", a.ID, a.Tail, row.Tail, checkpoint.ErrConflict)
	case a.InboxSeen > row.InboxTail:
		return fmt.Errorf("durable: append to %s: it has seen inbox entry %d, the last one is %d", a.ID, a.InboxSeen, row.InboxTail)
	case a.Release != nil && a.Release.Hold == nil && row.InboxTail > max(a.InboxSeen, row.InboxSeen):
		return fmt.Errorf("release of %s: %w", a.ID, checkpoint.ErrInboxNews)
	}
	callbacks, err := r.callbackChanges(row, a)
	if err != nil {
		return err
	}
	var final *checkpoint.Record
	if a.Status != 0 {
		final = &a.Records[len(a.Records)-1]
	}
	err = r.change(row, func() {
		r.write(row, a.Records, encoded)
		if a.InboxSeen > row.InboxSeen {
			r.view.CutInbox(row, a.InboxSeen)
			row.InboxSeen = a.InboxSeen
		}
		for _, c := range callbacks {
			r.setCallback(row, c)
		}
		if final != nil {
			r.finish(row, a.Status, final.Time)
		}
		if a.Release != nil {
			row.Owned = false
			row.WakeAt = a.Release.WakeAt
			if a.Release.Hold != nil {
				hold(row, a.Release.Hold)
			} else {
				r.goesOn(row)
			}
		}
	})
	if err != nil {
		return err
	}
	if final != nil {
		if err := r.finished(row); err != nil {
			return err
		}
	}
	return r.deliverAll(a.Deliver)
}

// callbackChange is what an append does to one callback.
type callbackChange struct {
	operationID string
	from, to    Callback
	isNew       bool
}

// callbackChanges finds out what the append opens and closes.
func (r *Round) callbackChanges(row *checkpoint.Row, a *checkpoint.Append) ([]callbackChange, error) {
	if a.Status != 0 {
		return nil, nil // all of them are dropped
	}
	var changes callbackChanges
	for i := range a.Records {
		rec := &a.Records[i]
		switch rec.Type {
		case checkpoint.CallbackStarted:
			c := Callback{TimeoutAt: rec.TimeoutAt, HeartbeatTimeout: rec.HeartbeatTimeout}
			if c.HeartbeatTimeout > 0 {
				c.HeartbeatAt = after(rec.Time, c.HeartbeatTimeout)
			}
			changes.add(callbackChange{rec.OperationID, Callback{}, c, true})
			r.hint(checkpoint.HintCallback, a.ID)
		case checkpoint.CallbackSucceeded, checkpoint.CallbackFailed, checkpoint.CallbackTimedOut:
			if err := r.closing(&changes, row, rec.OperationID, rec.Events > 1); err != nil {
				return nil, err
			}
		}
	}
	for _, id := range a.CloseCallbacks {
		if err := r.closing(&changes, row, id, false); err != nil {
			return nil, err
		}
	}
	return changes.all, nil
}

// callbackChanges are those of an append, in order.
type callbackChanges struct {
	all []callbackChange
	at  map[string]int // where those of an operation are; nil: they are few
}

func (c *callbackChanges) add(change callbackChange) {
	c.all = append(c.all, change)
	const few = 8
	switch {
	case c.at != nil:
		c.at[change.operationID] = len(c.all) - 1
	case len(c.all) > few:
		c.at = make(map[string]int)
		for i := range c.all {
			c.at[c.all[i].operationID] = i
		}
	}
}

// of returns the change of an operation's callback, nil if there is none.
func (c *callbackChanges) of(operationID string) *callbackChange {
	if i, ok := c.at[operationID]; ok {
		return &c.all[i]
	} else if c.at != nil {
		return nil
	}
	for i := range c.all {
		if c.all[i].operationID == operationID {
			return &c.all[i]
		}
	}
	return nil
}

// closing adds to changes that a callback is closed, if there is one or it was
// started by the record that closes it.
func (r *Round) closing(changes *callbackChanges, row *checkpoint.Row, operationID string, started bool) error {
	if c := changes.of(operationID); c != nil {
		c.to = closed(c.to)
		return nil
	}
	if !row.Callbacks && !started {
		return nil
	}
	c, ok, err := r.view.Callback(row.Number, operationID)
	if err != nil || c.Closed || !ok && !started {
		return err
	}
	changes.add(callbackChange{operationID, c, closed(c), !ok})
	return nil
}

func closed(c Callback) Callback {
	c.Closed, c.HeartbeatAt = true, 0
	return c
}

func (r *Round) setCallback(row *checkpoint.Row, c callbackChange) {
	row.Callbacks = true
	row.Heartbeats = row.Heartbeats || c.to.HeartbeatAt != 0
	r.view.SetCallback(row.Number, c.operationID, c.from, c.to)
}

// finish gives a row its final status.
func (r *Round) finish(row *checkpoint.Row, status checkpoint.Status, at int64) {
	if at == 0 {
		at = r.now
	}
	row.Status, row.EndedAt = status, at
	row.Owned, row.Lost, row.WakeAt = false, false, 0
	forgive(row)
	if row.InboxTail > row.InboxSeen {
		r.view.CutInbox(row, row.InboxTail)
	}
	if row.Callbacks {
		r.view.DropCallbacks(row.Number)
		row.Callbacks, row.Heartbeats = false, false
	}
}

// finished tells those whom the end of an execution concerns.
func (r *Round) finished(row *checkpoint.Row) error {
	r.hint(checkpoint.HintEnded, row.ID)
	if row.CallerNumber != 0 {
		r.view.RemoveChild(row.CallerNumber, row.Number)
	}
	if !row.Invoked {
		return nil
	}
	children, err := r.view.Children(row.Number)
	if err != nil {
		return err
	}
	for _, number := range children {
		child, err := r.view.Load(number)
		if err == nil && child != nil {
			err = r.requestCancel(child, checkpoint.Record{Type: checkpoint.CancelRequested, Key: "the execution that invoked it has ended"})
		}
		if err := r.passOver(err); err != nil {
			return err
		}
	}
	return nil
}

// deliverAll delivers to other executions, as part of a change of one.
func (r *Round) deliverAll(all []checkpoint.Delivery) error {
	for i := range all {
		if err := r.passOver(r.deliver(&all[i])); err != nil {
			return err
		}
	}
	return nil
}

// passOver returns nil for errors that concern only the target of a delivery.
func (r *Round) passOver(err error) error {
	if _, torn := errors.AsType[*tornError](err); torn {
		return err
	}
	switch {
	case err == nil, errors.Is(err, checkpoint.ErrNotFound), errors.Is(err, checkpoint.ErrCallbackClosed):
		return nil
	case errors.Is(err, checkpoint.ErrCorrupt):
		r.view.Report(err)
		return nil
	}
	if _, early := errors.AsType[*checkpoint.NotDueError](err); early {
		return nil
	}
	return err
}
