package durable_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// later starts a future that takes d and then returns v, or fails with the text.
func later[O any](ctx *durable.Context, name string, d time.Duration, v O, fail string) *durable.Future[O] {
	return durable.Go(ctx, name, func(ctx *durable.Context) (O, error) {
		if err := durable.Wait(ctx, "take", d); err != nil {
			return v, err
		}
		if fail != "" {
			return v, errors.New(fail)
		}
		return v, nil
	})
}

func TestGo(t *testing.T) {
	t.Parallel()

	t.Run("RunsBesideTheHandler", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (out string, err error) {
				took, err := timed(ctx, func() error {
					a, b := later(ctx, "a", 2*time.Minute, "A", ""), later(ctx, "b", time.Minute, "B", "")
					if err := durable.Wait(ctx, "own", time.Minute); err != nil {
						return err
					}
					for _, f := range []*durable.Future[string]{a, b, a} {
						v, err := f.Await(ctx)
						if err != nil {
							return err
						}
						out += f.Name() + v
					}
					return nil
				})
				return fmt.Sprint(out, " ", took), err
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "aAbBaA 2m0s", got)
			},
			history: []string{"StepStarted 1", "StepSucceeded 1", "ContextStarted 2 a", "ContextStarted 3 b", "WaitStarted 2-1 take", "WaitStarted 3-1 take", "WaitStarted 4 own",
				"WaitSucceeded 4 own", "WaitSucceeded 3-1 take", "ContextSucceeded 3 b", "WaitSucceeded 2-1 take", "ContextSucceeded 2 a", "StepStarted 5", "StepSucceeded 5"},
		}.runLoosely(t)
	})

	t.Run("ErrorIsThatOfAChild", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			opts: durable.Options{Errors: []error{errSoldOut}},
			op: func(ctx *durable.Context) (int, error) {
				return durable.Go(ctx, "f", func(*durable.Context) (int, error) { return 7, fmt.Errorf("deep: %w", errSoldOut) }).Await(ctx)
			},
			check: func(t *testing.T, got int, err error) {
				require.Zero(t, got)
				require.ErrorIs(t, err, errSoldOut)
				require.Equal(t, durable.OpError{Type: "CONTEXT", ExecutionID: "x", OperationID: "1", Name: "f"}, describeError(err).op)
				require.Equal(t, "deep: sold out", failure(err).Message)
			},
			history: []string{"ContextStarted 1 f", "ContextFailed 1 f"},
		}.run(t)
	})

	t.Run("PanicIsAFailure", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				return durable.Go(ctx, "f", func(*durable.Context) (int, error) { panic("boom") }).Await(ctx)
			},
			check: func(t *testing.T, _ int, err error) {
				require.ErrorIs(t, err, durable.ErrPanic)
				require.Contains(t, failure(err).Stack, "future_test.go")
			},
		}.run(t)
	})

	t.Run("BadNameAndBadOptionAreErrorsOfAwait", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				return durable.Go(ctx, "\n", func(*durable.Context) (int, error) { return 1, nil }).Await(ctx)
			},
			check: func(t *testing.T, _ int, err error) {
				require.ErrorIs(t, err, durable.ErrInvalidID)
				require.Equal(t, "CONTEXT", opError(err).Type)
				require.NotEmpty(t, opError(err).Hint)
				require.Equal(t, 1, strings.Count(err.Error(), "invalid ID"), "it is said once: %v", err)
			},
			history: []string{},
		}.run(t)
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				all, err := durable.All(ctx, "all", durable.Go(ctx, "f", func(*durable.Context) (int, error) { return 1, nil }, durable.WithTimeout(-1)))
				return len(all), err
			},
			check: func(t *testing.T, _ int, err error) { require.ErrorContains(t, err, "WithTimeout") },
		}.run(t)
	})

	t.Run("OneThatCouldNotStartHasSettled", func(t *testing.T) {
		t.Parallel()
		never := func(ctx *durable.Context) *durable.Future[int] {
			return durable.Go(ctx, "\n", func(*durable.Context) (int, error) { return 1, nil })
		}
		for name, op := range map[string]func(ctx *durable.Context) error{
			"All": func(ctx *durable.Context) error {
				_, err := durable.All(ctx, "g", later(ctx, "f", time.Hour, 1, ""), never(ctx))
				return err
			},
			"Race": func(ctx *durable.Context) error {
				_, err := durable.Race(ctx, "g", later(ctx, "f", time.Hour, 1, ""), never(ctx))
				return err
			},
			"Any": func(ctx *durable.Context) error { _, err := durable.Any(ctx, "g", never(ctx), never(ctx)); return err },
			"Select": func(ctx *durable.Context) error {
				first, err := durable.Select(ctx, "g", later(ctx, "f", time.Hour, 1, ""), never(ctx))
				if err != nil {
					return err
				}
				_, err = first.(*durable.Future[int]).Await(ctx)
				return err
			},
			"Settled": func(ctx *durable.Context) error {
				for first := range durable.Settled(ctx, "g", later(ctx, "f", time.Hour, 1, ""), never(ctx)) {
					_, err := first.(*durable.Future[int]).Await(ctx)
					return err
				}
				return nil
			},
			"Timer": func(ctx *durable.Context) error {
				first, err := durable.Select(ctx, "g", later(ctx, "f", time.Hour, 1, ""), durable.After(ctx, "\n", time.Hour))
				if err != nil {
					return err
				}
				return first.(*durable.Timer).Await(ctx)
			},
		} {
			t.Run(name, func(t *testing.T) {
				trial[durable.None]{
					op:     func(ctx *durable.Context) (durable.None, error) { return durable.None{}, op(ctx) },
					check:  func(t *testing.T, _ durable.None, err error) { require.ErrorIs(t, err, durable.ErrInvalidID) },
					varied: true, // what the other future records meanwhile
				}.run(t)
			})
		}
	})

	t.Run("NotAwaitedEndsWithTheHandler", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			var ended, deferred atomic.Int32
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				durable.Go(ctx, "waits", func(ctx *durable.Context) (int, error) {
					defer deferred.Add(1)
					return 1, durable.Wait(ctx, "w", 100*time.Hour)
				})
				durable.Go(ctx, "works", func(ctx *durable.Context) (int, error) {
					err := durable.Do(ctx, "s", func(c context.Context) error { <-c.Done(); ended.Add(1); return nil })
					if err == nil {
						err = durable.Do(ctx, "never", func(c context.Context) error { panic("it began after the end") })
					}
					return 1, err
				})
				return 1, durable.Wait(ctx, "short", time.Minute)
			})
			b := setupWith(t, opts, f)
			x := start(b, f, 1)
			began := time.Now()
			_, err := finish(b, x)
			require.NoError(t, err)
			require.Equal(t, time.Minute, time.Since(began))
			synctest.Wait()
			require.EqualValues(t, 1, ended.Load())
			history := b.history(x.ID())
			require.Equal(t, "ExecutionSucceeded", history[len(history)-1])
			require.NotContains(t, history, "StepSucceeded 2-1 s")
		})
	})

	t.Run("ErrorThatNobodyAwaitedIsLogged", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var buf lockedBuffer
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				durable.Go(ctx, "left", func(*durable.Context) (int, error) { return 0, errors.New("secret of the user") })
				durable.Go(ctx, "fine", func(*durable.Context) (int, error) { return 0, nil })
				awaited := durable.Go(ctx, "seen", func(*durable.Context) (int, error) { return 0, errors.New("x") })
				if _, err := awaited.Await(ctx); err == nil {
					return 0, nil
				}
				return 1, durable.Wait(ctx, "w", time.Minute)
			})
			b := setupWith(t, durable.Options{ParkFor: -1, Logger: slog.New(slog.NewTextHandler(&buf, nil))}, f)
			x := start(b, f, 1)
			_, err := finish(b, x)
			require.NoError(t, err)
			out := buf.String()
			require.Equal(t, 1, strings.Count(out, "level=WARN"), out)
			require.Contains(t, out, "name=left")
			require.NotContains(t, out, "secret", "texts of the user's errors are not logged")
		})
	})

	t.Run("Timeout", func(t *testing.T) {
		t.Parallel()
		trial[time.Duration]{
			op: func(ctx *durable.Context) (time.Duration, error) {
				return timed(ctx, func() error {
					_, err := durable.Go(ctx, "f", func(ctx *durable.Context) (int, error) { return 1, durable.Wait(ctx, "w", 50*time.Hour) }, durable.WithTimeout(time.Minute)).Await(ctx)
					return err
				})
			},
			check: func(t *testing.T, took time.Duration, err error) {
				require.Equal(t, "ErrTimeout", matching(err))
				require.Equal(t, time.Minute, took)
			},
			history: timedHistory("ContextStarted 2 f", "WaitStarted 2-1 w", "WaitCancelled 2-1 w", "ContextFailed 2 f"),
		}.run(t)
	})

	t.Run("AwaitedElsewhere", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				f := later(ctx, "f", time.Minute, "shared", "")
				b, err := durable.Map(ctx, "m", []int{1, 2, 3}, func(ctx *durable.Context, n, _ int) (string, error) {
					v, err := f.Await(ctx)
					return fmt.Sprint(v, n), err
				})
				return strings.Join(b.Values(), " "), err
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "shared1 shared2 shared3", got)
			},
		}.runLoosely(t)
	})

	t.Run("OfAFunctionThatReturnedIsCancelled", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				var f *durable.Future[int]
				var cb *durable.Callback[int]
				var timer *durable.Timer
				// A child that has ended is not run again, so this can't be right on replay; the wait keeps it from ending.
				_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
					f = durable.Go(ctx, "f", func(ctx *durable.Context) (int, error) { return 1, durable.Wait(ctx, "w", 50*time.Hour) })
					timer = durable.After(ctx, "t", 50*time.Hour)
					var err error
					cb, err = durable.CreateCallback[int](ctx, "cb")
					return 1, err
				})
				if err != nil || f == nil {
					return "true true true", err // replay
				}
				_, err1 := f.Await(ctx)
				_, err2 := cb.Await(ctx)
				err3 := timer.Await(ctx)
				return fmt.Sprint(errors.Is(err1, durable.ErrCanceled), " ", errors.Is(err2, durable.ErrCanceled), " ", errors.Is(err3, durable.ErrCanceled)), nil
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "true true true", got, "awaiting what was abandoned must not wait for ever")
			},
			varied: true,
		}.run(t)
	})

	t.Run("OfAFunctionThatReturnedDelaysNothing", func(t *testing.T) {
		t.Parallel()
		for name, gather := range map[string]func(ctx *durable.Context, abandoned, fine *durable.Future[int]) error{
			"All": func(ctx *durable.Context, a, f *durable.Future[int]) error {
				_, err := durable.All(ctx, "g", f, a)
				return err
			},
			"Any": func(ctx *durable.Context, a, _ *durable.Future[int]) error {
				_, err := durable.Any(ctx, "g", a, a)
				return err
			},
			"Race": func(ctx *durable.Context, a, f *durable.Future[int]) error {
				_, err := durable.Race(ctx, "g", f, a)
				return err
			},
			"Select": func(ctx *durable.Context, a, f *durable.Future[int]) error {
				first, err := durable.Select(ctx, "g", f, a)
				if err == nil {
					_, err = first.(*durable.Future[int]).Await(ctx)
				}
				return err
			},
		} {
			t.Run(name, func(t *testing.T) {
				everyLife(t, func(t *testing.T, opts durable.Options) {
					f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
						fine := later(ctx, "fine", time.Hour, 1, "")
						b, err := durable.Map(ctx, "keep", []int{1}, func(ctx *durable.Context, _, _ int) (string, error) {
							var left *durable.Future[int]
							_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
								left = later(ctx, "left", 50*time.Hour, 1, "")
								return 1, nil
							})
							if err != nil || left == nil {
								return "ErrCanceled", err // on replay the child is not run again, and this item neither
							}
							return matching(gather(ctx, left, fine)), nil
						})
						if err != nil {
							return "", err
						}
						return b.Values()[0], nil
					})
					opts.ParkFor = 1000 * time.Hour // a handler can't hold on to a future over a suspension
					b := setupWith(t, opts, f)
					x := start(b, f, 1)
					began := time.Now()
					out, err := finish(b, x)
					require.NoError(t, err)
					require.Equal(t, "ErrCanceled", out)
					require.LessOrEqual(t, time.Since(began), time.Hour)
				})
			})
		}
	})

	t.Run("Cancel", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op:      func(ctx *durable.Context) (int, error) { return later(ctx, "f", 50*time.Hour, 1, "").Await(ctx) },
			outside: cancelled,
			check:   func(t *testing.T, _ int, err error) { require.Equal(t, "ErrCanceled", matching(err)) },
			history: []string{"ContextStarted 1 f", "WaitStarted 1-1 take", "WaitCancelled 1-1 take", "ContextFailed 1 f"},
		}.run(t)
	})

	t.Run("StartedInACancelledScope", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				if durable.Wait(ctx, "w", 50*time.Hour) == nil {
					return 0, nil
				}
				return durable.Go(ctx, "f", func(*durable.Context) (int, error) { return 1, nil }).Await(ctx.WithoutCancel())
			},
			outside: cancelled,
			check:   func(t *testing.T, _ int, err error) { require.Equal(t, "ErrCanceled", matching(err)) },
			history: []string{"WaitStarted 1 w", "WaitCancelled 1 w"},
		}.run(t)
	})

	t.Run("StandardContextEndsNoEarlierOnReplay", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				c := ctx.Context()
				timer := durable.After(ctx, "t", 50*time.Hour)
				before := c.Err()
				err := timer.Await(ctx)
				return fmt.Sprint(before, " ", c.Err()), err
			},
			outside: cancelled,
			check: func(t *testing.T, got string, err error) {
				require.ErrorIs(t, err, durable.ErrCanceled)
				require.Equal(t, "<nil> context canceled", got)
			},
		}.run(t)
	})
}

