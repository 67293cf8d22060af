package durable_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// deploys is a function whose code changes: each deploy is the handler that runs
// from then on.
type deploys struct {
	*bundle
	code atomic.Pointer[func(*durable.Context) (string, error)]
	f    *durable.Function[int, string]
	x    *durable.Execution[string]
}

// deployed starts an execution with the first handler, suspended at every wait.
func deployed(t *testing.T, first func(*durable.Context) (string, error)) *deploys {
	t.Helper()
	d := &deploys{}
	d.code.Store(&first)
	d.f = durable.Define("f", func(ctx *durable.Context, _ int) (string, error) { return (*d.code.Load())(ctx) })
	d.bundle = setup(t, d.f)
	d.x = start(d.bundle, d.f, 1)
	return d
}

func (d *deploys) deploy(next func(*durable.Context) (string, error)) { d.code.Store(&next) }

// held waits until the execution is held and returns why.
func (d *deploys) held() *durable.Failure {
	d.Helper()
	time.Sleep(100 * time.Hour)
	info := d.describe(d.x.ID())
	require.Equal(d, durable.ExecutionRunning, info.Status)
	require.NotNil(d, info.Held)
	return info.Held
}

func (d *deploys) result() string {
	d.Helper()
	out, err := finish(d.bundle, d.x)
	require.NoError(d, err)
	return out
}

// steps runs a step of each name, or waits an hour for "wait", or asks for a
// version for "?change=latest", and returns what it got.
func steps(ctx *durable.Context, names ...string) (string, error) {
	var out strings.Builder
	for _, name := range names {
		if rest, ok := strings.CutPrefix(name, "?"); ok {
			change, latest, _ := strings.Cut(rest, "=")
			var n int
			fmt.Sscan(latest, &n)
			fmt.Fprint(&out, durable.Version(ctx, change, n))
			continue
		}
		var err error
		if name == "wait" {
			err = durable.Wait(ctx, name, time.Hour)
		} else {
			_, err = durable.Step(ctx, name, body(1))
		}
		if err != nil {
			return "", err
		}
	}
	return out.String(), nil
}

// script is a handler of steps.
func script(names ...string) func(*durable.Context) (string, error) {
	return func(ctx *durable.Context) (string, error) { return steps(ctx, names...) }
}

