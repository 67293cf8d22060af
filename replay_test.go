package durable_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// replayed is a recording as its file has it, cut after n records if n is not 0.
func replayed(t *testing.T, r *durable.Recording, n int) *durable.Recording {
	data, err := json.MarshalIndent(r, "", "  ")
	require.NoError(t, err)
	if n > 0 {
		var file map[string]json.RawMessage
		var records []json.RawMessage
		require.NoError(t, json.Unmarshal(data, &file))
		require.NoError(t, json.Unmarshal(file["records"], &records))
		file["records"], err = json.Marshal(records[:n])
		require.NoError(t, err)
		data, err = json.Marshal(file)
		require.NoError(t, err)
	}
	back := new(durable.Recording)
	require.NoError(t, json.Unmarshal(data, back))
	return back
}

func records(t *testing.T, r *durable.Recording) (n int) {
	data, err := json.Marshal(r)
	require.NoError(t, err)
	var file struct{ Records []json.RawMessage }
	require.NoError(t, json.Unmarshal(data, &file))
	return len(file.Records)
}

// eachOperation is a handler with each kind of operation; n gets what its bodies do.
func eachOperation(n *notes, child *durable.Function[int, int]) func(*durable.Context, int) (string, error) {
	type ctx = *durable.Context
	return func(c *durable.Context, in int) (string, error) {
		a, err := durable.Step(c, "a", func(ctx context.Context) (int, error) {
			n.add("a")
			if attempt(ctx) < 3 {
				return 0, errors.New("not yet")
			}
			return in, nil
		})
		if err != nil {
			return "", err
		}
		if durable.Version(c, "change", 2) != 2 {
			return "", errors.New("another version")
		}
		began, key := durable.Now(c), durable.NewUUID(c)
		polled, err := durable.WaitForCondition(c, "poll", 0, func(_ context.Context, s int) (int, error) { n.add("poll"); return s + 1, nil },
			durable.PollEvery(time.Minute, func(s int) bool { return s == 3 }))
		if err != nil {
			return "", err
		}
		answer, err := durable.WaitForCallback[string](c, "ask", func(ctx context.Context, id string) error {
			n.add("ask")
			info, _ := durable.StepInfoFrom(ctx)
			go info.Engine.SucceedCallback(context.Background(), id, "yes")
			return nil
		})
		if err != nil {
			return "", err
		}
		mapped, err := durable.Map(c, "map", []int{1, 2, 3, 4, 5}, func(c ctx, item, _ int) (int, error) {
			if err := durable.Wait(c, "nap", time.Duration(item)*time.Second); err != nil {
				return 0, err
			}
			return durable.Step(c, "item", func(context.Context) (int, error) {
				n.add("item")
				if item == 2 {
					return 0, durable.Permanent(errors.New("two"))
				}
				return item, nil
			})
		}, durable.WithMaxConcurrency(2), durable.WithMinSuccessful(3), durable.WithToleratedFailures(2))
		if err != nil {
			return "", err
		}
		flat, err := durable.Parallel(c, "flat", []durable.Branch[int]{
			{Name: "x", Run: func(c ctx) (int, error) {
				return durable.Step(c, "x", func(context.Context) (int, error) { return 1, nil })
			}},
			{Name: "y", Run: func(c ctx) (int, error) { return 2, durable.Wait(c, "y", time.Second) }},
		}, durable.Flat())
		if err != nil {
			return "", err
		}
		fast := durable.Go(c, "fast", func(c ctx) (int, error) { return 1, durable.Wait(c, "w", time.Second) })
		slow := durable.Go(c, "slow", func(c ctx) (int, error) {
			if err := durable.Wait(c, "w", 2*time.Second); err != nil {
				return 0, err
			}
			return 2, durable.Wait(c, "w2", 100*time.Hour)
		})
		won, err := durable.Race(c, "race", fast, slow)
		if err != nil {
			return "", err
		}
		timer := durable.After(c, "timer", 5*time.Second)
		quick := durable.Go(c, "quick", func(c ctx) (int, error) { return 3, nil })
		var order []string
		for s := range durable.Settled(c, "settled", timer, quick) {
			order = append(order, s.Name())
		}
		large, err := durable.RunInChildContext(c, "large", func(c ctx) (string, error) {
			letter, err := durable.Step(c, "letter", func(context.Context) (string, error) { n.add("letter"); return "z", nil })
			return strings.Repeat(letter, 500), err
		})
		if err != nil {
			return "", err
		}
		_, caught := durable.Step(c, "fails", func(context.Context) (int, error) {
			return 0, durable.Permanent(errors.New("caught"))
		})
		invoked, err := durable.Invoke(c, "invoke", child, a)
		return fmt.Sprint(a, began.UTC(), key, polled, answer, mapped.Values(), mapped.Len(), flat.Values(), won, order, len(large), caught, invoked, c.Deadline()), err
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	var n notes
	child := durable.Define("child", func(ctx *durable.Context, i int) (int, error) { return i + 1, durable.Wait(ctx, "nap", time.Hour) })
	f := durable.Define("f", eachOperation(&n, child))
	opts := durable.Options{ParkFor: -1, InlineResult: 100}
	var recording *durable.Recording
	synctest.Test(t, func(t *testing.T) {
		b := setupWith(t, opts, f, child)
		x := start(b, f, 7)
		_, err := x.Result(b.ctx)
		require.NoError(t, err)
		recording, err = b.engine.Recording(b.ctx, x.ID())
		require.NoError(t, err)
	})
	ran := len(n.all())
	opts.Functions = []durable.Definition{f, child}
	replay := func(t *testing.T, h func(*durable.Context, int) (string, error), cut int) error {
		opts := opts
		if h != nil {
			opts.Functions = []durable.Definition{durable.Define("f", h)}
		}
		return durable.Replay(t.Context(), replayed(t, recording, cut), &opts)
	}

	t.Run("TheRecordedWay", func(t *testing.T) {
		require.NoError(t, replay(t, nil, 0))
		require.Len(t, n.all(), ran, "no body is called")
	})
	t.Run("Logged", func(t *testing.T) {
		var log bytes.Buffer
		opts := opts
		opts.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		opts.Functions = []durable.Definition{durable.Define("f", func(c *durable.Context, in int) (string, error) {
			out, err := eachOperation(&n, child)(c, in)
			c.Logger().Info("came here", "replaying", c.Replaying())
			return out, err
		})}
		require.NoError(t, durable.Replay(t.Context(), recording, &opts))
		require.Contains(t, log.String(), `msg="came here" execution=`+recording.ID+` function=f replaying=true`)
		require.Regexp(t, `msg=replayed execution=\S+ operation=1 type=Step name=a status=SUCCEEDED`, log.String())
		require.Regexp(t, `operation=\d+-\d+ .*status=SUCCEEDED`, log.String(), "operations inside others")
	})
	t.Run("AsFarAsItGoes", func(t *testing.T) {
		for cut := range records(t, recording) {
			if cut > 0 {
				require.NoError(t, replay(t, nil, cut), "the first %d records", cut)
			}
		}
		require.Len(t, n.all(), ran, "no body is called")
	})
	original := eachOperation(&n, child)
	diverges := func(t *testing.T, err error, what ...string) {
		t.Helper()
		require.ErrorIs(t, err, durable.ErrNonDeterministic)
		for _, w := range what {
			require.ErrorContains(t, err, w)
		}
	}
	t.Run("AnotherFirstOperation", func(t *testing.T) {
		err := replay(t, func(c *durable.Context, in int) (string, error) {
			if _, err := durable.Step(c, "b", func(context.Context) (int, error) { n.add("b"); return 0, nil }); err != nil {
				return "", err
			}
			return original(c, in)
		}, 0)
		diverges(t, err, `operation 1`, `STEP (Step) "a"`, `STEP (Step) "b"`)
	})
	t.Run("AnOperationLess", func(t *testing.T) {
		err := replay(t, func(*durable.Context, int) (string, error) { return "early", nil }, 0)
		diverges(t, err, "operation 1", "the function returned")
	})
	t.Run("AnOperationMore", func(t *testing.T) {
		err := replay(t, func(c *durable.Context, in int) (string, error) {
			out, err := original(c, in)
			if err != nil {
				return "", err
			}
			return out, durable.Do(c, "more", func(context.Context) error { n.add("more"); return nil })
		}, 0)
		diverges(t, err, "recorded is nothing", `STEP (Step) "more"`)
	})
	t.Run("AnotherResult", func(t *testing.T) {
		err := replay(t, func(c *durable.Context, in int) (string, error) {
			out, err := original(c, in)
			return out + "!", err
		}, 0)
		diverges(t, err, "the result")
	})
	t.Run("AFailure", func(t *testing.T) {
		err := replay(t, func(c *durable.Context, in int) (string, error) {
			if _, err := original(c, in); err != nil {
				return "", err
			}
			return "", errors.New("today it fails")
		}, 0)
		diverges(t, err, "today it fails")
	})
	t.Run("AFunctionThatIsNotThere", func(t *testing.T) {
		err := durable.Replay(t.Context(), recording, &durable.Options{})
		require.ErrorIs(t, err, durable.ErrFunctionNotFound)
	})
	t.Run("ItsContextEnds", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		opts := opts
		opts.Functions = []durable.Definition{durable.Define("f", func(c *durable.Context, _ int) (string, error) {
			cancel()
			<-c.Context().Done()
			return "", nil
		})}
		require.ErrorIs(t, durable.Replay(ctx, recording, &opts), context.Canceled)
	})
	require.Len(t, n.all(), ran, "no body is called")

	t.Run("ARecordingOfANewerVersion", func(t *testing.T) {
		require.ErrorContains(t, json.Unmarshal([]byte(`{"version": 99}`), new(durable.Recording)), "99")
		require.ErrorContains(t, json.Unmarshal([]byte(`{"version":1,"incarnation":"00000000000000000000000000000000","records":[{"seq":1,"type":"Odd"}]}`), new(durable.Recording)), "Odd")
	})
}

