package durable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// rest sleeps for d, or until ctx ends.
func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// attempt is the number of the attempt that ctx belongs to.
func attempt(ctx context.Context) int {
	info, _ := durable.StepInfoFrom(ctx)
	return info.Attempt
}

func TestShutdown(t *testing.T) {
	inBubble(t, "BodiesEndAndAreRecorded", func(t *testing.T) {
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			v, err := durable.Step(ctx, "slow", func(ctx context.Context) (string, error) {
				n.add("begin")
				err := rest(ctx, time.Hour)
				n.add("end %v", err)
				return "slow", err
			})
			if err != nil {
				return "", err
			}
			if _, err := durable.Step(ctx, "next", n.body("next")); err != nil {
				return "", err
			}
			return v, durable.Wait(ctx, "sleep", time.Hour)
		})
		m := newMachine(t)
		b := m.open(durable.Options{}, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		began := time.Now()
		m.shutDown(b)
		require.Equal(t, 59*time.Minute, time.Since(began))
		require.Equal(t, []string{"begin", "end <nil>"}, n.all(), "nothing begins any more")
		time.Sleep(24 * time.Hour)
		require.Equal(t, []string{"begin", "end <nil>"}, n.all())

		b = m.open(durable.Options{}, f)
		out, err := within(b, f.Attach(b.engine, x.ID()), 2*time.Hour)
		require.NoError(t, err)
		require.Equal(t, "slow", out)
		require.Equal(t, []string{"begin", "end <nil>", "next"}, n.all(), "no body had to run again")
		for ev := range b.events(x.ID()) {
			if ev.Type == "InvocationCompleted" {
				require.Nil(t, ev.Failure, "no invocation was cut off")
			}
		}
	})

	inBubble(t, "AnExecutionThatEndsMeanwhileHasEnded", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			return durable.Step(ctx, "slow", func(ctx context.Context) (int, error) { return 42, rest(ctx, time.Hour) })
		})
		plain := durable.DefinePlain("plain", func(ctx context.Context, _ int) (int, error) { return 42, rest(ctx, time.Hour) })
		m := newMachine(t)
		b := m.open(durable.Options{}, f, plain)
		x, y := start(b, f, 0), start(b, plain, 0)
		time.Sleep(time.Minute)
		m.shutDown(b)
		var bodies atomic.Int32
		again := durable.DefinePlain("plain", func(ctx context.Context, _ int) (int, error) { bodies.Add(1); return 0, nil })
		b = m.open(durable.Options{}, f, again)
		for _, x := range []*durable.Execution[int]{f.Attach(b.engine, x.ID()), plain.Attach(b.engine, y.ID())} {
			out, err := within(b, x, time.Minute)
			require.NoError(t, err)
			require.Equal(t, 42, out)
		}
		require.Zero(t, bodies.Load())
	})

	inBubble(t, "BranchesThatFailRetryAndPoll", func(t *testing.T) {
		// What the bodies make of it is recorded too: failures, attempts, states.
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) ([]string, error) {
			policy := durable.WithRetry(durable.RetryPolicy{Initial: time.Hour, Jitter: durable.NoJitter})
			retry := durable.Go(ctx, "retry", func(ctx *durable.Context) (string, error) {
				return "retried", durable.Do(ctx, "retry", func(ctx context.Context) error {
					n.add("retry %d", attempt(ctx))
					if err := rest(ctx, 10*time.Minute); err != nil || attempt(ctx) == 2 {
						return err
					}
					return errors.New("not yet")
				}, policy)
			})
			poll := durable.Go(ctx, "poll", func(ctx *durable.Context) (string, error) {
				s, err := durable.WaitForCondition(ctx, "poll", "", func(ctx context.Context, s string) (string, error) {
					n.add("poll %q", s)
					return s + "x", rest(ctx, 20*time.Minute)
				}, durable.PollEvery(time.Hour, func(s string) bool { return s == "xx" }))
				return s, err
			})
			fail := durable.Go(ctx, "fail", func(ctx *durable.Context) (string, error) {
				err := durable.Do(ctx, "fail", func(ctx context.Context) error {
					n.add("fail")
					if err := rest(ctx, 30*time.Minute); err != nil {
						return err
					}
					return errors.New("for good")
				}, durable.WithRetry(durable.NoRetry()))
				return "failed", ignore(err)
			})
			once := durable.Go(ctx, "once", func(ctx *durable.Context) (string, error) {
				return durable.Step(ctx, "once", func(ctx context.Context) (string, error) {
					n.add("once")
					return "once", rest(ctx, 40*time.Minute)
				}, durable.AtMostOnce())
			})
			timed := durable.Go(ctx, "timed", func(ctx *durable.Context) (string, error) {
				return durable.Step(ctx, "timed", func(ctx context.Context) (string, error) {
					n.add("timed")
					return "timed", rest(ctx, 50*time.Minute)
				}, durable.WithTimeout(2*time.Hour))
			})
			return durable.All(ctx, "all", retry, poll, fail, once, timed)
		})
		m := newMachine(t)
		b := m.open(durable.Options{}, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		began := time.Now()
		m.shutDown(b)
		require.Equal(t, 49*time.Minute, time.Since(began))
		first := n.all()
		require.ElementsMatch(t, []string{"retry 1", `poll ""`, "fail", "once", "timed"}, first)
		b = m.open(durable.Options{}, f)
		out, err := within(b, f.Attach(b.engine, x.ID()), 10*time.Hour)
		require.NoError(t, err)
		require.Equal(t, []string{"retried", "xx", "failed", "once", "timed"}, out)
		require.ElementsMatch(t, []string{"retry 2", `poll "x"`}, n.all()[len(first):])
	})

	inBubble(t, "ThatIsNotGivenTheTimeClosesAndCounts", func(t *testing.T) {
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, kind string) (string, error) {
			opts := []durable.StepOption{durable.WithRetry(durable.RetryPolicy{Initial: time.Second})}
			if kind == "at most once" {
				opts = append(opts, durable.AtMostOnce())
			}
			return durable.Step(ctx, "slow", func(ctx context.Context) (string, error) {
				n.add("%s %d", kind, attempt(ctx))
				if attempt(ctx) == 1 && len(n.all()) <= 3 {
					return "", rest(ctx, 10*time.Hour)
				}
				return kind, nil
			}, opts...)
		})
		m := newMachine(t)
		b := m.open(durable.Options{}, f)
		kinds := []string{"at least once", "at most once", "another"}
		var xs []*durable.Execution[string]
		for _, kind := range kinds {
			xs = append(xs, start(b, f, kind))
		}
		time.Sleep(time.Minute)
		ctx, done := context.WithTimeout(context.Background(), time.Hour)
		defer done()
		began := time.Now()
		err := b.engine.Shutdown(ctx)
		require.Equal(t, time.Hour, time.Since(began))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "3 bodies")
		synctest.Wait()
		m.kill(b)
		b = m.open(durable.Options{}, f)
		for i, x := range xs {
			out, err := within(b, f.Attach(b.engine, x.ID()), time.Hour)
			require.NoError(t, err)
			require.Equal(t, kinds[i], out)
		}
		require.ElementsMatch(t, []string{"at least once 1", "at most once 2", "another 1"}, n.all()[3:],
			"those that run at least once repeat the attempt, the other one was interrupted")
	})

	inBubble(t, "WhatWaitsLeavesMemoryAndKeepsItsTime", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, d time.Duration) (int, error) { return 1, durable.Wait(ctx, "sleep", d) })
		m := newMachine(t)
		b := m.open(durable.Options{ParkFor: 1000 * time.Hour}, f, awaitCallback)
		began := time.Now()
		x, y := start(b, f, 3*time.Hour), start(b, awaitCallback, 0)
		time.Sleep(time.Minute)
		m.shutDown(b)
		require.Equal(t, time.Minute, time.Since(began), "it had nothing to wait for")
		b = m.open(durable.Options{ParkFor: 1000 * time.Hour}, f, awaitCallback)
		synctest.Wait()
		require.Zero(t, invocations(b), "nothing was due")
		_, err := within(b, f.Attach(b.engine, x.ID()), 5*time.Hour)
		require.NoError(t, err)
		punctual(t, 3*time.Hour, time.Since(began))
		b.complete(y.ID(), "cb", "yes")
		_, err = within(b, awaitCallback.Attach(b.engine, y.ID()), time.Minute)
		require.NoError(t, err)
	})

	inBubble(t, "AnEventThatComesMeanwhileIsKept", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			cb := durable.Go(ctx, "cb", func(ctx *durable.Context) (string, error) {
				return durable.WaitForCallback[string](ctx, "cb", func(context.Context, string) error { return nil })
			})
			if err := durable.Do(ctx, "slow", func(ctx context.Context) error { return rest(ctx, time.Hour) }); err != nil {
				return "", err
			}
			return cb.Await(ctx)
		})
		m := newMachine(t)
		b := m.open(durable.Options{}, f)
		x := start(b, f, 0)
		id, err := b.engine.CallbackID(b.ctx, x.ID(), "cb")
		require.NoError(t, err)
		var wg sync.WaitGroup
		wg.Go(func() {
			time.Sleep(10 * time.Minute)
			err := b.engine.SucceedCallback(context.Background(), id, "yes")
			if err != nil {
				require.ErrorIs(t, err, durable.ErrClosed)
				return
			}
			time.Sleep(10 * time.Minute)
			require.Error(t, b.engine.SucceedCallback(context.Background(), id, "no"))
		})
		m.shutDown(b)
		wg.Wait()
		b = m.open(durable.Options{}, f)
		err = b.engine.SucceedCallback(b.ctx, id, "later")
		out, err2 := within(b, f.Attach(b.engine, x.ID()), time.Hour)
		require.NoError(t, err2)
		if err != nil {
			require.Equal(t, "yes", out)
		} else {
			require.Equal(t, "later", out)
		}
	})

	inBubble(t, "AStartThatIsOnItsWayIsNotCutOff", func(t *testing.T) {
		m := newMachine(t)
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, name string) (int, error) {
			return 1, durable.Do(ctx, "slow", func(ctx context.Context) error {
				n.add("%s begins", name)
				err := rest(ctx, time.Hour)
				n.add("%s ends %v", name, err)
				return err
			})
		})
		creating, create := make(chan struct{}), make(chan struct{})
		b := m.open(durable.Options{}, f)
		start(b, f, "a")
		synctest.Wait()
		m.set(func() {
			m.onCreate = func(*checkpoint.Creation) error {
				close(creating)
				<-create
				return nil
			}
		})
		var wg sync.WaitGroup
		var id string
		wg.Go(func() {
			x, err := f.Start(context.Background(), b.engine, "b")
			if err == nil {
				id = x.ID()
			} else {
				require.ErrorIs(t, err, durable.ErrClosed)
			}
		})
		<-creating
		wg.Go(func() { m.shutDown(b) })
		time.Sleep(10 * time.Minute)
		close(create)
		wg.Wait()
		seen := n.all()
		require.Contains(t, seen, "a ends <nil>")
		require.NotContains(t, seen, "b ends "+context.Canceled.Error(), "after a shutdown no body has to run again")
		time.Sleep(3 * time.Hour)
		require.Equal(t, seen, n.all())
		if id != "" {
			m.set(func() { m.onCreate = nil })
			b = m.open(durable.Options{}, f)
			_, err := within(b, f.Attach(b.engine, id), 3*time.Hour)
			require.NoError(t, err)
		}
	})

	inBubble(t, "AnInvokeThatIsOnItsWayDoesNotCutOffOtherBodies", func(t *testing.T) {
		m := newMachine(t)
		var n notes
		child := durable.Define("child", func(ctx *durable.Context, _ int) (int, error) { return 7, nil })
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			slow := durable.Go(ctx, "slow", func(ctx *durable.Context) (int, error) {
				return 1, durable.Do(ctx, "slow", func(ctx context.Context) error {
					n.add("slow begins")
					err := rest(ctx, time.Hour)
					n.add("slow ends %v", err)
					return err
				})
			})
			if err := durable.Wait(ctx, "sleep", 10*time.Minute); err != nil {
				return 0, err
			}
			v, err := durable.Invoke(ctx, "invoke", child, 0)
			if err != nil {
				return 0, err
			}
			_, err = slow.Await(ctx)
			return v, err
		})
		claiming, claim := make(chan struct{}, 1), make(chan struct{})
		b := m.open(durable.Options{}, f, child)
		x := start(b, f, 0)
		synctest.Wait()
		m.set(func() {
			m.onClaim = func() error {
				select {
				case claiming <- struct{}{}:
				default:
				}
				<-claim
				return nil
			}
		})
		<-claiming
		var wg sync.WaitGroup
		wg.Go(func() { m.shutDown(b) }) // it waits for the claim to return
		time.Sleep(20 * time.Minute)    // meanwhile the handler gets to its invoke
		close(claim)
		wg.Wait()
		require.Equal(t, []string{"slow begins", "slow ends <nil>"}, n.all())
		b = m.open(durable.Options{}, f, child)
		out, err := within(b, f.Attach(b.engine, x.ID()), 3*time.Hour)
		require.NoError(t, err)
		require.Equal(t, 7, out)
		require.Equal(t, []string{"slow begins", "slow ends <nil>"}, n.all(), "no body had to run again")
	})

	inBubble(t, "ABodyThatWaitsForAnExecutionDoesNotBlockItForEver", func(t *testing.T) {
		// The execution it waits for leaves memory by the same shutdown.
		m := newMachine(t)
		child := durable.Define("child", func(ctx *durable.Context, _ int) (int, error) { return 7, durable.Wait(ctx, "sleep", 10*time.Hour) })
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			return durable.Step(ctx, "run", func(ctx context.Context) (int, error) {
				info, _ := durable.StepInfoFrom(ctx)
				return child.Run(ctx, info.Engine, 0, durable.WithExecutionID(info.IdempotencyKey))
			})
		})
		b := m.open(durable.Options{}, f, child)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		ctx, done := context.WithTimeout(context.Background(), 100*time.Hour)
		defer done()
		began := time.Now()
		require.NoError(t, b.engine.Shutdown(ctx))
		require.Less(t, time.Since(began), time.Minute)
		b = m.open(durable.Options{}, f, child)
		out, err := within(b, f.Attach(b.engine, x.ID()), 24*time.Hour)
		require.NoError(t, err)
		require.Equal(t, 7, out)
	})
}

