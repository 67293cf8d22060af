package durable_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// deploy is what runs at a place of a handler: the code of the release that is
// deployed, from 1.
type deploy struct{ release atomic.Int32 }

func (d *deploy) is(release int32) bool { return d.release.Load() == release }

// held waits until an execution has been tried again and is held, and returns why.
func (b *bundle) held(id string) *durable.Failure {
	b.Helper()
	synctest.Wait()
	info := b.describe(id)
	require.Equal(b, durable.ExecutionRunning, info.Status)
	require.False(b, info.Resident)
	require.NotNil(b, info.Held, "not held")
	return info.Held
}

// recordedIn is the history without the events of invocations.
func recordedIn(b *bundle, id string) (lines []string) {
	for _, l := range b.history(id) {
		if l != "InvocationCompleted" {
			lines = append(lines, l)
		}
	}
	return lines
}

// changes are releases of a handler: the first one gets to a sleep of an hour,
// the second one does not fit what is recorded then.
var changes = map[string]struct {
	old, new func(ctx *durable.Context, n *notes) error
	says     []string // in the reason
}{
	"Type": {
		old:  func(ctx *durable.Context, n *notes) error { _, err := durable.Step(ctx, "a", n.body("a")); return err },
		new:  func(ctx *durable.Context, n *notes) error { return durable.Wait(ctx, "a", time.Minute) },
		says: []string{`STEP (Step) "a"`, `WAIT (Wait) "a"`, "operation 1"},
	},
	"SubType": {
		old: func(ctx *durable.Context, n *notes) error { _, err := durable.Step(ctx, "a", n.body("a")); return err },
		new: func(ctx *durable.Context, n *notes) error {
			_, err := durable.WaitForCondition(ctx, "a", 0, func(context.Context, int) (int, error) { n.add("check"); return 0, nil }, func(int, int) durable.Poll { return durable.PollDone() })
			return err
		},
		says: []string{`STEP (Step) "a"`, `STEP (WaitForCondition) "a"`},
	},
	"Name": {
		old:  func(ctx *durable.Context, n *notes) error { _, err := durable.Step(ctx, "a", n.body("a")); return err },
		new:  func(ctx *durable.Context, n *notes) error { _, err := durable.Step(ctx, "b", n.body("b")); return err },
		says: []string{`STEP (Step) "a"`, `STEP (Step) "b"`},
	},
	"Order": {
		old: func(ctx *durable.Context, n *notes) error {
			_, err := durable.Step(ctx, "a", n.body("a"))
			_, err2 := durable.Step(ctx, "b", n.body("b"))
			return errors.Join(err, err2)
		},
		new: func(ctx *durable.Context, n *notes) error {
			_, err := durable.Step(ctx, "b", n.body("b"))
			_, err2 := durable.Step(ctx, "a", n.body("a"))
			return errors.Join(err, err2)
		},
		says: []string{`"a"`, `"b"`, "operation 1"},
	},
	"ParallelToMap": {
		old: func(ctx *durable.Context, n *notes) error {
			_, err := durable.Parallel(ctx, "a", []durable.Branch[int]{{Run: func(*durable.Context) (int, error) { return 0, nil }}})
			return err
		},
		new: func(ctx *durable.Context, n *notes) error {
			_, err := durable.Map(ctx, "a", []int{1}, func(*durable.Context, int, int) (int, error) { n.add("item"); return 0, nil })
			return err
		},
		says: []string{"Parallel", "Map"},
	},
	"InAChild": {
		old: func(ctx *durable.Context, n *notes) error {
			_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
				_, err := durable.Step(ctx, "a", n.body("a"))
				return 0, errors.Join(err, durable.Wait(ctx, "nap", 2*time.Hour))
			})
			return err
		},
		new: func(ctx *durable.Context, n *notes) error {
			_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
				_, err := durable.Step(ctx, "b", n.body("b"))
				return 0, errors.Join(err, durable.Wait(ctx, "nap", 2*time.Hour))
			})
			return err
		},
		says: []string{"operation 1-1", `"a"`, `"b"`},
	},
	"InAnItem": {
		old: func(ctx *durable.Context, n *notes) error {
			_, err := durable.Map(ctx, "map", []int{1, 2}, func(ctx *durable.Context, _, _ int) (int, error) { return 0, durable.Wait(ctx, "nap", 2*time.Hour) })
			return err
		},
		new: func(ctx *durable.Context, n *notes) error {
			_, err := durable.Map(ctx, "map", []int{1, 2}, func(ctx *durable.Context, _, i int) (int, error) {
				return 0, durable.Wait(ctx, []string{"nap", "doze"}[i], 2*time.Hour)
			})
			return err
		},
		says: []string{"operation 1-2-1", `"nap"`, `"doze"`},
	},
	"ItemNames": {
		old: func(ctx *durable.Context, n *notes) error {
			_, err := durable.Map(ctx, "map", []int{1}, func(ctx *durable.Context, _, _ int) (int, error) { return 0, durable.Wait(ctx, "nap", 2*time.Hour) })
			return err
		},
		new: func(ctx *durable.Context, n *notes) error {
			_, err := durable.Map(ctx, "map", []int{1}, func(ctx *durable.Context, _, _ int) (int, error) { return 0, durable.Wait(ctx, "nap", 2*time.Hour) },
				durable.WithItemNames(func(int) string { return "first" }))
			return err
		},
		says: []string{"operation 1-1", `"first"`},
	},
	"FewerItemsOfADecidedBatch": {
		old: func(ctx *durable.Context, n *notes) error {
			_, err := durable.Map(ctx, "map", []int{1, 2, 3}, func(ctx *durable.Context, _, _ int) (int, error) { return 0, nil })
			return err
		},
		new: func(ctx *durable.Context, n *notes) error {
			_, err := durable.Map(ctx, "map", []int{1}, func(ctx *durable.Context, _, _ int) (int, error) { return 0, nil })
			return err
		},
		says: []string{"operation 1"},
	},
	"FewerItemsOfAnOpenBatch": {
		old: func(ctx *durable.Context, n *notes) error {
			_, err := durable.Map(ctx, "map", []int{1, 2, 3}, func(ctx *durable.Context, _, _ int) (int, error) { return 0, durable.Wait(ctx, "nap", 2*time.Hour) })
			return err
		},
		new: func(ctx *durable.Context, n *notes) error {
			_, err := durable.Map(ctx, "map", []int{1}, func(ctx *durable.Context, _, _ int) (int, error) { return 0, durable.Wait(ctx, "nap", 2*time.Hour) })
			return err
		},
		says: []string{"operation 1-2"},
	},
	"InvokedFunctionRenamed": {
		old: func(ctx *durable.Context, n *notes) error {
			_, err := durable.InvokeByName[int](ctx, "invoke", "nap", 0)
			return err
		},
		new: func(ctx *durable.Context, n *notes) error {
			_, err := durable.InvokeByName[int](ctx, "invoke", "doze", 0)
			return err
		},
		says: []string{"operation 1", "nap", "doze"},
	},
	"Now": {
		old:  func(ctx *durable.Context, n *notes) error { durable.Now(ctx); return nil },
		new:  func(ctx *durable.Context, n *notes) error { durable.NewUUID(ctx); return nil },
		says: []string{"Now", "UUID"},
	},
	"SelectToSettled": {
		old: func(ctx *durable.Context, n *notes) error {
			_, err := durable.Select(ctx, "first", durable.After(ctx, "t", time.Second))
			return err
		},
		new: func(ctx *durable.Context, n *notes) error {
			for range durable.Settled(ctx, "first", durable.After(ctx, "t", time.Second)) {
			}
			return nil
		},
		says: []string{"Select", "Settled"},
	},
	"ReturnsEarly": {
		old:  func(ctx *durable.Context, n *notes) error { _, err := durable.Step(ctx, "a", n.body("a")); return err },
		new:  func(ctx *durable.Context, n *notes) error { return errEarly },
		says: []string{"returned", `STEP (Step) "a"`},
	},
	"AChildReturnsEarly": {
		old: func(ctx *durable.Context, n *notes) error {
			_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) { return 0, durable.Wait(ctx, "nap", 2*time.Hour) })
			return err
		},
		new: func(ctx *durable.Context, n *notes) error {
			_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) { return 0, nil })
			return err
		},
		says: []string{"returned", `"nap"`, "operation 1-1"},
	},
	"AnItemReturnsEarly": {
		old: func(ctx *durable.Context, n *notes) error {
			_, err := durable.Map(ctx, "map", []int{1}, func(ctx *durable.Context, _, _ int) (int, error) { return 0, durable.Wait(ctx, "nap", 2*time.Hour) })
			return err
		},
		new: func(ctx *durable.Context, n *notes) error {
			_, err := durable.Map(ctx, "map", []int{1}, func(ctx *durable.Context, _, _ int) (int, error) { return 0, nil })
			return err
		},
		says: []string{"returned", `"nap"`, "operation 1-1-1"},
	},
	"AFlatItemReturnsEarly": {
		old: func(ctx *durable.Context, n *notes) error {
			_, err := durable.Map(ctx, "map", []int{1}, func(ctx *durable.Context, _, _ int) (int, error) { return 0, durable.Wait(ctx, "nap", 2*time.Hour) }, durable.Flat())
			return err
		},
		new: func(ctx *durable.Context, n *notes) error {
			_, err := durable.Map(ctx, "map", []int{1}, func(ctx *durable.Context, _, _ int) (int, error) { return 0, nil }, durable.Flat())
			return err
		},
		says: []string{"returned", `"nap"`, "operation 1-1-1"},
	},
	"AFutureReturnsEarly": {
		old: func(ctx *durable.Context, n *notes) error {
			_, err := durable.Go(ctx, "go", func(ctx *durable.Context) (int, error) { return 0, durable.Wait(ctx, "nap", 2*time.Hour) }).Await(ctx)
			return err
		},
		new: func(ctx *durable.Context, n *notes) error {
			_, err := durable.Go(ctx, "go", func(ctx *durable.Context) (int, error) { return 0, nil }).Await(ctx)
			return err
		},
		says: []string{"returned", `"nap"`, "operation 1-1"},
	},
	"AVersionFromTheFuture": {
		old:  func(ctx *durable.Context, n *notes) error { durable.Version(ctx, "change", 2); return nil },
		new:  func(ctx *durable.Context, n *notes) error { durable.Version(ctx, "change", 1); return nil },
		says: []string{"change", "version 2", "version 1"},
	},
}