func TestReplayEnds(t *testing.T) {
	fails := durable.Define("f", func(c *durable.Context, _ int) (int, error) {
		return durable.Step(c, "a", func(context.Context) (int, error) { return 0, durable.Permanent(errors.New("no")) })
	})
	sleeps := durable.Define("f", func(c *durable.Context, _ int) (int, error) {
		_ = durable.Wait(c, "sleep", time.Hour)
		return durable.Step(c.WithoutCancel(), "undo", func(context.Context) (int, error) { return 1, nil })
	})
	for name, c := range map[string]struct {
		f   *durable.Function[int, int]
		end func(b *bundle, id string) error
	}{
		"Failed":    {fails, func(*bundle, string) error { return nil }},
		"Stopped":   {sleeps, func(b *bundle, id string) error { return b.engine.Stop(b.ctx, id, "x") }},
		"Cancelled": {sleeps, func(b *bundle, id string) error { return b.engine.Cancel(b.ctx, id, "x") }},
	} {
		inBubble(t, name, func(t *testing.T) {
			b := setup(t, c.f)
			x := start(b, c.f, 0)
			time.Sleep(time.Minute)
			require.NoError(t, c.end(b, x.ID()))
			_, _ = x.Result(b.ctx)
			recording, err := b.engine.Recording(b.ctx, x.ID())
			require.NoError(t, err)
			opts := durable.Options{Functions: []durable.Definition{c.f}}
			for cut := range records(t, recording) {
				require.NoError(t, durable.Replay(t.Context(), replayed(t, recording, cut), &opts), "the first %d records", cut)
			}
			other := durable.Define("f", func(*durable.Context, int) (int, error) { return 1, nil })
			require.ErrorIs(t, durable.Replay(t.Context(), recording, &durable.Options{Functions: []durable.Definition{other}}), durable.ErrNonDeterministic)
		})
	}
}

