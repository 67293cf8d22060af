package conformance

import (
	"strconv"
	"time"

	"github.com/durable-go/durable"
)

// awaiting creates a callback named like the input, does something, and awaits it.
func awaiting(between func(*durable.Context) error, opts ...durable.CallbackOption) handler {
	return handle(func(ctx *durable.Context, name string) (string, error) {
		cb, err := durable.CreateCallback[string](ctx, name, opts...)
		if err != nil {
			return "", err
		}
		if between != nil {
			if err := between(ctx); err != nil {
				return "", err
			}
		}
		return cb.Await(ctx)
	})
}

// catching creates a callback, takes its failure as a result, waits and returns it.
func catching(opts ...durable.CallbackOption) handler {
	return handle(func(ctx *durable.Context, name string) (string, error) {
		cb, err := durable.CreateCallback[string](ctx, name, opts...)
		if err != nil {
			return "", err
		}
		message, err := cb.Await(ctx)
		if err != nil {
			message = "caught: " + err.Error()
		}
		return message, durable.Wait(ctx, "", 2*time.Second)
	})
}

func someStep(ctx *durable.Context) error {
	_, err := durable.Step(ctx, "between", value("done"))
	return err
}

func someWait(d time.Duration) func(*durable.Context) error {
	return func(ctx *durable.Context) error { return durable.Wait(ctx, "", d) }
}

var callbackCases = map[string]handler{
	"callback/4-1": awaiting(nil),

	"callback/4-2": handle(func(ctx *durable.Context, _ any) (string, error) {
		cb, err := durable.CreateCallback[string](ctx, "approval")
		if err != nil {
			return "", err
		}
		return cb.Await(ctx)
	}),

	"callback/4-4":  awaiting(nil, durable.WithHeartbeatTimeout(5*time.Second)),
	"callback/4-5":  awaiting(nil, durable.WithHeartbeatTimeout(10*time.Second)),
	"callback/4-7":  awaiting(someStep),
	"callback/4-8":  awaiting(someStep, durable.WithTimeout(5*time.Second)),
	"callback/4-10": awaiting(someWait(5 * time.Second)),
	"callback/4-11": awaiting(someWait(6*time.Second), durable.WithTimeout(3*time.Second)),
	"callback/4-13": catching(),
	"callback/4-14": catching(durable.WithTimeout(3 * time.Second)),

	"callback/4-16": handle(func(ctx *durable.Context, name string) (doubled, error) {
		cb, err := durable.CreateCallback[int](ctx, name, durable.WithCodec(digits{}))
		if err != nil {
			return doubled{}, err
		}
		n, err := cb.Await(ctx)
		return doubled{n, 2 * n}, err
	}),

	"callback/4-17": handle(func(ctx *durable.Context, names []string) (results []string, err error) {
		for _, name := range names {
			cb, err := durable.CreateCallback[string](ctx, name)
			if err != nil {
				return nil, err
			}
			result, err := cb.Await(ctx)
			if err != nil {
				return nil, err
			}
			results = append(results, result)
		}
		return results, nil
	}),

	"callback/4-19": handle(func(ctx *durable.Context, names []string) ([]string, error) {
		a, err := durable.CreateCallback[string](ctx, names[0])
		if err != nil {
			return nil, err
		}
		b, err := durable.CreateCallback[string](ctx, names[1])
		if err != nil {
			return nil, err
		}
		resultB, err := b.Await(ctx)
		if err != nil {
			return nil, err
		}
		resultA, err := a.Await(ctx)
		return []string{resultA, resultB}, err
	}),
}

type doubled struct {
	Count   int `json:"count"`
	Doubled int `json:"doubled"`
}

// digits is a codec of numbers in decimal digits.
type digits struct{}

func (digits) Name() string                 { return "digits" }
func (digits) Encode(v any) ([]byte, error) { return strconv.AppendInt(nil, int64(v.(int)), 10), nil }
func (digits) Decode(data []byte, v any) (err error) {
	*v.(*int), err = strconv.Atoi(string(data))
	return err
}
