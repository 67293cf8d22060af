package durable_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/memstore"
)

func TestInterceptor(t *testing.T) {
	type next = func(context.Context) (any, error)
	inBubble(t, "IsCalledForEachAttemptAndNotOnReplay", func(t *testing.T) {
		var n notes
		type key struct{}
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			a, err := durable.Step(ctx, "a", func(ctx context.Context) (string, error) {
				if attempt(ctx) < 2 {
					return "", errors.New("not yet")
				}
				return ctx.Value(key{}).(string), nil
			})
			if err != nil {
				return "", err
			}
			if err := durable.Do(ctx, "b", func(context.Context) error { return nil }); err != nil {
				return "", err
			}
			_, _ = durable.WaitForCallback[string](ctx, "cb", func(ctx context.Context, _ string) error { n.add("submit %v", ctx.Value(key{})); return nil },
				durable.WithTimeout(time.Minute))
			return a, durable.Wait(ctx, "sleep", time.Hour)
		})
		b := setupWith(t, durable.Options{ParkFor: -1, Interceptor: func(ctx context.Context, info durable.StepInfo, next next) (any, error) {
			n.add("%s %d", info.Name, info.Attempt)
			return next(context.WithValue(ctx, key{}, "given"))
		}}, f)
		out, err := start(b, f, 0).Result(b.ctx)
		require.NoError(t, err)
		require.Equal(t, "given", out)
		require.Equal(t, []string{"a 1", "a 2", "b 1", "cb 1", "submit given"}, n.all())
	})

	f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
		v, err := durable.Step(ctx, "a", func(context.Context) (int, error) { panic("called") }, durable.WithRetry(durable.NoRetry()))
		if err != nil {
			return 0, err
		}
		return v, durable.Do(ctx, "b", func(context.Context) error { panic("called") })
	})
	for name, c := range map[string]struct {
		stub func() (any, error)
		want int
		err  error
	}{
		"AResultOfItsOwn": {func() (any, error) { return 7, nil }, 7, nil},
		"OfASimilarType":  {func() (any, error) { return uint8(7), nil }, 7, nil},
		"Nothing":         {func() (any, error) { return nil, nil }, 0, nil},
		"AnError":         {func() (any, error) { return nil, durable.Permanent(durable.ErrStopped) }, 0, durable.ErrStopped},
		"OfAnotherType":   {func() (any, error) { return "seven", nil }, 0, durable.ErrCodec},
		"NoJSON":          {func() (any, error) { return make(chan int), nil }, 0, durable.ErrCodec},
		"APanic":          {func() (any, error) { panic("oh") }, 0, durable.ErrPanic},
	} {
		inBubble(t, name, func(t *testing.T) {
			b := setupWith(t, durable.Options{ParkFor: -1, Interceptor: func(context.Context, durable.StepInfo, next) (any, error) { return c.stub() }}, f)
			out, err := start(b, f, 0).Result(b.ctx)
			if c.err != nil {
				require.ErrorIs(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, out)
		})
	}
}

// late decodes for as long as the test likes, when it is decoded the second time.
type late struct{ S string }

var lateDecode struct {
	sync.Mutex
	second func()
	calls  int
}

func (v *late) UnmarshalJSON(data []byte) error {
	var plain struct{ S string }
	err := json.Unmarshal(data, &plain)
	v.S = plain.S
	lateDecode.Lock()
	second := func() {}
	if lateDecode.calls++; v.S == "fallback" && lateDecode.calls == 2 {
		second = lateDecode.second
	}
	lateDecode.Unlock()
	second()
	return err
}

// The body that an interceptor has left behind must not touch what the step returns.
func TestABodyThatComesLateChangesNothing(t *testing.T) {
	goOn, ended := make(chan struct{}), make(chan struct{})
	lateDecode.second = func() {
		close(goOn)
		<-ended
	}
	f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
		v, err := durable.Step(ctx, "step", func(context.Context) (late, error) {
			<-goOn
			return late{"late"}, nil
		})
		return v.S, err
	})
	e, err := durable.New(memstore.New(), &durable.Options{Functions: []durable.Definition{f},
		Interceptor: func(ctx context.Context, _ durable.StepInfo, next func(context.Context) (any, error)) (any, error) {
			go func() {
				defer close(ended)
				next(ctx)
			}()
			return late{"fallback"}, nil
		}})
	require.NoError(t, err)
	defer e.Close()
	got, err := f.Run(t.Context(), e, 0)
	require.NoError(t, err)
	require.Equal(t, "fallback", got)
}
