package durabletest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/durabletest"
)

// What is outside goes on through crashes: its waits do not begin again.

// rides lasts two and a half hours outside, and does something here each 25 minutes; the
// result tells when what came.
var rides = durable.Define("rides", func(ctx *durable.Context, _ int) (string, error) {
	began := durable.Now(ctx)
	ride := durable.Go(ctx, "ride", func(ctx *durable.Context) (string, error) {
		return durable.InvokeByName[string](ctx, "drive", "drive", 7)
	})
	ticket, err := durable.CreateCallback[string](ctx, "ticket", durable.WithHeartbeatTimeout(70*time.Minute))
	if err != nil {
		return "", err
	}
	for range 6 {
		if err := durable.Wait(ctx, "rest", 25*time.Minute); err != nil {
			return "", err
		}
	}
	sold, err := ticket.Await(ctx)
	if err != nil {
		return "", err
	}
	sold = fmt.Sprint(sold, " ", durable.Now(ctx).Sub(began))
	driven, err := ride.Await(ctx)
	return fmt.Sprint(sold, ", ", driven, " ", durable.Now(ctx).Sub(began)), err
})

func TestTheWorldOutsideGoesOn(t *testing.T) {
	t.Parallel()
	answers, calls := 0, 0
	out := durabletest.CrashEverywhere(t, durabletest.Config{
		Functions: []durable.Definition{rides},
		Answers: map[string]durabletest.Answer{"ticket": func(cb *durabletest.Callback) {
			answers++
			for range 2 {
				time.Sleep(time.Hour)
				if err := cb.Heartbeat(); err != nil {
					t.Error(err)
				}
			}
			time.Sleep(40 * time.Minute)
			if err := cb.Succeed("sold"); err != nil {
				t.Error(err)
			}
		}},
		Stubs: map[string]durabletest.Stub{"drive": func(ctx context.Context, in json.RawMessage) (any, error) {
			calls++
			time.Sleep(170 * time.Minute)
			return "driven " + string(in), ctx.Err()
		}},
		Before:  func() { answers, calls = 0, 0 },
		Outside: func() any { return []int{answers, calls} },
	}, rides, 0)
	require.Equal(t, "sold 2h40m0s, driven 7 2h50m0s", out)
}

// A callback that an execution begins with, because it was imported, is answered, too.
func TestAnImportedCallbackIsAnswered(t *testing.T) {
	t.Parallel()
	f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
		return durable.WaitForCallback[string](ctx, "approval", func(context.Context, string) error { return nil })
	})
	durabletest.Test(t, durabletest.Config{
		Functions: []durable.Definition{f},
		Answers: map[string]durabletest.Answer{"approval": func(cb *durabletest.Callback) {
			if cb.ExecutionID == "imported" {
				time.Sleep(time.Hour)
				require.NoError(t, cb.Succeed("yes"))
			}
		}},
	}, func(t *testing.T, e *durabletest.Engine) {
		x, err := f.Start(t.Context(), e.Engine, 0)
		require.NoError(t, err)
		e.Callback(x.ID(), "approval")
		synctest.Wait()
		rec, err := e.Recording(t.Context(), x.ID())
		require.NoError(t, err)
		id, err := e.Import(t.Context(), rec, durable.WithExecutionID("imported"))
		require.NoError(t, err)
		out, err := f.Attach(e.Engine, id).Result(t.Context())
		require.NoError(t, err)
		require.Equal(t, "yes", out)
	})
}