var errEarly = errors.New("early")

// releases is a function of two releases that sleeps an hour behind the place
// that changed.
func releases(d *deploy, n *notes, old, new func(ctx *durable.Context, n *notes) error) *durable.Function[int, string] {
	return durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
		place := old
		if d.is(2) {
			place = new
		}
		if err := place(ctx, n); err != nil {
			if errors.Is(err, errEarly) {
				return "early", nil
			}
			return "", err
		}
		if err := durable.Wait(ctx, "sleep", time.Hour); err != nil {
			return "", err
		}
		return durable.Step(ctx, "last", n.body("last"))
	})
}

var (
	nap  = durable.Define("nap", func(ctx *durable.Context, _ int) (int, error) { return 0, durable.Wait(ctx, "nap", 2*time.Hour) })
	doze = durable.Define("doze", func(ctx *durable.Context, _ int) (int, error) { return 0, durable.Wait(ctx, "doze", 2*time.Hour) })
)

func TestMismatch(t *testing.T) {
	for name, c := range changes {
		inBubble(t, "Holds/"+name, func(t *testing.T) {
			var d deploy
			var n notes
			f := releases(&d, &n, c.old, c.new)
			m := newMachine(t)
			b := m.open(durable.Options{ParkFor: -1, Build: "1"}, f, nap, doze)
			x := start(b, f, 0)
			time.Sleep(time.Minute)
			synctest.Wait()
			m.kill(b)
			d.release.Store(2)
			done := n.all()
			before := recordedBefore(m, x.ID())

			b = m.open(durable.Options{ParkFor: -1, Build: "2"}, f, nap, doze)
			time.Sleep(4 * time.Hour)
			why := b.held(x.ID())
			require.ErrorIs(t, why, durable.ErrNonDeterministic)
			require.Contains(t, why.Message, x.ID())
			for _, words := range c.says {
				require.Contains(t, why.Message, words)
			}
			require.Equal(t, done, n.all(), "no body ran")
			after := recordedIn(b, x.ID())
			require.Equal(t, before, after[:len(before)], "what is recorded stays")
			for _, l := range after[len(before):] {
				require.Regexp(t, `WaitSucceeded|ChainedInvokeSucceeded|ContextSucceeded 1-1$`, l, "only what became due is added")
			}
			seen := invocations(b)
			time.Sleep(10 * time.Hour)
			synctest.Wait()
			require.Equal(t, seen, invocations(b), "this build does not try again by itself")

			// The old code goes on where it was.
			d.release.Store(1)
			require.NoError(t, b.engine.Resume(b.ctx, x.ID()))
			out, err := within(b, f.Attach(b.engine, x.ID()), 10*time.Hour)
			require.NoError(t, err)
			require.Equal(t, "last", out)
			require.Equal(t, append(done, "last"), n.all())
			require.Nil(t, b.describe(x.ID()).Held)
		})

		inBubble(t, "FailsWithFailOnMismatch/"+name, func(t *testing.T) {
			var d deploy
			var n notes
			f := releases(&d, &n, c.old, c.new)
			b := setupWith(t, durable.Options{ParkFor: -1, FailOnMismatch: true}, f, nap, doze)
			x := start(b, f, 0)
			time.Sleep(time.Minute)
			synctest.Wait()
			done := n.all()
			d.release.Store(2)
			_, err := within(b, x, 10*time.Hour)
			require.ErrorIs(t, err, durable.ErrNonDeterministic)
			info := b.describe(x.ID())
			require.Equal(t, durable.ExecutionFailed, info.Status)
			require.ErrorIs(t, info.Failure, durable.ErrNonDeterministic)
			require.Equal(t, done, n.all(), "no body ran")
		})
	}
}

