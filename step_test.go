package durable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// disk is a store that outlives its engines, as a file does.
type disk struct{ checkpoint.Store }

func (disk) Close() error { return nil }

func newDisk(t *testing.T) disk {
	store := memstore.New()
	t.Cleanup(func() { store.Close() })
	return disk{store}
}

// boot opens an engine on a disk.
func boot(t *testing.T, d disk, opts durable.Options, functions ...durable.Definition) *bundle {
	t.Helper()
	opts.Functions = append(opts.Functions, functions...)
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	e, err := durable.New(d, &opts)
	require.NoError(t, err)
	t.Cleanup(func() { e.Close() })
	return &bundle{T: t, ctx: t.Context(), engine: e, store: d}
}

// crash ends the engine as a crash of its process does: what is not durable is
// lost, and nobody gives up what it owned.
func (b *bundle) crash() {
	b.Helper()
	require.NoError(b, b.engine.Close())
	for s, err := range b.store.List(context.Background(), checkpoint.Query{Status: checkpoint.Running}) {
		require.NoError(b, err)
		if s.Owned {
			require.NoError(b, b.store.Disown(context.Background(), s.ID, s.Epoch))
		}
	}
}

type point struct {
	X, Y   int
	hidden string
}

func TestStep(t *testing.T) {
	t.Parallel()

	t.Run("RecordsItsResult", func(t *testing.T) {
		t.Parallel()
		var calls atomic.Int32
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				return durable.Step(ctx, "greet", func(context.Context) (string, error) {
					calls.Add(1)
					return "Hello, World!", nil
				})
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "Hello, World!", got)
				require.EqualValues(t, 1, calls.Swap(0), "the body runs once, however often it is replayed")
			},
			history: []string{"StepStarted 1 greet", "StepSucceeded 1 greet"},
		}.run(t)
	})

	t.Run("ReturnsTheValueAsDecodedFromItsRecord", func(t *testing.T) {
		t.Parallel()
		type values struct {
			Point        point
			Nil, Empty   []int
			NilMap       map[string]int
			EmptyMap     map[string]int
			Pointer      *point
			NoPointer    *point
			Any          any
			Bytes        []byte
			Text         string
			When         time.Time
			Raw          json.RawMessage
			Skipped      int `json:"-"`
			Int64        int64
			Float        float64
			Nested       map[string][]point
			privateField string
		}
		when := time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)
		trial[values]{
			op: func(ctx *durable.Context) (values, error) {
				return durable.Step(ctx, "values", body(values{
					Point: point{1, 2, "lost"}, Empty: []int{}, EmptyMap: map[string]int{}, Pointer: &point{3, 4, "lost"}, Any: map[string]int{"a": 1},
					Bytes: []byte{0, 255}, Text: "a\u2028<&>\x00ü", When: when, Raw: json.RawMessage(`{"a":  1}`), Skipped: 7,
					Int64: math.MaxInt64, Float: 0.1, Nested: map[string][]point{"a": {{5, 6, "lost"}}}, privateField: "lost",
				}))
			},
			check: func(t *testing.T, got values, err error) {
				require.NoError(t, err)
				require.Equal(t, values{
					Point: point{X: 1, Y: 2}, Empty: []int{}, EmptyMap: map[string]int{}, Pointer: &point{X: 3, Y: 4}, Any: map[string]any{"a": 1.0},
					Bytes: []byte{0, 255}, Text: "a\u2028<&>\x00ü", When: when, Raw: json.RawMessage(`{"a":1}`),
					Int64: math.MaxInt64, Float: 0.1, Nested: map[string][]point{"a": {{X: 5, Y: 6}}},
				}, got)
			},
		}.run(t)
	})

	t.Run("ValueIsNotSharedWithTheBody", func(t *testing.T) {
		t.Parallel()
		mine := []int{1, 2, 3}
		trial[[]int]{
			op: func(ctx *durable.Context) ([]int, error) {
				got, err := durable.Step(ctx, "s", body(mine))
				got[0] = 99
				return got, err
			},
			check: func(t *testing.T, got []int, err error) {
				require.NoError(t, err)
				require.Equal(t, []int{99, 2, 3}, got)
				require.Equal(t, []int{1, 2, 3}, mine)
			},
		}.run(t)
	})

	t.Run("ZeroAndNilValues", func(t *testing.T) {
		t.Parallel()
		t.Run("NilPointer", zero[*point])
		t.Run("NilSlice", zero[[]int])
		t.Run("NilMap", zero[map[string]int])
		t.Run("NilAny", zero[any])
		t.Run("EmptyString", zero[string])
		t.Run("None", zero[durable.None])
		t.Run("False", zero[bool])
		t.Run("ZeroTime", zero[time.Time])
	})

	t.Run("DoHasNoResult", func(t *testing.T) {
		t.Parallel()
		trial[bool]{
			op: func(ctx *durable.Context) (bool, error) {
				return true, durable.Do(ctx, "do", func(context.Context) error { return nil })
			},
			check:   func(t *testing.T, _ bool, err error) { require.NoError(t, err) },
			history: []string{"StepStarted 1 do", "StepSucceeded 1 do"},
		}.run(t)
	})

	t.Run("CallPassesItsInput", func(t *testing.T) {
		t.Parallel()
		double := func(_ context.Context, n int) (int, error) { return 2 * n, nil }
		trial[int]{
			op: func(ctx *durable.Context) (int, error) { return durable.Call(ctx, "double", double, 21) },
			check: func(t *testing.T, got int, err error) {
				require.NoError(t, err)
				require.Equal(t, 42, got)
			},
			history: []string{"StepStarted 1 double", "StepSucceeded 1 double"},
		}.run(t)
	})

	t.Run("AsStepIsNamedLikeItsItem", func(t *testing.T) {
		t.Parallel()
		double := func(_ context.Context, n int) (int, error) { return 2 * n, nil }
		trial[[]int]{
			op: func(ctx *durable.Context) ([]int, error) {
				b, err := durable.Map(ctx, "double", []int{1, 2}, durable.AsStep(double), durable.WithMaxConcurrency(1),
					durable.WithItemNames(func(i int) string { return fmt.Sprint("n", i) }))
				return b.Values(), err
			},
			check: func(t *testing.T, got []int, err error) {
				require.NoError(t, err)
				require.Equal(t, []int{2, 4}, got)
			},
			history: []string{"ContextStarted 1 double",
				"ContextStarted 1-1 n0", "StepStarted 1-1-1 n0", "StepSucceeded 1-1-1 n0", "ContextSucceeded 1-1 n0",
				"ContextStarted 1-2 n1", "StepStarted 1-2-1 n1", "StepSucceeded 1-2-1 n1", "ContextSucceeded 1-2 n1",
				"ContextSucceeded 1 double"},
		}.run(t)
	})

	t.Run("Names", func(t *testing.T) {
		t.Parallel()
		for name, ok := range map[string]bool{
			"": true, "plain": true, "with space": true, "1-2": true, `qu"ote`: true, "päivää ✓ 日本": true, strings.Repeat("x", 256): true,
			strings.Repeat("ü", 128): true, strings.Repeat("x", 257): false, strings.Repeat("ü", 129): false,
			"line\n": false, "tab\t": false, "\x00": false, "\x7f": false, "bad\xff": false, "zero\u200bwidth": false, "rtl\u202e": false,
		} {
			t.Run(fmt.Sprintf("%.20q", name), func(t *testing.T) {
				trial[int]{
					op: func(ctx *durable.Context) (int, error) {
						v, err := durable.Step(ctx, name, body(1))
						if _, second := durable.Step(ctx, "next", body(2)); second != nil {
							return v, second
						}
						return v, err
					},
					check: func(t *testing.T, got int, err error) {
						if ok {
							require.NoError(t, err)
							require.Equal(t, 1, got)
							return
						}
						require.ErrorIs(t, err, durable.ErrInvalidID)
						require.Equal(t, "STEP", opError(err).Type)
						require.NotEmpty(t, opError(err).Hint)
					},
					history: map[bool][]string{
						true:  {strings.TrimSpace("StepStarted 1 " + name), strings.TrimSpace("StepSucceeded 1 " + name), "StepStarted 2 next", "StepSucceeded 2 next"},
						false: {"StepStarted 1 next", "StepSucceeded 1 next"}, // it took no position
					}[ok],
				}.run(t)
			})
		}
	})

	t.Run("ErrorIsThatOfTheRecord", func(t *testing.T) {
		t.Parallel()
		cause := errors.New("card declined")
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				return durable.Step(ctx, "charge", func(context.Context) (int, error) { return 7, cause }, durable.WithRetry(durable.NoRetry()))
			},
			check: func(t *testing.T, got int, err error) {
				require.Zero(t, got, "a value beside an error is not recorded")
				require.NotErrorIs(t, err, cause, "the original is not kept, unless it is one of Options.Errors")
				require.Equal(t, durable.OpError{Type: "STEP", ExecutionID: "x", OperationID: "1", Name: "charge", Attempts: 1}, describeError(err).op)
				require.Equal(t, "error", failure(err).Type)
				require.Equal(t, "card declined", failure(err).Message)
				require.Equal(t, `durable: step "charge" (operation 1 of x): card declined`, err.Error())
			},
			history: []string{"StepStarted 1 charge", "StepFailed 1 charge"},
		}.run(t)
	})

	t.Run("ErrorWithoutText", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) { return durable.Step(ctx, "s", fails[int]("")) },
			check: func(t *testing.T, _ int, err error) {
				require.Error(t, err)
				require.Equal(t, "error", failure(err).Type)
				require.Empty(t, failure(err).Message)
			},
		}.run(t)
	})

	t.Run("HandledErrorIsNotTheEnd", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				if _, err := durable.Step(ctx, "try", fails[string]("no")); err == nil {
					return "", errors.New("it did not fail")
				}
				return durable.Step(ctx, "fall back", body("fallback"))
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "fallback", got)
			},
			history: []string{"StepStarted 1 try", "StepFailed 1 try", "StepStarted 2 fall back", "StepSucceeded 2 fall back"},
		}.run(t)
	})

	t.Run("PanicIsAFailedAttemptWithItsStack", func(t *testing.T) {
		t.Parallel()
		for name, c := range map[string]struct {
			value   any
			message string
		}{
			"String": {"boom", "panic: boom"}, "Error": {errors.New("bad"), "panic: bad"}, "Number": {42, "panic: 42"},
			"Nil": {nil, "panic: "},
		} {
			t.Run(name, func(t *testing.T) {
				trial[int]{
					op: func(ctx *durable.Context) (int, error) {
						return durable.Step(ctx, "s", func(context.Context) (int, error) { panic(c.value) }, durable.WithRetry(durable.NoRetry()))
					},
					check: func(t *testing.T, _ int, err error) {
						require.ErrorIs(t, err, durable.ErrPanic)
						require.Equal(t, "Panic", failure(err).Type)
						require.True(t, strings.HasPrefix(failure(err).Message, c.message), failure(err).Message)
						require.Contains(t, failure(err).Stack, "step_test.go", "where it happened")
					},
				}.run(t)
			})
		}
	})

	t.Run("PanicIsRetried", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				return durable.Step(ctx, "s", func(c context.Context) (int, error) {
					info, _ := durable.StepInfoFrom(c)
					if info.Attempt == 1 {
						panic("first")
					}
					return info.Attempt, nil
				}, durable.WithRetry(durable.RetryPolicy{MaxAttempts: 2, Jitter: durable.NoJitter}))
			},
			check: func(t *testing.T, got int, err error) {
				require.NoError(t, err)
				require.Equal(t, 2, got)
			},
			history: []string{"StepStarted 1 s", "StepFailed 1 s", "StepStarted 1 s", "StepSucceeded 1 s"},
		}.run(t)
	})

	t.Run("GoexitInABodyEndsTheExecutionWithAHint", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				return durable.Step(ctx, "s", func(context.Context) (int, error) { runtime.Goexit(); return 1, nil })
			})
			b := setupWith(t, opts, f)
			_, err := f.Run(b.ctx, b.engine, 1)
			require.ErrorContains(t, err, "runtime.Goexit")
		})
	})

	t.Run("ValueThatCannotBeEncodedFailsAtOnce", func(t *testing.T) {
		t.Parallel()
		type loop struct{ Next *loop }
		cycle := &loop{}
		cycle.Next = cycle
		for name, v := range map[string]any{
			"Channel": make(chan int), "Func": func() {}, "NaN": math.NaN(), "Cycle": cycle, "MarshalError": badMarshaler("error"), "MarshalPanic": badMarshaler("panic"),
		} {
			t.Run(name, func(t *testing.T) {
				var calls atomic.Int32
				trial[any]{
					op: func(ctx *durable.Context) (any, error) {
						return durable.Step(ctx, "s", func(context.Context) (any, error) { calls.Add(1); return v, nil })
					},
					check: func(t *testing.T, _ any, err error) {
						require.ErrorIs(t, err, durable.ErrCodec)
						require.Equal(t, "Codec", failure(err).Type)
						require.EqualValues(t, 1, calls.Swap(0), "trying again can't help")
					},
					history: []string{"StepStarted 1 s", "StepFailed 1 s"},
				}.run(t)
			})
		}
	})

	t.Run("ValueThatCannotBeDecodedFailsTheSameWayEachTime", func(t *testing.T) {
		t.Parallel()
		type result struct{ Err error } // encodes as {}, and does not come back
		trial[result]{
			op: func(ctx *durable.Context) (result, error) {
				return durable.Step(ctx, "s", body(result{errors.New("inside a result")}), durable.WithRetry(durable.NoRetry()))
			},
			check: func(t *testing.T, _ result, err error) {
				require.ErrorIs(t, err, durable.ErrCodec)
				require.Equal(t, "1", opError(err).OperationID)
			},
		}.run(t)
	})

	t.Run("MaxPayload", func(t *testing.T) {
		t.Parallel()
		const limit = 1000
		for size, ok := range map[int]bool{limit: true, limit + 1: false} {
			t.Run(fmt.Sprint(size), func(t *testing.T) {
				var calls atomic.Int32
				trial[string]{
					opts: durable.Options{MaxPayload: limit},
					op: func(ctx *durable.Context) (string, error) {
						return durable.Step(ctx, "large", func(context.Context) (string, error) {
							calls.Add(1)
							return strings.Repeat("x", size-2), nil // and two quotes
						})
					},
					check: func(t *testing.T, got string, err error) {
						require.EqualValues(t, 1, calls.Swap(0), "trying again can't help")
						if ok {
							require.NoError(t, err)
							require.Len(t, got, size-2)
							return
						}
						require.ErrorIs(t, err, durable.ErrPayloadTooLarge)
						require.Equal(t, "PayloadTooLarge", failure(err).Type)
						for _, part := range []string{`step "large"`, "operation 1 of x", "1001 bytes", "1000 bytes", "MaxPayload"} {
							require.ErrorContains(t, err, part)
						}
					},
				}.run(t)
			})
		}
	})

	t.Run("LargeResultsAreStoredUpToMaxPayload", func(t *testing.T) {
		t.Parallel()
		large := strings.Repeat("x", 1<<20)
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				s, err := durable.Step(ctx, "s", body(large)) // InlineResult is for contexts
				return len(s), err
			},
			check: func(t *testing.T, got int, err error) {
				require.NoError(t, err)
				require.Equal(t, len(large), got)
			},
		}.run(t)
	})

	t.Run("BodyLearnsAboutItsAttempt", func(t *testing.T) {
		t.Parallel()
		type learned struct {
			Operation, Name, Execution, Key string
			Attempt                         int
		}
		learn := func(c context.Context) (learned, error) {
			info, ok := durable.StepInfoFrom(c)
			if !ok || info.Logger == nil || info.Engine == nil {
				return learned{}, durable.Permanent(errors.New("no StepInfo"))
			}
			l := learned{info.OperationID, info.Name, info.ExecutionID, info.IdempotencyKey, info.Attempt}
			if info.Attempt < 3 {
				return l, fmt.Errorf("key %s", l.Key)
			}
			return l, nil
		}
		trial[[2]learned]{
			op: func(ctx *durable.Context) (ls [2]learned, err error) {
				retry := durable.WithRetry(durable.RetryPolicy{MaxAttempts: 3})
				if ls[0], err = durable.Step(ctx, "a", learn, retry); err != nil {
					return ls, err
				}
				ls[1], err = durable.RunInChildContext(ctx, "in", func(ctx *durable.Context) (learned, error) { return durable.Step(ctx, "b", learn, retry) })
				ls[0].Key, ls[1].Key = shape(ls[0].Key), shape(ls[1].Key) // it differs between the lives
				return ls, err
			},
			check: func(t *testing.T, got [2]learned, err error) {
				require.NoError(t, err)
				require.Equal(t, [2]learned{{"1", "a", "x", "id", 3}, {"2-1", "b", "x", "id", 3}}, got)
			},
		}.run(t)
		_, ok := durable.StepInfoFrom(t.Context())
		require.False(t, ok)
	})

	t.Run("IdempotencyKey", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			keys := map[string][]string{}
			note := func(c context.Context) error {
				info, _ := durable.StepInfoFrom(c)
				keys[info.Name] = append(keys[info.Name], info.IdempotencyKey)
				if info.Attempt < 3 {
					return errors.New("again")
				}
				return nil
			}
			charge := durable.DefinePlain("charge", func(_ context.Context, n int) (int, error) { return n, nil })
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				if err := durable.Do(ctx, "a", note); err != nil {
					return 0, err
				}
				if err := durable.Do(ctx, "b", note); err != nil {
					return 0, err
				}
				return durable.Step(ctx, "start", func(c context.Context) (int, error) {
					info, _ := durable.StepInfoFrom(c)
					return charge.Run(c, info.Engine, 7, durable.WithExecutionID(info.IdempotencyKey))
				})
			})
			b := setupWith(t, opts, f, charge)
			id := durable.WithExecutionID("order-42")
			require.Equal(t, 7, run(b, f, 1, id))
			require.Len(t, keys["a"], 3)
			require.Equal(t, []string{keys["a"][0], keys["a"][0], keys["a"][0]}, keys["a"], "the same for all attempts")
			require.NotEqual(t, keys["a"][0], keys["b"][0], "another one for another operation")
			require.NoError(t, b.engine.Delete(b.ctx, "order-42"))
			before := keys["a"][0]
			clear(keys)
			require.Equal(t, 7, run(b, f, 1, id))
			require.NotEqual(t, before, keys["a"][0], "another one when the ID is used again")
		})
	})

	t.Run("AttemptTimeout", func(t *testing.T) {
		t.Parallel()
		hang := func(c context.Context) (int, error) { <-c.Done(); return 0, c.Err() }

		t.Run("FailsTheAttempt", func(t *testing.T) {
			trial[time.Duration]{
				op: func(ctx *durable.Context) (time.Duration, error) {
					began := durable.Now(ctx)
					_, err := durable.Step(ctx, "s", hang, durable.WithAttemptTimeout(time.Minute),
						durable.WithRetry(durable.RetryPolicy{MaxAttempts: 3, Initial: time.Second, Multiplier: 1, Jitter: durable.NoJitter}))
					return durable.Now(ctx).Sub(began), err
				},
				check: func(t *testing.T, took time.Duration, err error) {
					require.ErrorIs(t, err, durable.ErrTimeout)
					require.NotErrorIs(t, err, context.DeadlineExceeded)
					require.Equal(t, "Timeout", failure(err).Type)
					require.Equal(t, 3, opError(err).Attempts, "each attempt has the whole time")
					require.Equal(t, 3*time.Minute+2*time.Second, took)
				},
			}.run(t)
		})

		t.Run("TheCauseIsErrTimeout", func(t *testing.T) {
			trial[string]{
				op: func(ctx *durable.Context) (string, error) {
					return durable.Step(ctx, "s", func(c context.Context) (string, error) {
						<-c.Done()
						return context.Cause(c).Error() + "; " + c.Err().Error(), nil
					}, durable.WithAttemptTimeout(time.Minute))
				},
				check: func(t *testing.T, got string, err error) {
					require.NoError(t, err, "a body that returns no error has succeeded")
					require.Equal(t, "durable: timed out; context deadline exceeded", got)
				},
			}.run(t)
		})

		t.Run("OtherErrorsMatchTooOnceTheTimeIsOver", func(t *testing.T) {
			trial[int]{
				op: func(ctx *durable.Context) (int, error) {
					return durable.Step(ctx, "s", func(c context.Context) (int, error) { <-c.Done(); return 0, errors.New("connection reset") },
						durable.WithAttemptTimeout(time.Minute), durable.WithRetry(durable.NoRetry()))
				},
				check: func(t *testing.T, _ int, err error) {
					require.ErrorIs(t, err, durable.ErrTimeout)
					require.ErrorContains(t, err, "connection reset")
				},
			}.run(t)
		})

		t.Run("ErrorsInTimeDoNotMatch", func(t *testing.T) {
			trial[int]{
				op: func(ctx *durable.Context) (int, error) {
					return durable.Step(ctx, "s", fails[int]("no"), durable.WithAttemptTimeout(time.Minute), durable.WithTimeout(time.Hour))
				},
				check: func(t *testing.T, _ int, err error) {
					require.NotErrorIs(t, err, durable.ErrTimeout)
					require.Equal(t, "no", failure(err).Message)
				},
			}.run(t)
		})
	})

	t.Run("Timeout", func(t *testing.T) {
		t.Parallel()

		t.Run("EndsTheContextOfTheBody", func(t *testing.T) {
			cause := make(chan error, 9)
			trial[time.Duration]{
				op: func(ctx *durable.Context) (time.Duration, error) {
					began := durable.Now(ctx)
					_, err := durable.Step(ctx, "s", func(c context.Context) (int, error) {
						<-c.Done()
						cause <- context.Cause(c)
						return 0, c.Err()
					}, durable.WithTimeout(time.Minute))
					return durable.Now(ctx).Sub(began), err
				},
				check: func(t *testing.T, took time.Duration, err error) {
					require.ErrorIs(t, err, durable.ErrTimeout)
					require.Equal(t, "Timeout", failure(err).Type)
					require.Equal(t, "timed out after 1m0s", failure(err).Message)
					require.Equal(t, time.Minute, took)
					require.Equal(t, durable.ErrTimeout, <-cause)
				},
				history: []string{"StepStarted 1", "StepSucceeded 1", "StepStarted 2 s", "StepFailed 2 s", "StepStarted 3", "StepSucceeded 3"},
			}.run(t)
		})

		t.Run("CoversAllAttemptsAndDelays", func(t *testing.T) {
			var calls atomic.Int32
			trial[time.Duration]{
				op: func(ctx *durable.Context) (time.Duration, error) {
					began := durable.Now(ctx)
					_, err := durable.Step(ctx, "s", func(c context.Context) (int, error) { calls.Add(1); return 0, errors.New("no") },
						durable.WithTimeout(time.Minute), durable.WithRetry(durable.RetryPolicy{MaxAttempts: 9, Initial: 25 * time.Second, Multiplier: 1, Jitter: durable.NoJitter}))
					return durable.Now(ctx).Sub(began), err
				},
				check: func(t *testing.T, took time.Duration, err error) {
					require.ErrorIs(t, err, durable.ErrTimeout)
					require.Equal(t, time.Minute, took, "it does not wait for the delay to end")
					require.EqualValues(t, 3, calls.Swap(0))
					require.Equal(t, 3, opError(err).Attempts)
				},
			}.run(t)
		})

		t.Run("DoesNotWaitForABodyThatIgnoresIt", func(t *testing.T) {
			trial[time.Duration]{
				op: func(ctx *durable.Context) (time.Duration, error) {
					began := durable.Now(ctx)
					_, err := durable.Step(ctx, "s", func(context.Context) (int, error) { time.Sleep(time.Hour); return 1, nil }, durable.WithTimeout(time.Minute))
					return durable.Now(ctx).Sub(began), err
				},
				check: func(t *testing.T, took time.Duration, err error) {
					require.ErrorIs(t, err, durable.ErrTimeout)
					require.Equal(t, time.Minute, took)
				},
			}.run(t)
		})

		t.Run("ABodyInTimeIsNotTouched", func(t *testing.T) {
			trial[int]{
				op: func(ctx *durable.Context) (int, error) {
					return durable.Step(ctx, "s", func(context.Context) (int, error) { time.Sleep(59 * time.Second); return 1, nil }, durable.WithTimeout(time.Minute))
				},
				check: func(t *testing.T, got int, err error) {
					require.NoError(t, err)
					require.Equal(t, 1, got)
				},
				history: []string{"StepStarted 1 s", "StepSucceeded 1 s"},
			}.run(t)
		})

		t.Run("PanicsAreFailedAttempts", func(t *testing.T) {
			trial[int]{
				op: func(ctx *durable.Context) (int, error) {
					return durable.Step(ctx, "s", func(context.Context) (int, error) { panic("boom") }, durable.WithTimeout(time.Minute), durable.WithRetry(durable.NoRetry()))
				},
				check: func(t *testing.T, got int, err error) { require.ErrorIs(t, err, durable.ErrPanic) },
			}.run(t)
		})

		t.Run("ClockGoesOnWhileTheProcessIsDown", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls atomic.Int32
				f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
					return durable.Step(ctx, "s", func(c context.Context) (int, error) {
						calls.Add(1)
						<-c.Done()
						return 0, c.Err()
					}, durable.WithTimeout(time.Hour))
				})
				d := newDisk(t)
				b := boot(t, d, durable.Options{}, f)
				x := start(b, f, 1)
				time.Sleep(30 * time.Minute)
				b.crash()
				b = boot(t, d, durable.Options{}, f)
				time.Sleep(20 * time.Minute)
				require.EqualValues(t, 2, calls.Load(), "there was time left")
				b.crash()
				time.Sleep(20 * time.Minute)
				b = boot(t, d, durable.Options{}, f)
				began := time.Now()
				_, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
				require.ErrorIs(t, err, durable.ErrTimeout)
				require.Zero(t, time.Since(began))
				require.EqualValues(t, 2, calls.Load(), "it fails without running")
			})
		})
	})

	t.Run("AtLeastOnce", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var attempts []int
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				return durable.Step(ctx, "s", func(c context.Context) (string, error) {
					info, _ := durable.StepInfoFrom(c)
					if attempts = append(attempts, info.Attempt); len(attempts) == 1 {
						<-c.Done()
						return "", c.Err()
					}
					return "done", nil
				})
			})
			d := newDisk(t)
			b := boot(t, d, durable.Options{}, f)
			x := start(b, f, 1)
			time.Sleep(time.Second)
			b.crash()
			b = boot(t, d, durable.Options{}, f)
			out, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
			require.NoError(t, err)
			require.Equal(t, "done", out)
			require.Equal(t, []int{1, 1}, attempts, "an interrupted attempt is made again with its number")
			require.Equal(t, []string{"ExecutionStarted", "StepStarted 1 s", "InvocationCompleted", "StepSucceeded 1 s", "InvocationCompleted", "ExecutionSucceeded"}, b.history(x.ID()))
			for ev := range b.events(x.ID()) {
				if ev.Type == "InvocationCompleted" {
					require.Equal(t, "Runtime.ExitError", ev.Failure.Type)
					break
				}
			}
		})
	})

	t.Run("AtMostOnce", func(t *testing.T) {
		t.Parallel()

		t.Run("HasOneAttempt", func(t *testing.T) {
			trial[int]{
				op: func(ctx *durable.Context) (int, error) {
					return durable.Step(ctx, "s", func(context.Context) (int, error) { return 0, errors.New("no") }, durable.AtMostOnce())
				},
				check: func(t *testing.T, _ int, err error) {
					require.ErrorContains(t, err, "no")
					require.Equal(t, 1, opError(err).Attempts)
				},
				history: []string{"StepStarted 1 s", "StepFailed 1 s"},
			}.run(t)
		})

		t.Run("HasMoreWithRetry", func(t *testing.T) {
			trial[int]{
				op: func(ctx *durable.Context) (int, error) {
					return durable.Step(ctx, "s", func(context.Context) (int, error) { return 0, errors.New("no") }, durable.AtMostOnce(),
						durable.WithRetry(durable.RetryPolicy{MaxAttempts: 3}))
				},
				check: func(t *testing.T, _ int, err error) { require.Equal(t, 3, opError(err).Attempts) },
			}.run(t)
		})

		t.Run("StartIsDurableBeforeTheBody", func(t *testing.T) {
			everyLife(t, func(t *testing.T, opts durable.Options) {
				f := durable.Define("f", func(ctx *durable.Context, _ int) ([]string, error) {
					return durable.Step(ctx, "s", func(c context.Context) (types []string, _ error) {
						info, _ := durable.StepInfoFrom(c)
						for ev, err := range info.Engine.History(c, info.ExecutionID) {
							if err != nil {
								return nil, err
							}
							types = append(types, line(ev))
						}
						return types, nil
					}, durable.AtMostOnce())
				})
				b := setupWith(t, opts, f)
				require.Equal(t, []string{"ExecutionStarted", "StepStarted 1 s"}, run(b, f, 1))
			})
		})

		t.Run("TimeoutOfAnInterruptedOne", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls atomic.Int32
				f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
					return durable.Step(ctx, "s", func(c context.Context) (int, error) {
						calls.Add(1)
						<-c.Done()
						return 0, c.Err()
					}, durable.AtMostOnce(), durable.WithTimeout(time.Hour), durable.WithRetry(durable.RetryPolicy{MaxAttempts: 2, Initial: 10 * time.Hour, Max: 10 * time.Hour, Jitter: durable.NoJitter}))
				})
				d := newDisk(t)
				b := boot(t, d, durable.Options{}, f)
				x := start(b, f, 1)
				began := time.Now()
				time.Sleep(time.Minute)
				b.crash()
				b = boot(t, d, durable.Options{}, f)
				_, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
				require.ErrorIs(t, err, durable.ErrTimeout, "the retry would come after the timeout")
				require.Equal(t, time.Hour, time.Since(began))
				require.EqualValues(t, 1, calls.Load())
			})
		})

		for _, c := range []struct {
			name     string
			opts     []durable.StepOption
			attempts []int
			err      error
		}{
			{"InterruptedIsFailed", []durable.StepOption{durable.AtMostOnce()}, []int{1}, durable.ErrInterrupted},
			{"InterruptedIsRetriedWithRetry", []durable.StepOption{durable.AtMostOnce(), durable.WithRetry(durable.RetryPolicy{MaxAttempts: 2})}, []int{1, 2}, nil},
			{"InterruptedIsNotRetriedIfThePolicySaysSo", []durable.StepOption{durable.AtMostOnce(), durable.WithRetry(durable.RetryPolicy{
				MaxAttempts: 2, Retryable: func(err error) bool { return !errors.Is(err, durable.ErrInterrupted) }})}, []int{1}, durable.ErrInterrupted},
		} {
			t.Run(c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var attempts []int
					f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
						return durable.Step(ctx, "s", func(ctx context.Context) (string, error) {
							info, _ := durable.StepInfoFrom(ctx)
							if attempts = append(attempts, info.Attempt); len(attempts) == 1 {
								<-ctx.Done()
								return "", ctx.Err()
							}
							return "done", nil
						}, c.opts...)
					})
					d := newDisk(t)
					b := boot(t, d, durable.Options{}, f)
					x := start(b, f, 1)
					synctest.Wait()
					b.crash()
					b = boot(t, d, durable.Options{}, f)
					out, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
					require.Equal(t, c.attempts, attempts)
					if c.err == nil {
						require.NoError(t, err)
						require.Equal(t, "done", out)
						return
					}
					require.ErrorIs(t, err, c.err)
					require.Equal(t, "Interrupted", failure(err).Type)
				})
			})
		}
	})

	t.Run("ContextOfTheBodyEndsWithTheExecution", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			ended := make(chan error, 2)
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				return durable.Step(ctx, "s", func(c context.Context) (int, error) {
					<-c.Done()
					ended <- context.Cause(c)
					return 0, c.Err()
				})
			})
			b := setupWith(t, opts, f)
			x := start(b, f, 1)
			synctest.Wait()
			require.NoError(t, b.engine.Stop(b.ctx, x.ID(), "enough"))
			require.ErrorIs(t, <-ended, durable.ErrStopped)
			_, err := x.Result(b.ctx)
			require.ErrorIs(t, err, durable.ErrStopped)

			x = start(b, f, 1)
			synctest.Wait()
			require.NoError(t, b.engine.Cancel(b.ctx, x.ID(), "enough"))
			require.ErrorIs(t, <-ended, durable.ErrCanceled)
			_, err = x.Result(b.ctx)
			require.ErrorIs(t, err, durable.ErrCanceled)
		})
	})

	t.Run("BodyThatEndsWellAfterACancelHasSucceeded", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				return durable.Step(ctx, "s", func(c context.Context) (string, error) { <-c.Done(); return "finished", nil })
			})
			b := setupWith(t, opts, f)
			x := start(b, f, 1)
			synctest.Wait()
			require.NoError(t, b.engine.Cancel(b.ctx, x.ID(), ""))
			out, err := x.Result(b.ctx)
			require.NoError(t, err)
			require.Equal(t, "finished", out)
		})
	})

	t.Run("CancelEndsARetryDelay", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				return durable.Step(ctx, "s", func(context.Context) (string, error) { return "", errors.New("no") }, durable.WithRetry(durable.RetryPolicy{MaxAttempts: 2, Initial: time.Hour, Max: time.Hour}))
			})
			b := setupWith(t, opts, f)
			x := start(b, f, 1)
			time.Sleep(time.Nanosecond)
			began := time.Now()
			require.NoError(t, b.engine.Cancel(b.ctx, x.ID(), "enough"))
			_, err := x.Result(b.ctx)
			require.ErrorIs(t, err, durable.ErrCanceled)
			require.Equal(t, "Canceled", failure(err).Type)
			require.ErrorContains(t, err, "enough")
			require.Less(t, time.Since(began), time.Second)
		})
	})

	t.Run("NilFunctionsArePanics", func(t *testing.T) {
		t.Parallel()
		for name, op := range map[string]func(*durable.Context) error{
			"Step": func(ctx *durable.Context) error {
				_, err := durable.Step[int](ctx, "s", nil, durable.WithRetry(durable.NoRetry()))
				return err
			},
			"Do": func(ctx *durable.Context) error {
				return durable.Do(ctx, "s", nil, durable.WithRetry(durable.NoRetry()))
			},
			"Child": func(ctx *durable.Context) error { _, err := durable.RunInChildContext[int](ctx, "s", nil); return err },
			"Go":    func(ctx *durable.Context) error { _, err := durable.Go[int](ctx, "s", nil).Await(ctx); return err },
			"Condition": func(ctx *durable.Context) error {
				_, err := durable.WaitForCondition(ctx, "s", 0, nil, durable.PollEvery(1, atLeast(1)))
				return err
			},
			"Map": func(ctx *durable.Context) error { _, err := durable.Map[int, int](ctx, "s", []int{1}, nil); return err },
			"Submitter": func(ctx *durable.Context) error {
				_, err := durable.WaitForCallback[int](ctx, "s", nil, durable.WithRetry(durable.NoRetry()))
				return err
			},
		} {
			t.Run(name, func(t *testing.T) {
				trial[durable.None]{
					op:    func(ctx *durable.Context) (durable.None, error) { return durable.None{}, op(ctx) },
					check: func(t *testing.T, _ durable.None, err error) { require.ErrorIs(t, err, durable.ErrPanic) },
				}.run(t)
			})
		}
	})

	t.Run("OperationInsideABodyIsRefused", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				return durable.Step(ctx, "outer", func(context.Context) (string, error) {
					_, err := durable.Step(ctx, "inner", body(1))
					return fmt.Sprint(errors.Is(err, durable.ErrConcurrentUse), opError(err).Name, opError(err).Hint != ""), nil
				})
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "trueinnertrue", strings.ReplaceAll(got, " ", ""))
			},
			history: []string{"StepStarted 1 outer", "StepSucceeded 1 outer"},
		}.run(t)
	})
}

// zero checks that the zero value of O comes back from a step.
func zero[O any](t *testing.T) {
	var v O
	trial[O]{
		op: func(ctx *durable.Context) (O, error) { return durable.Step(ctx, "s", body(v)) },
		check: func(t *testing.T, got O, err error) {
			require.NoError(t, err)
			require.Equal(t, v, got)
		},
	}.run(t)
}

// shape is "id" for what may be an execution ID.
func shape(key string) string {
	if key == "" || len(key) > 128 || strings.Trim(key, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return "bad " + key
	}
	return "id"
}

// badMarshaler does not let itself be encoded.
type badMarshaler string

func (m badMarshaler) MarshalJSON() ([]byte, error) {
	if m == "panic" {
		panic("in MarshalJSON")
	}
	return nil, errors.New("not this one")
}
