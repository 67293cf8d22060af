package durable

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// Callbacks from outside.

// CallbackID returns the ID of the one open callback of an execution that has
// the name, or the operation ID. It waits while there is none; it returns
// ErrCallbackAmbiguous when there are several, and ErrCallbackNotFound when the
// execution has ended. It reads the execution's journal, each record once: who needs the
// IDs of many has them handed out by the handler.
func (e *Engine) CallbackID(ctx context.Context, executionID, name string) (string, error) {
	if err := e.given(ctx); err != nil {
		return "", err
	}
	var id string
	search := callbackSearch{e: e, executionID: executionID, name: name}
	err := e.until(ctx, e.callbacks, executionID, func() (found bool, err error) {
		id, err = search.look(ctx)
		return id != "", err
	})
	return id, err
}

// callbackSearch looks for a callback in the journal of an execution, in each record once.
type callbackSearch struct {
	e                 *Engine
	executionID, name string

	sum   checkpoint.Summary
	seq   uint64 // up to there it has looked
	ops   history.Operations
	named []*history.Operation // callbacks that it looks for, open or not
}

// look returns the ID of the one that is open, "" if none is.
func (c *callbackSearch) look(ctx context.Context) (id string, err error) {
	open, err := c.read(ctx)
	if err != nil || len(open) == 0 {
		return "", err
	}
	// An outcome may be in the inbox; what is moved meanwhile is in the journal.
	inbox, err := c.e.store.Inbox(ctx, c.executionID, 0)
	if err != nil {
		return "", c.e.lookup(c.executionID, err)
	}
	if open, err = c.read(ctx); err != nil {
		return "", err
	}
	came := make(map[string]bool, len(inbox))
	for i := range inbox {
		came[inbox[i].OperationID] = true
	}
	open = slices.DeleteFunc(open, func(id string) bool { return came[id] })
	switch len(open) {
	case 0:
		return "", nil
	case 1:
		return c.e.callbackID(c.sum.Number, c.sum.Incarnation, open[0]), nil
	}
	slices.SortFunc(open, history.CompareIDs)
	return "", fmt.Errorf("%w: %d callbacks of execution %s are named %q: use one of the operation IDs %v", ErrCallbackAmbiguous, len(open), c.executionID, c.name, open)
}

// read reads on, and returns the operation IDs of those that are open as far as the
// journal goes.
func (c *callbackSearch) read(ctx context.Context) (open []string, err error) {
	s, err := c.e.find(ctx, c.executionID)
	if err != nil {
		return nil, err
	}
	if s.Status != checkpoint.Running {
		return nil, fmt.Errorf("%w: execution %s has ended", ErrCallbackNotFound, c.executionID)
	}
	if c.ops == nil || s.Incarnation != c.sum.Incarnation {
		c.seq, c.ops, c.named = 0, history.New(s.Tail), nil
	}
	c.sum = s
	for rec, err := range c.e.journalOf(ctx, &s, c.seq) {
		if err != nil {
			return nil, c.e.lookup(c.executionID, err)
		}
		c.seq = rec.Seq
		o := c.ops.Apply(&rec, nil) // whatever is sealed is of no interest
		if rec.Type == checkpoint.CallbackStarted && (o.Name == c.name || o.ID == c.name) {
			c.named = append(c.named, o)
		}
	}
	c.named = slices.DeleteFunc(c.named, func(o *history.Operation) bool { return o.Settled() || o.Dead() })
	for _, o := range c.named {
		open = append(open, o.ID)
	}
	return open, nil
}

