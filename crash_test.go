package durable_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// What stands in for a crash here: machine ends an engine as a crash would, in
// virtual time and where the test says; TestCrash kills a real process on a real
// file at any time.

// inBubble runs a subtest in a synctest bubble.
func inBubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, f)
	})
}

// TestAppendFailures lets each kind of append fail in each way that a store may
// report, made or not made: the execution is replayed, and goes on.
func TestAppendFailures(t *testing.T) {
	kinds := map[string]func(a *checkpoint.Append) bool{
		"Plain":   func(a *checkpoint.Append) bool { return a.Status == 0 && a.Release == nil },
		"Release": func(a *checkpoint.Append) bool { return a.Release != nil },
		"End":     func(a *checkpoint.Append) bool { return a.Status != 0 },
	}
	errs := map[string]error{
		"Unknown":          errors.New("connection reset"),
		"Canceled":         context.Canceled,
		"DeadlineExceeded": fmt.Errorf("append: %w", context.DeadlineExceeded),
		"Conflict":         checkpoint.ErrConflict,
		"EOF":              io.ErrUnexpectedEOF,
		"InboxNews":        checkpoint.ErrInboxNews,
	}
	for kind, is := range kinds {
		for name, failure := range errs {
			for _, made := range []bool{false, true} {
				for _, parkFor := range []time.Duration{-1, 0} {
					if name == "InboxNews" && (kind != "Release" || made) {
						continue // no store says so
					}
					inBubble(t, fmt.Sprintf("%s/%s/made=%v/ParkFor=%s", kind, name, made, parkFor), func(t *testing.T) {
						if kind == "End" && name == "Canceled" {
						}
						m := newMachine(t)
						var failures atomic.Int32
						fail := func(a *checkpoint.Append) error {
							if is(a) && failures.Add(1) <= 3 {
								return failure
							}
							return nil
						}
						if made {
							m.afterAppend = func(a *checkpoint.Append, err error) error {
								if err != nil {
									return err
								}
								return fail(a)
							}
						} else {
							m.onAppend = fail
						}
						child := durable.Define("child", func(ctx *durable.Context, _ int) (int, error) {
							return 7, durable.Do(ctx, "x", func(context.Context) error { return nil })
						})
						f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
							if err := durable.Do(ctx, "x", func(context.Context) error { return nil }); err != nil {
								return 0, err
							}
							if err := durable.Wait(ctx, "sleep", time.Hour); err != nil {
								return 0, err
							}
							return durable.Invoke(ctx, "invoke", child, 0)
						})
						b := m.open(durable.Options{ParkFor: parkFor}, f, child)
						x := start(b, f, 0)
						out, err := within(b, x, 3*time.Hour)
						require.NoError(t, err)
						require.Equal(t, 7, out)
						require.NotZero(t, failures.Load())
						checkHistory(b, "append", x.ID())
						time.Sleep(time.Minute)
						synctest.Wait()
						require.Zero(t, b.engine.Stats().Resident)
					})
				}
			}
		}
	}
}