func TestReplayOfVersions(t *testing.T) {
	inBubble(t, "ReplayOfAVersionInALoop", func(t *testing.T) {
		m := newMachine(t)
		step := func(ctx *durable.Context, name string) error {
			return durable.Do(ctx, name, func(context.Context) error { return nil })
		}
		old := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			return 0, errors.Join(step(ctx, "a"), step(ctx, "b"))
		})
		new := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			if durable.Version(ctx, "c", 1) >= 1 {
				if err := step(ctx, "before"); err != nil {
					return 0, err
				}
			}
			if err := errors.Join(step(ctx, "a"), step(ctx, "b")); err != nil {
				return 0, err
			}
			if durable.Version(ctx, "c", 1) >= 1 {
				return 0, step(ctx, "after")
			}
			return 0, nil
		})
		b := m.open(durable.Options{}, old)
		x := start(b, old, 0)
		_, err := x.Result(b.ctx)
		require.NoError(t, err)
		rec, err := b.engine.Recording(b.ctx, x.ID())
		require.NoError(t, err)
		require.NoError(t, durable.Replay(b.ctx, rec, &durable.Options{Functions: []durable.Definition{new}}))
	})
}

// TestReplaySaysWhatAReplaySays holds Replay against what handlers can see, and what
// executions can end by.
func TestReplaySaysWhatAReplaySays(t *testing.T) {
	record := func(t *testing.T, opts durable.Options, b *bundle, id string) *durable.Recording {
		recording, err := b.engine.Recording(b.ctx, id)
		require.NoError(t, err)
		return replayed(t, recording, 0)
	}
	same := func(name string, f *durable.Function[int, string], run func(b *bundle) string) {
		inBubble(t, name, func(t *testing.T) {
			b := setup(t, f)
			id := run(b)
			opts := durable.Options{Functions: []durable.Definition{f}}
			require.NoError(t, durable.Replay(t.Context(), record(t, opts, b, id), &opts))
		})
	}
	ended := func(b *bundle, x *durable.Execution[string]) string {
		_, _ = x.Result(b.ctx)
		return x.ID()
	}
	same("StartedAtAndDeadline", durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
		return ctx.StartedAt().UTC().String() + ctx.Deadline().UTC().String(), durable.Wait(ctx, "w", time.Minute)
	}, durable.WithExecutionTimeout(time.Hour)), func(b *bundle) string {
		f := durable.Define("f", func(*durable.Context, int) (string, error) { return "", nil }, durable.WithExecutionTimeout(time.Hour))
		id, err := b.engine.StartByName(b.ctx, f.Name(), json.RawMessage("0"))
		require.NoError(b, err)
		_, err = b.engine.ResultJSON(b.ctx, id)
		require.NoError(b, err)
		return id
	})
	same("AWrongInput", durable.Define("f", func(*durable.Context, int) (string, error) { return "", nil }), func(b *bundle) string {
		id, err := b.engine.StartByName(b.ctx, "f", json.RawMessage(`"seven"`))
		require.NoError(b, err)
		_, err = b.engine.ResultJSON(b.ctx, id)
		require.ErrorIs(b, err, durable.ErrCodec)
		return id
	})
	stubborn := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
		for {
			_ = durable.Wait(ctx, "w", time.Hour)
		}
	})
	same("TooManyRefusals", stubborn, func(b *bundle) string {
		x := start(b, stubborn, 0)
		time.Sleep(time.Minute)
		require.NoError(b, b.engine.Cancel(b.ctx, x.ID(), ""))
		return ended(b, x)
	})
	plain := durable.DefinePlain("f", func(context.Context, int) (string, error) { return "plain", nil })
	same("APlainFunction", plain, func(b *bundle) string { return ended(b, start(b, plain, 0)) })
	spaced := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
		v, err := durable.Step(ctx, "a", func(context.Context) (string, error) { return "[1,  2]\n<", nil }, durable.WithCodec(rawText{}))
		return v, err
	})
	same("APayloadThatLooksLikeJSON", spaced, func(b *bundle) string { return ended(b, start(b, spaced, 0)) })

	inBubble(t, "WhatIsAwaitedWhereTheRecordedRunWentOn", func(t *testing.T) {
		of := func(await bool) *durable.Function[int, string] {
			return durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				cb, err := durable.CreateCallback[string](ctx, "cb")
				if err != nil {
					return "", err
				}
				if await {
					return cb.Await(ctx)
				}
				if err := durable.Do(ctx, "charge", func(context.Context) error { return nil }); err != nil {
					return "", err
				}
				return "", durable.Wait(ctx, "sleep", time.Hour)
			})
		}
		f := of(false)
		b := setup(t, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		opts := durable.Options{Functions: []durable.Definition{of(true)}}
		err := durable.Replay(t.Context(), record(t, opts, b, x.ID()), &opts)
		require.ErrorIs(t, err, durable.ErrNonDeterministic)
		require.ErrorContains(t, err, `"charge"`)
	})
}

// rawText is a codec whose bytes are the string.
type rawText struct{}

func (rawText) Name() string                 { return "raw" }
func (rawText) Encode(v any) ([]byte, error) { return []byte(v.(string)), nil }
func (rawText) Decode(data []byte, v any) error {
	*v.(*string) = string(data)
	return nil
}