// recordedBefore is recordedIn of an execution whose engine is closed, read by one
// that runs nothing.
func recordedBefore(m *machine, id string) []string {
	m.Helper()
	reader := m.open(durable.Options{})
	defer reader.engine.Close()
	return recordedIn(reader, id)
}

func TestHold(t *testing.T) {
	change := changes["Name"]

	inBubble(t, "SaysWhy", func(t *testing.T) {
		var d deploy
		var n notes
		f := releases(&d, &n, change.old, change.new)
		b := setup(t, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		d.release.Store(2)
		time.Sleep(2 * time.Hour)
		require.Equal(t, "NonDeterministic", b.held(x.ID()).Type)
	})

	inBubble(t, "AnotherBuildGoesOnByItself", func(t *testing.T) {
		var d deploy
		var n notes
		f := releases(&d, &n, change.old, change.new)
		m := newMachine(t)
		b := m.open(durable.Options{ParkFor: -1, Build: "1"}, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		m.kill(b)
		d.release.Store(2)
		b = m.open(durable.Options{ParkFor: -1, Build: "2"}, f)
		time.Sleep(2 * time.Hour)
		b.held(x.ID())
		m.kill(b)
		d.release.Store(1)
		b = m.open(durable.Options{ParkFor: -1, Build: "3"}, f)
		out, err := within(b, f.Attach(b.engine, x.ID()), time.Minute)
		require.NoError(t, err)
		require.Equal(t, "last", out)
	})

	inBubble(t, "ABuildTriesOnce", func(t *testing.T) {
		// Each release that can't go on either tries once; then it waits for one
		// that was never there, also when the others come again.
		var d deploy
		var n notes
		f := releases(&d, &n, change.old, change.new)
		m := newMachine(t)
		b := m.open(durable.Options{ParkFor: -1, Build: "1"}, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		m.kill(b)
		d.release.Store(2)
		for i, build := range []string{"2", "3", "4", "2", "3", "2", "4"} {
			b = m.open(durable.Options{ParkFor: -1, Build: build}, f)
			time.Sleep(2 * time.Hour)
			b.held(x.ID())
			require.EqualValues(t, max(0, min(1, 3-i)), invocations(b), "build %s", build)
			m.kill(b)
		}
	})

	inBubble(t, "TwoBuildsAtOnceDoNotDisturbEachOther", func(t *testing.T) {
		// A rolling deploy on a shared store: the new binary can't go on with old
		// executions, the old one can.
		var n notes
		old := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			for i := range 5 {
				if err := durable.Wait(ctx, "old", time.Hour); err != nil {
					return i, err
				}
			}
			n.add("old")
			return 1, nil
		})
		new := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			if err := durable.Wait(ctx, "new", time.Hour); err != nil {
				return 0, err
			}
			n.add("new")
			return 2, nil
		})
		m := newMachine(t)
		b := m.open(durable.Options{ParkFor: -1, Build: "old"}, old)
		x := start(b, old, 0)
		time.Sleep(90 * time.Minute)
		for range 3 {
			m.kill(b)
			b = m.open(durable.Options{ParkFor: -1, Build: "new"}, new)
			time.Sleep(61 * time.Minute)
			synctest.Wait()
			require.Equal(t, durable.ExecutionRunning, b.describe(x.ID()).Status)
			m.kill(b)
			b = m.open(durable.Options{ParkFor: -1, Build: "old"}, old)
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		out, err := within(b, old.Attach(b.engine, x.ID()), 10*time.Hour)
		require.NoError(t, err)
		require.Equal(t, 1, out)
		require.Equal(t, []string{"old"}, n.all())
	})

	inBubble(t, "ResumeOfOneThatIsNotHeldDoesNothing", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 1, durable.Wait(ctx, "sleep", time.Hour) })
		b := setup(t, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		seen := invocations(b)
		require.NoError(t, b.engine.Resume(b.ctx, x.ID()))
		synctest.Wait()
		require.Equal(t, seen, invocations(b))
		_, err := within(b, x, 2*time.Hour)
		require.NoError(t, err)
		require.NoError(t, b.engine.Resume(b.ctx, x.ID()))
		require.ErrorIs(t, b.engine.Resume(b.ctx, "nobody"), durable.ErrExecutionNotFound)
	})

	inBubble(t, "ACallbackThatComesMeanwhileIsKept", func(t *testing.T) {
		var d deploy
		d.release.Store(1)
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			cb, err := durable.CreateCallback[string](ctx, "cb")
			if err != nil {
				return "", err
			}
			if err := durable.Wait(ctx, fmt.Sprintf("release %d", d.release.Load()), time.Hour); err != nil {
				return "", err
			}
			return cb.Await(ctx)
		})
		b := setup(t, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		d.release.Store(2)
		time.Sleep(2 * time.Hour)
		b.held(x.ID())
		b.complete(x.ID(), "cb", "kept")
		require.JSONEq(t, `"kept"`, string(b.operation(x.ID(), "1").Result), "it is seen at once")
		time.Sleep(time.Hour)
		b.held(x.ID())
		d.release.Store(1)
		require.NoError(t, b.engine.Resume(b.ctx, x.ID()))
		out, err := within(b, x, time.Hour)
		require.NoError(t, err)
		require.Equal(t, "kept", out)
	})

	inBubble(t, "StopEndsIt", func(t *testing.T) {
		var d deploy
		var n notes
		f := releases(&d, &n, change.old, change.new)
		b := setup(t, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		d.release.Store(2)
		time.Sleep(2 * time.Hour)
		b.held(x.ID())
		b.stop(x.ID())
		info := b.describe(x.ID())
		require.Equal(t, durable.ExecutionStopped, info.Status)
		require.Nil(t, info.Held)
	})

	inBubble(t, "ItsCallerWaits", func(t *testing.T) {
		var d deploy
		var n notes
		child := releases(&d, &n, change.old, change.new)
		parent := durable.Define("parent", func(ctx *durable.Context, _ int) (string, error) { return durable.Invoke(ctx, "invoke", child, 0) })
		b := setup(t, child, parent)
		x := start(b, parent, 0)
		time.Sleep(time.Minute)
		d.release.Store(2)
		time.Sleep(24 * time.Hour)
		info := b.describe(x.ID())
		require.Equal(t, durable.ExecutionRunning, info.Status)
		require.Nil(t, info.Held)
		d.release.Store(1)
		for info, err := range b.engine.Executions(b.ctx, durable.Query{Function: "f"}) {
			require.NoError(t, err)
			b.held(info.ID)
			require.NoError(t, b.engine.Resume(b.ctx, info.ID))
		}
		out, err := within(b, x, time.Minute)
		require.NoError(t, err)
		require.Equal(t, "last", out)
	})

	inBubble(t, "BodiesThatRunEndAndAreRecorded", func(t *testing.T) {
		var d deploy
		var n notes
		d.release.Store(1)
		running := make(chan struct{}, 1)
		f := durable.Define("f", func(ctx *durable.Context, _ int) ([]string, error) {
			batch, err := durable.Parallel(ctx, "parallel", []durable.Branch[string]{
				{Name: "worker", Run: func(ctx *durable.Context) (string, error) {
					if err := durable.Wait(ctx, "sleep", time.Hour); err != nil {
						return "", err
					}
					v, err := durable.Step(ctx, "slow", func(ctx context.Context) (string, error) {
						n.add("slow begins")
						running <- struct{}{}
						time.Sleep(time.Hour)
						n.add("slow ends, %v", ctx.Err())
						return "slow", nil
					})
					if err != nil {
						return "", err
					}
					return durable.Step(ctx, "after "+v, n.body("after slow"))
				}},
				{Name: "changed", Run: func(ctx *durable.Context) (string, error) {
					if err := durable.Wait(ctx, "sleep", time.Hour); err != nil {
						return "", err
					}
					if d.is(2) {
						<-running // code between operations, of the old release
					}
					err := durable.Wait(ctx, fmt.Sprintf("release %d", d.release.Load()), 3*time.Hour)
					return "changed", err
				}},
			})
			if err != nil {
				return nil, err
			}
			return batch.Values(), nil
		})
		m := newMachine(t)
		b := m.open(durable.Options{ParkFor: -1}, f)
		x := start(b, f, 0)
		time.Sleep(30 * time.Minute)
		m.kill(b)
		// The old release gets as far as the changed place, and dies there.
		b = m.open(durable.Options{ParkFor: -1}, f)
		time.Sleep(31 * time.Minute)
		<-running
		synctest.Wait()
		require.Equal(t, []string{"slow begins"}, n.all())
		m.kill(b)
		time.Sleep(2 * time.Hour) // what still ran of it has ended
		d.release.Store(2)
		n.clear()

		b = m.open(durable.Options{ParkFor: -1}, f)
		time.Sleep(time.Minute)
		info := b.describe(x.ID())
		require.True(t, info.Resident, "the body has not ended")
		require.Nil(t, info.Held)
		time.Sleep(time.Hour)
		b.held(x.ID())
		require.Equal(t, []string{"slow begins", "slow ends, <nil>"}, n.all())
		require.Equal(t, durable.OperationSucceeded, b.operation(x.ID(), "1-1-2").Status)
		m.kill(b)
		d.release.Store(1)
		b = m.open(durable.Options{ParkFor: -1, Build: "fixed"}, f)
		out, err := within(b, f.Attach(b.engine, x.ID()), 10*time.Hour)
		require.NoError(t, err)
		require.Equal(t, []string{"after slow", "changed"}, out)
		require.Equal(t, []string{"slow begins", "slow ends, <nil>", "after slow"}, n.all())
	})

	inBubble(t, "AnExecutionWhoseFunctionIsGoneWaitsForIt", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 42, durable.Wait(ctx, "sleep", time.Hour) })
		m := newMachine(t)
		b := m.open(durable.Options{ParkFor: -1}, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		m.kill(b)
		b = m.open(durable.Options{ParkFor: -1}, nap)
		time.Sleep(24 * time.Hour)
		info := b.describe(x.ID())
		require.Equal(t, durable.ExecutionRunning, info.Status)
		require.NotNil(t, info.Held)
		require.ErrorIs(t, info.Held, durable.ErrFunctionNotFound)
		_, err := f.Start(b.ctx, b.engine, 0)
		require.ErrorIs(t, err, durable.ErrFunctionNotFound)
		b.cancel(x.ID())
		m.kill(b)
		b = m.open(durable.Options{ParkFor: -1}, f, nap)
		require.Nil(t, b.describe(x.ID()).Held)
		_, err = within(b, f.Attach(b.engine, x.ID()), time.Minute)
		require.NoError(t, err, "its wait was over before the cancel")
	})

	inBubble(t, "APayloadThatCanNotBeReadHoldsIt", func(t *testing.T) {
		var d deploy
		d.release.Store(1)
		type order struct{ Amount int8 }
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			amount := 0
			if d.is(1) {
				v, err := durable.Step(ctx, "charge", func(context.Context) (map[string]int, error) { return map[string]int{"Amount": 123456}, nil })
				if err != nil {
					return 0, err
				}
				amount = v["Amount"]
			} else {
				v, err := durable.Step(ctx, "charge", func(context.Context) (order, error) { return order{}, nil })
				if err != nil {
					return 0, err
				}
				amount = int(v.Amount)
			}
			return amount, durable.Wait(ctx, "sleep", time.Hour)
		})
		b := setup(t, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		d.release.Store(2)
		time.Sleep(2 * time.Hour)
		why := b.held(x.ID())
		require.Equal(t, "Codec", why.Type)
		require.Contains(t, why.Message, "charge")
		d.release.Store(1)
		require.NoError(t, b.engine.Resume(b.ctx, x.ID()))
		out, err := within(b, x, time.Hour)
		require.NoError(t, err)
		require.Equal(t, 123456, out)
	})
}

