package durable_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// untilItsEnd is a body that only the end of its context ends.
func untilItsEnd(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// TestWhileBodiesAreWaitedFor: an execution is about to leave memory, because its engine
// shuts down or its code does not fit what is recorded, and waits for a body. What ends
// bodies goes on meanwhile, and so does what is due and what comes from outside.
func TestWhileBodiesAreWaitedFor(t *testing.T) {
	request := func(ctx *durable.Context, opts ...durable.StepOption) error {
		return durable.Do(ctx, "request", untilItsEnd, append(opts, durable.WithRetry(durable.NoRetry()))...)
	}
	for _, c := range []struct {
		name      string
		run       func(ctx *durable.Context) error
		meanwhile func(b *bundle, id string) // 5 s later
		records   []string                   // among others
		opts      []durable.FunctionOption
	}{
		{name: "TheStepTimesOut", run: func(ctx *durable.Context) error { return request(ctx, durable.WithTimeout(10*time.Second)) },
			records: []string{"StepFailed 2 request"}},
		{name: "TheStepThatIgnoresItTimesOut", run: func(ctx *durable.Context) error {
			return durable.Do(ctx, "request", func(context.Context) error { time.Sleep(100 * time.Hour); return nil }, durable.WithTimeout(10*time.Second))
		}, records: []string{"StepFailed 2 request"}},
		{name: "TheConditionTimesOut", run: func(ctx *durable.Context) error {
			_, err := durable.WaitForCondition(ctx, "request", 0, func(ctx context.Context, i int) (int, error) { return i, untilItsEnd(ctx) },
				func(int, int) durable.Poll { return durable.PollDone() }, durable.WithTimeout(10*time.Second))
			return err
		}, records: []string{"StepFailed 2 request"}},
		{name: "TheChildTimesOut", run: func(ctx *durable.Context) error {
			_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) { return 0, request(ctx) }, durable.WithTimeout(10*time.Second))
			return err
		}, records: []string{"StepFailed 2-1 request"}},
		{name: "TheBatchTimesOut", run: func(ctx *durable.Context) error {
			_, err := durable.Map(ctx, "map", []int{1, 2}, func(ctx *durable.Context, _, _ int) (int, error) { return 0, request(ctx) }, durable.WithTimeout(10*time.Second))
			return err
		}, records: []string{"StepFailed 2-1-1 request", "StepFailed 2-2-1 request"}},
		{name: "TheExecutionTimesOut", run: func(ctx *durable.Context) error { return request(ctx) },
			records: []string{"ExecutionTimedOut"}, opts: []durable.FunctionOption{durable.WithExecutionTimeout(10 * time.Second)}},
		{name: "ItIsCancelled", run: func(ctx *durable.Context) error { return request(ctx) },
			meanwhile: func(b *bundle, id string) { b.cancel(id) }, records: []string{"StepFailed 2 request"}},
		{name: "ItIsStopped", run: func(ctx *durable.Context) error { return request(ctx) },
			meanwhile: func(b *bundle, id string) { b.stop(id) }, records: []string{"ExecutionStopped"}},
		{name: "ItIsCancelledWithAnOpenCallback", run: func(ctx *durable.Context) error {
			if _, err := durable.CreateCallback[string](ctx, "cb"); err != nil {
				return err
			}
			return request(ctx)
		}, meanwhile: func(b *bundle, id string) { b.cancel(id) }, records: []string{"CallbackFailed 2 cb", "StepFailed 3 request"}},
		{name: "ACallbackIsCompleted", run: func(ctx *durable.Context) error {
			if _, err := durable.CreateCallback[string](ctx, "cb"); err != nil {
				return err
			}
			return durable.Do(ctx, "slow", func(ctx context.Context) error { return rest(ctx, 20*time.Second) })
		}, meanwhile: func(b *bundle, id string) { b.complete(id, "cb", "yes") }, records: []string{"CallbackSucceeded 2 cb", "StepSucceeded 3 slow"}},
		{name: "ACallbackTimesOut", run: func(ctx *durable.Context) error {
			if _, err := durable.CreateCallback[string](ctx, "cb", durable.WithTimeout(10*time.Second)); err != nil {
				return err
			}
			return durable.Do(ctx, "slow", func(ctx context.Context) error { return rest(ctx, 20*time.Second) })
		}, records: []string{"CallbackTimedOut 2 cb", "StepSucceeded 3 slow"}},
		{name: "AHeartbeatIsMissed", run: func(ctx *durable.Context) error {
			if _, err := durable.CreateCallback[string](ctx, "cb", durable.WithHeartbeatTimeout(10*time.Second)); err != nil {
				return err
			}
			return durable.Do(ctx, "slow", func(ctx context.Context) error { return rest(ctx, 20*time.Second) })
		}, records: []string{"CallbackTimedOut 2 cb", "StepSucceeded 3 slow"}},
		{name: "AWaitIsOver", run: func(ctx *durable.Context) error {
			durable.After(ctx, "nap", 10*time.Second)
			return durable.Do(ctx, "slow", func(ctx context.Context) error { return rest(ctx, 20*time.Second) })
		}, records: []string{"WaitSucceeded 2 nap", "StepSucceeded 3 slow"}},
		{name: "AnInvokeTimesOut", run: func(ctx *durable.Context) error {
			durable.Go(ctx, "go", func(ctx *durable.Context) (int, error) {
				return durable.Invoke(ctx, "invoke", nap, 0, durable.WithTimeout(10*time.Second))
			})
			return durable.Do(ctx, "slow", func(ctx context.Context) error { return rest(ctx, 20*time.Second) })
		}, records: []string{"ChainedInvokeTimedOut 2-1 invoke", "StepSucceeded 3 slow"}},
	} {
		// The first operation of the handler is a branch that, if it is to be held, asks
		// for what it may not after a second.
		define := func() *durable.Function[bool, int] {
			return durable.Define("f", func(ctx *durable.Context, held bool) (int, error) {
				durable.Go(ctx, "other", func(ctx *durable.Context) (int, error) {
					if err := durable.Wait(ctx, "second", time.Second); err != nil {
						return 0, err
					}
					if held {
						durable.Version(ctx, "not\x00printable", 1)
					}
					return 0, durable.Wait(ctx.WithoutCancel(), "long", 1000*time.Hour)
				})
				return 0, c.run(ctx)
			}, c.opts...)
		}
		meanwhile := func(b *bundle, id string) {
			time.Sleep(5 * time.Second)
			if c.meanwhile != nil {
				c.meanwhile(b, id)
			}
		}

		inBubble(t, "Shutdown/"+c.name, func(t *testing.T) {
			f := define()
			m := newMachine(t)
			b := m.open(durable.Options{}, f, nap)
			x := start(b, f, false)
			time.Sleep(2 * time.Second)
			go meanwhile(b, x.ID())
			began := time.Now()
			ctx, done := context.WithTimeout(context.Background(), time.Hour)
			defer done()
			require.NoError(t, b.engine.Shutdown(ctx))
			require.Less(t, time.Since(began), 30*time.Second)
			require.Subset(t, recordedBefore(m, x.ID()), c.records)
			time.Sleep(200 * time.Hour) // all bodies end
		})

		inBubble(t, "Hold/"+c.name, func(t *testing.T) {
			f := define()
			book := new(logBook)
			b := setupWith(t, durable.Options{Logger: book.logger()}, f, nap)
			x := start(b, f, true)
			time.Sleep(2 * time.Second)
			require.Len(t, book.lines("level=WARN", "to be held", x.ID()), 1, "it is said at once")
			meanwhile(b, x.ID())
			time.Sleep(20 * time.Second)
			if status := b.describe(x.ID()).Status; status == durable.ExecutionRunning {
				b.held(x.ID())
			}
			require.Subset(t, b.history(x.ID()), c.records)
			time.Sleep(200 * time.Hour) // all bodies end
		})
	}
}

