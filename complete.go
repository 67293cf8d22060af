package durable

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/durable-go/durable/checkpoint"
)

// Callbacks from outside.

// CallbackID returns the ID of the one open callback of an execution that has
// the name, or the operation ID. It waits while there is none; it returns
// ErrCallbackAmbiguous when there are several, and ErrCallbackNotFound when the
// execution has ended.
func (e *Engine) CallbackID(ctx context.Context, executionID, name string) (string, error) {
	if err := e.given(ctx); err != nil {
		return "", err
	}
	var id string
	err := e.until(ctx, executionID, func() (bool, error) {
		ops, s, err := e.operations(ctx, executionID)
		if err != nil {
			return false, err
		}
		if s.Status != checkpoint.Running {
			return false, fmt.Errorf("%w: execution %s has ended", ErrCallbackNotFound, executionID)
		}
		var open []string
		for _, o := range ops {
			if o.typ == typeCallback && !o.settled() && !o.dead() && (o.name == name || o.id == name) {
				open = append(open, o.id)
			}
		}
		slices.SortFunc(open, compareIDs)
		switch len(open) {
		case 0:
			return false, nil
		case 1:
			id = e.callbackID(s.Number, s.Incarnation, open[0])
			return true, nil
		}
		return false, fmt.Errorf("%w: %d callbacks of execution %s are named %q: use one of the operation IDs %v", ErrCallbackAmbiguous, len(open), executionID, name, open)
	})
	return id, err
}

// SucceedCallback completes a callback with a payload, encoded by the engine's
// codec; a json.RawMessage or []byte is taken as it is. It returns once that is
// durable. ErrCallbackCompleted: it has an outcome already, or nobody waits for
// it any more; ErrCallbackNotFound: the ID is not one of this store.
func (e *Engine) SucceedCallback(ctx context.Context, callbackID string, payload any) error {
	var data []byte
	switch p := payload.(type) {
	case nil:
	case json.RawMessage:
		data = p
	case []byte:
		data = p
	default:
		var err error
		if data, err = e.encodeWith(e.opts.Codec, payload); err != nil {
			return err
		}
	}
	if len(data) > e.opts.MaxPayload {
		return fmt.Errorf("%w: the callback's payload is %s, the limit is %s", ErrPayloadTooLarge, formatBytes(len(data)), formatBytes(e.opts.MaxPayload))
	}
	return e.completeCallback(ctx, callbackID, checkpoint.Record{Type: checkpoint.CallbackSucceeded, Payload: data, Flags: checkpoint.FlagPayload}, nil)
}

// FailCallback completes a callback with a failure, which the handler sees as it
// is given here. Errors as of SucceedCallback.
func (e *Engine) FailCallback(ctx context.Context, callbackID string, f Failure) error {
	if len(f.Data) > 0 && !json.Valid(f.Data) {
		return errors.New("durable: FailCallback: Data is not JSON")
	}
	if n := len(f.Type) + len(f.Message) + len(f.Data) + len(f.Stack); n > e.opts.MaxPayload {
		return fmt.Errorf("%w: the callback's failure is %s, the limit is %s", ErrPayloadTooLarge, formatBytes(n), formatBytes(e.opts.MaxPayload))
	}
	return e.completeCallback(ctx, callbackID, checkpoint.Record{Type: checkpoint.CallbackFailed},
		&failureRecord{Type: f.Type, Message: f.Message, Data: f.Data, Stack: f.Stack, Is: []string{"CallbackFailed"}})
}

func (e *Engine) completeCallback(ctx context.Context, callbackID string, rec checkpoint.Record, failure *failureRecord) error {
	s, operationID, err := e.locateCallback(ctx, callbackID)
	if err != nil {
		return err
	}
	rec.SubType, rec.OperationID, rec.Failure = checkpoint.Callback, operationID, encodeFailure(failure)
	if err := e.sealRecord(&rec, s.Incarnation); err != nil {
		return err
	}
	return e.callbackError(e.store.Deliver(ctx, checkpoint.Delivery{ID: s.ID, Incarnation: s.Incarnation, Record: rec}))
}

// HeartbeatCallback restarts the heartbeat timeout of a callback. It is no event
// and wakes nobody. Errors as of SucceedCallback.
func (e *Engine) HeartbeatCallback(ctx context.Context, callbackID string) error {
	s, operationID, err := e.locateCallback(ctx, callbackID)
	if err != nil {
		return err
	}
	return e.callbackError(e.store.Heartbeat(ctx, checkpoint.CallbackRef{ID: s.ID, Incarnation: s.Incarnation, OperationID: operationID}))
}

func (e *Engine) locateCallback(ctx context.Context, callbackID string) (checkpoint.Summary, string, error) {
	if err := e.takes(ctx); err != nil {
		return checkpoint.Summary{}, "", err
	}
	number, inc, operationID, err := e.parseCallbackID(callbackID)
	if err != nil {
		return checkpoint.Summary{}, "", err
	}
	s, err := e.store.Find(ctx, number)
	if err == nil && s.Incarnation != inc {
		err = checkpoint.ErrNotFound
	}
	return s, operationID, e.callbackError(err)
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