func TestVersionTakesNoPosition(t *testing.T) {
	inBubble(t, "OldExecutionsTakeTheOldArmForEver", func(t *testing.T) {
		var d deploy
		d.release.Store(1)
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			if _, err := durable.Step(ctx, "a", n.body("a")); err != nil {
				return 0, err
			}
			v := 0
			if d.is(2) {
				v = durable.Version(ctx, "twice", 1)
				n.add("version %d", v)
			}
			if _, err := durable.Step(ctx, "b", n.body("b")); err != nil {
				return 0, err
			}
			if v == 1 {
				if _, err := durable.Step(ctx, "b again", n.body("b again")); err != nil {
					return 0, err
				}
			}
			return v, durable.Wait(ctx, "sleep", time.Hour)
		})
		b := setup(t, f)
		old := start(b, f, 0)
		time.Sleep(time.Minute)
		d.release.Store(2)
		out, err := within(b, old, 2*time.Hour)
		require.NoError(t, err)
		require.Equal(t, 0, out)
		require.Equal(t, []string{"a", "b", "version 0"}, n.all())
		out, err = within(b, start(b, f, 0), 2*time.Hour)
		require.NoError(t, err)
		require.Equal(t, 1, out)
		require.Equal(t, []string{"a", "version 1", "b", "b again", "version 1"}, n.all()[3:])
	})
}
