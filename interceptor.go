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
// step's type. It may be one that next returned before, for another step or another
// execution: each gets a value of its own, decoded from what was encoded then.
type Interceptor func(ctx context.Context, info StepInfo, next func(context.Context) (any, error)) (any, error)

// passedOn is what next returns: what a body made, for the interceptor to pass on.
type passedOn struct {
	encoded
	by *StepInfo // of the call of the interceptor
}

// intercepted calls a body by way of the interceptor. none makes the value that the
// result is decoded to; nil: it has none.
func (v *values) intercepted(ctx context.Context, codec Codec, body func(context.Context) (encoded, error), none func() decoding) (encoded, error) {
	if v.interceptor == nil {
		return body(ctx)
	}
	info, _ := StepInfoFrom(ctx)
	by := &info
	result, err := v.interceptor(ctx, info, func(ctx context.Context) (any, error) {
		made, err := body(ctx)
		if err != nil {
			return nil, err
		}
		return passedOn{made, by}, nil
	})
	if err != nil {
		return encoded{}, err
	}
	made, ok := result.(passedOn)
	switch {
	case ok && made.by == by:
		return made.encoded, nil
	case none == nil:
		return v.none(codec, nil)
	case !ok:
		if made.payload, err = v.encode(codec, result); err != nil {
			return encoded{}, err
		}
	}
	if codec == nil {
		codec = v.codec
	}
	return encoded{payload: made.payload}, decodeWith(codec, made.payload, none().target())
}