// TestNothingLeavesBeforeItIsDurable holds back what the store says of a step's
// result: code goes on, effects wait.
func TestNothingLeavesBeforeItIsDurable(t *testing.T) {
	effects := map[string]func(ctx *durable.Context, n *notes) error{
		"Step": func(ctx *durable.Context, n *notes) error {
			_, err := durable.Step(ctx, "effect", n.body("effect"))
			return err
		},
		"AtMostOnce": func(ctx *durable.Context, n *notes) error {
			_, err := durable.Step(ctx, "effect", n.body("effect"), durable.AtMostOnce())
			return err
		},
		"Check": func(ctx *durable.Context, n *notes) error {
			_, err := durable.WaitForCondition(ctx, "effect", 0, func(context.Context, int) (int, error) { n.add("effect"); return 0, nil },
				func(int, int) durable.Poll { return durable.PollDone() })
			return err
		},
		"Submitter": func(ctx *durable.Context, n *notes) error {
			return durable.Do(ctx.WithoutCancel(), "effect", func(context.Context) error { n.add("effect"); return nil })
		},
		"CallbackID": func(ctx *durable.Context, n *notes) error {
			_, err := durable.CreateCallback[int](ctx, "effect")
			n.add("effect")
			return err
		},
		"Invoke": func(ctx *durable.Context, n *notes) error {
			_, err := durable.InvokeByName[int](ctx, "effect", "child", 0)
			return err
		},
		"InABranch": func(ctx *durable.Context, n *notes) error {
			_, err := durable.Map(ctx, "map", []int{1}, func(ctx *durable.Context, _, _ int) (string, error) {
				return durable.Step(ctx, "effect", n.body("effect"))
			})
			return err
		},
	}
	for name, effect := range effects {
		inBubble(t, name, func(t *testing.T) {
			m := newMachine(t)
			var n notes
			durableNow := make(chan struct{})
			m.afterAppend = func(a *checkpoint.Append, err error) error {
				for _, rec := range a.Records {
					if rec.Type == checkpoint.StepSucceeded && rec.OperationID == "1" {
						<-durableNow
					}
				}
				return err
			}
			m.onCreate = func(c *checkpoint.Creation) error {
				if c.Caller != nil {
					n.add("effect")
				}
				return nil
			}
			child := durable.DefinePlain("child", func(context.Context, int) (int, error) { return 0, nil })
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				if _, err := durable.Step(ctx, "first", n.body("first")); err != nil {
					return 0, err
				}
				durable.Now(ctx)
				n.add("code goes on")
				return 0, effect(ctx, &n)
			})
			b := m.open(durable.Options{}, f, child)
			x := start(b, f, 0)
			time.Sleep(time.Hour)
			require.Equal(t, []string{"first", "code goes on"}, n.all())
			close(durableNow)
			_, err := within(b, x, time.Hour)
			require.NoError(t, err)
			require.Equal(t, []string{"first", "code goes on", "effect"}, n.all())
		})
	}
}

// TestDeposedOwner lets another engine take an execution over while its owner
// still works on it, as happens when a lease runs out.
func TestDeposedOwner(t *testing.T) {
	inBubble(t, "WritesNothingAnyMore", func(t *testing.T) {
		var n notes
		f := func(who string, d time.Duration) *durable.Function[int, string] {
			return durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				if _, err := durable.Step(ctx, "first", n.body("first of "+who)); err != nil {
					return "", err
				}
				v, err := durable.Step(ctx, "slow", func(ctx context.Context) (string, error) {
					n.add("%s begins", who)
					err := rest(ctx, d)
					n.add("%s ends", who)
					return who, err
				})
				if err != nil {
					return "", err
				}
				_, err = durable.Step(ctx, "last", n.body("last of "+who))
				return v, err
			})
		}
		m := newMachine(t)
		old := m.open(durable.Options{MaxResident: 1}, f("old", time.Hour))
		id, err := old.engine.StartByName(old.ctx, "f", json.RawMessage("0"), durable.WithExecutionID("x"))
		require.NoError(t, err)
		time.Sleep(10 * time.Minute)
		s, err := m.base.Get(t.Context(), id)
		require.NoError(t, err)
		require.NoError(t, m.base.Disown(t.Context(), id, s.Epoch))
		mine := f("new", 2*time.Hour)
		b := m.open(durable.Options{}, mine)
		time.Sleep(90 * time.Minute)
		require.Equal(t, []string{"first of old", "old begins", "new begins", "old ends"}, n.all())
		require.Equal(t, durable.OperationStarted, b.operation(id, "2").Status, "what the old one made of it is not written")
		out, err := within(b, mine.Attach(b.engine, id), 10*time.Hour)
		require.NoError(t, err)
		require.Equal(t, "new", out)
		require.Equal(t, []string{"new ends", "last of new"}, n.all()[4:])
		checkHistory(b, "deposed", id)
		history := b.history(id)
		time.Sleep(10 * time.Hour)
		require.Equal(t, history, b.history(id))
		require.NoError(t, old.engine.Close())
	})
}

// --- a real process, killed ---

// The crash test runs this test binary again as a process that works on a bbolt
// file, kills it at random moments and starts it again, until all is done. What
// it really did it writes to a second file, the witness, a line at a time:
//
//	start EXECUTION                    the start was acknowledged
//	effect EXECUTION OPERATION VALUE DEPENDS...   a body ran, with the results of earlier steps
//	once EXECUTION ATTEMPT             the body of an at-most-once attempt began
//	callback EXECUTION PAYLOAD         the completion was acknowledged
//	cancel EXECUTION                   the cancel was acknowledged
//	result EXECUTION RESULT            the result was reported