// An answer may go on when it has answered.
func TestAnAnswerGoesOn(t *testing.T) {
	t.Parallel()
	f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
		second, err := durable.CreateCallback[string](ctx, "second")
		if err != nil {
			return "", err
		}
		if _, err := durable.WaitForCallback[string](ctx, "first", func(context.Context, string) error { return nil }); err != nil {
			return "", err
		}
		if err := durable.Wait(ctx, "meanwhile", 30*time.Minute); err != nil {
			return "", err
		}
		return second.Await(ctx)
	})
	var second chan *durabletest.Callback
	durabletest.CrashEverywhere(t, durabletest.Config{Functions: []durable.Definition{f},
		Before: func() { second = make(chan *durabletest.Callback, 1) },
		Answers: map[string]durabletest.Answer{
			"second": func(cb *durabletest.Callback) { second <- cb },
			"first": func(cb *durabletest.Callback) {
				if err := cb.Succeed("one"); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Hour)
				if err := (<-second).Succeed("two"); err != nil {
					t.Error(err)
				}
			},
		},
	}, f, 0)
}

func TestStubs(t *testing.T) {
	t.Parallel()
	f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
		return durable.InvokeByName[string](ctx, "stub", "stub", 1, durable.WithTimeout(time.Hour))
	})
	test := func(name string, stub durabletest.Stub, check func(t *testing.T, e *durabletest.Engine, x *durable.Execution[string])) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			durabletest.Test(t, durabletest.Config{Functions: []durable.Definition{f}, Stubs: map[string]durabletest.Stub{"stub": stub}}, func(t *testing.T, e *durabletest.Engine) {
				x, err := f.Start(t.Context(), e.Engine, 0)
				require.NoError(t, err)
				check(t, e, x)
			})
		})
	}
	causes := make(chan error, 1)
	test("SeeTheirTimeout", func(ctx context.Context, _ json.RawMessage) (any, error) {
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return nil, ctx.Err()
	}, func(t *testing.T, e *durabletest.Engine, x *durable.Execution[string]) {
		e.Crash()
		_, err := f.Attach(e.Engine, x.ID()).Result(t.Context())
		require.ErrorIs(t, err, durable.ErrTimeout)
		cause := <-causes
		require.Error(t, cause)
		require.NotErrorIs(t, cause, durable.ErrClosed)
	})
	test("AreOfTheLifeThatGoesOn", func(ctx context.Context, _ json.RawMessage) (any, error) {
		time.Sleep(time.Minute)
		info, ok := durable.StepInfoFrom(ctx)
		if !ok {
			return nil, errors.New("it has no info")
		}
		_, err := info.Engine.Describe(ctx, info.ExecutionID)
		return "described", err
	}, func(t *testing.T, e *durabletest.Engine, x *durable.Execution[string]) {
		time.Sleep(time.Second)
		e.Crash()
		out, err := f.Attach(e.Engine, x.ID()).Result(t.Context())
		require.NoError(t, err)
		require.Equal(t, "described", out)
	})
	calls := 0
	test("AreCalledAgainByARetry", func(context.Context, json.RawMessage) (any, error) {
		if calls++; calls < 3 {
			return nil, errors.New("down")
		}
		return "up", nil
	}, func(t *testing.T, e *durabletest.Engine, x *durable.Execution[string]) {
		_, err := x.Result(t.Context())
		require.ErrorContains(t, err, "down")
		id, err := e.Retry(t.Context(), x.ID())
		require.NoError(t, err)
		_, err = f.Attach(e.Engine, id).Result(t.Context())
		require.ErrorContains(t, err, "down")
		id, err = e.RestartFrom(t.Context(), id, "")
		require.NoError(t, err)
		out, err := f.Attach(e.Engine, id).Result(t.Context())
		require.NoError(t, err)
		require.Equal(t, "up", out)
	})
	test("MayPanic", func(context.Context, json.RawMessage) (any, error) { panic("oh") }, func(t *testing.T, e *durabletest.Engine, x *durable.Execution[string]) {
		_, err := x.Result(t.Context())
		require.ErrorContains(t, err, "oh")
	})
}