// SucceedCallback completes a callback with a payload, encoded by the engine's
// codec; of a json.RawMessage or []byte the bytes are taken as they are, and are the
// caller's again when it returns. It returns once that is durable.
// ErrCallbackCompleted: it has an outcome already, or nobody waits for it any more;
// ErrCallbackNotFound: the ID is not one of this store.
func (e *Engine) SucceedCallback(ctx context.Context, callbackID string, payload any) error {
	var data []byte
	switch p := payload.(type) {
	case nil:
	case json.RawMessage:
		data = bytes.Clone(p)
	case []byte:
		data = bytes.Clone(p)
	default:
		var err error
		if data, err = e.v.encodeWith(e.opts.Codec, payload); err != nil {
			return err
		}
	}
	if len(data) > e.opts.MaxPayload {
		return fmt.Errorf("%w: the callback's payload is %s, the limit is %s", ErrPayloadTooLarge, formatBytes(len(data)), formatBytes(e.opts.MaxPayload))
	}
	return e.completeCallback(ctx, callbackID, checkpoint.Record{Type: checkpoint.CallbackSucceeded, Payload: data, Flags: checkpoint.FlagPayload}, nil)
}

// FailCallback completes a callback with a failure, which the handler sees as it
// is given here; its Data is the caller's again when it returns. Errors as of
// SucceedCallback.
func (e *Engine) FailCallback(ctx context.Context, callbackID string, f Failure) error {
	if len(f.Data) > 0 && !json.Valid(f.Data) {
		return errors.New("durable: FailCallback: Data is not JSON")
	}
	if n := len(f.Type) + len(f.Message) + len(f.Data) + len(f.Stack); n > e.opts.MaxPayload {
		return fmt.Errorf("%w: the callback's failure is %s, the limit is %s", ErrPayloadTooLarge, formatBytes(n), formatBytes(e.opts.MaxPayload))
	}
	return e.completeCallback(ctx, callbackID, checkpoint.Record{Type: checkpoint.CallbackFailed},
		&fault.Failure{Type: f.Type, Message: f.Message, Data: f.Data, Stack: f.Stack, Is: []string{"CallbackFailed"}})
}

func (e *Engine) completeCallback(ctx context.Context, callbackID string, rec checkpoint.Record, failure *fault.Failure) error {
	number, inc, operationID, err := e.locateCallback(ctx, callbackID)
	if err != nil {
		return err
	}
	rec.SubType, rec.OperationID, rec.Failure = checkpoint.Callback, operationID, fault.Encode(failure)
	if err := e.sealRecord(&rec, inc); err != nil {
		return err
	}
	open := e.whileOpen(ctx)
	defer open.left()
	return e.callbackError(e.store.Deliver(open, checkpoint.Delivery{Number: number, Incarnation: inc, Record: rec}))
}

// HeartbeatCallback restarts the heartbeat timeout of a callback. It is no event
// and wakes nobody. Errors as of SucceedCallback.
func (e *Engine) HeartbeatCallback(ctx context.Context, callbackID string) error {
	number, inc, operationID, err := e.locateCallback(ctx, callbackID)
	if err != nil {
		return err
	}
	open := e.whileOpen(ctx)
	defer open.left()
	return e.callbackError(e.store.Heartbeat(open, checkpoint.CallbackRef{Number: number, Incarnation: inc, OperationID: operationID}))
}

// locateCallback says where a callback is: in the execution of that number, if it has that
// incarnation. Whether there is one, the store finds when it is completed.
func (e *Engine) locateCallback(ctx context.Context, callbackID string) (number uint64, inc checkpoint.Incarnation, operationID string, err error) {
	if err := e.takes(ctx); err != nil {
		return 0, inc, "", err
	}
	return e.parseCallbackID(callbackID)
}

func (e *Engine) callbackError(err error) error {
	switch {
	case errors.Is(err, checkpoint.ErrNotFound):
		return fmt.Errorf("%w: its execution was deleted", ErrCallbackNotFound)
	case errors.Is(err, checkpoint.ErrCallbackClosed):
		return fmt.Errorf("%w, timed out, or abandoned", ErrCallbackCompleted)
	case err == nil:
		return nil
	}
	return e.outward(err)
}