const crashDir = "DURABLE_CRASH_DIR" // set in the process that is killed

// crasher is that process.
type crasher struct {
	engine  *durable.Engine
	witness *os.File
}

func (c *crasher) say(format string, args ...any) {
	// A line that a kill cut off has no end: the next one begins on a line of its own.
	if _, err := fmt.Fprintf(c.witness, "\n"+format+" .", args...); err != nil {
		panic(err)
	}
}

// effect is a step that makes up a value, and says which values it was given.
func (c *crasher) effect(ctx *durable.Context, name string, depends ...string) (string, error) {
	return durable.Step(ctx, name, func(sc context.Context) (string, error) {
		info, _ := durable.StepInfoFrom(sc)
		value := uuid.NewString()
		c.say("effect %s %s %s %s", info.ExecutionID, info.OperationID, value, strings.Join(depends, " "))
		return value, nil
	})
}

func (c *crasher) functions() (defs []durable.Definition, order *durable.Function[int, []string], sleeper, late *durable.Function[int, int]) {
	ship := durable.Define("ship", func(ctx *durable.Context, reserved string) (string, error) {
		packed, err := c.effect(ctx, "pack", reserved)
		if err != nil {
			return "", err
		}
		return packed, durable.Wait(ctx, "rest", 5*time.Millisecond)
	})
	order = durable.Define("order", func(ctx *durable.Context, i int) ([]string, error) {
		reserved, err := c.effect(ctx, "reserve")
		if err != nil {
			return nil, err
		}
		charged, err := durable.Step(ctx, "charge", func(sc context.Context) (string, error) {
			info, _ := durable.StepInfoFrom(sc)
			c.say("once %s %d", info.ExecutionID, info.Attempt)
			time.Sleep(time.Duration(i%3) * time.Millisecond)
			return uuid.NewString(), nil
		}, durable.AtMostOnce(), durable.WithRetry(durable.RetryPolicy{MaxAttempts: 1000, Initial: time.Millisecond, Max: time.Millisecond}))
		if err != nil {
			return nil, err
		}
		before, nap := durable.Now(ctx), time.Duration(1+i%40)*time.Millisecond
		if err := durable.Wait(ctx, "nap", nap); err != nil {
			return nil, err
		}
		if slept := durable.Now(ctx).Sub(before); slept < nap {
			return nil, fmt.Errorf("slept %s instead of %s", slept, nap)
		}
		batch, err := durable.Map(ctx, "lines", []int{1, 2, 3}, func(ctx *durable.Context, k, _ int) (string, error) {
			picked, err := c.effect(ctx, "pick", reserved, charged)
			if err != nil || k < 3 {
				return picked, err
			}
			return c.effect(ctx, "wrap", reserved, picked)
		})
		if err != nil {
			return nil, err
		}
		approval, err := durable.WaitForCallback[string](ctx, "approval", func(context.Context, string) error { return nil })
		if err != nil {
			return nil, err
		}
		polls, err := durable.WaitForCondition(ctx, "stock", 0, func(_ context.Context, n int) (int, error) { return n + 1, nil },
			durable.PollEvery(2*time.Millisecond, func(n int) bool { return n == 3 }))
		if err != nil {
			return nil, err
		}
		shipped, err := durable.Invoke(ctx, "ship", ship, reserved)
		if err != nil {
			return nil, err
		}
		closed, err := c.effect(ctx, "close", append(batch.Values(), shipped, approval)...)
		return []string{reserved, charged, approval, fmt.Sprint(polls), shipped, closed}, err
	})
	sleeper = durable.Define("sleeper", func(ctx *durable.Context, _ int) (int, error) { return 0, durable.Wait(ctx, "sleep", time.Hour) })
	late = durable.Define("late", func(ctx *durable.Context, _ int) (int, error) { return 0, durable.Wait(ctx, "sleep", time.Hour) },
		durable.WithExecutionTimeout(50*time.Millisecond))
	return []durable.Definition{order, ship, sleeper, late}, order, sleeper, late
}

