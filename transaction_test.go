package durable_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// till is a store that is a checkpoint.Transactor: the user's writes are sales.
type till struct {
	*memstore.Store
	mu    sync.Mutex
	watch func(checkpoint.Hint)
	sales []string
	begun int

	// commits is called with the number of a commit and what makes it. Nil: it is made.
	commits func(n int, make func() error) error
	tried   int

	stays bool // open when its engine is closed
}

func (s *till) Close() error {
	if s.stays {
		return nil
	}
	return s.Store.Close()
}

func (s *till) Watch(fn func(checkpoint.Hint)) {
	s.watch = fn
	s.Store.Watch(fn)
}

func (s *till) Begin(_ context.Context, options any) (checkpoint.Transaction, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun++
	if options == "refused" {
		return nil, fmt.Errorf("%w: refused", checkpoint.ErrMisused)
	}
	return &sale{s: s, gone: make(chan struct{})}, nil
}

func (s *till) sold() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sales)
}

// sale is a transaction of a till.
type sale struct {
	s      *till
	mu     sync.Mutex
	writes []string
	ended  bool
	gone   chan struct{} // closed by Abandon
}

func (t *sale) Handle() any { return t }
func (t *sale) sell(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writes = append(t.writes, what)
}

func (t *sale) end() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	ended := t.ended
	t.ended = true
	return !ended
}

func (t *sale) Rollback() { t.end() }

func (t *sale) Abandon() {
	if t.end() {
		close(t.gone)
	}
}

func (t *sale) Commit(a checkpoint.Append) error {
	if !t.end() {
		return errors.New("it has ended")
	}
	commit := func() error {
		done := make(chan error)
		t.s.Append(a, func(err error) { done <- err })
		err := <-done
		if err == nil {
			t.s.mu.Lock()
			t.s.sales = append(t.s.sales, t.writes...)
			t.s.mu.Unlock()
		}
		return err
	}
	t.s.mu.Lock()
	t.s.tried++
	n, commits := t.s.tried, t.s.commits
	t.s.mu.Unlock()
	if commits == nil {
		return commit()
	}
	return commits(n, commit)
}

// sell is a transactional step that sells something and returns its name.
func sell(ctx *durable.Context, what string, opts ...durable.StepOption) (string, error) {
	return durable.TransactionalStep(ctx, what, func(_ context.Context, tx any) (string, error) {
		tx.(*sale).sell(what)
		return what, nil
	}, opts...)
}

func openTill(t *testing.T, opts durable.Options, functions ...durable.Definition) (*bundle, *till) {
	s := &till{Store: memstore.New()}
	opts.Functions, opts.Logger = functions, slog.New(slog.DiscardHandler)
	e, err := durable.New(s, &opts)
	require.NoError(t, err)
	t.Cleanup(func() { e.Close() })
	return &bundle{T: t, ctx: t.Context(), engine: e, store: s}, s
}

var quickly = durable.WithRetry(durable.RetryPolicy{MaxAttempts: 3, Initial: time.Minute, Jitter: durable.NoJitter})