// TestATransactionWhileAnExecutionLeaves: a body that works in a transaction has
// returned, and the transaction commits, or does not, while the engine shuts down or the
// execution is about to be held.
func TestATransactionWhileAnExecutionLeaves(t *testing.T) {
	serialize := errors.New("could not serialize access")
	for _, c := range []struct {
		name    string
		commit  func(make func() error) error // the first one, after 10 s
		opts    []durable.StepOption
		records string
		lost    bool // the fate of what the execution did last is not known
		sold    []string
	}{
		{"ThatCommits", func(make func() error) error { return make() }, nil, "StepSucceeded 2 a", false, []string{"a"}},
		{"ThatFailsAndIsTriedAgain", func(func() error) error { return serialize }, []durable.StepOption{quickly}, "StepFailed 2 a", false, nil},
		{"ThatFailsForGood", func(func() error) error { return serialize }, []durable.StepOption{durable.WithRetry(durable.NoRetry())}, "StepFailed 2 a", false, nil},
		{"ThatFailsBehindItsTimeout", func(func() error) error { return serialize }, []durable.StepOption{quickly, durable.WithTimeout(5 * time.Second)}, "StepFailed 2 a", false, nil},
		{"OfUnknownFate", func(func() error) error { return checkpoint.ErrUnknown }, nil, "", true, nil},
	} {
		define := func(held bool) (*durable.Function[int, string], func(n int, make func() error) error) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				durable.Go(ctx, "other", func(ctx *durable.Context) (int, error) {
					if err := durable.Wait(ctx, "second", time.Second); err != nil {
						return 0, err
					}
					if held {
						durable.Version(ctx, "not\x00printable", 1)
					}
					return 0, durable.Wait(ctx, "long", 1000*time.Hour)
				})
				return sell(ctx, "a", c.opts...)
			})
			return f, func(n int, make func() error) error {
				if n > 1 {
					return make()
				}
				time.Sleep(10 * time.Second)
				return c.commit(make)
			}
		}

		inBubble(t, "Shutdown/"+c.name, func(t *testing.T) {
			f, commits := define(false)
			b, s := openTill(t, durable.Options{}, f)
			s.commits = commits
			s.stays = true
			defer s.Store.Close()
			x := start(b, f, 0)
			time.Sleep(2 * time.Second)
			began := time.Now()
			ctx, done := context.WithTimeout(context.Background(), time.Hour)
			defer done()
			err := b.engine.Shutdown(ctx)
			require.Less(t, time.Since(began), 20*time.Second)
			synctest.Wait()
			require.Equal(t, c.sold, s.sold())
			if c.lost {
				require.ErrorContains(t, err, "could not be written")
				return
			}
			require.NoError(t, err)
			e, err := durable.New(s, nil)
			require.NoError(t, err)
			defer e.Close()
			require.Contains(t, (&bundle{T: t, engine: e}).history(x.ID()), c.records)
		})

		inBubble(t, "Hold/"+c.name, func(t *testing.T) {
			f, commits := define(true)
			b, s := openTill(t, durable.Options{}, f)
			s.commits = commits
			x := start(b, f, 0)
			time.Sleep(30 * time.Second)
			if c.lost { // it is replayed, and the transaction is made again
				require.Equal(t, durable.ExecutionSucceeded, b.describe(x.ID()).Status)
				return
			}
			b.held(x.ID())
			require.Contains(t, b.history(x.ID()), c.records)
			require.Equal(t, c.sold, s.sold())
		})
	}
}