func TestAll(t *testing.T) {
	t.Parallel()

	t.Run("ReturnsTheResultsInOrder", func(t *testing.T) {
		t.Parallel()
		trial[[]string]{
			op: func(ctx *durable.Context) ([]string, error) {
				a, b := later(ctx, "a", 2*time.Minute, "A", ""), later(ctx, "b", time.Minute, "B", "")
				return durable.All(ctx, "all", a, b, a)
			},
			check: func(t *testing.T, got []string, err error) {
				require.NoError(t, err)
				require.Equal(t, []string{"A", "B", "A"}, got)
			},
			history: []string{"ContextStarted 1 a", "ContextStarted 2 b", "WaitStarted 1-1 take", "WaitStarted 2-1 take", "ContextStarted 3 all",
				"WaitSucceeded 2-1 take", "ContextSucceeded 2 b", "WaitSucceeded 1-1 take", "ContextSucceeded 1 a", "ContextSucceeded 3 all"},
		}.runLoosely(t)
	})

	t.Run("FirstFailureEndsIt", func(t *testing.T) {
		t.Parallel()
		trial[time.Duration]{
			op: func(ctx *durable.Context) (time.Duration, error) {
				return timed(ctx, func() error {
					_, err := durable.All(ctx, "all", later(ctx, "a", time.Hour, 1, "late"), later(ctx, "b", time.Minute, 2, "first"), later(ctx, "c", time.Second, 3, ""))
					return err
				})
			},
			check: func(t *testing.T, took time.Duration, err error) {
				require.Equal(t, "first", failure(err).Message)
				require.Equal(t, "b", opError(err).Name)
				require.Equal(t, time.Minute, took)
			},
		}.runLoosely(t)
	})

	t.Run("OfNothing", func(t *testing.T) {
		t.Parallel()
		trial[[]int]{
			op: func(ctx *durable.Context) ([]int, error) { return durable.All[int](ctx, "all") },
			check: func(t *testing.T, got []int, err error) {
				require.NoError(t, err)
				require.Empty(t, got)
			},
			history: []string{"ContextStarted 1 all", "ContextSucceeded 1 all"},
		}.run(t)
	})

	t.Run("OfWhatHasSettled", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				a, b := later(ctx, "a", 2*time.Minute, 1, "second"), later(ctx, "b", time.Minute, 2, "first")
				if err := durable.Wait(ctx, "w", time.Hour); err != nil {
					return "", err
				}
				_, err := durable.All(ctx, "all", a, b)
				return failure(err).Message, nil
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "first", got)
			},
		}.runLoosely(t)
	})

	t.Run("Cancel", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				_, err := durable.All(ctx, "all", later(ctx, "a", 50*time.Hour, 1, ""), later(ctx, "b", 50*time.Hour, 1, ""))
				return matching(err), nil // whichever was first
			},
			outside: cancelled,
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "ErrCanceled", got)
			},
			varied: true,
		}.run(t)
	})
}

