package durable_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// job is what a branch does: it takes its time, and then fails with fail, if set.
type job struct {
	takes time.Duration
	fail  string
}

// branches make a branch "b<i>" of each job, whose value is its index.
func branches(jobs ...job) []durable.Branch[int] {
	bs := make([]durable.Branch[int], len(jobs))
	for i, j := range jobs {
		bs[i] = durable.Branch[int]{Name: fmt.Sprint("b", i), Run: func(ctx *durable.Context) (int, error) {
			if j.takes > 0 {
				if err := durable.Wait(ctx, "take", j.takes); err != nil {
					return 0, err
				}
			}
			if j.fail != "" {
				return 0, errors.New(j.fail)
			}
			return i, nil
		}}
	}
	return bs
}

// view is all that a batch tells.
type view struct {
	Reason                 durable.BatchReason
	Status                 durable.ItemStatus
	Items                  string // index, name and status of each
	Values                 []int
	Errors                 []string
	Succeeded, Failed, Len int
	Took                   time.Duration
}

func look(b *durable.Batch[int]) view {
	if b == nil {
		return view{}
	}
	v := view{Reason: b.Reason(), Status: b.Status(), Values: b.Values(), Succeeded: b.Succeeded(), Failed: b.Failed(), Len: b.Len()}
	var items []string
	for it := range b.All() {
		items = append(items, fmt.Sprintf("%d%s=%s", it.Index, it.Name, it.Status))
		if (it.Err != nil) != (it.Status == durable.ItemFailed) {
			items = append(items, fmt.Sprint("error?", it.Err))
		}
		if it.Status != durable.ItemSucceeded && it.Value != 0 {
			items = append(items, fmt.Sprint("value?", it.Value))
		}
	}
	v.Items = strings.Join(items, " ")
	for _, err := range b.Errors() {
		v.Errors = append(v.Errors, failure(err).Message)
	}
	if (b.Err() == nil) != (len(v.Errors) == 0) {
		v.Errors = append(v.Errors, fmt.Sprint("Err() is ", b.Err()))
	}
	return v
}

// parallel is a trial's operation that runs jobs and looks at the batch.
func parallel(jobs []job, opts ...durable.BatchOption) func(*durable.Context) (view, error) {
	return func(ctx *durable.Context) (v view, err error) {
		took, err := timed(ctx, func() error {
			b, err := durable.Parallel(ctx, "p", branches(jobs...), opts...)
			v = look(b)
			return err
		})
		v.Took = took
		return v, err
	}
}

const (
	ok      = durable.ItemSucceeded
	bad     = durable.ItemFailed
	started = durable.ItemStarted
)