func TestShutdownAndBadBodies(t *testing.T) {
	// Whatever a body does at its end, it does not keep the engine from it.
	for name, end := range map[string]func(){
		"Panic":  func() { panic("boom") },
		"Goexit": func() { runtime.Goexit() },
	} {
		bodies := map[string]durable.Definition{
			"Step": durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				return 0, durable.Do(ctx, "slow", func(ctx context.Context) error { err := rest(ctx, time.Hour); end(); return err })
			}),
			"StepWithTimeout": durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				return 0, durable.Do(ctx, "slow", func(ctx context.Context) error { err := rest(ctx, time.Hour); end(); return err }, durable.WithTimeout(10*time.Hour))
			}),
			"Branch": durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				return durable.Go(ctx, "go", func(ctx *durable.Context) (int, error) {
					return 0, durable.Do(ctx, "slow", func(ctx context.Context) error { err := rest(ctx, time.Hour); end(); return err })
				}).Await(ctx)
			}),
			"Plain": durable.DefinePlain("f", func(ctx context.Context, _ int) (int, error) { err := rest(ctx, time.Hour); end(); return 0, err }),
			"Handler": durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				err := durable.Do(ctx, "slow", func(ctx context.Context) error { return rest(ctx, time.Hour) })
				end()
				return 0, err
			}),
		}
		for kind, f := range bodies {
			inBubble(t, name+"/"+kind, func(t *testing.T) {
				m := newMachine(t)
				b := m.open(durable.Options{}, f)
				_, err := b.engine.StartByName(b.ctx, "f", json.RawMessage("0"))
				require.NoError(t, err)
				time.Sleep(time.Minute)
				ctx, done := context.WithTimeout(context.Background(), 10*time.Hour)
				defer done()
				require.NoError(t, b.engine.Shutdown(ctx))
			})
		}
	}

	for name, news := range map[string]func(b *bundle, id, callback string) error{
		"ACallback": func(b *bundle, _, callback string) error { return b.engine.SucceedCallback(b.ctx, callback, "x") },
		"ACancel":   func(b *bundle, id, _ string) error { return b.engine.Cancel(b.ctx, id, "") },
	} {
		inBubble(t, "WhatIsTakenOverMeanwhileGoesOnWhenItIsOpenedAgain/"+name, func(t *testing.T) {
			m := newMachine(t)
			inbox := &slowInbox{read: make(chan struct{})}
			m.wrap = func(s checkpoint.Store) checkpoint.Store { inbox.Store = s; return inbox }
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				_, err := durable.WaitForCallback[string](ctx, "cb", func(context.Context, string) error { return nil })
				return fmt.Sprint(err), durable.Wait(ctx.WithoutCancel(), "nap", time.Minute)
			})
			b := m.open(durable.Options{ParkFor: 1000 * time.Hour}, f)
			x := start(b, f, 0)
			synctest.Wait()
			id, err := b.engine.CallbackID(b.ctx, x.ID(), "cb")
			require.NoError(t, err)
			inbox.slow.Store(true)
			require.NoError(t, news(b, x.ID(), id))
			synctest.Wait()
			shut := make(chan error)
			go func() { shut <- b.engine.Shutdown(b.ctx) }()
			synctest.Wait()
			close(inbox.read)
			require.NoError(t, <-shut)

			m.wrap = nil
			b = m.open(durable.Options{}, f)
			_, err = within(b, f.Attach(b.engine, x.ID()), time.Hour)
			require.NoError(t, err)
		})
	}

	inBubble(t, "ABodyMayCloseItsEngine", func(t *testing.T) {
		closed := make(chan error, 1)
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			return 0, durable.Do(ctx, "close", func(ctx context.Context) error {
				info, _ := durable.StepInfoFrom(ctx)
				closed <- info.Engine.Close()
				return nil
			})
		})
		m := newMachine(t)
		b := m.open(durable.Options{}, f)
		start(b, f, 0)
		require.NoError(t, <-closed)
	})
}

