package durable

import (
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/invocation"
)

// RunInChildContext runs fn with a context of its own, whose operations count
// their own positions, and records its result. Once that is recorded fn is not
// run again, unless the encoded result is larger than Options.InlineResult: then
// only its digest is recorded, and a replay runs fn again, over the recorded
// operations inside, to have the value.
//
// An error that fn returns is an *OpError outside. When fn returns, whatever it
// started with Go and did not await is cancelled and can record nothing more.
//
// Options: WithTimeout (what runs or waits inside is then cancelled with
// ErrTimeout, also a wait for what was started outside, and so the operation ends),
// WithCodec.
func RunInChildContext[O any](ctx *Context, name string, fn func(*Context) (O, error), opts ...ChildOption) (O, error) {
	out := new(decoded[O])
	s := childSettings(opts)
	err := ctx.child(checkpoint.RunInChildContext, name, &s, encoding(s.codec, fn, out), out)
	if err != nil {
		var none O
		return none, err
	}
	return out.value, nil
}

// contextFunc is the function of a context; it returns its encoded value.
type contextFunc func(*Context) ([]byte, error)

// encoding makes a contextFunc of a user's function. What it returned is in
// out, too, if there is one.
func encoding[O any](codec Codec, fn func(*Context) (O, error), out *decoded[O]) contextFunc {
	return func(c *Context) ([]byte, error) {
		if fn == nil {
			panic(errNoBody)
		}
		v, err := fn(c)
		if err != nil {
			return nil, err
		}
		made := out
		if made == nil {
			made = new(decoded[O])
		}
		return made.encode(c.v, codec, v)
	}
}

// code is fn as an invocation runs it.
func (v *values) code(fn contextFunc) invocation.Code {
	return func(in invocation.Context) (r invocation.Return) {
		defer v.recovered(&r)
		payload, err := fn(&Context{in, v})
		return v.returned(payload, err)
	}
}

// child runs fn in a child context on the caller's goroutine. Its value is decoded into out.
func (c *Context) child(sub checkpoint.SubType, name string, s *settings, fn contextFunc, out decoding) error {
	if err := s.check(); err != nil {
		return c.misused(history.Context, name, err, "")
	}
	result, err := c.in.Child(sub, name, s.named(c.v), c.v.code(fn))
	if err != nil {
		return c.v.public(err)
	}
	defer c.in.Leave()
	if out.holds(result.Payload) {
		return nil
	}
	return c.decode(&result, s.codec, out.target())
}