func openCrasher(dir string) (*crasher, *durable.Function[int, []string], *durable.Function[int, int], *durable.Function[int, int], error) {
	c := new(crasher)
	var err error
	if c.witness, err = os.OpenFile(filepath.Join(dir, "witness"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return nil, nil, nil, nil, err
	}
	defs, order, sleeper, late := c.functions()
	c.engine, err = durable.Open(filepath.Join(dir, "durable.db"), &durable.Options{Functions: defs, ParkFor: 3 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	return c, order, sleeper, late, err
}

// TestCrashProcess is the process that TestCrash kills. It looks after all
// executions that there are and starts new ones until it is killed; the last one
// starts none and ends when all have ended.
func TestCrashProcess(t *testing.T) {
	dir, life, ok := strings.Cut(os.Getenv(crashDir), ";")
	if !ok {
		t.Skip("only for TestCrash")
	}
	c, order, sleeper, late, err := openCrasher(dir)
	require.NoError(t, err)
	ctx := t.Context()
	await := map[string]func(id string){
		"order": func(id string) {
			for {
				callback, err := c.engine.CallbackID(ctx, id, "approval")
				if err != nil {
					require.ErrorIs(t, err, durable.ErrCallbackNotFound) // it has ended
					break
				}
				payload := uuid.NewString()
				if err := c.engine.SucceedCallback(ctx, callback, payload); err == nil {
					c.say("callback %s %s", id, payload)
					break
				}
				require.ErrorIs(t, err, durable.ErrCallbackCompleted)
			}
			result, err := order.Attach(c.engine, id).Result(ctx)
			require.NoError(t, err)
			c.say("result %s %s", id, strings.Join(result, ","))
		},
		"ship": func(string) {},
		"sleeper": func(id string) {
			require.NoError(t, c.engine.Cancel(ctx, id, "enough"))
			c.say("cancel %s", id)
			_, err := sleeper.Attach(c.engine, id).Result(ctx)
			require.ErrorIs(t, err, durable.ErrCanceled)
		},
		"late": func(id string) {
			_, err := late.Attach(c.engine, id).Result(ctx)
			require.ErrorIs(t, err, durable.ErrTimeout)
		},
	}
	var wg sync.WaitGroup
	status := durable.ExecutionRunning
	if life == "last" {
		status = "" // ask all of them for their results again
	}
	for info, err := range c.engine.Executions(ctx, durable.Query{Status: status}) {
		require.NoError(t, err)
		wg.Go(func() { await[info.Function](info.ID) })
	}
	if life == "last" {
		wg.Wait()
		require.NoError(t, c.engine.Shutdown(ctx))
		return
	}
	began := func(id string, err error) string {
		require.NoError(t, err)
		c.say("start %s", id)
		return id
	}
	for worker := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				x, err := order.Start(ctx, c.engine, i*7, durable.WithExecutionID(fmt.Sprintf("order-%s-%d-%d", life, worker, i)))
				await["order"](began(x.ID(), err))
			}
		})
	}
	for _, f := range []*durable.Function[int, int]{sleeper, late} {
		wg.Go(func() {
			for i := 0; ; i++ {
				x, err := f.Start(ctx, c.engine, 0, durable.WithExecutionID(fmt.Sprintf("%s-%s-%d", f.Name(), life, i)))
				await[f.Name()](began(x.ID(), err))
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	wg.Wait()
}

// crashOnce runs one life of the process; it is killed after d, or ends by
// itself if d is 0.
func crashOnce(t *testing.T, dir, life string, d time.Duration) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashProcess$", "-test.timeout=120s")
	cmd.Env = append(os.Environ(), crashDir+"="+dir+";"+life)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if d == 0 {
		require.NoError(t, <-ended, "%s", &out)
		return
	}
	select {
	case err := <-ended:
		require.NoError(t, err, "it ended before it was killed: %s", &out)
	case <-time.After(d):
		require.NoError(t, cmd.Process.Kill())
		<-ended
	}
}

func TestCrash(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes for some seconds")
	}
	t.Parallel()
	kills := 25
	if s := os.Getenv("DURABLE_CRASH_KILLS"); s != "" {
		var err error
		kills, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))

	t.Run("WhileTheFileIsMade", func(t *testing.T) {
		for range 5 {
			dir := t.TempDir()
			crashOnce(t, dir, "0", time.Duration(1+rng.IntN(40))*time.Millisecond)
			crashOnce(t, dir, "last", 0)
		}
	})

	t.Run("AtAnyTime", func(t *testing.T) {
		dir := t.TempDir()
		for life := range kills {
			// The process needs a moment to begin; sometimes it dies while it recovers.
			crashOnce(t, dir, fmt.Sprint(life), time.Duration(5+rng.IntN([]int{60, 200, 400}[rng.IntN(3)]))*time.Millisecond)
		}
		crashOnce(t, dir, "last", 0)
		checkWitness(t, dir)
	})
}