// slowInbox is a store that, when it is slow, reads an inbox when read is closed.
type slowInbox struct {
	checkpoint.Store
	slow atomic.Bool
	read chan struct{}
}

func (s *slowInbox) Inbox(ctx context.Context, id string, after uint64) ([]checkpoint.Record, error) {
	if s.slow.Load() {
		<-s.read
	}
	return s.Store.Inbox(ctx, id, after)
}

func TestStoreFailure(t *testing.T) {
	inBubble(t, "NothingIsWrittenAnyMoreAndEverythingSaysSo", func(t *testing.T) {
		m := newMachine(t)
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			if _, err := durable.Step(ctx, "a", n.body("a")); err != nil {
				return "", err
			}
			if err := durable.Wait(ctx, "sleep", time.Hour); err != nil {
				return "", err
			}
			return durable.Step(ctx, "b", n.body("b"))
		})
		book := new(logBook)
		b := m.open(durable.Options{ParkFor: 100 * time.Hour, Logger: book.logger()}, f, awaitCallback)
		x, y := start(b, f, 0), start(b, awaitCallback, 0)
		id, err := b.engine.CallbackID(b.ctx, y.ID(), "cb")
		require.NoError(t, err)
		time.Sleep(30 * time.Minute)
		var writes atomic.Int32
		m.set(func() {
			m.onAppend = func(*checkpoint.Append) error { writes.Add(1); return checkpoint.ErrFailed }
			failed := func() error { return checkpoint.ErrFailed }
			m.onCreate = func(*checkpoint.Creation) error { return failed() }
			m.onDeliver = func(*checkpoint.Delivery) error { return failed() }
			m.onEnd = func(*checkpoint.Ending) error { return failed() }
		})
		waiting := make(chan error, 1)
		go func() { _, err := y.Result(context.Background()); waiting <- err }()
		_, err = within(b, x, 10*time.Hour)
		require.ErrorIs(t, err, durable.ErrStoreFailed)
		require.ErrorIs(t, <-waiting, durable.ErrStoreFailed)
		synctest.Wait()
		before := writes.Load()
		require.ErrorIs(t, b.engine.SucceedCallback(b.ctx, id, "x"), durable.ErrStoreFailed)
		_, err = f.Start(b.ctx, b.engine, 0)
		require.ErrorIs(t, err, durable.ErrStoreFailed)
		require.ErrorIs(t, b.engine.Cancel(b.ctx, x.ID(), ""), durable.ErrStoreFailed)
		require.ErrorIs(t, b.engine.Stop(b.ctx, x.ID(), ""), durable.ErrStoreFailed)
		time.Sleep(10 * time.Hour)
		require.Equal(t, before, writes.Load())
		require.Equal(t, []string{"a"}, n.all())
		require.Len(t, book.lines("level=ERROR"), 1, "it is said once")
		m.set(func() { m.onAppend, m.onCreate, m.onDeliver, m.onEnd = nil, nil, nil, nil })
		m.kill(b)

		b = m.open(durable.Options{}, f, awaitCallback)
		out, err := within(b, f.Attach(b.engine, x.ID()), time.Minute)
		require.NoError(t, err)
		require.Equal(t, "b", out)
		require.Equal(t, []string{"a", "b"}, n.all())
		require.NoError(t, b.engine.SucceedCallback(b.ctx, id, "x"), "what was not acknowledged may be sent again")
	})
}