func TestVersion(t *testing.T) {
	t.Parallel()

	t.Run("NewExecutionsGetTheLatest", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: script("?c=3", "a", "?c=3", "wait", "?d=0", "?c=3"),
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "3303", got)
			},
			history: []string{"StepStarted 1 a", "StepSucceeded 1 a", "WaitStarted 2 wait", "WaitSucceeded 2 wait"}, // it takes no position and is no event
		}.run(t)
	})

	for _, c := range []struct {
		name      string
		then, now []string
		want      string // "" is held
	}{
		{"ExecutionsThatPassedItGetZero", []string{"a", "wait", "b"}, []string{"a", "?c=1", "wait", "b"}, "0"},
		{"ExecutionsThatHaveNotPassedItGetTheLatest", []string{"a", "wait", "b"}, []string{"a", "wait", "?c=1", "b"}, "1"},
		{"PassedByAnOpenOperation", []string{"wait", "b"}, []string{"?c=1", "wait", "b"}, "0"},
		{"AtTheEnd", []string{"a", "wait"}, []string{"a", "wait", "?c=2"}, "2"},
		{"GuardsNewStepsAheadOnly", []string{"a", "wait", "b"}, []string{"a", "?c=1", "wait", "?d=1", "new", "b"}, "01"},
		{"TheFirstCallDecides", []string{"a", "wait", "b", "wait"}, []string{"a", "?c=1", "wait", "?c=1", "b", "?c=1", "wait", "?c=1"}, "0000"},
		{"TheFirstCallDecidesInALoop", []string{"a", "wait", "a", "wait", "a"}, []string{"?c=1", "a", "wait", "?c=1", "a", "wait", "?c=1", "a"}, "000"},
		{"OtherChangesAreOther", []string{"a", "wait", "b"}, []string{"a", "?c=1", "wait", "?e=7", "b"}, "07"},
		{"RemovedAgain", []string{"?c=1", "a", "wait", "b"}, []string{"a", "wait", "b"}, ""},
		{"RaisedLater", []string{"?c=1", "a", "wait", "b"}, []string{"?c=2", "a", "wait", "b"}, "1"},
		{"NewerThanThisCode", []string{"?c=2", "a", "wait", "b"}, []string{"?c=1", "a", "wait", "b"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := deployed(t, script(c.then...))
				time.Sleep(30 * time.Minute)
				d.deploy(script(c.now...))
				if c.want == "" && c.name != "RemovedAgain" {
					held := d.held()
					require.ErrorIs(t, held, durable.ErrNonDeterministic)
					require.ErrorContains(t, held, `"c"`)
					require.ErrorContains(t, held, "2")
					d.deploy(script(c.then...))
					require.NoError(t, d.engine.Resume(d.ctx, d.x.ID()))
					d.result()
					return
				}
				require.Equal(t, c.want, d.result())
			})
		})
	}

	t.Run("ARecordedAnswerStands", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			// Three deploys, each of which asks in another place.
			d := deployed(t, script("a", "wait", "wait", "wait"))
			time.Sleep(30 * time.Minute)
			d.deploy(script("a", "wait", "?c=1", "wait", "wait"))
			time.Sleep(time.Hour)
			d.deploy(script("a", "?c=2", "wait", "?c=2", "wait", "wait"))
			require.Equal(t, "11", d.result())
		})
	})

	t.Run("ChildrenDecideForThemselves", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			child := func(names ...string) func(*durable.Context) (string, error) {
				return func(ctx *durable.Context) (string, error) {
					top := ""
					if names[0][0] == '?' {
						top, _ = steps(ctx, "?c=1")
					}
					in, err := durable.RunInChildContext(ctx, "child", script(names...))
					if err != nil {
						return "", err
					}
					in2, err := durable.RunInChildContext(ctx, "child", script(names...))
					return top + in + in2, err
				}
			}
			d := deployed(t, child("a", "wait"))
			time.Sleep(30 * time.Minute)
			d.deploy(child("?c=1", "a", "wait"))
			require.Equal(t, "0"+"0"+"1", d.result())
		})
	})

	t.Run("WhileAChildIsRebuilt", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			opts: durable.Options{InlineResult: 10},
			op: func(ctx *durable.Context) (string, error) {
				return durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (string, error) {
					s, err := steps(ctx, "?c=4", "a", "?c=4")
					return strings.Repeat(s, 10), err
				})
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, strings.Repeat("44", 10), got)
			},
		}.run(t)
	})
}

func TestNonDeterminism(t *testing.T) {
	t.Parallel()
	child := func(ctx *durable.Context, name string) (string, error) {
		return durable.RunInChildContext(ctx, name, script("a", "wait"))
	}
	for _, c := range []struct {
		name      string
		then, now func(*durable.Context) (string, error)
		says      []string
	}{
		{"OtherName", script("a", "wait"), script("z", "wait"), []string{`STEP (Step) "a"`, `STEP (Step) "z"`, "operation 1"}},
		{"OtherType", script("a", "wait"), script("wait", "wait"), []string{`STEP (Step) "a"`, `WAIT (Wait) "wait"`}},
		{"OtherSubType", func(ctx *durable.Context) (string, error) { return child(ctx, "c") }, func(ctx *durable.Context) (string, error) {
			return durable.WaitForCallback[string](ctx, "c", func(context.Context, string) error { return nil })
		}, []string{"RunInChildContext", "WaitForCallback"}},
		{"ConditionForStep", script("a", "wait"), func(ctx *durable.Context) (string, error) {
			return durable.WaitForCondition(ctx, "a", "", func(context.Context, string) (string, error) { return "", nil }, func(string, int) durable.Poll { return durable.PollDone() })
		}, []string{"Step", "WaitForCondition"}},
		{"Inserted", script("a", "wait", "b"), script("a", "new", "wait", "b"), []string{`"new"`, "operation 2"}},
		{"Removed", script("a", "b", "wait"), script("b", "wait"), []string{`"a"`, `"b"`}},
		{"OpenOneRemoved", script("a", "wait"), script("a"), []string{`WAIT (Wait) "wait"`, "returned"}},
		{"LastOneRemoved", script("wait", "b", "wait"), script("wait"), []string{`"b"`, "returned"}},
		{"InAChild", func(ctx *durable.Context) (string, error) { return child(ctx, "c") }, func(ctx *durable.Context) (string, error) {
			return durable.RunInChildContext(ctx, "c", script("z", "wait"))
		}, []string{"operation 1-1", `"z"`}},
		{"LeftoverInAChild", func(ctx *durable.Context) (string, error) { return child(ctx, "c") }, func(ctx *durable.Context) (string, error) {
			return durable.RunInChildContext(ctx, "c", script("a"))
		}, []string{"operation 1-2", "returned"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, fail := range []bool{false, true} {
				t.Run(map[bool]string{false: "Holds", true: "Fails"}[fail], func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						var code atomic.Pointer[func(*durable.Context) (string, error)]
						code.Store(&c.then)
						f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) { return (*code.Load())(ctx) })
						b := setupWith(t, durable.Options{ParkFor: -1, FailOnMismatch: fail}, f)
						x := start(b, f, 1)
						time.Sleep(30 * time.Minute)
						if c.name == "LastOneRemoved" {
							time.Sleep(time.Hour)
						}
						before := b.history(x.ID())
						code.Store(&c.now)
						time.Sleep(100 * time.Hour)
						info := b.describe(x.ID())
						var why error = info.Held
						if fail {
							require.Equal(t, durable.ExecutionFailed, info.Status)
							_, err := x.Result(b.ctx)
							require.ErrorIs(t, err, durable.ErrNonDeterministic)
							require.Equal(t, "NonDeterministic", failure(err).Type)
							why = info.Failure
						}
						require.Error(t, why)
						require.ErrorIs(t, why, durable.ErrNonDeterministic)
						for _, part := range append(c.says, x.ID()) {
							require.ErrorContains(t, why, part)
						}
						if fail {
							return
						}
						require.Equal(t, durable.ExecutionRunning, info.Status)
						require.Equal(t, before, b.history(x.ID())[:len(before)], "what is recorded is left as it was")
						for _, l := range b.history(x.ID()) {
							require.NotContains(t, l, "new")
							require.NotContains(t, l, " z")
						}
						code.Store(&c.then) // the fixed deploy
						require.NoError(t, b.engine.Resume(b.ctx, x.ID()))
						_, err := finish(b, x)
						require.NoError(t, err)
						require.Nil(t, b.describe(x.ID()).Held)
					})
				})
			}
		})
	}
}

