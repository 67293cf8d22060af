package invocation

import (
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
)

// CreateCallback opens a callback and returns its ID, when it is durable.
func (c Context) CreateCallback(name string, s *Settings) (Pending, string, error) {
	f, x := c.f, c.f.x
	o, err := c.enter(history.Callback, checkpoint.Callback, name)
	if err != nil {
		return Pending{}, "", err
	}
	defer c.Leave()
	if o.Status == "" && !f.rebuild {
		now := x.host.Now()
		rec := checkpoint.Record{Type: checkpoint.CallbackStarted, SubType: checkpoint.Callback, OperationID: o.ID, ParentID: o.RecordedParent(), Name: name, Flags: o.Flags, Time: now,
			Timeout: int64(s.Timeout), HeartbeatTimeout: int64(s.Heartbeat)}
		if s.Timeout > 0 {
			rec.TimeoutAt = history.After(now, int64(s.Timeout))
		}
		x.record(o, &rec, nil)
		x.waitsOutside(o)
		x.addDue(o)
	}
	f.futures = append(f.futures, o)
	if err := x.await(f); err != nil {
		return Pending{}, "", err
	}
	x.mu.Unlock()
	return Pending{o}, x.host.CallbackID(o.ID), nil
}