func TestAny(t *testing.T) {
	t.Parallel()

	t.Run("FirstSuccessEndsIt", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (out string, _ error) {
				took, err := timed(ctx, func() (err error) {
					out, err = durable.Any(ctx, "any", later(ctx, "a", time.Hour, "A", ""), later(ctx, "b", time.Minute, "B", "no"), later(ctx, "c", 2*time.Minute, "C", ""))
					return err
				})
				return fmt.Sprint(out, took), err
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "C2m0s", got)
			},
		}.runLoosely(t)
	})

	t.Run("AllFailuresAreJoined", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			opts: durable.Options{Errors: []error{errSoldOut, &transient{}}},
			op: func(ctx *durable.Context) (int, error) {
				return durable.Any(ctx, "any", durable.Go(ctx, "a", func(*durable.Context) (int, error) { return 0, errSoldOut }),
					durable.Go(ctx, "b", func(*durable.Context) (int, error) { return 0, &transient{503} }))
			},
			check: func(t *testing.T, _ int, err error) {
				require.ErrorIs(t, err, errSoldOut)
				typed, ok := errors.AsType[*transient](err)
				require.True(t, ok)
				require.Equal(t, 503, typed.Code)
				require.ErrorContains(t, err, "sold out")
				require.ErrorContains(t, err, "code 503")
			},
		}.runLoosely(t)
	})

	t.Run("OfNothingIsAnError", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op:      func(ctx *durable.Context) (int, error) { return durable.Any[int](ctx, "any") },
			check:   func(t *testing.T, _ int, err error) { require.ErrorContains(t, err, "at least one") },
			history: []string{},
		}.run(t)
	})
}

