package durabletest

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	e           *Engine
	life        *life // in which it was found
	lasts       bool  // it is an answer's, and outlives the engine
	told        bool  // its outcome was told in the life before this process
}

// Succeed completes the callback. Errors are those of Engine.SucceedCallback. If the
// engine has crashed, or crashes meanwhile, it is the next one that is told, as a sender
// outside would who tries again.
func (c *Callback) Succeed(payload any) error {
	return c.tell(func(e *durable.Engine) error { return e.SucceedCallback(context.Background(), c.ID, payload) })
}

// Fail completes the callback with a failure, as Succeed does with a result.
func (c *Callback) Fail(f durable.Failure) error {
	return c.tell(func(e *durable.Engine) error { return e.FailCallback(context.Background(), c.ID, f) })
}

// Heartbeat restarts the callback's heartbeat timeout.
func (c *Callback) Heartbeat() error {
	return c.tell(func(e *durable.Engine) error { return e.HeartbeatCallback(context.Background(), c.ID) })
}

// tell changes something, unless that was done in the life before this process.
func (c *Callback) tell(change func(*durable.Engine) error) error {
	if now := time.Now(); now.Before(c.e.since) || c.told && now.Equal(c.e.since) {
		return nil
	}
	return c.call(change)
}

// call calls an engine, and the next one if that one dies of a crash.
func (c *Callback) call(f func(*durable.Engine) error) error {
	for lost := false; ; lost = true {
		err := f(c.life.engine)
		if lost && errors.Is(err, durable.ErrCallbackCompleted) && !c.timedOut() {
			return nil // it was told before the crash
		}
		if err == nil || !c.life.tap.crashed() && !(c.lasts && errors.Is(err, durable.ErrClosed)) {
			return err
		}
		next := c.e.after(c.life)
		if next == nil && lost {
			return nil // the test is over, and nobody can say what became of it
		}
		if next == nil {
			return err
		}
		c.life = next
	}
}

// timedOut reports whether the callback's outcome is that it timed out.
func (c *Callback) timedOut() bool {
	o, err := c.operation(c.life.engine)
	return err == nil && o.Status == durable.OperationTimedOut
}

// operation is what an engine tells of the callback.
func (c *Callback) operation(e *durable.Engine) (durable.Operation, error) {
	ops, err := e.Operations(context.Background(), c.ExecutionID)
	i := slices.IndexFunc(ops, func(o durable.Operation) bool { return o.ID == c.operationID })
	if i < 0 {
		return durable.Operation{}, err
	}
	return ops[i], nil
}

// TimeOut lets virtual time pass until the callback has timed out, by its timeout
// or its heartbeat timeout. It is an error if it has neither.
func (c *Callback) TimeOut() error {
	for {
		var o durable.Operation
		var heartbeat time.Duration
		err := c.call(func(e *durable.Engine) (err error) {
			if o, err = c.operation(e); err == nil {
				heartbeat, err = c.heartbeatTimeout(e)
			}
			return err
		})
		if err != nil || o.CallbackID == "" {
			return err
		}
		switch {
		case heartbeat > 0:
			time.Sleep(heartbeat)
		case !o.WakeAt.IsZero():
			time.Sleep(max(time.Until(o.WakeAt), time.Millisecond))
		default:
			return fmt.Errorf("durabletest: callback %q of execution %s: %w", c.Name, c.ExecutionID, errNoTimeout)
		}
	}
}

var errNoTimeout = errors.New("it has no timeout: give it WithTimeout or WithHeartbeatTimeout")

func (c *Callback) heartbeatTimeout(e *durable.Engine) (time.Duration, error) {
	for ev, err := range e.History(context.Background(), c.ExecutionID) {
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
func (e *Engine) openCallbacks(ctx context.Context, l *life, id string) ([]*Callback, error) {
	ops, err := l.engine.Operations(ctx, id)
	if err != nil {
		return nil, err
	}
	var open []*Callback
	for _, o := range ops {
		if o.CallbackID != "" {
			open = append(open, &Callback{Name: o.Name, ExecutionID: id, ID: o.CallbackID, operationID: o.ID, e: e, life: l})
		}
	}
	return open, nil
}
