package durable_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// logBook keeps what is logged.
type logBook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// lines are the lines that contain all of the words.
func (l *logBook) lines(words ...string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
line:
	for line := range strings.Lines(l.buf.String()) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue line
			}
		}
		found = append(found, line)
	}
	return found
}

// mixed does a bit of everything and comes back into memory several times.
func mixed() []durable.Definition {
	plain := durable.DefinePlain("plain", func(ctx context.Context, i int) (int, error) {
		if i < 0 {
			return 0, errors.New("negative")
		}
		return i, nil
	})
	f := durable.Define("f", func(ctx *durable.Context, i int) (int, error) {
		if err := durable.Do(ctx, "flaky", func(ctx context.Context) error {
			if attempt(ctx) < 3 {
				return errors.New("not yet")
			}
			return nil
		}, durable.WithRetry(durable.RetryPolicy{Initial: time.Minute, Jitter: durable.NoJitter})); err != nil {
			return 0, err
		}
		if _, err := durable.Map(ctx, "map", []int{1, 2, 3}, durable.AsStep(func(_ context.Context, i int) (int, error) { return i, nil })); err != nil {
			return 0, err
		}
		if _, err := durable.WaitForCondition(ctx, "poll", 0, func(_ context.Context, s int) (int, error) { return s + 1, nil },
			durable.PollEvery(time.Minute, func(s int) bool { return s == 3 })); err != nil {
			return 0, err
		}
		if _, err := durable.WaitForCallback[string](ctx, "cb", func(ctx context.Context, id string) error {
			info, _ := durable.StepInfoFrom(ctx)
			return info.Engine.SucceedCallback(context.Background(), id, "yes")
		}); err != nil {
			return 0, err
		}
		if err := durable.Wait(ctx, "sleep", time.Hour); err != nil {
			return 0, err
		}
		_, _ = durable.Invoke(ctx, "fails", plain, -1)
		return durable.Invoke(ctx, "invoke", plain, i)
	})
	return []durable.Definition{f, plain}
}