func TestRace(t *testing.T) {
	t.Parallel()

	t.Run("FirstResultWins", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (out string, _ error) {
				took, err := timed(ctx, func() (err error) {
					out, err = durable.Race(ctx, "race", later(ctx, "a", time.Hour, "A", ""), later(ctx, "b", time.Minute, "B", ""))
					return err
				})
				return fmt.Sprint(out, took), err
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "B1m0s", got)
			},
		}.runLoosely(t)
	})

	t.Run("AFailureCounts", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				return durable.Race(ctx, "race", later(ctx, "a", time.Hour, 1, ""), later(ctx, "b", time.Minute, 2, "no"))
			},
			check: func(t *testing.T, _ int, err error) { require.Equal(t, "b", opError(err).Name) },
		}.runLoosely(t)
	})

	t.Run("LosersGoOn", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				slow := later(ctx, "slow", time.Hour, "slow", "")
				first, err := durable.Race(ctx, "race", slow, later(ctx, "fast", time.Minute, "fast", ""))
				if err != nil {
					return "", err
				}
				second, err := slow.Await(ctx)
				return first + second, err
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "fastslow", got)
			},
		}.runLoosely(t)
	})

	t.Run("ChoiceIsRecorded", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			var seen []string
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				var fs []*durable.Future[string]
				for i := range 10 {
					fs = append(fs, later(ctx, "f", time.Minute, fmt.Sprint(i), "")) // all at the same time
				}
				v, err := durable.Race(ctx, "race", fs...)
				if err != nil {
					return 0, err
				}
				w, err := durable.Any(ctx, "any", fs...)
				seen = append(seen, v+w)
				if err != nil {
					return 0, err
				}
				return 1, durable.Wait(ctx, "w", time.Hour)
			})
			b := setupWith(t, opts, f)
			for range 5 {
				seen = nil
				run(b, f, 1)
				for _, s := range seen {
					require.Equal(t, seen[0], s)
				}
			}
		})
	})

	t.Run("OfNothingIsAnError", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op:      func(ctx *durable.Context) (int, error) { return durable.Race[int](ctx, "race") },
			check:   func(t *testing.T, _ int, err error) { require.ErrorContains(t, err, "at least one") },
			history: []string{},
		}.run(t)
	})
}