// checkWitness compares what the processes did with what is recorded.
func checkWitness(t *testing.T, dir string) {
	c, _, _, _, err := openCrasher(dir)
	require.NoError(t, err)
	b := &bundle{T: t, ctx: t.Context(), engine: c.engine}
	t.Cleanup(func() { c.engine.Close() })
	witness, err := os.ReadFile(filepath.Join(dir, "witness"))
	require.NoError(t, err)

	type operation struct{ execution, id string }
	infos := map[string]durable.ExecutionInfo{}
	values := map[operation]string{} // as recorded
	owner := map[string]operation{}  // by value
	approvals := map[string]string{} // as recorded, by execution
	for info, err := range b.engine.Executions(b.ctx, durable.Query{}) {
		require.NoError(t, err)
		infos[info.ID] = info
		ops, err := b.engine.Operations(b.ctx, info.ID)
		require.NoError(t, err)
		for _, o := range ops {
			var value string
			if json.Unmarshal(o.Result, &value) == nil {
				values[operation{info.ID, o.ID}] = value
				owner[value] = operation{info.ID, o.ID}
			}
			if o.Type == "CALLBACK" {
				approvals[info.ID] = value
			}
		}
		checkHistory(b, "crash", info.ID)
	}

	attempts := map[string]bool{}
	results := map[string]string{}
	callbacks := map[string]string{}
	used := map[operation]bool{} // a later effect was given its value
	effects := 0
	for l := range strings.Lines(string(witness)) {
		words := strings.Fields(l)
		if len(words) == 0 || words[len(words)-1] != "." {
			continue // cut off
		}
		words = words[:len(words)-1]
		what, id, rest := words[0], words[1], words[2:]
		info, ok := infos[id]
		require.True(t, ok, "%s: no such execution", l)
		require.NotEqual(t, durable.ExecutionRunning, info.Status, l)
		switch what {
		case "start":
		case "effect":
			effects++
			o := operation{id, rest[0]}
			require.False(t, used[o], "%s: its result had been used already", l)
			for _, value := range rest[2:] {
				o, ok := owner[value]
				require.True(t, ok, "%s: it was given %s, which is recorded nowhere", l, value)
				used[o] = true
			}
		case "once":
			attempt := id + " " + rest[0]
			require.False(t, attempts[attempt], "%s: twice", l)
			attempts[attempt] = true
		case "callback":
			require.Empty(t, callbacks[id], "%s: acknowledged twice", l)
			callbacks[id] = rest[0]
			require.Equal(t, rest[0], approvals[id], "%s: the acknowledged one is another one", l)
		case "cancel":
			require.Equal(t, "Canceled", info.Failure.Type, l)
		case "result":
			result := strings.Join(rest, " ")
			if results[id] != "" {
				require.Equal(t, results[id], result, "%s: it was another one before", l)
			}
			results[id] = result
			var recorded []string
			require.NoError(t, json.Unmarshal(info.Result, &recorded))
			require.Equal(t, strings.Join(recorded, ","), result)
		default:
			require.Fail(t, "unknown line", l)
		}
	}
	orders := 0
	for id, info := range infos {
		switch info.Function {
		case "order":
			orders++
			require.Equal(t, durable.ExecutionSucceeded, info.Status, "%+v", info)
			require.NotEmpty(t, results[id])
		case "sleeper":
			require.Equal(t, durable.ExecutionFailed, info.Status, "%+v", info)
		case "late":
			require.Equal(t, durable.ExecutionTimedOut, info.Status, "%+v", info)
			require.False(t, info.EndedAt.Before(info.Deadline), "%+v", info)
		}
	}
	t.Logf("%d orders, %d effects, %d attempts at most once", orders, effects, len(attempts))
}