func TestObserver(t *testing.T) {
	type key struct{}

	bothWays(t, "SeesWhatTheHistorySays", func(t *testing.T, parkFor time.Duration) {
		var mu sync.Mutex
		events := map[string][]durable.Event{}
		open := map[string]int{}
		var invocations, replays int
		observer := &durable.Observer{
			Event: func(id string, ev durable.Event) {
				mu.Lock()
				defer mu.Unlock()
				events[id] = append(events[id], ev)
			},
			InvocationStarted: func(id, function string, replay bool) {
				mu.Lock()
				defer mu.Unlock()
				open[id]++
				invocations++
				if replay {
					replays++
				}
				require.Contains(t, []string{"f", "plain"}, function)
				require.LessOrEqual(t, open[id], 1, "an execution is in memory once")
			},
			InvocationEnded: func(id, function string) {
				mu.Lock()
				defer mu.Unlock()
				open[id]--
			},
		}
		defs := mixed()
		f := defs[0].(*durable.Function[int, int])
		b := setupWith(t, durable.Options{ParkFor: parkFor, Observer: observer}, defs...)
		x := start(b, f, 7)
		out, err := within(b, x, 10*time.Hour)
		require.NoError(t, err)
		require.Equal(t, 7, out)
		synctest.Wait()
		for info, err := range b.engine.Executions(b.ctx, durable.Query{}) {
			require.NoError(t, err)
			var history []durable.Event
			for ev := range b.events(info.ID) {
				history = append(history, ev)
			}
			require.Equal(t, "ExecutionStarted", history[0].Type)
			seen := events[info.ID]
			want, _ := json.MarshalIndent(history, "", " ")
			got, _ := json.MarshalIndent(seen, "", " ")
			require.Equal(t, string(want), string(got))
			require.Zero(t, open[info.ID])
		}
		require.Equal(t, b.engine.Stats().Invocations, int64(invocations))
		if parkFor < 0 {
			require.Equal(t, invocations-3, replays)
		} else {
			require.Zero(t, replays)
		}
	})

	inBubble(t, "IsAroundEachAttempt", func(t *testing.T) {
		var mu sync.Mutex
		var calls []string
		observer := &durable.Observer{
			AttemptStarted: func(ctx context.Context, info durable.StepInfo) context.Context {
				mu.Lock()
				defer mu.Unlock()
				calls = append(calls, fmt.Sprintf("begin %s %d", info.Name, info.Attempt))
				return context.WithValue(ctx, key{}, "span of "+info.Name)
			},
			AttemptEnded: func(ctx context.Context, info durable.StepInfo, err error) {
				mu.Lock()
				defer mu.Unlock()
				kind := fmt.Sprint(err)
				if errors.Is(err, durable.ErrPanic) {
					kind = "panic"
				}
				calls = append(calls, fmt.Sprintf("end %s %d: %s, %v", info.Name, info.Attempt, kind, ctx.Value(key{})))
			},
		}
		once := durable.WithRetry(durable.NoRetry())
		var span any
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			_ = durable.Do(ctx, "step", func(ctx context.Context) error { span = ctx.Value(key{}); return nil })
			_ = durable.Do(ctx, "fails", func(context.Context) error { return errors.New("no") }, once)
			_ = durable.Do(ctx, "panics", func(context.Context) error { panic("boom") }, once)
			_ = durable.Do(ctx, "timed", func(context.Context) error { return nil }, durable.WithTimeout(time.Hour))
			_, _ = durable.WaitForCondition(ctx, "poll", 0, func(_ context.Context, s int) (int, error) { return s + 1, nil }, durable.PollEvery(time.Second, func(s int) bool { return s == 2 }))
			return 0, durable.Wait(ctx, "sleep", time.Hour)
		})
		b := setupWith(t, durable.Options{ParkFor: -1, Observer: observer}, f)
		_, err := within(b, start(b, f, 0), 10*time.Hour)
		require.NoError(t, err)
		require.Equal(t, "span of step", span)
		require.Equal(t, []string{
			"begin step 1", "end step 1: <nil>, span of step",
			"begin fails 1", "end fails 1: no, span of fails",
			"begin panics 1", "end panics 1: panic, span of panics",
			"begin timed 1", "end timed 1: <nil>, span of timed",
			"begin poll 1", "end poll 1: <nil>, span of poll",
			"begin poll 2", "end poll 2: <nil>, span of poll",
		}, calls)
	})

	inBubble(t, "SeesWhatBecomesOfAPlainFunction", func(t *testing.T) {
		var mu sync.Mutex
		var calls []string
		observer := &durable.Observer{
			AttemptStarted: func(ctx context.Context, info durable.StepInfo) context.Context {
				mu.Lock()
				defer mu.Unlock()
				calls = append(calls, "begin")
				return nil
			},
			AttemptEnded: func(_ context.Context, _ durable.StepInfo, err error) {
				mu.Lock()
				defer mu.Unlock()
				calls = append(calls, fmt.Sprintf("end %v", err != nil))
			},
		}
		f := durable.DefinePlain("f", func(_ context.Context, how string) (int, error) {
			switch how {
			case "fail":
				return 0, errors.New("no")
			case "panic":
				panic("boom")
			}
			return 0, nil
		})
		b := setupWith(t, durable.Options{Observer: observer}, f)
		for _, how := range []string{"", "fail", "panic"} {
			_, _ = within(b, start(b, f, how), time.Minute)
		}
		require.Equal(t, []string{"begin", "end false", "begin", "end true", "begin", "end true"}, calls)
	})

	inBubble(t, "IsToldInOrder", func(t *testing.T) {
		// Of one execution, whatever tells of it: also of two stays in memory, and by a slow one.
		var mu sync.Mutex
		told := map[string][]string{}
		note := func(id, what string) {
			time.Sleep(time.Microsecond)
			mu.Lock()
			defer mu.Unlock()
			told[id] = append(told[id], what)
		}
		of := func(id string) []string {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(told[id])
		}
		observer := &durable.Observer{
			Event:             func(id string, ev durable.Event) { note(id, line(ev)) },
			ExecutionStarted:  func(x durable.ObservedExecution) { note(x.ID, "created") },
			InvocationStarted: func(id, _ string, _ bool) { note(id, "in memory") },
			InvocationEnded:   func(id, _ string) { note(id, "left") },
			BeginInvocation: func(ctx context.Context, x durable.ObservedExecution, _ durable.Invocation) context.Context {
				note(x.ID, "read")
				return ctx
			},
			AttemptStarted: func(ctx context.Context, info durable.StepInfo) context.Context {
				note(info.ExecutionID, "attempt of "+info.Name)
				return ctx
			},
			AttemptEnded:   func(_ context.Context, info durable.StepInfo, _ error) { note(info.ExecutionID, "end of "+info.Name) },
			OperationEnded: func(_ context.Context, id string, op durable.Operation) { note(id, "outcome of "+op.Name) },
			ExecutionEnded: func(x durable.ObservedExecution, status durable.ExecutionStatus, _ time.Time, _ *durable.Failure) {
				note(x.ID, string(status))
			},
		}
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			for _, name := range []string{"a", "b"} {
				if err := durable.Do(ctx, name, func(context.Context) error { return nil }); err != nil {
					return 0, err
				}
			}
			return 0, durable.Wait(ctx, "w", 20*time.Millisecond)
		})
		b := setupWith(t, durable.Options{ParkFor: -1, Observer: observer}, f)
		x := start(b, f, 0)
		require.Contains(t, of(x.ID()), "created", "when Start has returned")
		_, err := x.Result(b.ctx)
		require.NoError(t, err)
		require.Contains(t, of(x.ID()), "SUCCEEDED", "when Result has returned")
		y := start(b, f, 0)
		time.Sleep(time.Millisecond)
		require.NoError(t, b.engine.Stop(b.ctx, y.ID(), ""))
		require.Contains(t, of(y.ID()), "STOPPED", "when Stop has returned")
		require.NoError(t, b.engine.Close())
		require.Equal(t, []string{
			"created", "ExecutionStarted", "read", "in memory",
			"attempt of a", "end of a", "StepStarted 1 a", "StepSucceeded 1 a", "outcome of a",
			"attempt of b", "end of b", "StepStarted 2 b", "StepSucceeded 2 b", "WaitStarted 3 w", "outcome of b", "InvocationCompleted", "left",
			"read", "WaitSucceeded 3 w", "in memory", "InvocationCompleted", "ExecutionSucceeded", "outcome of w", "SUCCEEDED", "left",
		}, of(x.ID()))
	})

	inBubble(t, "ThatLagsHoldsItsExecutionBack", func(t *testing.T) {
		// What is to be told must not pile up without a bound.
		release := make(chan struct{})
		observer := &durable.Observer{Event: func(string, durable.Event) { <-release }}
		var steps atomic.Int32
		f := durable.Define("f", func(ctx *durable.Context, n int) (int, error) {
			for range n {
				if err := durable.Do(ctx, "step", func(context.Context) error { steps.Add(1); return nil }); err != nil {
					return 0, err
				}
			}
			return n, nil
		})
		b := setupWith(t, durable.Options{ParkFor: -1, Observer: observer}, f)
		x, other := start(b, f, 10_000), start(b, f, 10)
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Less(t, steps.Load(), int32(1100))
		_, err := other.Result(b.ctx)
		require.NoError(t, err, "others go on")
		y := start(b, f, 10_000)
		time.Sleep(time.Hour)
		require.NoError(t, b.engine.Stop(b.ctx, y.ID(), ""))
		synctest.Wait()
		require.False(t, b.describe(y.ID()).Resident, "it can be stopped meanwhile")
		close(release)
		out, err := x.Result(b.ctx)
		require.NoError(t, err)
		require.Equal(t, 10_000, out)
	})

	inBubble(t, "ThatEndsItsGoroutineIsToldTheRest", func(t *testing.T) {
		var n atomic.Int32
		observer := &durable.Observer{Event: func(string, durable.Event) { n.Add(1); runtime.Goexit() }}
		f := durable.Define("f", func(ctx *durable.Context, i int) (int, error) { return i, nil })
		b := setupWith(t, durable.Options{ParkFor: -1, Observer: observer}, f)
		require.Equal(t, 7, run(b, f, 7))
		require.EqualValues(t, 3, n.Load())
	})

	inBubble(t, "ThatPanicsDoesNoHarm", func(t *testing.T) {
		book := new(logBook)
		observer := &durable.Observer{
			Event:             func(string, durable.Event) { panic("observer") },
			InvocationStarted: func(string, string, bool) { panic("observer") },
			InvocationEnded:   func(string, string) { panic("observer") },
			AttemptStarted:    func(context.Context, durable.StepInfo) context.Context { panic("observer") },
			AttemptEnded:      func(context.Context, durable.StepInfo, error) { panic("observer") },
		}
		defs := mixed()
		f := defs[0].(*durable.Function[int, int])
		b := setupWith(t, durable.Options{ParkFor: -1, Observer: observer, Logger: book.logger()}, defs...)
		out, err := within(b, start(b, f, 7), 10*time.Hour)
		require.NoError(t, err)
		require.Equal(t, 7, out)
		require.NotEmpty(t, book.lines("observer panicked"))
	})
}