func TestTransactionalStep(t *testing.T) {
	inBubble(t, "IsRecordedWithWhatItWrites", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			a, err := sell(ctx, "a")
			if err != nil {
				return "", err
			}
			if err := durable.Wait(ctx, "rest", time.Hour); err != nil {
				return "", err
			}
			b, err := sell(ctx, "b")
			return a + b, err
		})
		b, s := openTill(t, durable.Options{ParkFor: -1, Sealer: newGCM(t, 1)}, f)
		x := start(b, f, 0)
		out, err := x.Result(b.ctx)
		require.NoError(t, err)
		require.Equal(t, "ab", out)
		require.Equal(t, []string{"a", "b"}, s.sold(), "the replay sells nothing again")
		require.Equal(t, []string{"ExecutionStarted", "StepStarted 1 a", "StepSucceeded 1 a", "WaitStarted 2 rest", "InvocationCompleted",
			"WaitSucceeded 2 rest", "StepStarted 3 b", "StepSucceeded 3 b", "InvocationCompleted", "ExecutionSucceeded"}, b.history(x.ID()))
	})

	inBubble(t, "FailedAttemptsAreRolledBack", func(t *testing.T) {
		failures := []func(tx *sale) error{
			func(*sale) error { return errors.New("failed") },
			func(*sale) error { panic("failed") },
			func(*sale) error { return durable.Permanent(errors.New("failed for ever")) },
		}
		var begins []*sale
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			return durable.TransactionalStep(ctx, "sell", func(c context.Context, tx any) (string, error) {
				begins = append(begins, tx.(*sale))
				tx.(*sale).sell("x")
				return "x", failures[attempt(c)-1](tx.(*sale))
			}, durable.WithRetry(durable.RetryPolicy{Jitter: durable.NoJitter}))
		})
		b, s := openTill(t, durable.Options{}, f)
		_, err := f.Run(b.ctx, b.engine, 0)
		require.ErrorContains(t, err, "failed for ever")
		require.Empty(t, s.sold())
		require.Len(t, begins, 3)
		for _, tx := range begins {
			require.True(t, tx.ended)
		}
	})

	inBubble(t, "ACommitThatFailsIsAFailedAttempt", func(t *testing.T) {
		for _, longer := range []bool{false, true} { // than a lazy start stays out of the journal
			deadlock := errors.New("deadlock")
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				return durable.TransactionalStep(ctx, "sell", func(_ context.Context, tx any) (string, error) {
					if longer {
						time.Sleep(time.Second)
					}
					tx.(*sale).sell("x")
					return "x", nil
				}, durable.WithRetry(durable.RetryPolicy{Initial: time.Minute, Jitter: durable.NoJitter, Retryable: func(err error) bool { return errors.Is(err, deadlock) }}))
			})
			b, s := openTill(t, durable.Options{}, f)
			s.commits = func(n int, commit func() error) error {
				if n <= 2 {
					return deadlock
				}
				return commit()
			}
			began := time.Now()
			x := start(b, f, 0)
			out, err := x.Result(b.ctx)
			require.NoError(t, err)
			require.Equal(t, "x", out)
			require.Equal(t, []string{"x"}, s.sold())
			require.GreaterOrEqual(t, time.Since(began), 3*time.Minute)
			require.EqualValues(t, 3, b.operation(x.ID(), "1").Attempt)
			n := int64(1)
			for ev := range b.events(x.ID()) {
				require.Equal(t, n, ev.EventID)
				n++
			}
			require.EqualValues(t, 1+1+3*2+3+1, n, "three attempts of two events each, and three invocations")
		}
	})

	inBubble(t, "AnUnknownCommitIsReadFromTheStore", func(t *testing.T) {
		for _, made := range []bool{true, false} {
			bodies := 0
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				return durable.TransactionalStep(ctx, "sell", func(_ context.Context, tx any) (string, error) {
					bodies++
					tx.(*sale).sell(fmt.Sprint(bodies))
					return fmt.Sprint(bodies), nil
				})
			})
			b, s := openTill(t, durable.Options{}, f)
			s.commits = func(n int, commit func() error) error {
				if n > 1 || made {
					require.NoError(t, commit())
				}
				if n == 1 {
					return checkpoint.ErrUnknown
				}
				return nil
			}
			out := run(b, f, 0)
			require.Equal(t, []string{out}, s.sold())
			require.Equal(t, map[bool]int{true: 1, false: 2}[made], bodies)
		}
	})

	inBubble(t, "WhatItDoesWithoutAStoreThatCan", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) { return sell(ctx, "x", quickly) })
		b := setup(t, f)
		x := start(b, f, 0)
		_, err := x.Result(b.ctx)
		require.ErrorContains(t, err, "can't append within a transaction: *memstore.Store")
		require.ErrorContains(t, err, "checkpoint/pgstore")
		ops, err := b.engine.Operations(b.ctx, x.ID())
		require.NoError(t, err)
		require.Len(t, ops, 1)
		require.Equal(t, 1, ops[0].Attempt, "it is not retried")
	})

	// What has an outcome, or gets it from somebody else, needs no transaction.
	inBubble(t, "AnyStoreDoesWhereNoBodyIsCalled", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			a, err := sell(ctx, "a", durable.WithTransaction(nil, true))
			if err != nil {
				return "", err
			}
			if err := durable.Wait(ctx, "rest", time.Hour); err != nil {
				return "", err
			}
			b, err := sell(ctx, "b")
			return a + b, err
		})
		b, _ := openTill(t, durable.Options{}, f)
		x := start(b, f, 0)
		_, err := x.Result(b.ctx)
		require.NoError(t, err)
		recording, err := b.engine.Recording(b.ctx, x.ID())
		require.NoError(t, err)
		require.NoError(t, durable.Replay(b.ctx, recording, &durable.Options{Functions: []durable.Definition{f}}))

		e, err := durable.New(memstore.New(), &durable.Options{Functions: []durable.Definition{f}, ParkFor: -1, Logger: slog.New(slog.DiscardHandler),
			Interceptor: func(_ context.Context, info durable.StepInfo, next func(context.Context) (any, error)) (any, error) {
				return "stub of " + info.Name, nil
			}})
		require.NoError(t, err)
		defer e.Close()
		out, err := f.Run(b.ctx, e, 0)
		require.NoError(t, err)
		require.Equal(t, "stub of astub of b", out)
	})

	inBubble(t, "Options", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			if _, err := sell(ctx, "x", durable.WithTransaction("refused", false)); err == nil {
				return "", errors.New("it was not refused")
			}
			_, err := durable.Step(ctx, "y", func(context.Context) (int, error) { return 0, nil }, durable.WithTransaction(nil, false))
			return "", err
		})
		b, s := openTill(t, durable.Options{}, f)
		_, err := f.Run(b.ctx, b.engine, 0)
		require.ErrorContains(t, err, "the step has no transaction")
		require.Equal(t, 1, s.begun, "what is misused is not tried again")
	})

	inBubble(t, "AtMostOnce", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			return sell(ctx, "x", durable.AtMostOnce())
		})
		b, s := openTill(t, durable.Options{}, f)
		s.commits = func(int, func() error) error { return checkpoint.ErrUnknown }
		_, err := f.Run(b.ctx, b.engine, 0)
		require.ErrorIs(t, err, durable.ErrInterrupted)
		require.Empty(t, s.sold())
	})

	inBubble(t, "Interceptors", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			stub, err := sell(ctx, "stub")
			if err != nil {
				return "", err
			}
			twice, err := sell(ctx, "twice")
			if err != nil {
				return "", err
			}
			_, err = sell(ctx, "fails", durable.WithRetry(durable.NoRetry()))
			return stub + twice, errors.Join(err)
		})
		b, s := openTill(t, durable.Options{Interceptor: func(ctx context.Context, info durable.StepInfo, next func(context.Context) (any, error)) (any, error) {
			if info.Name == "stub" {
				return "stubbed", nil
			}
			v, err := next(ctx)
			switch info.Name {
			case "twice":
				return next(ctx)
			case "fails":
				return nil, errors.New("of the interceptor")
			}
			return v, err
		}}, f)
		x := start(b, f, 0)
		_, err := x.Result(b.ctx)
		require.ErrorContains(t, err, "of the interceptor")
		require.Equal(t, []string{"twice"}, s.sold())
		require.JSONEq(t, `"stubbed"`, string(b.operation(x.ID(), "1").Result))
	})

	// What happens to the execution while a commit takes a minute, and then fails or not.
	for name, c := range map[string]struct {
		opts   []durable.StepOption
		during func(b *bundle, s *till, id string)
		made   string // what the operation becomes if the commit is made
		failed string // and if it is not
	}{
		"Nothing":    {made: "SUCCEEDED", failed: "FAILED"},
		"ItsTimeout": {opts: []durable.StepOption{durable.WithTimeout(30 * time.Second)}, made: "SUCCEEDED", failed: "TIMED_OUT"},
		"ACancel": {during: func(b *bundle, _ *till, id string) { b.cancel(id) },
			made: "SUCCEEDED", failed: "FAILED"},
	} {
		for _, made := range []bool{true, false} {
			inBubble(t, fmt.Sprintf("WhileItCommits/%s/%v", name, made), func(t *testing.T) {
				f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
					return sell(ctx, "x", append(c.opts, quickly)...)
				})
				b, s := openTill(t, durable.Options{}, f)
				s.commits = func(n int, commit func() error) error {
					time.Sleep(time.Minute)
					if !made {
						return errors.New("not made")
					}
					return commit()
				}
				x := start(b, f, 0)
				time.Sleep(time.Second)
				synctest.Wait()
				if c.during != nil {
					c.during(b, s, x.ID())
				}
				_, err := x.Result(b.ctx)
				require.Equal(t, made, err == nil, "%v", err)
				want := c.failed
				if made {
					want = c.made
					require.Equal(t, []string{"x"}, s.sold())
				} else {
					require.Empty(t, s.sold())
				}
				require.EqualValues(t, want, b.operation(x.ID(), "1").Status)
			})
		}
	}

	inBubble(t, "OthersGoOnWhileItCommits", func(t *testing.T) {
		for _, made := range []bool{true, false} {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				slow := durable.Go(ctx, "slow", func(ctx *durable.Context) (string, error) { return sell(ctx, "slow", quickly) })
				batch, err := durable.Map(ctx, "others", make([]int, 20), func(ctx *durable.Context, _ int, i int) (string, error) {
					if err := durable.Wait(ctx, "spread", time.Duration(i)*5*time.Second); err != nil {
						return "", err
					}
					if i%2 == 0 {
						return sell(ctx, "other", quickly)
					}
					return durable.Step(ctx, "step", func(context.Context) (string, error) { return "step", nil })
				})
				if err != nil {
					return 0, err
				}
				_, err = slow.Await(ctx)
				return batch.Succeeded(), err
			})
			b, s := openTill(t, durable.Options{}, f)
			s.commits = func(n int, commit func() error) error {
				if n == 1 {
					time.Sleep(50 * time.Second)
					if !made {
						return errors.New("not made")
					}
				}
				return commit()
			}
			x := start(b, f, 0)
			out, err := x.Result(b.ctx)
			require.NoError(t, err)
			require.Equal(t, 20, out)
			require.Len(t, s.sold(), 11)
			n, seen := int64(1), 0
			for ev := range b.events(x.ID()) {
				require.Equal(t, n, ev.EventID)
				n++
				if ev.Type == "StepSucceeded" {
					seen++
				}
				if ev.Type == "InvocationCompleted" {
					require.Nil(t, ev.Failure, "what was recorded meanwhile did not fit")
				}
			}
			require.Equal(t, 21, seen)
			seq := uint64(1)
			for r, err := range s.Records(b.ctx, x.ID(), 0) {
				require.NoError(t, err)
				require.Equal(t, seq, r.Seq)
				seq++
			}
		}
	})

	inBubble(t, "ItsContextEndsWhileItCommits", func(t *testing.T) {
		for _, made := range []bool{true, false} {
			f := durable.Define("f", func(ctx *durable.Context, whole bool) (string, error) {
				slow := durable.Go(ctx, "slow", func(ctx *durable.Context) (string, error) { return sell(ctx, "slow", quickly) })
				quick := durable.Go(ctx, "quick", func(ctx *durable.Context) (string, error) {
					return "quick", durable.Wait(ctx, "rest", time.Second)
				})
				if whole {
					return quick.Await(ctx)
				}
				v, err := durable.Race(ctx, "race", slow, quick)
				if err != nil {
					return "", err
				}
				return v, durable.Wait(ctx, "more", time.Hour)
			})
			for _, whole := range []bool{true, false} {
				b, s := openTill(t, durable.Options{}, f)
				s.commits = func(n int, commit func() error) error {
					time.Sleep(time.Minute)
					if !made {
						return errors.New("not made")
					}
					return commit()
				}
				x := start(b, f, whole)
				out, err := x.Result(b.ctx)
				require.NoError(t, err)
				require.Equal(t, "quick", out)
				require.Equal(t, made, len(s.sold()) == 1)
				require.Equal(t, made, b.operation(x.ID(), "1-1").Status == durable.OperationSucceeded, "what is recorded is what was sold")
				if whole {
					require.Equal(t, 1, s.begun, "nobody waits for another attempt")
				}
			}
		}
	})

	inBubble(t, "EndsWithItsBodysContext", func(t *testing.T) {
		{
			gone := make(chan error, 1)
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				return durable.TransactionalStep(ctx, "x", func(c context.Context, tx any) (string, error) {
					<-tx.(*sale).gone
					<-c.Done()
					gone <- c.Err()
					return "x", nil
				})
			})
			b, s := openTill(t, durable.Options{}, f)
			x := start(b, f, 0)
			time.Sleep(time.Second)
			b.stop(x.ID())
			require.Error(t, <-gone)
			require.Empty(t, s.sold())
			b.engine.Close()
		}
	})

	inBubble(t, "EndsAtItsTimeout", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			return durable.TransactionalStep(ctx, "x", func(_ context.Context, tx any) (string, error) {
				<-tx.(*sale).gone // it does not heed its context
				return "x", nil
			}, durable.WithTimeout(time.Minute))
		})
		b, s := openTill(t, durable.Options{}, f)
		_, err := f.Run(b.ctx, b.engine, 0)
		require.ErrorIs(t, err, durable.ErrTimeout)
		require.Empty(t, s.sold())
	})
}