func TestSelect(t *testing.T) {
	t.Parallel()
	approvalOrTimer := func(d time.Duration) func(*durable.Context) (string, error) {
		return func(ctx *durable.Context) (string, error) {
			approval, err := durable.CreateCallback[string](ctx, "cb")
			if err != nil {
				return "", err
			}
			timer := durable.After(ctx, "timer", d)
			work := later(ctx, "work", 40*time.Hour, 1, "")
			first, err := durable.Select(ctx, "select", approval, timer, work)
			if err != nil {
				return "", err
			}
			switch first {
			case approval:
				return approval.Await(ctx)
			case timer:
				return "timer", timer.Await(ctx)
			case work:
				return "work", nil
			}
			return "", errors.New("none of them")
		}
	}

	t.Run("ACallback", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op:      approvalOrTimer(time.Hour),
			outside: succeeded("approved"),
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "approved", got)
			},
		}.runLoosely(t)
	})

	t.Run("ATimer", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: approvalOrTimer(time.Second),
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "timer", got)
			},
			varied: true, // the timers of the others fire before the trial's own
		}.run(t)
	})

	t.Run("AFuture", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: approvalOrTimer(50 * time.Hour),
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "work", got)
			},
		}.runLoosely(t)
	})

	t.Run("TheChoiceStandsWhenTheOthersHaveSettledToo", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				a, b := durable.After(ctx, "a", 2*time.Minute), durable.After(ctx, "b", time.Minute)
				first, err := durable.Select(ctx, "select", a, b)
				if err != nil {
					return "", err
				}
				if err := durable.Wait(ctx, "w", time.Hour); err != nil {
					return "", err
				}
				second, err := durable.Select(ctx, "select", a, b) // both are over now: the one that was first
				if err != nil {
					return "", err
				}
				return first.Name() + second.Name(), nil
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "bb", got)
			},
		}.run(t)
	})

	t.Run("DueTogetherIsInTheOrderOfTheDueTimes", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (out string, _ error) {
				var as []durable.Awaitable
				for i := range 10 {
					as = append(as, durable.After(ctx, fmt.Sprint(i), time.Duration(10-i)*time.Minute))
				}
				for a := range durable.Settled(ctx, "settled", as...) {
					out += a.Name()
				}
				return out, nil
			})
			d := newDisk(t)
			b := boot(t, d, opts, f)
			x := start(b, f, 1)
			time.Sleep(30 * time.Second)
			b.crash()
			time.Sleep(time.Hour) // they are all over when the process comes back
			b = boot(t, d, opts, f)
			out, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
			require.NoError(t, err)
			require.Equal(t, "9876543210", out)
		})
	})

	t.Run("AFailureCounts", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				first, err := durable.Select(ctx, "select", later(ctx, "bad", time.Minute, 1, "no"), durable.After(ctx, "t", time.Hour))
				if err != nil {
					return "", err
				}
				return first.Name(), nil
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err, "the error is that of Await")
				require.Equal(t, "bad", got)
			},
		}.runLoosely(t)
	})

	t.Run("OfNothingIsAnError", func(t *testing.T) {
		t.Parallel()
		trial[bool]{
			op: func(ctx *durable.Context) (bool, error) {
				first, err := durable.Select(ctx, "select")
				return first == nil, err
			},
			check: func(t *testing.T, none bool, err error) {
				require.True(t, none)
				require.ErrorContains(t, err, "at least one")
			},
			history: []string{},
		}.run(t)
	})

	t.Run("Cancel", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				cb, err := durable.CreateCallback[string](ctx, "cb")
				if err != nil {
					return "", err
				}
				first, err := durable.Select(ctx, "select", cb, durable.After(ctx, "t", 50*time.Hour))
				if err != nil {
					return "", err
				}
				if first == cb {
					return cb.Await(ctx)
				}
				return "", first.(*durable.Timer).Await(ctx)
			},
			outside: cancelled,
			check:   func(t *testing.T, _ string, err error) { require.Equal(t, "ErrCanceled", matching(err)) },
			varied:  true,
		}.run(t)
	})
}