func TestReopen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "durable.db")
	var n notes
	f := durable.Define("f", func(ctx *durable.Context, i int) (string, error) {
		a, err := durable.Step(ctx, "a", n.body("a"))
		if err != nil {
			return "", err
		}
		answer, err := durable.WaitForCallback[string](ctx, "cb", func(context.Context, string) error { return nil })
		if err != nil {
			return "", err
		}
		return a + answer, durable.Wait(ctx, "nap", 10*time.Millisecond)
	})
	book := new(logBook)
	open := func() *bundle {
		e, err := durable.Open(path, &durable.Options{Functions: []durable.Definition{f}, Logger: book.logger()})
		require.NoError(t, err)
		t.Cleanup(func() { e.Close() })
		return &bundle{T: t, ctx: t.Context(), engine: e}
	}
	b := open()
	_, err := durable.Open(path, nil)
	require.ErrorIs(t, err, durable.ErrLocked, "at once")
	var ids, callbacks []string
	for i := range 20 {
		ids = append(ids, start(b, f, i).ID())
	}
	for _, id := range ids { // the first steps are durable then
		cb, err := b.engine.CallbackID(b.ctx, id, "cb")
		require.NoError(t, err)
		callbacks = append(callbacks, cb)
	}
	for i, cb := range callbacks {
		if i%2 == 0 {
			require.NoError(t, b.engine.SucceedCallback(b.ctx, cb, "b"))
		}
		switch i {
		case 6:
			require.NoError(t, b.engine.Close())
			b = open()
		case 13:
			require.NoError(t, b.engine.Shutdown(b.ctx))
			b = open()
		}
	}
	require.NoError(t, b.engine.Close())
	b = open()
	for i, id := range ids {
		if i%2 != 0 {
			b.complete(id, "cb", "b")
		}
		out, err := f.Attach(b.engine, id).Result(b.ctx)
		require.NoError(t, err)
		require.Equal(t, "ab", out)
		checkHistory(b, "reopened", id)
	}
	require.Len(t, n.all(), 20, "no step ran twice")
}