func TestNowAndNewUUID(t *testing.T) {
	t.Parallel()

	t.Run("AreTheSameOnReplay", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			type noted struct {
				At   [3]time.Time
				UUID [2]uuid.UUID
			}
			var seen []noted
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				var n noted
				n.At[0], n.UUID[0] = durable.Now(ctx), durable.NewUUID(ctx)
				if err := durable.Wait(ctx, "w", time.Hour); err != nil {
					return 0, err
				}
				n.At[1], n.UUID[1] = durable.Now(ctx), durable.NewUUID(ctx)
				if _, err := durable.Step(ctx, "s", func(context.Context) (int, error) { time.Sleep(time.Minute); return 1, nil }); err != nil {
					return 0, err
				}
				n.At[2] = durable.Now(ctx)
				seen = append(seen, n)
				return 1, durable.Wait(ctx, "w", time.Hour)
			})
			b := setupWith(t, opts, f)
			x := start(b, f, 1)
			began := time.Now()
			_, err := finish(b, x)
			require.NoError(t, err)
			for _, n := range seen {
				require.Equal(t, seen[0], n)
			}
			n := seen[0]
			require.True(t, n.At[0].Equal(began))
			require.Equal(t, time.Hour, n.At[1].Sub(n.At[0]))
			require.Equal(t, time.Minute, n.At[2].Sub(n.At[1]))
			require.NotEqual(t, n.UUID[0], n.UUID[1])
			require.NotEqual(t, uuid.Nil, n.UUID[0])
			require.EqualValues(t, 4, n.UUID[0].Version())
		})
	})

	t.Run("AreOperations", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				durable.Now(ctx)
				durable.NewUUID(ctx)
				return durable.Step(ctx, "s", body(1))
			})
			b := setupWith(t, opts, f)
			x := start(b, f, 1)
			_, err := finish(b, x)
			require.NoError(t, err)
			ops, err := b.engine.Operations(b.ctx, x.ID())
			require.NoError(t, err)
			var lines []string
			for _, o := range ops {
				lines = append(lines, fmt.Sprint(o.ID, o.Type, o.SubType, o.Status))
			}
			require.Equal(t, []string{"1STEPNowSUCCEEDED", "2STEPUUIDSUCCEEDED", "3STEPStepSUCCEEDED"}, lines)
		})
	})

	t.Run("InABatchAndAChild", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			var seen []string
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				b, err := durable.Map(ctx, "m", make([]int, 5), func(ctx *durable.Context, _, _ int) (string, error) { return durable.NewUUID(ctx).String(), nil })
				if err != nil {
					return 0, err
				}
				c, err := durable.RunInChildContext(ctx, "c", func(ctx *durable.Context) (time.Time, error) { return durable.Now(ctx), nil })
				if err != nil {
					return 0, err
				}
				seen = append(seen, fmt.Sprint(b.Values(), c))
				return 1, durable.Wait(ctx, "w", time.Hour)
			})
			b := setupWith(t, opts, f)
			run(b, f, 1)
			for _, s := range seen {
				require.Equal(t, seen[0], s)
			}
		})
	})
}