// What the engine draws is the same in each run, so a test can compare it.
func TestNothingIsRandom(t *testing.T) {
	t.Parallel()
	child := durable.Define("child", func(ctx *durable.Context, _ int) (string, error) {
		return durable.Step(ctx, "key", func(ctx context.Context) (string, error) {
			info, _ := durable.StepInfoFrom(ctx)
			return info.ExecutionID + " " + info.IdempotencyKey, nil
		})
	})
	var told []string
	f := durable.Define("f", func(ctx *durable.Context, _ int) ([]string, error) {
		key, err := durable.Step(ctx, "key", func(ctx context.Context) (string, error) {
			info, _ := durable.StepInfoFrom(ctx)
			return info.IdempotencyKey, nil
		})
		if err != nil {
			return nil, err
		}
		id, err := durable.Step(ctx, "start", func(ctx context.Context) (string, error) {
			info, _ := durable.StepInfoFrom(ctx)
			x, err := child.Start(ctx, info.Engine, 0, durable.WithExecutionID(info.IdempotencyKey))
			if err != nil {
				return "", err
			}
			return x.Result(ctx)
		})
		if err != nil {
			return nil, err
		}
		invoked, err := durable.Invoke(ctx, "invoke", child, 0)
		if err != nil {
			return nil, err
		}
		_, err = durable.WaitForCallback[string](ctx, "cb", func(_ context.Context, id string) error {
			if !slices.Contains(told, id) {
				told = append(told, id)
			}
			return nil
		})
		return []string{key, id, invoked, durable.NewUUID(ctx).String(), durable.NewUUID(ctx).String()}, err
	})
	out := durabletest.CrashEverywhere(t, durabletest.Config{
		Functions: []durable.Definition{f, child},
		Answers:   map[string]durabletest.Answer{"cb": func(cb *durabletest.Callback) { cb.Succeed("") }},
		Before:    func() { told = nil },
		Outside:   func() any { return told },
	}, f, 0)
	require.Len(t, out, 5)
	require.NotEqual(t, out[3], out[4])
}

// A second execution that a step starts when it runs again has another ID.
func TestExecutionsThatAreStartedTwiceAreTwo(t *testing.T) {
	t.Parallel()
	child := durable.Define("child", func(*durable.Context, int) (int, error) { return 0, nil })
	durabletest.Test(t, durabletest.Config{Functions: []durable.Definition{child}}, func(t *testing.T, e *durabletest.Engine) {
		var ids []string
		for range 3 {
			x, err := child.Start(t.Context(), e.Engine, 0)
			require.NoError(t, err)
			ids = append(ids, x.ID())
			e.Crash()
		}
		slices.Sort(ids)
		require.Len(t, slices.Compact(ids), 3)
		x, err := child.Start(t.Context(), e.Engine, 0, durable.WithExecutionID("a"))
		require.NoError(t, err)
		_, err = x.Result(t.Context())
		require.NoError(t, err)
		require.NoError(t, e.Delete(t.Context(), "a"))
	})
}

// What ends otherwise than the test says is no success.
func TestWhatMustNotPass(t *testing.T) {
	failing := durable.Define("failing", func(*durable.Context, int) (string, error) { return "", errors.New("broken from the start") })
	fine := durable.Define("fine", func(*durable.Context, int) (string, error) { return "fine", nil })
	for name, c := range map[string]struct {
		f     *durable.Function[int, string]
		fails string
		says  string
	}{
		"AFailure":        {failing, "", "it ended with the failure error: broken from the start: if that is what the test is about, say so with Config.Fails"},
		"AnotherFailure":  {failing, "no money", `it ended with the failure error: broken from the start, and Config.Fails says "no money"`},
		"NoFailure":       {fine, "no money", `it succeeded with "fine", and Config.Fails says that it fails with "no money"`},
		"TheFailureMeant": {failing, "broken", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if inChild() || c.says == "" {
				durabletest.CrashEverywhere(t, durabletest.Config{Functions: []durable.Definition{c.f}, Fails: c.fails}, c.f, 0)
				return
			}
			t.Parallel()
			output, err := child(t, "^TestWhatMustNotPass$/^"+name+"$")
			require.Error(t, err, output)
			require.Contains(t, output, c.says)
		})
	}
}
