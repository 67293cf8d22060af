package durable_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/durable-go/durable"
)

// Pieces of the handlers that change.

// childThenWait performs operations in a child context, and then waits.
func childThenWait(ctx *durable.Context, n *notes, names ...string) (string, error) {
	out, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (string, error) { return performed(ctx, n, names...) })
	if err != nil {
		return "", err
	}
	return out, durable.Wait(ctx, "wait", time.Hour)
}

// since notes, once, how long after the execution's start it got here, and why.
func since(ctx *durable.Context, n *notes, why string) error {
	return durable.Do(ctx, "since", func(context.Context) error {
		n.add("%s%s", why, time.Since(ctx.StartedAt()))
		return nil
	})
}

func waitOf(ctx *durable.Context, n *notes, d time.Duration) error {
	if err := durable.Wait(ctx, "wait", d); err != nil {
		return err
	}
	return since(ctx, n, "")
}

// childOf naps in a child context, and notes what became of that.
func childOf(ctx *durable.Context, n *notes, d time.Duration, opts ...durable.ChildOption) error {
	_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
		return 0, durable.Wait(ctx, "nap", d)
	}, opts...)
	switch {
	case err == nil:
		return since(ctx, n, "ended after ")
	case errors.Is(err, durable.ErrTimeout):
		return since(ctx, n, "timeout after ")
	}
	return err
}

var longNap = durable.Define("nap", func(ctx *durable.Context, _ int) (int, error) { return 0, durable.Wait(ctx, "nap", 20*time.Hour) })

// takesTwentyHours does so in a child, a batch, a callback and an invoke at once,
// each with the timeout if there is one, and says what became of them and when.
func takesTwentyHours(ctx *durable.Context, timeout ...durable.TimeoutOption) ([]string, error) {
	nap := func(ctx *durable.Context) (int, error) { return 0, durable.Wait(ctx, "nap", 20*time.Hour) }
	kinds := []string{"child", "batch", "callback", "invoke"}
	takes := map[string]func(ctx *durable.Context) error{
		"child": func(ctx *durable.Context) error {
			_, err := durable.RunInChildContext(ctx, "", nap, optionsOf[durable.ChildOption](timeout)...)
			return err
		},
		"batch": func(ctx *durable.Context) error {
			_, err := durable.Parallel(ctx, "", []durable.Branch[int]{{Run: nap}}, optionsOf[durable.BatchOption](timeout)...)
			return err
		},
		"callback": func(ctx *durable.Context) error {
			cb, err := durable.CreateCallback[int](ctx, "", optionsOf[durable.CallbackOption](timeout)...)
			if err != nil {
				return err
			}
			first, err := durable.Select(ctx, "", cb, durable.After(ctx, "", 20*time.Hour))
			if err == nil && first == durable.Awaitable(cb) {
				_, err = cb.Await(ctx)
			}
			return err
		},
		"invoke": func(ctx *durable.Context) error {
			_, err := durable.Invoke(ctx, "", longNap, 0, optionsOf[durable.InvokeOption](timeout)...)
			return err
		},
	}
	var futures []*durable.Future[string]
	for _, kind := range kinds {
		futures = append(futures, durable.Go(ctx, kind, func(ctx *durable.Context) (string, error) {
			err := takes[kind](ctx)
			return fmt.Sprintf("%s: %v after %s", kind, err, durable.Now(ctx).Sub(ctx.StartedAt())), nil
		}))
	}
	return durable.All(ctx, "all", futures...)
}

// optionsOf are the timeouts as options of a kind of operation.
func optionsOf[O any](timeout []durable.TimeoutOption) (opts []O) {
	for _, o := range timeout {
		opts = append(opts, any(o).(O))
	}
	return opts
}