func TestParallel(t *testing.T) {
	t.Parallel()

	t.Run("KeepsTheOrderOfTheBranches", func(t *testing.T) {
		t.Parallel()
		trial[view]{
			op: parallel([]job{{takes: 3 * time.Minute}, {takes: time.Minute}, {}, {takes: 2 * time.Minute}}),
			check: func(t *testing.T, got view, err error) {
				require.NoError(t, err)
				require.Equal(t, view{Reason: durable.AllCompleted, Status: ok, Items: "0b0=SUCCEEDED 1b1=SUCCEEDED 2b2=SUCCEEDED 3b3=SUCCEEDED",
					Values: []int{0, 1, 2, 3}, Succeeded: 4, Len: 4, Took: 3 * time.Minute}, got)
			},
		}.runLoosely(t)
	})

	t.Run("OneAtATimeIsRecordedInOrder", func(t *testing.T) {
		t.Parallel()
		trial[[]string]{
			op: func(ctx *durable.Context) ([]string, error) {
				task := func(v string) durable.Branch[string] {
					return durable.Branch[string]{Run: func(ctx *durable.Context) (string, error) { return durable.Step(ctx, "work", body(v)) }}
				}
				b, err := durable.Parallel(ctx, "parallel", []durable.Branch[string]{task("task-1"), task("task-2")}, durable.WithMaxConcurrency(1))
				return b.Values(), err
			},
			check: func(t *testing.T, got []string, err error) {
				require.NoError(t, err)
				require.Equal(t, []string{"task-1", "task-2"}, got)
			},
			history: []string{"ContextStarted 1 parallel",
				"ContextStarted 1-1", "StepStarted 1-1-1 work", "StepSucceeded 1-1-1 work", "ContextSucceeded 1-1",
				"ContextStarted 1-2", "StepStarted 1-2-1 work", "StepSucceeded 1-2-1 work", "ContextSucceeded 1-2", "ContextSucceeded 1 parallel"},
		}.run(t)
	})

	t.Run("Completion", func(t *testing.T) {
		t.Parallel()
		m := time.Minute
		one := durable.WithMaxConcurrency(1)
		none := []int{}
		for _, c := range []struct {
			name    string
			jobs    []job
			opts    []durable.BatchOption
			want    view
			matches string
		}{
			{"FailFastByDefault", []job{{}, {m, "no"}, {2 * m, ""}}, nil,
				view{Reason: durable.FailureToleranceExceeded, Status: bad, Items: "0b0=SUCCEEDED 1b1=FAILED 2b2=STARTED", Values: []int{0}, Errors: []string{"no"}, Succeeded: 1, Failed: 1, Len: 3, Took: m},
				"ErrFailureToleranceExceeded"},
			{"FailFastStartsNoMore", []job{{}, {m, "no"}, {}}, []durable.BatchOption{one, durable.WithToleratedFailures(0)},
				view{Reason: durable.FailureToleranceExceeded, Status: bad, Items: "0b0=SUCCEEDED 1b1=FAILED", Values: []int{0}, Errors: []string{"no"}, Succeeded: 1, Failed: 1, Len: 2, Took: m},
				"ErrFailureToleranceExceeded"},
			{"ToleratedFailures", []job{{}, {m, "no"}, {2 * m, ""}}, []durable.BatchOption{durable.WithToleratedFailures(1)},
				view{Reason: durable.AllCompleted, Status: bad, Items: "0b0=SUCCEEDED 1b1=FAILED 2b2=SUCCEEDED", Values: []int{0, 2}, Errors: []string{"no"}, Succeeded: 2, Failed: 1, Len: 3, Took: 2 * m}, ""},
			{"OneFailureTooMany", []job{{m, "a"}, {2 * m, "b"}, {3 * m, ""}}, []durable.BatchOption{durable.WithToleratedFailures(1)},
				view{Reason: durable.FailureToleranceExceeded, Status: bad, Items: "0b0=FAILED 1b1=FAILED 2b2=STARTED", Values: none, Errors: []string{"a", "b"}, Failed: 2, Len: 3, Took: 2 * m},
				"ErrFailureToleranceExceeded"},
			{"AllMayFail", []job{{m, "a"}, {m, "b"}, {m, "c"}}, []durable.BatchOption{durable.WithToleratedFailures(3), one},
				view{Reason: durable.AllCompleted, Status: bad, Items: "0b0=FAILED 1b1=FAILED 2b2=FAILED", Values: none, Errors: []string{"a", "b", "c"}, Failed: 3, Len: 3, Took: 3 * m}, ""},
			{"MinSuccessful", []job{{m, ""}, {2 * m, ""}, {3 * m, ""}, {4 * m, ""}}, []durable.BatchOption{durable.WithMinSuccessful(2)},
				view{Reason: durable.MinSuccessfulReached, Status: ok, Items: "0b0=SUCCEEDED 1b1=SUCCEEDED 2b2=STARTED 3b3=STARTED", Values: []int{0, 1}, Succeeded: 2, Len: 4, Took: 2 * m}, ""},
			{"MinSuccessfulStartsNoMore", []job{{}, {}, {}, {}}, []durable.BatchOption{durable.WithMinSuccessful(2), one},
				view{Reason: durable.MinSuccessfulReached, Status: ok, Items: "0b0=SUCCEEDED 1b1=SUCCEEDED", Values: []int{0, 1}, Succeeded: 2, Len: 2}, ""},
			{"MinSuccessfulGoesOverFailures", []job{{m, "no"}, {2 * m, ""}, {3 * m, ""}}, []durable.BatchOption{durable.WithMinSuccessful(1)},
				view{Reason: durable.MinSuccessfulReached, Status: bad, Items: "0b0=FAILED 1b1=SUCCEEDED 2b2=STARTED", Values: []int{1}, Errors: []string{"no"}, Succeeded: 1, Failed: 1, Len: 3, Took: 2 * m}, ""},
			{"MinSuccessfulNotReached", []job{{m, ""}, {m, "no"}, {m, ""}}, []durable.BatchOption{durable.WithMinSuccessful(3), one},
				view{Reason: durable.AllCompleted, Status: bad, Items: "0b0=SUCCEEDED 1b1=FAILED 2b2=SUCCEEDED", Values: []int{0, 2}, Errors: []string{"no"}, Succeeded: 2, Failed: 1, Len: 3, Took: 3 * m},
				"ErrMinSuccessfulNotReached"},
			{"MinSuccessfulMoreThanThereAre", []job{{}, {}}, []durable.BatchOption{durable.WithMinSuccessful(3), one},
				view{Reason: durable.AllCompleted, Status: ok, Items: "0b0=SUCCEEDED 1b1=SUCCEEDED", Values: []int{0, 1}, Succeeded: 2, Len: 2},
				"ErrMinSuccessfulNotReached"},
			{"AllCompletedComesBeforeMinSuccessful", []job{{m, ""}, {2 * m, ""}}, []durable.BatchOption{durable.WithMinSuccessful(2)},
				view{Reason: durable.AllCompleted, Status: ok, Items: "0b0=SUCCEEDED 1b1=SUCCEEDED", Values: []int{0, 1}, Succeeded: 2, Len: 2, Took: 2 * m}, ""},
			{"ToleranceComesBeforeAllCompleted", []job{{m, ""}, {2 * m, "no"}}, nil,
				view{Reason: durable.FailureToleranceExceeded, Status: bad, Items: "0b0=SUCCEEDED 1b1=FAILED", Values: []int{0}, Errors: []string{"no"}, Succeeded: 1, Failed: 1, Len: 2, Took: 2 * m},
				"ErrFailureToleranceExceeded"},
			{"ToleranceComesBeforeMinSuccessful", []job{{m, "no"}, {2 * m, ""}, {3 * m, ""}}, []durable.BatchOption{durable.WithMinSuccessful(1), durable.WithToleratedFailures(0)},
				view{Reason: durable.FailureToleranceExceeded, Status: bad, Items: "0b0=FAILED 1b1=STARTED 2b2=STARTED", Values: none, Errors: []string{"no"}, Failed: 1, Len: 3, Took: m},
				"ErrFailureToleranceExceeded"},
			{"FailuresAfterTheMinimumDoNotCount", []job{{m, ""}, {2 * m, "no"}}, []durable.BatchOption{durable.WithMinSuccessful(1), durable.WithToleratedFailures(0)},
				view{Reason: durable.MinSuccessfulReached, Status: ok, Items: "0b0=SUCCEEDED 1b1=STARTED", Values: []int{0}, Succeeded: 1, Len: 2, Took: m}, ""},
			{"PercentIsStrict", []job{{m, "a"}, {}, {}, {}}, []durable.BatchOption{durable.WithToleratedFailurePercent(25), one},
				view{Reason: durable.AllCompleted, Status: bad, Items: "0b0=FAILED 1b1=SUCCEEDED 2b2=SUCCEEDED 3b3=SUCCEEDED", Values: []int{1, 2, 3}, Errors: []string{"a"}, Succeeded: 3, Failed: 1, Len: 4, Took: m}, ""},
			{"PercentExceeded", []job{{m, "a"}, {m, "b"}, {}, {}}, []durable.BatchOption{durable.WithToleratedFailurePercent(25), one},
				view{Reason: durable.FailureToleranceExceeded, Status: bad, Items: "0b0=FAILED 1b1=FAILED", Values: none, Errors: []string{"a", "b"}, Failed: 2, Len: 2, Took: 2 * m},
				"ErrFailureToleranceExceeded"},
			{"PercentIsOfAllItems", []job{{m, "a"}, {m, "b"}, {m, ""}}, []durable.BatchOption{durable.WithToleratedFailurePercent(66.6), one},
				view{Reason: durable.FailureToleranceExceeded, Status: bad, Items: "0b0=FAILED 1b1=FAILED", Values: none, Errors: []string{"a", "b"}, Failed: 2, Len: 2, Took: 2 * m},
				"ErrFailureToleranceExceeded"},
			{"PercentOfZeroIsFailFast", []job{{m, "a"}, {m, ""}}, []durable.BatchOption{durable.WithToleratedFailurePercent(0), one},
				view{Reason: durable.FailureToleranceExceeded, Status: bad, Items: "0b0=FAILED", Values: none, Errors: []string{"a"}, Failed: 1, Len: 1, Took: m},
				"ErrFailureToleranceExceeded"},
			{"HundredPercentToleratesAll", []job{{m, "a"}, {m, "b"}}, []durable.BatchOption{durable.WithToleratedFailurePercent(100), one},
				view{Reason: durable.AllCompleted, Status: bad, Items: "0b0=FAILED 1b1=FAILED", Values: none, Errors: []string{"a", "b"}, Failed: 2, Len: 2, Took: 2 * m}, ""},
			{"EitherToleranceEndsIt", []job{{m, "a"}, {m, "b"}, {}, {}}, []durable.BatchOption{durable.WithToleratedFailures(1), durable.WithToleratedFailurePercent(75), one},
				view{Reason: durable.FailureToleranceExceeded, Status: bad, Items: "0b0=FAILED 1b1=FAILED", Values: none, Errors: []string{"a", "b"}, Failed: 2, Len: 2, Took: 2 * m},
				"ErrFailureToleranceExceeded"},
			{"Empty", nil, nil, view{Reason: durable.AllCompleted, Status: ok, Values: none}, ""},
			{"EmptyWithAMinimum", nil, []durable.BatchOption{durable.WithMinSuccessful(1)}, view{Reason: durable.AllCompleted, Status: ok, Values: none}, "ErrMinSuccessfulNotReached"},
			{"EmptyWithTolerances", nil, []durable.BatchOption{durable.WithToleratedFailures(0), durable.WithToleratedFailurePercent(0), durable.WithMinSuccessful(0), one},
				view{Reason: durable.AllCompleted, Status: ok, Values: none}, ""},
		} {
			t.Run(c.name, func(t *testing.T) {
				for form, flat := range map[string][]durable.BatchOption{"Contexts": nil, "Flat": {durable.Flat()}} {
					t.Run(form, func(t *testing.T) {
						trial[view]{
							op: parallel(c.jobs, append(flat, c.opts...)...),
							check: func(t *testing.T, got view, err error) {
								require.Equal(t, c.want, got)
								require.Equal(t, c.matches, matching(err))
								if err != nil {
									require.Equal(t, durable.OpError{Type: "CONTEXT", ExecutionID: "x", OperationID: "2", Name: "p"}, describeError(err).op)
									require.Equal(t, strings.TrimPrefix(c.matches, "Err"), failure(err).Type)
								}
							},
						}.runLoosely(t)
					})
				}
			})
		}
	})

	t.Run("EmptyIsRecorded", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				b, err := durable.Parallel[int](ctx, "p", nil)
				return b.Len(), err
			},
			check:   func(t *testing.T, _ int, err error) { require.NoError(t, err) },
			history: []string{"ContextStarted 1 p", "ContextSucceeded 1 p"},
		}.run(t)
	})

	t.Run("BadPercentages", func(t *testing.T) {
		t.Parallel()
		for _, p := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
			trial[view]{
				op:    parallel(nil, durable.WithToleratedFailurePercent(p)),
				check: func(t *testing.T, _ view, err error) { require.ErrorContains(t, err, "WithToleratedFailurePercent") },
			}.run(t)
		}
	})

	t.Run("MaxConcurrency", func(t *testing.T) {
		t.Parallel()
		for _, c := range []struct {
			limit int
			took  time.Duration
		}{{1, 6 * time.Minute}, {2, 3 * time.Minute}, {4, 2 * time.Minute}, {6, time.Minute}, {100, time.Minute}} {
			t.Run(fmt.Sprint(c.limit), func(t *testing.T) {
				var running, most atomic.Int32
				var mu sync.Mutex
				var order []int
				trial[time.Duration]{
					op: func(ctx *durable.Context) (time.Duration, error) {
						return timed(ctx, func() error {
							_, err := durable.Map(ctx, "m", make([]int, 6), func(ctx *durable.Context, _, i int) (int, error) {
								return durable.Step(ctx, "s", func(context.Context) (int, error) {
									n := running.Add(1)
									mu.Lock()
									most.Store(max(most.Load(), n))
									order = append(order, i)
									mu.Unlock()
									time.Sleep(time.Minute)
									running.Add(-1)
									return i, nil
								})
							}, durable.WithMaxConcurrency(c.limit))
							return err
						})
					},
					check: func(t *testing.T, took time.Duration, err error) {
						require.NoError(t, err)
						require.Equal(t, c.took, took)
						require.EqualValues(t, min(c.limit, 6), most.Swap(0))
						require.Len(t, order, 6)
						for at := 0; at < 6; at += c.limit {
							require.ElementsMatch(t, []int{0, 1, 2, 3, 4, 5}[at:min(at+c.limit, 6)], order[at:min(at+c.limit, 6)], "they start in the order of their index")
						}
						order = nil
					},
				}.runLoosely(t)
			})
		}
	})

	t.Run("ASlowBranchDoesNotHoldTheNextOneUp", func(t *testing.T) {
		t.Parallel()
		m := time.Minute
		trial[view]{
			op: parallel([]job{{takes: 5 * m}, {takes: m}, {takes: m}, {takes: m}}, durable.WithMaxConcurrency(2)),
			check: func(t *testing.T, got view, err error) {
				require.NoError(t, err)
				require.Equal(t, 5*m, got.Took)
			},
		}.runLoosely(t)
	})

	t.Run("ErrorOfABranch", func(t *testing.T) {
		t.Parallel()
		trial[[]string]{
			opts: durable.Options{Errors: []error{errSoldOut, &transient{}}},
			op: func(ctx *durable.Context) ([]string, error) {
				b, err := durable.Parallel(ctx, "p", []durable.Branch[int]{
					{Name: "sentinel", Run: func(*durable.Context) (int, error) { return 7, fmt.Errorf("item 7: %w", errSoldOut) }},
					{Name: "step", Run: func(ctx *durable.Context) (int, error) {
						return durable.Step(ctx, "inner", func(context.Context) (int, error) { return 0, durable.Permanent(&transient{503}) })
					}},
					{Name: "panic", Run: func(*durable.Context) (int, error) { panic("boom") }},
					{Name: "nothing"},
				}, durable.WithToleratedFailures(9), durable.WithMaxConcurrency(1))
				var seen []string
				for it := range b.All() {
					typed, _ := errors.AsType[*transient](it.Err)
					op := opError(it.Err)
					seen = append(seen, fmt.Sprint(it.Status, " ", it.Value, " ", op.Type, " ", op.OperationID, " ", op.Name, " ", failure(it.Err).Type, " | ", failure(it.Err).Message, " | ",
						matching(it.Err), " ", errors.Is(it.Err, errSoldOut), " ", typed))
				}
				seen = append(seen, fmt.Sprint(errors.Is(b.Err(), errSoldOut), errors.Is(b.Err(), durable.ErrPanic)))
				return seen, err
			},
			check: func(t *testing.T, got []string, err error) {
				require.NoError(t, err)
				require.Equal(t, []string{
					"FAILED 0 CONTEXT 1-1 sentinel error | item 7: sold out |  true <nil>",
					"FAILED 0 CONTEXT 1-2 step transient | code 503 |  false code 503",
					"FAILED 0 CONTEXT 1-3 panic Panic | panic: boom | ErrPanic false <nil>",
					`FAILED 0 CONTEXT 1-4 nothing error | branch 3 ("nothing") has no Run |  false <nil>`,
					"true true",
				}, got)
			},
		}.run(t)
	})

	t.Run("ErrorOfTheBatchMatchesThatOfItsBranches", func(t *testing.T) {
		t.Parallel()
		fail := func(ctx *durable.Context) (int, error) {
			b, err := durable.Parallel(ctx, "p", []durable.Branch[int]{
				{Name: "a", Run: func(*durable.Context) (int, error) { return 0, fmt.Errorf("item 7: %w", errSoldOut) }},
				{Name: "b", Run: func(*durable.Context) (int, error) { return 0, &transient{503} }},
			}, durable.WithToleratedFailures(1), durable.WithMaxConcurrency(1))
			return b.Len(), err
		}
		check := func(t *testing.T, err error) {
			require.Equal(t, "ErrFailureToleranceExceeded", matching(err))
			require.ErrorIs(t, err, errSoldOut)
			typed, ok := errors.AsType[*transient](err)
			require.True(t, ok)
			require.Equal(t, &transient{503}, typed)
			require.Equal(t, "FailureToleranceExceeded", failure(err).Type)
			require.Contains(t, failure(err).Message, "2 of 2 items failed")
			require.Contains(t, failure(err).Message, "sold out")
		}
		opts := durable.Options{Errors: []error{errSoldOut, &transient{}}}
		t.Run("Directly", func(t *testing.T) {
			trial[int]{opts: opts, op: fail, check: func(t *testing.T, got int, err error) {
				check(t, err)
				require.Equal(t, 2, got, "the batch is filled all the same")
				require.Equal(t, "p", opError(err).Name)
			}}.run(t)
		})
		t.Run("ThroughAChild", func(t *testing.T) {
			trial[int]{opts: opts, op: func(ctx *durable.Context) (int, error) { return durable.RunInChildContext(ctx, "child", fail) }, check: func(t *testing.T, _ int, err error) {
				check(t, err)
				require.Equal(t, "child", opError(err).Name)
			}}.run(t)
		})
		t.Run("ThroughAnExecution", func(t *testing.T) {
			everyLife(t, func(t *testing.T, life durable.Options) {
				life.Errors = opts.Errors
				f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return fail(ctx) })
				b := setupWith(t, life, f)
				_, err := finish(b, start(b, f, 1))
				check(t, err)
			})
		})
	})

	t.Run("AbandonedBranches", func(t *testing.T) {
		t.Parallel()

		t.Run("RecordNothingMoreAndDelayNothing", func(t *testing.T) {
			trial[time.Duration]{
				op: func(ctx *durable.Context) (time.Duration, error) {
					return timed(ctx, func() error {
						_, err := durable.Parallel(ctx, "p", []durable.Branch[int]{
							{Name: "fast", Run: func(ctx *durable.Context) (int, error) { return 1, durable.Wait(ctx, "w", time.Minute) }},
							{Name: "waits", Run: func(ctx *durable.Context) (int, error) { return 1, durable.Wait(ctx, "w", 100*time.Hour) }},
							{Name: "asks", Run: func(ctx *durable.Context) (int, error) {
								return awaited[int](durable.WithTimeout(100 * time.Hour))(ctx)
							}},
							{Name: "goes on", Run: func(ctx *durable.Context) (int, error) {
								if err := durable.Wait(ctx, "w", 2*time.Minute); err != nil {
									return 0, err
								}
								return durable.Step(ctx, "never", body(1))
							}},
						}, durable.WithMinSuccessful(1))
						return err
					})
				},
				outside: func(b *bundle, id string) {
					cb := b.callback(id, "cb")
					time.Sleep(2 * time.Minute)
					require.ErrorIs(b, b.engine.SucceedCallback(b.ctx, cb, 1), durable.ErrCallbackCompleted)
				},
				check: func(t *testing.T, took time.Duration, err error) {
					require.NoError(t, err)
					require.Equal(t, time.Minute, took)
				},
				history: timedHistory("ContextStarted 2 p", "ContextStarted 2-1 fast", "ContextStarted 2-2 waits", "ContextStarted 2-3 asks", "ContextStarted 2-4 goes on",
					"WaitStarted 2-1-1 w", "WaitStarted 2-2-1 w", "CallbackStarted 2-3-1 cb", "WaitStarted 2-4-1 w",
					"WaitSucceeded 2-1-1 w", "ContextSucceeded 2-1 fast", "ContextSucceeded 2 p"),
			}.runLoosely(t)
		})

		t.Run("ContextsOfTheirBodiesEnd", func(t *testing.T) {
			ended := make(chan error, 9)
			trial[view]{
				op: func(ctx *durable.Context) (view, error) {
					b, err := durable.Parallel(ctx, "p", []durable.Branch[int]{
						{Name: "fast", Run: func(ctx *durable.Context) (int, error) {
							return 1, durable.Do(ctx, "s", func(context.Context) error { time.Sleep(time.Minute); return nil })
						}},
						{Name: "slow", Run: func(ctx *durable.Context) (int, error) {
							return durable.Step(ctx, "s", func(c context.Context) (int, error) { <-c.Done(); ended <- c.Err(); return 1, nil })
						}},
					}, durable.WithMinSuccessful(1))
					return look(b), err
				},
				check: func(t *testing.T, got view, err error) {
					require.NoError(t, err)
					require.Equal(t, "0fast=SUCCEEDED 1slow=STARTED", got.Items)
					require.ErrorIs(t, <-ended, context.Canceled)
				},
			}.runLoosely(t)
		})

		t.Run("ABodyThatIgnoresItsContextIsNotWaitedFor", func(t *testing.T) {
			trial[time.Duration]{
				op: func(ctx *durable.Context) (time.Duration, error) {
					return timed(ctx, func() error {
						_, err := durable.Parallel(ctx, "p", []durable.Branch[int]{
							{Run: func(ctx *durable.Context) (int, error) { return 1, durable.Wait(ctx, "w", time.Minute) }},
							{Run: func(ctx *durable.Context) (int, error) {
								return durable.Step(ctx, "s", func(c context.Context) (int, error) { time.Sleep(30 * time.Minute); return 1, nil })
							}},
						}, durable.WithMinSuccessful(1))
						return err
					})
				},
				check: func(t *testing.T, took time.Duration, err error) {
					require.NoError(t, err)
					require.Equal(t, time.Minute, took)
				},
			}.runLoosely(t)
		})

		t.Run("DeferredCallsRun", func(t *testing.T) {
			everyLife(t, func(t *testing.T, opts durable.Options) {
				var deferred atomic.Int32
				f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
					_, err := durable.Parallel(ctx, "p", []durable.Branch[int]{
						{Run: func(ctx *durable.Context) (int, error) { return 1, durable.Wait(ctx, "short", time.Minute) }},
						{Run: func(ctx *durable.Context) (int, error) {
							defer deferred.Add(1)
							return 1, durable.Wait(ctx, "long", time.Hour)
						}},
					}, durable.WithMinSuccessful(1))
					return 1, err
				})
				b := setupWith(t, opts, f)
				run(b, f, 1)
				synctest.Wait()
				if opts.ParkFor > 0 {
					require.EqualValues(t, 1, deferred.Load())
				} else {
					require.Positive(t, deferred.Load(), "at each suspension, too")
				}
			})
		})
	})

	t.Run("IsNeverDecidedAgain", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			// All branches end in the same instant: whoever is first decides, and a replay says the same.
			var seen []view
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				jobs := make([]job, 20)
				for i := range jobs {
					jobs[i] = job{takes: time.Minute}
				}
				b, err := durable.Parallel(ctx, "p", branches(jobs...), durable.WithMinSuccessful(5))
				seen = append(seen, look(b))
				if err != nil {
					return 0, err
				}
				return 1, durable.Wait(ctx, "w", time.Hour)
			})
			b := setupWith(t, opts, f)
			for range 10 {
				seen = nil
				run(b, f, 1)
				require.Equal(t, 5, seen[0].Succeeded)
				require.Equal(t, durable.MinSuccessfulReached, seen[0].Reason)
				for _, v := range seen {
					require.Equal(t, seen[0], v)
				}
			}
		})
	})

	t.Run("BranchesThatEndedAreNotRunAgain", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			var runs [3]atomic.Int32
			f := durable.Define("f", func(ctx *durable.Context, _ int) ([]int, error) {
				var bs []durable.Branch[int]
				for i := range 3 {
					bs = append(bs, durable.Branch[int]{Run: func(ctx *durable.Context) (int, error) {
						runs[i].Add(1)
						return i, durable.Wait(ctx, "w", time.Duration(i)*time.Hour)
					}})
				}
				b, err := durable.Parallel(ctx, "p", bs)
				if err != nil {
					return nil, err
				}
				return b.Values(), durable.Wait(ctx, "after", time.Hour)
			})
			b := setupWith(t, opts, f)
			require.Equal(t, []int{0, 1, 2}, run(b, f, 1))
			require.EqualValues(t, 1, runs[0].Load())
			require.LessOrEqual(t, runs[1].Load(), int32(2))
			require.LessOrEqual(t, runs[2].Load(), int32(3))
		})
	})

	t.Run("Timeout", func(t *testing.T) {
		t.Parallel()
		trial[view]{
			op: parallel([]job{{takes: time.Minute}, {takes: time.Hour}}, durable.WithTimeout(10*time.Minute)),
			check: func(t *testing.T, got view, err error) {
				require.Equal(t, "ErrTimeout", matching(err))
				require.Equal(t, "Timeout", failure(err).Type)
				require.Equal(t, "p", opError(err).Name)
				require.Equal(t, view{Status: durable.ItemFailed, Items: "0b0=SUCCEEDED 1b1=FAILED", Values: []int{0}, Errors: []string{"a timeout around it passed"},
					Succeeded: 1, Failed: 1, Len: 2, Took: 10 * time.Minute}, got)
			},
			history: timedHistory("ContextStarted 2 p", "ContextStarted 2-1 b0", "ContextStarted 2-2 b1", "WaitStarted 2-1-1 take", "WaitStarted 2-2-1 take",
				"WaitSucceeded 2-1-1 take", "ContextSucceeded 2-1 b0", "WaitCancelled 2-2-1 take", "ContextFailed 2-2 b1", "ContextFailed 2 p"),
		}.runLoosely(t)
	})

	t.Run("Cancel", func(t *testing.T) {
		t.Parallel()
		for name, opts := range map[string][]durable.BatchOption{"FailFast": nil, "Tolerant": {durable.WithToleratedFailures(9)}, "OneAtATime": {durable.WithMaxConcurrency(1)},
			"Flat": {durable.Flat()}, "FlatOneAtATime": {durable.Flat(), durable.WithMaxConcurrency(1)}} {
			t.Run(name, func(t *testing.T) {
				trial[time.Duration]{
					op: func(ctx *durable.Context) (time.Duration, error) {
						began := durable.Now(ctx)
						b, err := durable.Parallel(ctx, "p", branches(job{takes: time.Second}, job{takes: 40 * time.Hour}, job{takes: 40 * time.Hour}), opts...)
						if err == nil {
							err = b.Err()
						}
						return durable.Now(ctx.WithoutCancel()).Sub(began), err
					},
					outside: cancelled,
					check: func(t *testing.T, took time.Duration, err error) {
						require.ErrorIs(t, err, durable.ErrCanceled)
						require.Equal(t, time.Minute, took)
					},
					varied: true, // who fails first
				}.run(t)
			})
		}
	})

	t.Run("CompensationInsideABranch", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				b, err := durable.Parallel(ctx, "p", []durable.Branch[string]{{Name: "b", Run: func(ctx *durable.Context) (string, error) {
					if durable.Wait(ctx, "w", 50*time.Hour) == nil {
						return "waited", nil
					}
					if err := durable.Wait(ctx.WithoutCancel(), "breathe", time.Minute); err != nil {
						return "", err
					}
					return durable.Step(ctx.WithoutCancel(), "undo", body("undone"))
				}}})
				if err != nil {
					return "", err
				}
				return b.Values()[0], nil
			},
			outside: cancelled,
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "undone", got)
			},
		}.run(t)
	})

	t.Run("Nested", func(t *testing.T) {
		t.Parallel()
		inner := func(ctx *durable.Context, fail bool) (int, error) {
			jobs := []job{{takes: time.Minute}, {takes: 2 * time.Minute}}
			if fail {
				jobs[1].fail = "inside"
			}
			b, err := durable.Parallel(ctx, "inner", branches(jobs...))
			return b.Len(), err
		}
		trial[view]{
			op: func(ctx *durable.Context) (view, error) {
				b, err := durable.Parallel(ctx, "outer", []durable.Branch[int]{
					{Name: "good", Run: func(ctx *durable.Context) (int, error) { return inner(ctx, false) }},
					{Name: "bad", Run: func(ctx *durable.Context) (int, error) { return inner(ctx, true) }},
				}, durable.WithToleratedFailures(1))
				if !errors.Is(b.Err(), durable.ErrFailureToleranceExceeded) {
					return view{}, errors.New("the sentinel is lost")
				}
				return look(b), err
			},
			check: func(t *testing.T, got view, err error) {
				require.NoError(t, err)
				require.Equal(t, "0good=SUCCEEDED 1bad=FAILED", got.Items)
				require.Equal(t, []int{2}, got.Values)
			},
		}.runLoosely(t)
	})

	t.Run("OuterContextInABranchIsRefused", func(t *testing.T) {
		t.Parallel()
		trial[bool]{
			op: func(ctx *durable.Context) (bool, error) {
				b, err := durable.Parallel(ctx, "p", []durable.Branch[int]{{Run: func(*durable.Context) (int, error) { return durable.Step(ctx, "s", body(1)) }}})
				return errors.Is(b.Err(), durable.ErrConcurrentUse), err
			},
			check: func(t *testing.T, refused bool, err error) {
				require.True(t, refused)
				require.ErrorIs(t, err, durable.ErrConcurrentUse)
			},
		}.run(t)
	})

	t.Run("BadNameOfABranch", func(t *testing.T) {
		t.Parallel()
		trial[bool]{
			op: func(ctx *durable.Context) (bool, error) {
				b, err := durable.Parallel(ctx, "p", []durable.Branch[int]{{Name: "fine"}, {Name: "a\nb"}})
				return b == nil, err
			},
			check: func(t *testing.T, none bool, err error) {
				require.True(t, none)
				require.ErrorIs(t, err, durable.ErrInvalidID)
				require.ErrorContains(t, err, "item 1")
			},
			history: []string{},
		}.run(t)
	})
}

var errSoldOut = errors.New("sold out")