func TestLogger(t *testing.T) {
	inBubble(t, "IsSilentWhileReplaying", func(t *testing.T) {
		book := new(logBook)
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			ctx.Logger().Info("at the beginning")
			for i := range 3 {
				if err := durable.Do(ctx, "step", func(ctx context.Context) error {
					info, _ := durable.StepInfoFrom(ctx)
					info.Logger.Info(fmt.Sprint("in body ", i))
					return nil
				}); err != nil {
					return 0, err
				}
				ctx.Logger().Info(fmt.Sprint("after step ", i))
				if err := durable.Wait(ctx, "sleep", time.Hour); err != nil {
					return 0, err
				}
				ctx.Logger().Info(fmt.Sprint("after wait ", i))
				if _, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
					ctx.Logger().Info(fmt.Sprint("in child ", i))
					return 0, durable.Wait(ctx, "nap", time.Hour)
				}); err != nil {
					return 0, err
				}
				ctx.Logger().Info(fmt.Sprint("after child ", i))
			}
			return 0, nil
		})
		b := setupWith(t, durable.Options{ParkFor: -1, Logger: book.logger()}, f)
		x := start(b, f, 0)
		_, err := within(b, x, 100*time.Hour)
		require.NoError(t, err)
		require.Len(t, book.lines("at the beginning"), 1)
		for i := range 3 {
			for _, l := range []string{"in body", "after step", "after wait", "in child", "after child"} {
				lines := book.lines(fmt.Sprintf("%s %d", l, i))
				require.Len(t, lines, 1, "%s %d", l, i)
				require.Contains(t, lines[0], "execution="+x.ID())
				require.Contains(t, lines[0], "function=f")
			}
		}
		require.Len(t, book.lines("in child", "operation=3"), 1)
		require.Len(t, book.lines("in body", "operation=1", "attempt=1"), 1)
	})

	inBubble(t, "NamesTheFailuresThatNobodyAwaitsOnce", func(t *testing.T) {
		for name, f := range map[string]*durable.Function[int, int]{
			"at once": durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				durable.Go(ctx, "lost", func(*durable.Context) (int, error) { return 0, errors.New("text of an error") })
				return 0, durable.Do(ctx, "step", func(ctx context.Context) error { return rest(ctx, time.Minute) })
			}),
			"and it sleeps after that": durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				durable.Go(ctx, "lost", func(*durable.Context) (int, error) { return 0, errors.New("text of an error") })
				for range 3 {
					if err := durable.Wait(ctx, "sleep", time.Hour); err != nil {
						return 0, err
					}
				}
				return 0, nil
			}),
			"in a child": durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
					durable.Go(ctx, "lost", func(*durable.Context) (int, error) { return 0, errors.New("text of an error") })
					return 0, durable.Wait(ctx, "sleep", time.Hour)
				})
				return 0, errors.Join(err, durable.Wait(ctx, "sleep", time.Hour))
			}),
		} {
			book := new(logBook)
			b := setupWith(t, durable.Options{ParkFor: -1, Logger: book.logger()}, f)
			_, err := within(b, start(b, f, 0), 10*time.Hour)
			require.NoError(t, err)
			require.Len(t, book.lines("level=WARN", "lost"), 1, name)
			require.Empty(t, book.lines("text of an error"), name)
		}
		seen := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			a := durable.Go(ctx, "awaited", func(*durable.Context) (int, error) { return 0, errors.New("no") })
			_, _ = a.Await(ctx)
			b := durable.Go(ctx, "selected", func(*durable.Context) (int, error) { return 0, errors.New("no") })
			first, _ := durable.Select(ctx, "select", b)
			_, _ = first.(*durable.Future[int]).Await(ctx)
			durable.Go(ctx, "fine", func(*durable.Context) (int, error) { return 0, nil })
			return 0, durable.Wait(ctx, "sleep", time.Hour)
		})
		book := new(logBook)
		b := setupWith(t, durable.Options{ParkFor: -1, Logger: book.logger()}, seen)
		_, err := within(b, start(b, seen, 0), 10*time.Hour)
		require.NoError(t, err)
		require.Empty(t, book.lines("level=WARN"))
	})

	inBubble(t, "TellsNoSecrets", func(t *testing.T) {
		// All that makes the engine talk, with user data in all of it.
		book := new(logBook)
		m := newMachine(t)
		opts := durable.Options{ParkFor: -1, Logger: book.logger()}
		var release atomic.Int32
		release.Store(1)
		once := durable.WithRetry(durable.NoRetry())
		var ids []string
		var mu sync.Mutex
		noisy := durable.Define("noisy", func(ctx *durable.Context, in string) (string, error) {
			durable.Go(ctx, "lost", func(*durable.Context) (int, error) { return 0, errors.New(secret("lost")) })
			durable.Go(ctx, "panics", func(*durable.Context) (int, error) { panic(secret("panic")) })
			_ = durable.Do(ctx, "fails", func(context.Context) error { return errors.New(secret("error")) }, once)
			_ = durable.Do(ctx, "panics", func(context.Context) error { panic(secret("panic")) }, once)
			_ = durable.Do(ctx, "retryable", func(context.Context) error { return errors.New(secret("retryable")) },
				durable.WithRetry(durable.RetryPolicy{Retryable: func(err error) bool { panic(err) }}))
			_, _ = durable.Step(ctx, "codec", func(context.Context) (string, error) { return secret("codec"), nil }, durable.WithCodec(leakyCodec{}))
			_ = durable.Do(ctx, "slow", func(context.Context) error { time.Sleep(time.Minute); return errors.New(secret("slow")) }, once, durable.WithTimeout(time.Second))
			cb, err := durable.CreateCallback[string](ctx, "cb")
			if err != nil {
				return "", err
			}
			mu.Lock()
			ids = append(ids, cb.ID())
			mu.Unlock()
			return cb.Await(ctx)
		})
		decode := durable.Define("decode", func(ctx *durable.Context, in string) (string, error) {
			if release.Load() == 1 {
				if _, err := durable.Step(ctx, "number", func(context.Context) (int, error) { return 123454321, nil }); err != nil {
					return "", err
				}
			} else if _, err := durable.Step(ctx, "number", func(context.Context) (int8, error) { return 0, nil }); err != nil {
				return "", err
			}
			return "", durable.Wait(ctx, "sleep", time.Hour)
		})
		large := durable.Define("large", func(ctx *durable.Context, in string) (string, error) {
			_, err := durable.RunInChildContext(ctx, "large", func(*durable.Context) (string, error) {
				if release.Load() == 2 {
					return "", errors.New(secret("rebuild"))
				}
				return strings.Repeat(secret("large"), 50000), nil
			})
			return "", errors.Join(err, durable.Wait(ctx, "sleep", time.Hour))
		})
		b := m.open(opts, noisy, decode, large)
		for range 3 {
			start(b, noisy, secret("input"))
		}
		x, y := start(b, decode, secret("input")), start(b, large, secret("input"))
		time.Sleep(10 * time.Minute)
		release.Store(2)
		var failing atomic.Bool
		m.set(func() {
			m.onAppend = func(*checkpoint.Append) error {
				if failing.CompareAndSwap(true, false) {
					return errors.New("connection reset")
				}
				return nil
			}
		})
		require.Len(t, ids, 3)
		failing.Store(true)
		require.NoError(t, b.engine.SucceedCallback(b.ctx, ids[0], secret("callback")))
		require.NoError(t, b.engine.FailCallback(b.ctx, ids[1], durable.Failure{Message: secret("callback")}))
		require.ErrorIs(t, b.engine.SucceedCallback(b.ctx, ids[1], secret("callback")), durable.ErrCallbackCompleted)
		time.Sleep(2 * time.Hour)
		b.held(x.ID())
		b.held(y.ID())
		m.kill(b)
		m.open(opts, noisy, decode, large)
		time.Sleep(2 * time.Hour)
		require.NotEmpty(t, book.lines("checkpoint not written"))
		require.Len(t, book.lines("execution held"), 2)
		for _, id := range ids {
			require.Empty(t, book.lines(id), "callback IDs are capabilities")
		}
		require.Empty(t, book.lines("TOP-SECRET"))
		require.Empty(t, book.lines("123454321"))
	})
}