func TestClose(t *testing.T) {
	inBubble(t, "ItGoesOnOnTheSameStore", func(t *testing.T) {
		m := newMachine(t)
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			if _, err := durable.Step(ctx, "fast", n.body("fast")); err != nil {
				return "", err
			}
			return durable.Step(ctx, "slow", func(ctx context.Context) (string, error) {
				n.add("slow %d", attempt(ctx))
				if len(n.all()) < 3 {
					<-ctx.Done()
					n.add("%v", context.Cause(ctx))
					return "", ctx.Err()
				}
				return "slow", nil
			})
		})
		b := m.open(durable.Options{}, f)
		x := start(b, f, 0)
		time.Sleep(time.Minute)
		began := time.Now()
		require.NoError(t, b.engine.Close())
		require.Equal(t, began, time.Now(), "it waits for nobody")
		synctest.Wait()
		require.Equal(t, []string{"fast", "slow 1", durable.ErrClosed.Error()}, n.all())
		m.kill(b)
		b = m.open(durable.Options{}, f)
		out, err := within(b, f.Attach(b.engine, x.ID()), time.Minute)
		require.NoError(t, err)
		require.Equal(t, "slow", out)
		require.Equal(t, []string{"slow 1"}, n.all()[3:])
		var cutOff []string
		for ev := range b.events(x.ID()) {
			if ev.Type == "InvocationCompleted" && ev.Failure != nil {
				cutOff = append(cutOff, ev.Failure.Type)
			}
		}
		require.Equal(t, []string{"Runtime.ExitError"}, cutOff)
	})

	inBubble(t, "EverythingThatWaitsAndEveryLaterCallGetsErrClosed", func(t *testing.T) {
		for name, end := range map[string]func(e *durable.Engine) error{
			"close":    func(e *durable.Engine) error { return e.Close() },
			"shutdown": func(e *durable.Engine) error { return e.Shutdown(context.Background()) },
		} {
			m := newMachine(t)
			b := m.open(durable.Options{ParkFor: -1}, awaitCallback)
			x := start(b, awaitCallback, 0)
			id, err := b.engine.CallbackID(b.ctx, x.ID(), "cb")
			require.NoError(t, err)
			ctx := context.Background()
			calls := map[string]func() error{
				"Result":     func() error { _, err := x.Result(ctx); return err },
				"ResultJSON": func() error { _, err := b.engine.ResultJSON(ctx, x.ID()); return err },
				"CallbackID": func() error { _, err := b.engine.CallbackID(ctx, x.ID(), "another"); return err },
			}
			waiting := map[string]chan error{}
			for call, f := range calls {
				answer := make(chan error, 1)
				go func() { answer <- f() }()
				waiting[call] = answer
			}
			synctest.Wait()
			require.NoError(t, end(b.engine), name)
			for call, ch := range waiting {
				require.ErrorIs(t, <-ch, durable.ErrClosed, "%s: %s", name, call)
			}
			calls["Start"] = func() error { _, err := awaitCallback.Start(ctx, b.engine, 0); return err }
			calls["Run"] = func() error { _, err := awaitCallback.Run(ctx, b.engine, 0); return err }
			calls["StartByName"] = func() error { _, err := b.engine.StartByName(ctx, "await", json.RawMessage("0")); return err }
			calls["Describe"] = func() error { _, err := b.engine.Describe(ctx, x.ID()); return err }
			calls["Operations"] = func() error { _, err := b.engine.Operations(ctx, x.ID()); return err }
			calls["History"] = func() error {
				for _, err := range b.engine.History(ctx, x.ID()) {
					return err
				}
				return nil
			}
			calls["Executions"] = func() error {
				for _, err := range b.engine.Executions(ctx, durable.Query{}) {
					return err
				}
				return nil
			}
			calls["Cancel"] = func() error { return b.engine.Cancel(ctx, x.ID(), "") }
			calls["Stop"] = func() error { return b.engine.Stop(ctx, x.ID(), "") }
			calls["Resume"] = func() error { return b.engine.Resume(ctx, x.ID()) }
			calls["Delete"] = func() error { return b.engine.Delete(ctx, x.ID()) }
			calls["SucceedCallback"] = func() error { return b.engine.SucceedCallback(ctx, id, "x") }
			calls["FailCallback"] = func() error { return b.engine.FailCallback(ctx, id, durable.Failure{}) }
			calls["HeartbeatCallback"] = func() error { return b.engine.HeartbeatCallback(ctx, id) }
			calls["Shutdown"] = func() error { return b.engine.Shutdown(ctx) }
			for call, f := range calls {
				require.ErrorIs(t, f(), durable.ErrClosed, "%s: %s", name, call)
			}
			require.NoError(t, b.engine.Close(), "closing what is closed does nothing")
			_ = b.engine.Stats()
		}
	})

	inBubble(t, "AWaitingResultGivesUpWithItsContext", func(t *testing.T) {
		b := setup(t, awaitCallback)
		x := start(b, awaitCallback, 0)
		ctx, cancel := context.WithCancelCause(b.ctx)
		why := errors.New("enough")
		go func() { time.Sleep(time.Minute); cancel(why) }()
		_, err := x.Result(ctx)
		require.ErrorIs(t, err, why)
		require.NotErrorIs(t, err, durable.ErrCanceled)
		b.complete(x.ID(), "cb", "yes")
		out, err := within(b, x, time.Minute)
		require.NoError(t, err)
		require.Equal(t, "yes", out)
	})

	inBubble(t, "InTheMiddleOfEverything", func(t *testing.T) {
		// Many executions and callers; it ends at a moment that is as good as any.
		var f *durable.Function[int, int]
		f = durable.Define("f", func(ctx *durable.Context, i int) (int, error) {
			batch, err := durable.Map(ctx, "map", []int{1, 2, 3}, func(ctx *durable.Context, k, _ int) (int, error) {
				if k == 3 && i > 0 {
					return durable.Invoke(ctx, "invoke", f, i/2)
				}
				if err := durable.Do(ctx, "work", func(ctx context.Context) error { return rest(ctx, time.Duration(k*i)*time.Microsecond) }); err != nil {
					return 0, err
				}
				return 1, durable.Wait(ctx, "nap", time.Duration(i)*time.Microsecond)
			})
			if err != nil {
				return 0, err
			}
			return batch.Len(), nil
		})
		m := newMachine(t)
		for round := range 15 {
			b := m.open(durable.Options{ParkFor: -1, MaxResident: 20}, f)
			var ended, began atomic.Bool
			var wg sync.WaitGroup
			for i := range 20 {
				wg.Go(func() {
					_, err := f.Run(context.Background(), b.engine, i*round)
					if err != nil {
						require.ErrorIs(t, err, durable.ErrClosed)
						require.True(t, began.Load())
					}
				})
			}
			time.Sleep(time.Duration(round*40) * time.Microsecond)
			began.Store(true)
			for i := range 3 {
				wg.Go(func() {
					var err error
					if (i+round)%3 == 0 {
						err = b.engine.Close()
					} else {
						err = b.engine.Shutdown(context.Background())
					}
					if err != nil {
						require.ErrorIs(t, err, durable.ErrClosed)
					}
					ended.Store(true)
				})
			}
			wg.Wait()
			m.kill(b)
		}
		b := m.open(durable.Options{ParkFor: -1, MaxResident: 20}, f)
		time.Sleep(time.Minute)
		synctest.Wait()
		for info, err := range b.engine.Executions(b.ctx, durable.Query{}) {
			require.NoError(t, err)
			require.Equal(t, durable.ExecutionSucceeded, info.Status, "%+v", info)
		}
	})
}

// ignore is for errors that are expected.
func ignore(error) error { return nil }
