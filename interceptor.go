package durable

import "context"

// Interceptor stands around the bodies of steps and of callbacks' submitters, each
// attempt; on replay, when no body is called, it is not called either. A condition's
// check and a plain function are called without it. It calls next, which is the body,
// and returns what next returned, encoded already and not to be looked into; or it does
// something else, and returns a result or an error of its own, which count as the
// body's. It is the place for what belongs around all steps, and for stubs in tests.
//
// A result of its own is encoded as the step's would be, and must decode into the
// step's type.
type Interceptor func(ctx context.Context, info StepInfo, next func(context.Context) (any, error)) (any, error)

// encodedResult is what next returns.
type encodedResult []byte

// intercepted calls a body by way of the interceptor. out is where the result is
// decoded to, nil if there is none.
func (e *Engine) intercepted(ctx context.Context, codec Codec, body func(context.Context) ([]byte, error), out decoding) ([]byte, error) {
	if e.opts.Interceptor == nil {
		return body(ctx)
	}
	info, _ := StepInfoFrom(ctx)
	v, err := e.opts.Interceptor(ctx, info, func(ctx context.Context) (any, error) {
		payload, err := body(ctx)
		if err != nil {
			return nil, err
		}
		return encodedResult(payload), nil
	})
	if err != nil {
		return nil, err
	}
	if payload, ok := v.(encodedResult); ok {
		return payload, nil
	}
	if out == nil {
		return e.none(codec, nil)
	}
	payload, err := e.encode(codec, v)
	if err != nil {
		return nil, err
	}
	if codec == nil {
		codec = e.opts.Codec
	}
	return payload, decodeWith(codec, payload, out.target())
}