// leakyCodec says in its errors what it was given.
type leakyCodec struct{}

func (leakyCodec) Name() string                    { return "leaky" }
func (leakyCodec) Encode(v any) ([]byte, error)    { return nil, fmt.Errorf("can't encode %v", v) }
func (leakyCodec) Decode(data []byte, _ any) error { return fmt.Errorf("can't decode %s", data) }

func TestHistoryIsAppendOnly(t *testing.T) {
	for _, parkFor := range []time.Duration{-1, 0} {
		inBubble(t, fmt.Sprintf("ParkFor=%s", parkFor), func(t *testing.T) {
			// Somebody reads all the time: what was seen once stays where it was.
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				for range 5 {
					batch, err := durable.Map(ctx, "map", []int{1, 2, 3, 4}, func(ctx *durable.Context, k, _ int) (int, error) {
						if err := durable.Do(ctx, "work", func(ctx context.Context) error { return rest(ctx, time.Duration(k)*30*time.Millisecond) }); err != nil {
							return 0, err
						}
						if k == 4 {
							return 0, errors.New("fails")
						}
						return k, durable.Wait(ctx, "nap", time.Duration(k*k)*7*time.Millisecond)
					}, durable.WithMinSuccessful(2), durable.WithToleratedFailures(4))
					if err != nil {
						return batch.Len(), err
					}
				}
				return 1, nil
			})
			b := setupWith(t, durable.Options{ParkFor: parkFor}, f)
			x := start(b, f, 0)
			var seen []string
			reads := 0
			for ended := false; !ended; reads++ {
				ended = b.describe(x.ID()).Status != durable.ExecutionRunning
				var now []string
				for ev := range b.events(x.ID()) {
					encoded, err := json.Marshal(ev)
					require.NoError(t, err)
					now = append(now, string(encoded))
				}
				require.GreaterOrEqual(t, len(now), len(seen))
				for i := range seen {
					require.Equal(t, seen[i], now[i], "event %d", i+1)
				}
				seen = now
				time.Sleep(time.Millisecond)
			}
			require.Greater(t, reads, 100)
		})
	}
}

