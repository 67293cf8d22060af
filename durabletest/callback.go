package durabletest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/durable-go/durable"
)

// Callback is an open callback of an execution.
type Callback struct {
	// Name is the operation's name.
	Name string
	// ExecutionID is the execution that waits.
	ExecutionID string
	// ID is what it is completed by.
	ID string

	operationID string
	e           *durable.Engine
	tap         *tap
}

// Succeed completes the callback. Errors are those of Engine.SucceedCallback. If the
// engine has crashed meanwhile it does nothing and returns nil: the next life asks
// again.
func (c *Callback) Succeed(payload any) error {
	return c.unlessCrashed(c.e.SucceedCallback(context.Background(), c.ID, payload))
}

// Fail completes the callback with a failure, or does what Succeed does after a crash.
func (c *Callback) Fail(f durable.Failure) error {
	return c.unlessCrashed(c.e.FailCallback(context.Background(), c.ID, f))
}

// Heartbeat restarts the callback's heartbeat timeout.
func (c *Callback) Heartbeat() error {
	return c.unlessCrashed(c.e.HeartbeatCallback(context.Background(), c.ID))
}

// unlessCrashed is err, or nil if it comes from a crash that the test made.
func (c *Callback) unlessCrashed(err error) error {
	if err != nil && c.tap.crashed() {
		return nil
	}
	return err
}

// TimeOut lets virtual time pass until the callback has timed out, by its timeout
// or its heartbeat timeout. It is an error if it has neither.
func (c *Callback) TimeOut() error {
	for {
		ops, err := c.e.Operations(context.Background(), c.ExecutionID)
		if err != nil {
			return err
		}
		var due time.Time
		open := false
		for _, o := range ops {
			if o.ID == c.operationID {
				open, due = o.CallbackID != "", o.WakeAt
			}
		}
		if !open {
			return nil
		}
		heartbeat, err := c.heartbeatTimeout()
		if err != nil {
			return err
		}
		switch {
		case heartbeat > 0:
			time.Sleep(heartbeat)
		case !due.IsZero():
			time.Sleep(max(time.Until(due), time.Millisecond))
		default:
			return fmt.Errorf("durabletest: callback %q of execution %s: %w", c.Name, c.ExecutionID, errNoTimeout)
		}
	}
}

var errNoTimeout = errors.New("it has no timeout: give it WithTimeout or WithHeartbeatTimeout")

func (c *Callback) heartbeatTimeout() (time.Duration, error) {
	for ev, err := range c.e.History(context.Background(), c.ExecutionID) {
		if err != nil {
			return 0, err
		}
		if ev.OperationID == c.operationID && ev.Type == "CallbackStarted" {
			return ev.HeartbeatTimeout, nil
		}
	}
	return 0, nil
}

// openCallbacks are the open callbacks of an execution.
func openCallbacks(ctx context.Context, e *durable.Engine, tap *tap, id string) ([]*Callback, error) {
	ops, err := e.Operations(ctx, id)
	if err != nil {
		return nil, err
	}
	var open []*Callback
	for _, o := range ops {
		if o.CallbackID != "" {
			open = append(open, &Callback{Name: o.Name, ExecutionID: id, ID: o.CallbackID, operationID: o.ID, e: e, tap: tap})
		}
	}
	return open, nil
}