func TestContext(t *testing.T) {
	t.Parallel()

	t.Run("TellsAboutTheExecution", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			var seen []string
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				seen = append(seen, fmt.Sprint(ctx.ExecutionID(), " ", ctx.FunctionName(), " ", ctx.StartedAt().UTC(), " ", ctx.Deadline().UTC()))
				if err := durable.Wait(ctx, "w", time.Hour); err != nil {
					return 0, err
				}
				return durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
					seen = append(seen, fmt.Sprint(ctx.ExecutionID(), " ", ctx.FunctionName(), " ", ctx.StartedAt().UTC(), " ", ctx.Deadline().UTC()))
					return 1, durable.Wait(ctx.WithoutCancel(), "w", time.Hour)
				})
			})
			b := setupWith(t, opts, f)
			x := start(b, f, 1, durable.WithExecutionID("x"), durable.WithExecutionTimeout(10*time.Hour))
			began := b.describe("x").StartedAt
			_, err := finish(b, x)
			require.NoError(t, err)
			for _, s := range seen {
				require.Equal(t, fmt.Sprint("x f ", began.UTC(), " ", began.Add(10*time.Hour).UTC()), s)
			}
		})
	})

	t.Run("NoDeadlineIsZero", func(t *testing.T) {
		t.Parallel()
		trial[bool]{
			op:    func(ctx *durable.Context) (bool, error) { return ctx.Deadline().IsZero(), nil },
			check: func(t *testing.T, none bool, err error) { require.True(t, none) },
		}.run(t)
	})

	t.Run("Replaying", func(t *testing.T) {
		t.Parallel()
		for name, c := range map[string]struct {
			op   func(ctx *durable.Context, note func(*durable.Context, string)) error
			want []string // per invocation, what was noted while not replaying
		}{
			"AroundAWait": {func(ctx *durable.Context, note func(*durable.Context, string)) error {
				note(ctx, "a")
				_, err := durable.Step(ctx, "s", body(1))
				note(ctx, "b")
				if err == nil {
					err = durable.Wait(ctx, "w", time.Hour)
				}
				note(ctx, "c")
				return err
			}, []string{"ab", "c"}},
			"AfterARetriedStep": {func(ctx *durable.Context, note func(*durable.Context, string)) error {
				note(ctx, "a")
				_, err := durable.Step(ctx, "s", func(c context.Context) (int, error) {
					if info, _ := durable.StepInfoFrom(c); info.Attempt < 3 {
						return 0, fmt.Errorf("again")
					}
					return 1, nil
				})
				note(ctx, "b")
				return err
			}, []string{"a", "", "b"}},
			"AfterACondition": {func(ctx *durable.Context, note func(*durable.Context, string)) error {
				note(ctx, "a")
				_, err := durable.WaitForCondition(ctx, "c", 0, increment, durable.PollEvery(time.Minute, atLeast(2)))
				note(ctx, "b")
				return err
			}, []string{"a", "b"}},
			"AroundAChild": {func(ctx *durable.Context, note func(*durable.Context, string)) error {
				note(ctx, "a")
				_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
					note(ctx, "b")
					err := durable.Wait(ctx, "w", time.Hour)
					note(ctx, "c")
					return 1, err
				})
				note(ctx, "d")
				return err
			}, []string{"ab", "cd"}},
			"AroundABatch": {func(ctx *durable.Context, note func(*durable.Context, string)) error {
				note(ctx, "a")
				_, err := durable.Map(ctx, "m", []int{1}, func(ctx *durable.Context, _, _ int) (int, error) {
					note(ctx, "b")
					err := durable.Wait(ctx, "w", time.Hour)
					note(ctx, "c")
					return 1, err
				})
				note(ctx, "d")
				return err
			}, []string{"ab", "cd"}},
			"AroundAFlatBatch": {func(ctx *durable.Context, note func(*durable.Context, string)) error {
				note(ctx, "a")
				_, err := durable.Map(ctx, "m", []int{1}, func(ctx *durable.Context, _, _ int) (int, error) {
					note(ctx, "b")
					err := durable.Wait(ctx, "w", time.Hour)
					note(ctx, "c")
					return 1, err
				}, durable.Flat())
				note(ctx, "d")
				return err
			}, []string{"ab", "cd"}},
			"AroundAFuture": {func(ctx *durable.Context, note func(*durable.Context, string)) error {
				f := durable.Go(ctx, "f", func(ctx *durable.Context) (int, error) {
					note(ctx, "a")
					err := durable.Wait(ctx, "w", time.Hour)
					note(ctx, "b")
					return 1, err
				})
				_, err := f.Await(ctx)
				note(ctx, "c")
				return err
			}, []string{"a", "bc"}},
			"AroundACallback": {func(ctx *durable.Context, note func(*durable.Context, string)) error {
				cb, err := durable.CreateCallback[int](ctx, "cb", durable.WithTimeout(time.Hour))
				if err != nil {
					return err
				}
				note(ctx, "a")
				_, _ = cb.Await(ctx)
				note(ctx, "b")
				return nil
			}, []string{"a", "b"}},
			"AroundASelect": {func(ctx *durable.Context, note func(*durable.Context, string)) error {
				note(ctx, "a")
				_, err := durable.Select(ctx, "select", durable.After(ctx, "t", time.Hour), durable.After(ctx, "u", 2*time.Hour))
				note(ctx, "b")
				return err
			}, []string{"a", "b"}},
			"AroundSettled": {func(ctx *durable.Context, note func(*durable.Context, string)) error {
				note(ctx, "a")
				for a := range durable.Settled(ctx, "settled", durable.After(ctx, "t", time.Hour), durable.After(ctx, "u", 2*time.Hour)) {
					note(ctx, a.Name())
				}
				note(ctx, "b")
				return nil
			}, []string{"a", "t", "ub"}},
			"AroundAnInvoke": {func(ctx *durable.Context, note func(*durable.Context, string)) error {
				note(ctx, "a")
				_, err := durable.Invoke(ctx, "call", slow, "x")
				note(ctx, "b")
				return err
			}, []string{"a", "b"}},
		} {
			t.Run(name, func(t *testing.T) {
				// Logger and Replaying say the same, and each line appears once.
				synctest.Test(t, func(t *testing.T) {
					var logs lockedBuffer
					var invocations atomic.Int32
					var mu lockedBuffer
					f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
						n := invocations.Add(1)
						return 1, c.op(ctx, func(ctx *durable.Context, what string) {
							if !ctx.Replaying() {
								fmt.Fprintf(&mu, "%d%s ", n, what)
							}
							ctx.Logger().Info("note " + what)
						})
					})
					b := setupWith(t, durable.Options{ParkFor: -1, Logger: slog.New(slog.NewTextHandler(&logs, nil))}, f, slow)
					_, err := finish(b, start(b, f, 1))
					require.NoError(t, err)
					var want strings.Builder
					for i, notes := range c.want {
						for _, r := range notes {
							fmt.Fprintf(&want, "%d%c ", i+1, r)
						}
					}
					require.Equal(t, want.String(), mu.String())
					for _, r := range strings.Join(c.want, "") {
						require.Equal(t, 1, strings.Count(logs.String(), fmt.Sprintf("note %c", r)), "%c in %s", r, logs.String())
					}
				})
			})
		}
	})

	t.Run("LoggerSaysWhere", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var logs lockedBuffer
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				ctx.Logger().With("a", 1).WithGroup("g").Info("in the handler", "b", 2)
				return durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
					ctx.Logger().Info("in the child")
					return durable.Step(ctx, "s", func(c context.Context) (int, error) {
						info, _ := durable.StepInfoFrom(c)
						info.Logger.Info("in the body")
						return 1, nil
					})
				})
			})
			b := setupWith(t, durable.Options{ParkFor: -1, Logger: slog.New(slog.NewTextHandler(&logs, nil))}, f)
			run(b, f, 1, durable.WithExecutionID("x"))
			lines := strings.Split(strings.TrimSpace(logs.String()), "\n")
			require.Len(t, lines, 3)
			require.Contains(t, lines[0], `msg="in the handler" execution=x function=f a=1 g.b=2`)
			require.Contains(t, lines[1], `msg="in the child" execution=x function=f operation=1`)
			require.Contains(t, lines[2], `msg="in the body" execution=x function=f operation=1-1 attempt=1`)
		})
	})
}
