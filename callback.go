package durable

import (
	"context"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
)

// Callback is a wait for an outcome from outside, see CreateCallback.
type Callback[O any] struct {
	o     *history.Operation
	id    string
	codec Codec
}

// CreateCallback opens a callback: somebody outside completes it once, with
// Engine.SucceedCallback, Engine.FailCallback or the HTTP handler of
// durablehttp, by the ID that Callback.ID returns. It may do so at once, long
// before the handler awaits it, and while nothing is running.
//
// It returns when the callback is durable, so the ID may be handed out. A
// payload of nil or without bytes is the zero value. Costs one flush.
//
// Options: WithTimeout, WithHeartbeatTimeout, WithCodec (of the payload as sent).
func CreateCallback[O any](ctx *Context, name string, opts ...CallbackOption) (*Callback[O], error) {
	s := callbackSettings(opts)
	o, id, err := ctx.createCallback(name, &s)
	if err != nil {
		return nil, err
	}
	return &Callback[O]{o: o, id: id, codec: s.codec}, nil
}

func (c *Context) createCallback(name string, s *settings) (*history.Operation, string, error) {
	f, x := c.f, c.f.x
	if err := s.check(); err != nil {
		return nil, "", x.misused(f, history.Callback, name, err, "")
	}
	o, err := c.enter(history.Callback, checkpoint.Callback, name)
	if err != nil {
		return nil, "", err
	}
	defer c.leave()
	if o.Status == "" && !f.rebuild {
		now := x.e.now()
		rec := checkpoint.Record{Type: checkpoint.CallbackStarted, SubType: checkpoint.Callback, OperationID: o.ID, ParentID: o.RecordedParent(), Name: name, Flags: o.Flags, Time: now,
			Timeout: int64(s.timeout), HeartbeatTimeout: int64(s.heartbeat)}
		if s.timeout > 0 {
			rec.TimeoutAt = history.After(now, int64(s.timeout))
		}
		x.record(o, &rec, nil)
		x.waitsOutside(o)
		x.addDue(o)
	}
	f.futures = append(f.futures, o)
	if err := x.await(f); err != nil {
		return nil, "", err
	}
	x.mu.Unlock()
	return o, x.e.callbackID(x.sum.Number, x.sum.Incarnation, o.ID), nil
}

// ID is what the outside completes the callback by. It is not guessable: who
// has it may complete the callback, once. It is the same on every replay.
func (c *Callback[O]) ID() string { return c.id }

// Name is the name given to CreateCallback.
func (c *Callback[O]) Name() string { return c.o.Name }

// Await returns the payload, or an error that matches ErrCallbackFailed (with
// the *Failure as it was sent), ErrTimeout, ErrHeartbeatTimeout or ErrCanceled. The last
// one, or ErrTimeout, also when the scope of ctx is cancelled before there is an outcome,
// which need not be that of the callback: "wait a minute for the approval, then remind".
func (c *Callback[O]) Await(ctx *Context) (O, error) {
	var out O
	err := ctx.awaitAndDecode(c.o, c.codec, &out)
	return out, err
}

func (c *Callback[O]) operation() *history.Operation {
	if c == nil {
		return nil
	}
	return c.o
}

// WaitForCallback opens a callback, calls submit with its ID, and waits for the
// outcome. submit is the body of a step inside: it runs at least once, with the
// same ID, and is retried like a step's; when it has failed for good, so has the
// operation. Inside are a callback and a step under the operation's name.
//
// Options: WithTimeout and WithHeartbeatTimeout of the callback, WithRetry and
// WithAttemptTimeout of submit, WithCodec of the payload.
func WaitForCallback[O any](ctx *Context, name string,
	submit func(ctx context.Context, callbackID string) error, opts ...CallbackOption) (O, error) {
	var out O
	s := callbackSettings(opts)
	if err := s.check(); err != nil {
		return out, ctx.f.x.misused(ctx.f, history.Callback, name, err, "")
	}
	outside := settings{timeout: s.timeout, heartbeat: s.heartbeat, codec: s.codec}
	inside := settings{retry: s.retry, attemptTimeout: s.attemptTimeout}
	err := ctx.child(checkpoint.WaitForCallback, name, &settings{}, func(c *Context) ([]byte, error) {
		o, id, err := c.createCallback(name, &outside)
		if err != nil {
			return nil, err
		}
		_, err = c.step(checkpoint.Step, name, &inside, func(sc context.Context) (encoded, error) {
			if submit == nil {
				panic(errNoBody)
			}
			return c.f.x.e.none(nil, submit(sc, id))
		}, nil)
		if err != nil {
			return nil, err
		}
		var v O
		if err = c.awaitAndDecode(o, s.codec, &v); err != nil {
			return nil, err
		}
		return new(decoded[O]).encode(c.f.x.e, nil, v)
	}, &out)
	return out, err
}
