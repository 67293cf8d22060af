package ledger

import (
	"bytes"
	"fmt"

	"github.com/durable-go/durable/checkpoint"
)

// Create makes an execution, or returns the one that has the ID.
func (r *Round) Create(c *checkpoint.Creation) (s checkpoint.Summary, created bool, err error) {
	if err := checkKey("ID of an execution", c.ID); err != nil {
		return s, false, err
	}
	if err := checkKey("name of a function", c.Started.Function); err != nil {
		return s, false, err
	}
	if err := checkBeginning(c); err != nil {
		return s, false, err
	}
	var callerNumber uint64
	if c.Caller != nil {
		caller, err := r.view.Find(c.Caller.ID)
		if err != nil {
			return s, false, err
		}
		if caller == nil || caller.Incarnation != c.Caller.Incarnation || caller.Status != checkpoint.Running {
			return s, false, fmt.Errorf("create %s: its caller %s: %w", c.ID, c.Caller.ID, checkpoint.ErrEnded)
		}
		callerNumber = caller.Number
	}
	row, err := r.view.Find(c.ID)
	if err != nil {
		return s, false, err
	}
	if row != nil {
		if row.Function != c.Started.Function || !bytes.Equal(row.Digest, c.Digest) {
			return s, false, fmt.Errorf("create %s: %w", c.ID, checkpoint.ErrExists)
		}
		s, err = r.view.Summary(row)
		return s, false, err
	}
	s, err = r.insert(c, callerNumber)
	return s, err == nil, err
}

// checkBeginning reports what is wrong with the journal that an execution begins with.
func checkBeginning(c *checkpoint.Creation) error {
	a := checkpoint.Append{ID: c.ID, Tail: 1, Records: c.Records, Status: c.Status}
	if err := CheckAppend(&a); err != nil {
		return fmt.Errorf("create %s: %w", c.ID, err)
	}
	if c.Status != 0 && c.Claim {
		return fmt.Errorf("durable: create %s: both a final status and an owner", c.ID)
	}
	return nil
}

func (r *Round) insert(c *checkpoint.Creation, callerNumber uint64) (checkpoint.Summary, error) {
	started := c.Started
	started.Seq, started.EventID, started.Events = 1, 1, 1
	if started.Time == 0 {
		started.Time = r.now
	}
	row := &checkpoint.Row{
		Summary: checkpoint.Summary{
			Number:      r.view.NextNumber(),
			ID:          c.ID,
			Incarnation: c.Incarnation,
			Function:    started.Function,
			Status:      checkpoint.Running,
			StartedAt:   started.Time,
			Deadline:    started.TimeoutAt,
			Caller:      c.Caller,
		},
		Digest:       c.Digest,
		CallerNumber: callerNumber,
	}
	if c.Claim {
		row.Owned, row.Epoch = true, 1
	} else {
		row.WakeAt = r.now
	}
	r.view.Insert(row)
	r.write(row, append([]checkpoint.Record{started}, c.Records...), nil)
	callbacks, err := r.callbackChanges(row, &checkpoint.Append{Records: c.Records, CloseCallbacks: c.CloseCallbacks, Status: c.Status})
	if err != nil {
		return checkpoint.Summary{}, err
	}
	for _, cb := range callbacks {
		r.setCallback(row, cb)
	}
	if c.Status != 0 {
		r.finish(row, c.Status, max(r.now, c.Records[len(c.Records)-1].Time))
		r.hint(checkpoint.HintEnded, row.ID)
	}
	r.view.Save(row)
	to, err := r.place(row)
	if err != nil {
		return checkpoint.Summary{}, err
	}
	r.move(row.Number, Place{}, to)
	if callerNumber != 0 {
		if err := r.addChild(callerNumber, row.Number); err != nil {
			return checkpoint.Summary{}, err
		}
	}
	s := row.Summary
	s.Started = started
	if c.Status != 0 {
		s.Ended = c.Records[len(c.Records)-1]
	}
	return s, nil
}

func (r *Round) addChild(caller, number uint64) error {
	row, err := r.view.Load(caller)
	if err != nil {
		return err
	}
	r.view.AddChild(caller, number)
	if row.Invoked {
		return nil
	}
	return r.change(row, func() { row.Invoked = true })
}