func TestSettled(t *testing.T) {
	t.Parallel()
	three := func(ctx *durable.Context) (a, b, c *durable.Future[string], as []durable.Awaitable) {
		a, b, c = later(ctx, "a", 3*time.Minute, "A", ""), later(ctx, "b", time.Minute, "B", ""), later(ctx, "c", 2*time.Minute, "C", "no")
		return a, b, c, durable.Awaitables([]*durable.Future[string]{a, b, c})
	}

	t.Run("YieldsInTheOrderInWhichTheySettled", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (out string, _ error) {
				_, _, _, as := three(ctx)
				for a := range durable.Settled(ctx, "settled", as...) {
					v, err := a.(*durable.Future[string]).Await(ctx)
					out += fmt.Sprint(a.Name(), v, err != nil, " ")
				}
				return out, nil
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "bBfalse ctrue aAfalse ", strings.ReplaceAll(got, "  ", " "))
			},
		}.runLoosely(t)
	})

	t.Run("OperationsInTheLoop", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (out string, err error) {
				_, _, _, as := three(ctx)
				for a := range durable.Settled(ctx, "settled", as...) {
					s, err := durable.Step(ctx, "handle "+a.Name(), body(a.Name()))
					if err != nil {
						return "", err
					}
					if err := durable.Wait(ctx, "rest", 10*time.Minute); err != nil { // the others settle meanwhile
						return "", err
					}
					out += s
				}
				return out, nil
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "bca", got)
			},
		}.runLoosely(t)
	})

	t.Run("BreakAndRangeAgain", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (out string, err error) {
				_, _, _, as := three(ctx)
				settled := durable.Settled(ctx, "settled", as...)
				for range 2 {
					for a := range settled {
						out += a.Name()
						break
					}
				}
				if err := durable.Wait(ctx, "w", 90*time.Second); err != nil {
					return "", err
				}
				for a := range settled {
					out += a.Name()
				}
				for a := range settled {
					out += a.Name()
				}
				return out, nil
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "bb"+"bca"+"bca", got, "the recorded order, and then on")
			},
		}.runLoosely(t)
	})

	t.Run("PositionIsThatOfTheCall", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (out string, _ error) {
				timer := durable.After(ctx, "t", time.Minute)
				settled := durable.Settled(ctx, "settled", timer)
				if _, err := durable.Step(ctx, "s", body(1)); err != nil {
					return "", err
				}
				for a := range settled {
					out += a.Name()
				}
				return out, nil
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "t", got)
			},
			history: []string{"WaitStarted 1 t", "ContextStarted 2 settled", "StepStarted 3 s", "StepSucceeded 3 s", "WaitSucceeded 1 t", "ContextSucceeded 2 settled"},
		}.run(t)
	})

	t.Run("NeverRanged", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				durable.Settled(ctx, "settled", durable.After(ctx, "t", time.Minute))
				return durable.Step(ctx, "s", body(7))
			},
			check: func(t *testing.T, got int, err error) {
				require.NoError(t, err)
				require.Equal(t, 7, got)
			},
			varied: true,
		}.run(t)
	})

	t.Run("OfNothing", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				for range durable.Settled(ctx, "settled") {
					return 0, errors.New("there is nothing")
				}
				return 1, nil
			},
			check:   func(t *testing.T, _ int, err error) { require.NoError(t, err) },
			history: []string{"ContextStarted 1 settled", "ContextSucceeded 1 settled"},
		}.run(t)
	})

	t.Run("SameTwice", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (out string, _ error) {
				a := later(ctx, "a", time.Minute, 1, "")
				for s := range durable.Settled(ctx, "settled", a, a) {
					out += s.Name()
				}
				return out, nil
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "aa", got)
			},
		}.run(t)
	})

	t.Run("MixedAwaitables", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (out string, _ error) {
				cb, err := durable.CreateCallback[string](ctx, "cb")
				if err != nil {
					return "", err
				}
				for a := range durable.Settled(ctx, "settled", later(ctx, "f", 30*time.Second, 1, ""), cb, durable.After(ctx, "t", time.Hour)) {
					switch a := a.(type) {
					case *durable.Callback[string]:
						v, err := a.Await(ctx)
						if err != nil {
							return "", err
						}
						out += "callback " + v + ", "
					case *durable.Timer:
						out += "timer, "
					default:
						out += a.Name() + ", "
					}
				}
				return out, nil
			},
			outside: succeeded("yes"),
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "f, callback yes, timer, ", got)
			},
		}.runLoosely(t)
	})

	t.Run("OrderIsRecorded", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			var seen []string
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				var fs []*durable.Future[int]
				for i := range 10 {
					fs = append(fs, later(ctx, fmt.Sprint(i), time.Duration(i/5)*time.Minute, i, "")) // five at a time
				}
				var order string
				for a := range durable.Settled(ctx, "settled", durable.Awaitables(fs)...) {
					order += a.Name()
					if len(order) == 3 {
						if err := durable.Wait(ctx, "w", 30*time.Second); err != nil {
							return 0, err
						}
					}
				}
				seen = append(seen, order)
				return 1, durable.Wait(ctx, "w", time.Hour)
			})
			b := setupWith(t, opts, f)
			for range 5 {
				seen = nil
				run(b, f, 1)
				require.Len(t, seen[0], 10)
				for _, s := range seen {
					require.Equal(t, seen[0], s)
				}
			}
		})
	})

	t.Run("SurvivesRestarts", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (out string, _ error) {
				_, _, _, as := three(ctx)
				for a := range durable.Settled(ctx, "settled", as...) {
					s, err := durable.Step(ctx, "handle", body(a.Name()))
					if err != nil {
						return "", err
					}
					out += s
				}
				return out, nil
			})
			d := newDisk(t)
			b := boot(t, d, opts, f)
			x := start(b, f, 1)
			for range 5 {
				time.Sleep(31 * time.Second)
				b.crash()
				b = boot(t, d, opts, f)
			}
			out, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
			require.NoError(t, err)
			require.Equal(t, "bca", out)
		})
	})

	t.Run("CancelWhileItIsRanged", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (out string, _ error) {
				for a := range durable.Settled(ctx, "settled", later(ctx, "a", time.Second, 1, ""), later(ctx, "b", 50*time.Hour, 1, ""), later(ctx, "c", 50*time.Hour, 1, "")) {
					_, err := a.(*durable.Future[int]).Await(ctx)
					out += fmt.Sprint(matching(err), ";")
				}
				return out, nil
			},
			outside: cancelled,
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, ";ErrCanceled;ErrCanceled;", got)
			},
			varied: true,
		}.run(t)
	})

	t.Run("CalledInACancelledScopeYieldsNothing", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (n int, _ error) {
				timer := durable.After(ctx, "t", time.Minute)
				if durable.Wait(ctx, "w", 50*time.Hour) == nil {
					return 0, nil
				}
				for range durable.Settled(ctx, "settled", timer) {
					n++
				}
				return n, nil
			},
			outside: func(b *bundle, id string) {
				time.Sleep(time.Hour)
				require.NoError(b, b.engine.Cancel(b.ctx, id, ""))
			},
			check: func(t *testing.T, got int, err error) {
				require.NoError(t, err)
				require.Zero(t, got)
			},
		}.run(t)
	})
}

// lockedBuffer is a buffer for logs.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