func TestHistoryOfARunningStep(t *testing.T) {
	inBubble(t, "ShowsItsStartSoonWithItsTrueTime", func(t *testing.T) {
		m := newMachine(t)
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			if err := durable.Do(ctx, "quick", func(context.Context) error { return nil }); err != nil {
				return 0, err
			}
			return 0, durable.Do(ctx, "slow", func(ctx context.Context) error { return rest(ctx, time.Hour) })
		})
		b := m.open(durable.Options{}, f)
		began := time.Now()
		x := start(b, f, 0)
		time.Sleep(100 * time.Millisecond)
		var events []durable.Event
		for ev := range b.events(x.ID()) {
			events = append(events, ev)
		}
		require.Len(t, events, 4)
		require.Equal(t, "StepStarted 2 slow", line(events[3]))
		require.True(t, began.Equal(events[3].Time), "%s", events[3].Time)
		require.Equal(t, durable.OperationStarted, b.operation(x.ID(), "2").Status)
		records := 0
		for _, err := range m.base.Records(b.ctx, x.ID(), 0) {
			require.NoError(t, err)
			records++
		}
		require.Equal(t, 3, records, "the quick one is one record of two events")
		// A crash does not take away what was seen.
		m.kill(b)
		b = m.open(durable.Options{}, f)
		synctest.Wait()
		require.Equal(t, "StepStarted 2 slow", b.history(x.ID())[3])
		_, err := within(b, f.Attach(b.engine, x.ID()), 2*time.Hour)
		require.NoError(t, err)
	})
}