// failingBody is a body that notes its attempt and how late it is.
func failingBody(ctx *durable.Context, n *notes) func(context.Context) (string, error) {
	return func(c context.Context) (string, error) {
		n.add("attempt %d after %s", attempt(c), time.Since(ctx.StartedAt()))
		return "", errors.New("failing")
	}
}

var every10Hours = durable.WithRetry(durable.RetryPolicy{MaxAttempts: 100, Initial: 10 * time.Hour, Max: 10 * time.Hour, Jitter: durable.NoJitter})

// endless is a body that ends with its process.
func endless(n *notes, name string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		n.add("%s", name)
		return "", rest(ctx, 1000*time.Hour)
	}
}

// batchOf is a release whose handler maps n items: item i rests i minutes, notes i
// in a step, and rests an hour.
func batchOf(items int, opts ...durable.BatchOption) release {
	return code(func(ctx *durable.Context, n *notes, _ int) ([]int, error) {
		b, err := durable.Map(ctx, "map", make([]int, items), func(ctx *durable.Context, _, i int) (int, error) {
			if err := durable.Wait(ctx, "start", time.Duration(i)*time.Minute); err != nil {
				return 0, err
			}
			if _, err := durable.Step(ctx, "item", n.body(fmt.Sprint(i))); err != nil {
				return 0, err
			}
			return i, durable.Wait(ctx, "end", time.Hour)
		}, opts...)
		if err != nil {
			return nil, err
		}
		return b.Values(), durable.Wait(ctx, "wait", 10*time.Hour)
	})
}

var twice = durable.Define("twice", func(ctx *durable.Context, in int) (int, error) { return 2 * in, durable.Wait(ctx, "nap", time.Hour) })

// called gives in to a step, an invoke, and a step, and adds what it gets.
func called(ctx *durable.Context, n *notes, in int) (int, error) {
	same := func(_ context.Context, in int) (int, error) {
		n.add("%d", in)
		return in, nil
	}
	a, err := durable.Call(ctx, "a", same, in)
	if err != nil {
		return 0, err
	}
	b, err := durable.Invoke(ctx, "twice", twice, in)
	if err != nil {
		return 0, err
	}
	c, err := durable.Call(ctx, "c", same, in)
	return a + b + c, err
}

// stepOf records v as the result of the step "a".
func stepOf[O any](ctx *durable.Context, v O) error {
	_, err := durable.Step(ctx, "a", body(v))
	return err
}

// price reads the whole units that it once was.
type price struct{ Cents int }

func (p *price) UnmarshalJSON(data []byte) error {
	var units int
	if json.Unmarshal(data, &units) == nil {
		p.Cents = 100 * units
		return nil
	}
	type plain price
	return json.Unmarshal(data, (*plain)(p))
}

// boxed is a codec that can't read plain JSON.
type boxed struct{}

func (boxed) Name() string                 { return "boxed" }
func (boxed) Encode(v any) ([]byte, error) { return json.Marshal(map[string]any{"boxed": v}) }
func (boxed) Decode(data []byte, v any) error {
	var box map[string]json.RawMessage
	if err := json.Unmarshal(data, &box); err != nil {
		return err
	}
	return json.Unmarshal(box["boxed"], v)
}

var oldKeys, newKeys, bothKeys = keyring{gcmOf(1)}, keyring{gcmOf(2)}, keyring{gcmOf(2), gcmOf(1)}

func gcmOf(key byte) *gcm {
	block, err := aes.NewCipher(bytes.Repeat([]byte{key}, 32))
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return &gcm{aead}
}

// keyring is a sealer that seals with its first key and opens with each.
type keyring []*gcm

func (k keyring) Seal(dst, plain []byte, p durable.Place) ([]byte, error) {
	return k[0].Seal(dst, plain, p)
}

func (k keyring) Open(dst, sealed []byte, p durable.Place) (opened []byte, err error) {
	for _, key := range k {
		if opened, err = key.Open(dst, sealed, p); err == nil {
			return opened, nil
		}
	}
	return nil, err
}
