package durable

import (
	"context"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/invocation"
)

// Callback is a wait for an outcome from outside, see CreateCallback.
type Callback[O any] struct {
	p     invocation.Pending
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
	if err := s.check(); err != nil {
		return nil, ctx.misused(history.Callback, name, err, "")
	}
	p, id, err := ctx.in.CreateCallback(name, s.named(ctx.v))
	if err != nil {
		return nil, ctx.v.public(err)
	}
	return &Callback[O]{p: p, id: id, codec: s.codec}, nil
}

// ID is what the outside completes the callback by. It is not guessable: who
// has it may complete the callback, once. It is the same on every replay.
func (c *Callback[O]) ID() string { return c.id }

// Name is the name given to CreateCallback.
func (c *Callback[O]) Name() string { return c.p.Name() }

// Await returns the payload, or an error that matches ErrCallbackFailed (with
// the *Failure as it was sent), ErrTimeout, ErrHeartbeatTimeout or ErrCanceled. The last
// one, or ErrTimeout, also when the scope of ctx is cancelled before there is an outcome,
// which need not be that of the callback: "wait a minute for the approval, then remind".
func (c *Callback[O]) Await(ctx *Context) (O, error) {
	var out O
	err := ctx.awaitAndDecode(c.p, c.codec, &out)
	return out, err
}

func (c *Callback[O]) pending() (p invocation.Pending) {
	if c == nil {
		return p
	}
	return c.p
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
	var none O
	s := callbackSettings(opts)
	if err := s.check(); err != nil {
		return none, ctx.misused(history.Callback, name, err, "")
	}
	outside := settings{Settings: invocation.Settings{Timeout: s.Timeout, Heartbeat: s.Heartbeat}, codec: s.codec}
	inside := settings{Settings: invocation.Settings{AttemptTimeout: s.AttemptTimeout}, retry: s.retry}
	out := new(decoded[O])
	err := ctx.child(checkpoint.WaitForCallback, name, &settings{}, func(c *Context) ([]byte, error) {
		p, id, err := c.in.CreateCallback(name, outside.named(c.v))
		if err != nil {
			return nil, c.v.public(err)
		}
		_, err = c.step(checkpoint.Step, name, &inside, func(sc context.Context) (encoded, error) {
			if submit == nil {
				panic(errNoBody)
			}
			return c.v.none(nil, submit(sc, id))
		}, nil)
		if err != nil {
			return nil, err
		}
		var v O
		if err = c.awaitAndDecode(p, s.codec, &v); err != nil {
			return nil, err
		}
		return out.encode(c.v, nil, v)
	}, out)
	if err != nil {
		return none, err
	}
	return out.value, nil
}
