package durable_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// callback is the ID of the open callback of the name.
func (b *bundle) callback(execution, name string) string {
	b.Helper()
	id, err := b.engine.CallbackID(b.ctx, execution, name)
	require.NoError(b, err)
	return id
}

// succeeded completes the callback "cb" of a trial a minute after its start.
func succeeded(payload any) func(*bundle, string) {
	return func(b *bundle, id string) {
		time.Sleep(time.Minute)
		require.NoError(b, b.engine.SucceedCallback(b.ctx, b.callback(id, "cb"), payload))
	}
}

// failed fails it.
func failed(f durable.Failure) func(*bundle, string) {
	return func(b *bundle, id string) {
		time.Sleep(time.Minute)
		require.NoError(b, b.engine.FailCallback(b.ctx, b.callback(id, "cb"), f))
	}
}

// awaited creates the callback "cb" and awaits it.
func awaited[O any](opts ...durable.CallbackOption) func(*durable.Context) (O, error) {
	return func(ctx *durable.Context) (O, error) {
		var zero O
		cb, err := durable.CreateCallback[O](ctx, "cb", opts...)
		if err != nil {
			return zero, err
		}
		return cb.Await(ctx)
	}
}

func TestCallback(t *testing.T) {
	t.Parallel()

	t.Run("ReturnsThePayload", func(t *testing.T) {
		t.Parallel()
		trial[point]{
			op:      awaited[point](),
			outside: succeeded(point{1, 2, "lost"}),
			check: func(t *testing.T, got point, err error) {
				require.NoError(t, err)
				require.Equal(t, point{X: 1, Y: 2}, got)
			},
			history: []string{"CallbackStarted 1 cb", "CallbackSucceeded 1 cb"},
		}.run(t)
	})

	t.Run("Payloads", func(t *testing.T) {
		t.Parallel()
		for name, c := range map[string]struct{ payload, want any }{
			"Nil":           {nil, nil},
			"NoBytes":       {[]byte{}, nil},
			"NilBytes":      {[]byte(nil), nil},
			"NoRawMessage":  {json.RawMessage{}, nil},
			"Null":          {json.RawMessage("null"), nil},
			"RawMessage":    {json.RawMessage(` {"a" : 1} `), map[string]any{"a": 1.0}},
			"Bytes":         {[]byte(`[1]`), []any{1.0}},
			"String":        {"text", "text"},
			"EmptyString":   {"", ""},
			"Number":        {42, 42.0},
			"Struct":        {struct{ A int }{1}, map[string]any{"A": 1.0}},
			"TypedNil":      {(*point)(nil), nil},
			"StringOfJSON":  {`{"a":1}`, `{"a":1}`},
			"NotUTF8":       {"\xff", "\ufffd"},
			"LargeEnough":   {strings.Repeat("x", 1000), strings.Repeat("x", 1000)},
			"FalseIsAValue": {false, false},
		} {
			t.Run(name, func(t *testing.T) {
				trial[any]{
					op:      awaited[any](),
					outside: succeeded(c.payload),
					check: func(t *testing.T, got any, err error) {
						require.NoError(t, err)
						require.Equal(t, c.want, got)
					},
				}.run(t)
			})
		}
	})

	t.Run("NoPayloadIsTheZeroValue", func(t *testing.T) {
		t.Parallel()
		trial[point]{
			op:      awaited[point](),
			outside: succeeded(nil),
			check: func(t *testing.T, got point, err error) {
				require.NoError(t, err)
				require.Zero(t, got)
			},
		}.run(t)
	})

	t.Run("PayloadThatDoesNotFitIsAnErrorEachTime", func(t *testing.T) {
		t.Parallel()
		for name, payload := range map[string]any{"OtherType": "text", "NotJSON": []byte("not JSON")} {
			t.Run(name, func(t *testing.T) {
				trial[int]{
					op:      awaited[int](),
					outside: succeeded(payload),
					check: func(t *testing.T, _ int, err error) {
						require.ErrorIs(t, err, durable.ErrCodec)
						require.Equal(t, "cb", opError(err).Name)
					},
					history: []string{"CallbackStarted 1 cb", "CallbackSucceeded 1 cb"},
				}.run(t)
			})
		}
	})

	t.Run("FailureIsThatWhichWasSent", func(t *testing.T) {
		t.Parallel()
		for name, sent := range map[string]durable.Failure{
			"Full":          {Type: "RejectedError", Message: "not approved", Data: json.RawMessage(`{"by":"me", "n":[1,2]}`), Stack: "line 1\nline 2"},
			"Empty":         {},
			"OnlyType":      {Type: "RejectedError"},
			"OnlyMessage":   {Message: "no"},
			"LikeATimeout":  {Type: "Timeout", Message: "timed out"},
			"LikeACancel":   {Type: "Canceled"},
			"LikeOurPanics": {Type: "Panic", Message: "panic: x"},
		} {
			t.Run(name, func(t *testing.T) {
				trial[int]{
					op:      awaited[int](),
					outside: failed(sent),
					check: func(t *testing.T, got int, err error) {
						require.Zero(t, got)
						require.Equal(t, "ErrCallbackFailed", matching(err), "and nothing else, whatever the outside calls it")
						f := failure(err)
						require.Equal(t, sent.Type, f.Type)
						require.Equal(t, sent.Message, f.Message)
						require.Equal(t, sent.Stack, f.Stack)
						if sent.Data == nil {
							require.Empty(t, f.Data)
						} else {
							require.JSONEq(t, string(sent.Data), string(f.Data))
						}
						require.Equal(t, durable.OpError{Type: "CALLBACK", ExecutionID: "x", OperationID: "1", Name: "cb"}, describeError(err).op)
						require.NotEmpty(t, err.Error())
					},
					history: []string{"CallbackStarted 1 cb", "CallbackFailed 1 cb"},
				}.run(t)
			})
		}
	})

	t.Run("FailureIsCheckedWhenItIsSent", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			opts: durable.Options{MaxPayload: 100},
			op:   awaited[string](),
			outside: func(b *bundle, id string) {
				cb := b.callback(id, "cb")
				require.ErrorContains(b, b.engine.FailCallback(b.ctx, cb, durable.Failure{Data: json.RawMessage("{")}), "not JSON")
				require.ErrorIs(b, b.engine.FailCallback(b.ctx, cb, durable.Failure{Message: strings.Repeat("x", 101)}), durable.ErrPayloadTooLarge)
				require.ErrorIs(b, b.engine.SucceedCallback(b.ctx, cb, strings.Repeat("x", 101)), durable.ErrPayloadTooLarge)
				require.ErrorIs(b, b.engine.SucceedCallback(b.ctx, cb, []byte(strings.Repeat("1", 101))), durable.ErrPayloadTooLarge)
				require.ErrorIs(b, b.engine.SucceedCallback(b.ctx, cb, func() {}), durable.ErrCodec)
				require.NoError(b, b.engine.SucceedCallback(b.ctx, cb, "still open"))
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "still open", got)
			},
		}.run(t)
	})

	t.Run("CompletedBeforeItIsAwaited", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				cb, err := durable.CreateCallback[string](ctx, "cb")
				if err != nil {
					return "", err
				}
				if err := durable.Wait(ctx, "w", time.Hour); err != nil {
					return "", err
				}
				return cb.Await(ctx)
			},
			outside: succeeded("early"),
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "early", got)
			},
			history: []string{"CallbackStarted 1 cb", "WaitStarted 2 w", "CallbackSucceeded 1 cb", "WaitSucceeded 2 w"},
		}.run(t)
	})

	t.Run("CompletedByAStepRightAfterItsCreation", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				cb, err := durable.CreateCallback[string](ctx, "cb")
				if err != nil {
					return "", err
				}
				err = durable.Do(ctx, "tell", func(c context.Context) error {
					info, _ := durable.StepInfoFrom(c)
					return info.Engine.SucceedCallback(c, cb.ID(), "at once")
				})
				if err != nil {
					return "", err
				}
				return cb.Await(ctx)
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "at once", got)
			},
		}.run(t)
	})

	t.Run("IDGoesOutEarly", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			ids := make(chan string, 9)
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				cb, err := durable.CreateCallback[string](ctx, "cb")
				if err != nil {
					return "", err
				}
				ids <- cb.ID() // handler code is no effect boundary
				return cb.Await(ctx)
			})
			b := setupWith(t, opts, f)
			x := start(b, f, 1)
			require.NoError(t, b.engine.SucceedCallback(b.ctx, <-ids, "got it"))
			out, err := finish(b, x)
			require.NoError(t, err)
			require.Equal(t, "got it", out)
		})
	})

	t.Run("IDIsTheSameOnReplayAndOpaque", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			seen := map[string]string{}
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				for _, name := range []string{"a", "b"} {
					cb, err := durable.CreateCallback[string](ctx, name)
					if err != nil {
						return 0, err
					}
					key := ctx.ExecutionID() + " " + name
					if seen[key] != "" && seen[key] != cb.ID() {
						return 0, errors.New("it changed")
					}
					seen[key] = cb.ID()
				}
				return 1, durable.Wait(ctx, "w", time.Hour)
			})
			b := setupWith(t, opts, f)
			ids := map[string]bool{}
			for _, id := range []string{"one", "two"} {
				x := start(b, f, 1, durable.WithExecutionID(id))
				for _, name := range []string{"a", "b"} {
					ids[b.callback(id, name)] = true
				}
				_, err := finish(b, x)
				require.NoError(t, err)
			}
			require.Len(t, seen, 4)
			for key, id := range seen {
				require.True(t, ids[id], key)
				require.NotContains(t, id, "one")
			}
			require.Len(t, ids, 4)
		})
	})

	t.Run("OnlyTheFirstOutcomeCounts", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: awaited[string](),
			outside: func(b *bundle, id string) {
				cb := b.callback(id, "cb")
				require.NoError(b, b.engine.SucceedCallback(b.ctx, cb, "first"))
				for range 2 {
					require.ErrorIs(b, b.engine.SucceedCallback(b.ctx, cb, "second"), durable.ErrCallbackCompleted)
					require.ErrorIs(b, b.engine.FailCallback(b.ctx, cb, durable.Failure{}), durable.ErrCallbackCompleted)
					require.ErrorIs(b, b.engine.HeartbeatCallback(b.ctx, cb), durable.ErrCallbackCompleted)
					time.Sleep(time.Minute)
				}
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "first", got)
			},
		}.run(t)
	})

	t.Run("ManyCompletersAtOnce", func(t *testing.T) {
		t.Parallel()
		var won atomic.Int32
		trial[bool]{
			op: func(ctx *durable.Context) (bool, error) {
				_, err := awaited[int]()(ctx)
				return true, err
			},
			outside: func(b *bundle, id string) {
				cb := b.callback(id, "cb")
				errs := make(chan error, 50)
				for i := range 50 {
					go func() { errs <- b.engine.SucceedCallback(b.ctx, cb, i) }()
				}
				for range 50 {
					switch err := <-errs; {
					case err == nil:
						won.Add(1)
					default:
						require.ErrorIs(b, err, durable.ErrCallbackCompleted)
					}
				}
			},
			check: func(t *testing.T, _ bool, err error) {
				require.NoError(t, err)
				require.EqualValues(t, 1, won.Swap(0))
			},
		}.run(t)
	})

	t.Run("UnknownIDs", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return awaited[int]()(ctx) })
			m := newMachine(t)
			b, other := m.open(durable.Options{}, f), setup(t, f)
			x := start(b, f, 1, durable.WithExecutionID("x"))
			start(other, f, 1, durable.WithExecutionID("x"))
			id := b.callback("x", "cb")
			raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(id, "cb-"))
			require.NoError(t, err)
			bad := []string{"", "x", "1", "cb", id + "A", id[:len(id)-1], strings.ToUpper(id), strings.Repeat("A", 5000), "ä", "../x", other.callback("x", "cb")}
			for i := range raw { // neither the MAC nor the address may be touched
				touched := append([]byte{}, raw...)
				touched[i] ^= 1
				bad = append(bad, "cb-"+base64.RawURLEncoding.EncodeToString(touched))
			}
			// One callback has one ID: no other text says the same bytes.
			bad = append(bad, id[:9]+"\n"+id[9:], id+"\r\n", strings.Replace(id, "cb-", "cb-\n", 1), "CB-"+id[3:], id[3:], id+"=", id+"==")
			const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
			for _, c := range alphabet {
				if other := id[:len(id)-1] + string(c); other != id {
					bad = append(bad, other)
				}
			}
			for n := range id {
				bad = append(bad, id[:n], id[n+1:])
			}
			bad = append(bad, "cb-"+base64.RawURLEncoding.EncodeToString(raw[:16]), "cb-"+base64.RawURLEncoding.EncodeToString(append(make([]byte, 16), raw[16:]...)))
			asked := 0
			m.set(func() {
				m.onDeliver = func(*checkpoint.Delivery) error { asked++; return nil }
				m.onBeat = func() { asked++ }
			})
			for _, id := range bad {
				require.ErrorIs(t, b.engine.SucceedCallback(b.ctx, id, 1), durable.ErrCallbackNotFound, "%q", id)
				require.ErrorIs(t, b.engine.FailCallback(b.ctx, id, durable.Failure{}), durable.ErrCallbackNotFound, "%q", id)
				require.ErrorIs(t, b.engine.HeartbeatCallback(b.ctx, id), durable.ErrCallbackNotFound, "%q", id)
			}
			require.Zero(t, asked, "an ID that is not one never gets as far as the store")
			require.NoError(t, b.engine.SucceedCallback(b.ctx, id, 7))
			require.Equal(t, 1, asked, "an ID that is one says where the callback is")
			out, err := finish(b, x)
			require.NoError(t, err)
			require.Equal(t, 7, out)
			t.Logf("%d forged callback IDs: all refused, none asked the store", len(bad))
		})
	})

	t.Run("AfterTheEnd", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				_, err := durable.CreateCallback[int](ctx, "cb")
				if err != nil {
					return 0, err
				}
				return 1, durable.Wait(ctx, "w", time.Hour)
			})
			b := setupWith(t, opts, f)
			id := durable.WithExecutionID("x")
			x := start(b, f, 1, id)
			cb := b.callback("x", "cb")
			_, err := finish(b, x)
			require.NoError(t, err, "a callback that nobody awaits delays nothing")
			require.ErrorIs(t, b.engine.SucceedCallback(b.ctx, cb, 1), durable.ErrCallbackCompleted)
			require.ErrorIs(t, b.engine.HeartbeatCallback(b.ctx, cb), durable.ErrCallbackCompleted)
			require.NoError(t, b.engine.Delete(b.ctx, "x"))
			require.ErrorIs(t, b.engine.SucceedCallback(b.ctx, cb, 1), durable.ErrCallbackNotFound)
			start(b, f, 1, id)
			require.NotEqual(t, cb, b.callback("x", "cb"), "last week's link does not fit")
			require.ErrorIs(t, b.engine.SucceedCallback(b.ctx, cb, 1), durable.ErrCallbackNotFound)
		})
	})

	t.Run("AbandonedWithItsContext", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				return durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
					_, err := durable.CreateCallback[int](ctx, "cb")
					if err != nil {
						return 0, err
					}
					return 1, durable.Wait(ctx, "w", 2*time.Minute)
				})
			},
			outside: func(b *bundle, id string) {
				time.Sleep(time.Minute)
				cb := b.callback(id, "cb")
				time.Sleep(2 * time.Minute)
				require.ErrorIs(b, b.engine.SucceedCallback(b.ctx, cb, 1), durable.ErrCallbackCompleted)
			},
			check:   func(t *testing.T, got int, err error) { require.NoError(t, err) },
			history: []string{"ContextStarted 1 child", "CallbackStarted 1-1 cb", "WaitStarted 1-2 w", "WaitSucceeded 1-2 w", "ContextSucceeded 1 child"},
		}.run(t)
	})

	t.Run("Timeout", func(t *testing.T) {
		t.Parallel()
		trial[time.Duration]{
			op: func(ctx *durable.Context) (time.Duration, error) {
				return timed(ctx, func() error { _, err := awaited[int](durable.WithTimeout(90 * time.Second))(ctx); return err })
			},
			check: func(t *testing.T, took time.Duration, err error) {
				require.Equal(t, "ErrTimeout", matching(err))
				require.Equal(t, "Timeout", failure(err).Type)
				require.Equal(t, 90*time.Second, took)
			},
			history: timedHistory("CallbackStarted 2 cb", "CallbackTimedOut 2 cb"),
		}.run(t)
	})

	t.Run("OutcomeAgainstTimeout", func(t *testing.T) {
		t.Parallel()
		for _, c := range []struct {
			name string
			at   time.Duration
			wins bool
		}{{"JustInTime", time.Minute - 1, true}, {"AtTheDueTime", time.Minute, false}, {"Later", time.Minute + time.Second, false}} {
			t.Run(c.name, func(t *testing.T) {
				trial[string]{
					op: func(ctx *durable.Context) (string, error) {
						cb, err := durable.CreateCallback[string](ctx, "cb", durable.WithTimeout(time.Minute))
						if err != nil {
							return "", err
						}
						if err := durable.Wait(ctx, "long", time.Hour); err != nil { // the timer of the callback wakes nobody who waits for it
							return "", err
						}
						return cb.Await(ctx)
					},
					outside: func(b *bundle, id string) {
						cb := b.callback(id, "cb")
						time.Sleep(c.at)
						err := b.engine.SucceedCallback(b.ctx, cb, "made it")
						if c.wins {
							require.NoError(b, err)
						} else {
							require.ErrorIs(b, err, durable.ErrCallbackCompleted)
						}
					},
					check: func(t *testing.T, got string, err error) {
						if c.wins {
							require.NoError(t, err)
							require.Equal(t, "made it", got)
							return
						}
						require.ErrorIs(t, err, durable.ErrTimeout)
					},
				}.run(t)
			})
		}
	})

	t.Run("TimeoutWhileTheProcessIsDown", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				return awaited[int](durable.WithTimeout(time.Hour))(ctx)
			})
			d := newDisk(t)
			b := boot(t, d, opts, f)
			x := start(b, f, 1)
			cb := b.callback(x.ID(), "cb")
			b.crash()
			time.Sleep(2 * time.Hour)
			b = boot(t, d, opts, f)
			require.ErrorIs(t, b.engine.SucceedCallback(b.ctx, cb, 1), durable.ErrCallbackCompleted)
			_, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
			require.ErrorIs(t, err, durable.ErrTimeout)
		})
	})

	t.Run("OutcomeWhileTheHandlerDoesNotRunIsKept", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				return awaited[int](durable.WithTimeout(time.Hour))(ctx)
			})
			d := newDisk(t)
			b := boot(t, d, opts, f)
			x := start(b, f, 1)
			cb := b.callback(x.ID(), "cb")
			require.NoError(t, b.engine.SucceedCallback(b.ctx, cb, 42))
			b.crash() // perhaps before it was taken over
			time.Sleep(2 * time.Hour)
			b = boot(t, d, opts, f)
			out, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
			require.NoError(t, err)
			require.Equal(t, 42, out)
		})
	})

	t.Run("HeartbeatTimeout", func(t *testing.T) {
		t.Parallel()
		beating := func(ctx *durable.Context) (time.Duration, error) {
			return timed(ctx, func() error {
				_, err := awaited[int](durable.WithHeartbeatTimeout(10*time.Second), durable.WithTimeout(time.Hour))(ctx)
				return err
			})
		}

		t.Run("WithoutABeat", func(t *testing.T) {
			trial[time.Duration]{
				op: beating,
				check: func(t *testing.T, took time.Duration, err error) {
					require.Equal(t, "ErrHeartbeatTimeout", matching(err), "not a timeout")
					require.Equal(t, "HeartbeatTimeout", failure(err).Type)
					require.Equal(t, 10*time.Second, took)
				},
				history: timedHistory("CallbackStarted 2 cb", "CallbackTimedOut 2 cb"),
			}.run(t)
		})

		t.Run("ABeatRestartsIt", func(t *testing.T) {
			trial[time.Duration]{
				op: beating,
				outside: func(b *bundle, id string) {
					cb := b.callback(id, "cb")
					for range 10 {
						time.Sleep(9 * time.Second)
						require.NoError(b, b.engine.HeartbeatCallback(b.ctx, cb))
					}
				},
				check: func(t *testing.T, took time.Duration, err error) {
					require.ErrorIs(t, err, durable.ErrHeartbeatTimeout)
					require.Equal(t, 100*time.Second, took)
				},
				history: timedHistory("CallbackStarted 2 cb", "CallbackTimedOut 2 cb"), // a beat is no event
			}.run(t)
		})

		t.Run("ABeatThatComesTooLateIsRefused", func(t *testing.T) {
			trial[time.Duration]{
				op: beating,
				outside: func(b *bundle, id string) {
					cb := b.callback(id, "cb")
					time.Sleep(10 * time.Second)
					require.ErrorIs(b, b.engine.HeartbeatCallback(b.ctx, cb), durable.ErrCallbackCompleted)
				},
				check: func(t *testing.T, _ time.Duration, err error) { require.ErrorIs(t, err, durable.ErrHeartbeatTimeout) },
			}.run(t)
		})

		t.Run("TheTimeoutCountsAllTheSame", func(t *testing.T) {
			trial[time.Duration]{
				op: beating,
				outside: func(b *bundle, id string) {
					cb := b.callback(id, "cb")
					for b.engine.HeartbeatCallback(b.ctx, cb) == nil {
						time.Sleep(7 * time.Second)
					}
				},
				check: func(t *testing.T, took time.Duration, err error) {
					require.Equal(t, "ErrTimeout", matching(err))
					require.Equal(t, time.Hour, took)
				},
			}.run(t)
		})

		t.Run("SuccessAfterABeat", func(t *testing.T) {
			trial[string]{
				op: awaited[string](durable.WithHeartbeatTimeout(10 * time.Second)),
				outside: func(b *bundle, id string) {
					cb := b.callback(id, "cb")
					for range 3 {
						time.Sleep(9 * time.Second)
						require.NoError(b, b.engine.HeartbeatCallback(b.ctx, cb))
					}
					time.Sleep(9 * time.Second)
					require.NoError(b, b.engine.SucceedCallback(b.ctx, cb, "done"))
				},
				check: func(t *testing.T, got string, err error) {
					require.NoError(t, err)
					require.Equal(t, "done", got)
				},
			}.run(t)
		})

		t.Run("ABeatOfACallbackWithoutHeartbeatsDoesNothing", func(t *testing.T) {
			trial[string]{
				op: awaited[string](durable.WithTimeout(time.Hour)),
				outside: func(b *bundle, id string) {
					cb := b.callback(id, "cb")
					require.NoError(b, b.engine.HeartbeatCallback(b.ctx, cb))
					time.Sleep(59 * time.Minute)
					require.NoError(b, b.engine.SucceedCallback(b.ctx, cb, "done"))
				},
				check: func(t *testing.T, _ string, err error) { require.NoError(t, err) },
			}.run(t)
		})

		t.Run("SurvivesRestarts", func(t *testing.T) {
			everyLife(t, func(t *testing.T, opts durable.Options) {
				f := durable.Define("f", func(ctx *durable.Context, _ int) (time.Duration, error) { return beating(ctx) })
				d := newDisk(t)
				b := boot(t, d, opts, f)
				x := start(b, f, 1)
				began := time.Now()
				cb := b.callback(x.ID(), "cb")
				time.Sleep(9 * time.Second)
				require.NoError(t, b.engine.HeartbeatCallback(b.ctx, cb))
				b.crash()
				time.Sleep(5 * time.Second)
				b = boot(t, d, opts, f)
				_, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
				require.ErrorIs(t, err, durable.ErrHeartbeatTimeout)
				require.Equal(t, 19*time.Second, time.Since(began), "ten seconds after the last beat")
			})
		})
	})

	t.Run("AwaitTwiceAndElsewhere", func(t *testing.T) {
		t.Parallel()
		trial[[3]string]{
			op: func(ctx *durable.Context) (got [3]string, err error) {
				cb, err := durable.CreateCallback[string](ctx, "cb")
				if err != nil {
					return got, err
				}
				if got[0], err = cb.Await(ctx); err != nil {
					return got, err
				}
				if got[1], err = cb.Await(ctx); err != nil {
					return got, err
				}
				got[2], err = durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (string, error) { return cb.Await(ctx) })
				return got, err
			},
			outside: succeeded("yes"),
			check: func(t *testing.T, got [3]string, err error) {
				require.NoError(t, err)
				require.Equal(t, [3]string{"yes", "yes", "yes"}, got)
			},
			history: []string{"CallbackStarted 1 cb", "CallbackSucceeded 1 cb", "ContextStarted 2 child", "ContextSucceeded 2 child"},
		}.run(t)
	})

	t.Run("TwoAwaitedInTheOtherOrder", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				a, err := durable.CreateCallback[string](ctx, "a")
				if err != nil {
					return "", err
				}
				z, err := durable.CreateCallback[string](ctx, "z")
				if err != nil {
					return "", err
				}
				last, err := z.Await(ctx)
				if err != nil {
					return "", err
				}
				first, err := a.Await(ctx)
				return first + last, err
			},
			outside: func(b *bundle, id string) {
				a, z := b.callback(id, "a"), b.callback(id, "z")
				time.Sleep(time.Second)
				require.NoError(b, b.engine.SucceedCallback(b.ctx, a, "A"))
				time.Sleep(time.Minute)
				require.NoError(b, b.engine.SucceedCallback(b.ctx, z, "Z"))
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "AZ", got)
			},
			history: []string{"CallbackStarted 1 a", "CallbackStarted 2 z", "CallbackSucceeded 1 a", "CallbackSucceeded 2 z"},
		}.run(t)
	})

	t.Run("EventsFromOutsideWakeTheExecution", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				cb, err := durable.CreateCallback[int](ctx, "cb")
				if err != nil {
					return 0, err
				}
				if err := durable.Wait(ctx, "w", 5*time.Second); err != nil {
					return 0, err
				}
				return cb.Await(ctx)
			})
			b := setup(t, f)
			x := start(b, f, 1)
			cb := b.callback(x.ID(), "cb")
			time.Sleep(2 * time.Second)
			require.NoError(t, b.engine.FailCallback(b.ctx, cb, durable.Failure{Type: "RejectedError", Message: "not approved"}))
			_, err := finish(b, x)
			require.ErrorIs(t, err, durable.ErrCallbackFailed)
			require.Equal(t, "RejectedError", failure(err).Type)
			require.Equal(t, []string{"ExecutionStarted", "CallbackStarted 1 cb", "WaitStarted 2 w", "InvocationCompleted",
				"CallbackFailed 1 cb", "InvocationCompleted", "WaitSucceeded 2 w", "InvocationCompleted", "ExecutionFailed"}, b.history(x.ID()))
		})
	})

	t.Run("Cancel", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: awaited[int](durable.WithTimeout(time.Hour)),
			outside: func(b *bundle, id string) {
				cb := b.callback(id, "cb")
				cancelled(b, id)
				time.Sleep(time.Second)
				require.ErrorIs(b, b.engine.SucceedCallback(b.ctx, cb, 1), durable.ErrCallbackCompleted)
			},
			check: func(t *testing.T, _ int, err error) {
				require.Equal(t, "ErrCanceled", matching(err))
				require.Equal(t, "Canceled", failure(err).Type)
			},
			history: []string{"CallbackStarted 1 cb", "CallbackFailed 1 cb"},
		}.run(t)
	})

	t.Run("ASuccessBeforeTheCancelIsKept", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: awaited[int](),
			outside: func(b *bundle, id string) {
				require.NoError(b, b.engine.SucceedCallback(b.ctx, b.callback(id, "cb"), 42))
				require.NoError(b, b.engine.Cancel(b.ctx, id, ""))
			},
			check: func(t *testing.T, got int, err error) {
				require.NoError(t, err)
				require.Equal(t, 42, got)
			},
		}.run(t)
	})

	t.Run("CreatedInACancelledScope", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				if durable.Wait(ctx, "w", 50*time.Hour) == nil {
					return 0, nil
				}
				cb, err := durable.CreateCallback[int](ctx, "cb")
				if cb != nil {
					return 1, err
				}
				return 0, err
			},
			outside: cancelled,
			check: func(t *testing.T, got int, err error) {
				require.ErrorIs(t, err, durable.ErrCanceled)
				require.Zero(t, got, "no callback beside an error")
			},
			history: []string{"WaitStarted 1 w", "WaitCancelled 1 w"},
		}.run(t)
	})

	t.Run("DeepInside", func(t *testing.T) {
		t.Parallel()
		for _, depth := range []int{10, 400} {
			trial[string]{
				op: func(ctx *durable.Context) (string, error) {
					var dig func(ctx *durable.Context, depth int) (string, error)
					dig = func(ctx *durable.Context, depth int) (string, error) {
						if depth == 0 {
							return awaited[string]()(ctx)
						}
						return durable.RunInChildContext(ctx, "", func(ctx *durable.Context) (string, error) { return dig(ctx, depth-1) })
					}
					return dig(ctx, depth)
				},
				outside: succeeded("gold"),
				check: func(t *testing.T, got string, err error) {
					require.NoError(t, err)
					require.Equal(t, "gold", got)
				},
			}.run(t)
		}
	})

	t.Run("BadName", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				_, err := durable.CreateCallback[int](ctx, "a\x00")
				return 0, err
			},
			check: func(t *testing.T, _ int, err error) {
				require.ErrorIs(t, err, durable.ErrInvalidID)
				require.Equal(t, "CALLBACK", opError(err).Type)
			},
			history: []string{},
		}.run(t)
	})
}

func TestCallbackID(t *testing.T) {
	t.Parallel()

	t.Run("WaitsUntilTheCallbackIsOpen", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				if err := durable.Wait(ctx, "w", time.Hour); err != nil {
					return 0, err
				}
				return awaited[int]()(ctx)
			})
			b := setupWith(t, opts, f)
			x := start(b, f, 1)
			began := time.Now()
			cb := b.callback(x.ID(), "cb")
			require.Equal(t, time.Hour, time.Since(began))
			require.NoError(t, b.engine.SucceedCallback(b.ctx, cb, 7))
			out, err := finish(b, x)
			require.NoError(t, err)
			require.Equal(t, 7, out)
		})
	})

	t.Run("ByOperationID", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				return durable.WaitForCallback[int](ctx, "cb", func(context.Context, string) error { return nil })
			})
			b := setup(t, f)
			x := start(b, f, 1)
			require.Equal(t, b.callback(x.ID(), "cb"), b.callback(x.ID(), "1-1"))
		})
	})

	t.Run("Ambiguous", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				a, err := durable.CreateCallback[int](ctx, "same")
				if err != nil {
					return 0, err
				}
				z, err := durable.CreateCallback[int](ctx, "same")
				if err != nil {
					return 0, err
				}
				n, err := a.Await(ctx)
				if err != nil {
					return 0, err
				}
				m, err := z.Await(ctx)
				return n*10 + m, err
			})
			b := setup(t, f)
			x := start(b, f, 1)
			synctest.Wait()
			_, err := b.engine.CallbackID(b.ctx, x.ID(), "same")
			require.ErrorIs(t, err, durable.ErrCallbackAmbiguous)
			require.ErrorContains(t, err, "1 2", "it says which there are")
			require.NoError(t, b.engine.SucceedCallback(b.ctx, b.callback(x.ID(), "1"), 4))
			require.NoError(t, b.engine.SucceedCallback(b.ctx, b.callback(x.ID(), "same"), 2))
			out, err := finish(b, x)
			require.NoError(t, err)
			require.Equal(t, 42, out)
		})
	})

	t.Run("EndOfTheExecution", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 1, durable.Wait(ctx, "w", time.Hour) })
			b := setupWith(t, opts, f)
			x := start(b, f, 1)
			began := time.Now()
			_, err := b.engine.CallbackID(b.ctx, x.ID(), "cb")
			require.ErrorIs(t, err, durable.ErrCallbackNotFound)
			require.Equal(t, time.Hour, time.Since(began), "it waited as long as one could still be opened")
			_, err = b.engine.CallbackID(b.ctx, x.ID(), "cb")
			require.ErrorIs(t, err, durable.ErrCallbackNotFound)
		})
	})

	t.Run("UnknownExecution", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := setup(t)
			_, err := b.engine.CallbackID(b.ctx, "nobody", "cb")
			require.ErrorIs(t, err, durable.ErrExecutionNotFound)
			_, err = b.engine.CallbackID(b.ctx, "", "cb")
			require.ErrorIs(t, err, durable.ErrInvalidID)
		})
	})

	t.Run("EndOfTheContext", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 1, durable.Wait(ctx, "w", time.Hour) })
			b := setup(t, f)
			x := start(b, f, 1)
			ctx, cancel := context.WithTimeout(b.ctx, time.Minute)
			defer cancel()
			_, err := b.engine.CallbackID(ctx, x.ID(), "cb")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.NotErrorIs(t, err, durable.ErrTimeout)
		})
	})

	t.Run("EndOfTheEngine", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 1, durable.Wait(ctx, "w", time.Hour) })
			b := setup(t, f)
			x := start(b, f, 1)
			go func() { time.Sleep(time.Minute); b.engine.Close() }()
			_, err := b.engine.CallbackID(b.ctx, x.ID(), "cb")
			require.ErrorIs(t, err, durable.ErrClosed)
		})
	})

	t.Run("ClosedCallbacksAreNotMeant", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				if _, err := awaited[int](durable.WithTimeout(time.Minute))(ctx); !errors.Is(err, durable.ErrTimeout) {
					return 0, err
				}
				return awaited[int]()(ctx)
			})
			b := setup(t, f)
			x := start(b, f, 1)
			first := b.callback(x.ID(), "cb")
			time.Sleep(2 * time.Minute)
			second := b.callback(x.ID(), "cb")
			require.NotEqual(t, first, second)
			require.NoError(t, b.engine.SucceedCallback(b.ctx, second, 1))
		})
	})
}

func TestWaitForCallback(t *testing.T) {
	t.Parallel()
	quiet := func(context.Context, string) error { return nil }

	t.Run("SubmitsAndWaits", func(t *testing.T) {
		t.Parallel()
		trial[point]{
			op:      func(ctx *durable.Context) (point, error) { return durable.WaitForCallback[point](ctx, "cb", quiet) },
			outside: succeeded(point{1, 2, "lost"}),
			check: func(t *testing.T, got point, err error) {
				require.NoError(t, err)
				require.Equal(t, point{X: 1, Y: 2}, got)
			},
			history: []string{"ContextStarted 1 cb", "CallbackStarted 1-1 cb", "StepStarted 1-2 cb", "StepSucceeded 1-2 cb", "CallbackSucceeded 1-1 cb", "ContextSucceeded 1 cb"},
		}.run(t)
	})

	t.Run("SubmitterMayCompleteIt", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				return durable.WaitForCallback[string](ctx, "cb", func(c context.Context, id string) error {
					info, _ := durable.StepInfoFrom(c)
					return info.Engine.SucceedCallback(c, id, "from inside")
				})
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "from inside", got)
			},
		}.runLoosely(t)
	})

	t.Run("SubmitterIsRetriedWithTheSameID", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			var ids []string
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				return durable.WaitForCallback[string](ctx, "cb", func(c context.Context, id string) error {
					ids = append(ids, id)
					if info, _ := durable.StepInfoFrom(c); info.Attempt < 3 {
						return errors.New("not reachable")
					}
					return nil
				}, durable.WithRetry(durable.RetryPolicy{MaxAttempts: 3, Initial: time.Minute}))
			})
			b := setupWith(t, opts, f)
			x := start(b, f, 1)
			time.Sleep(time.Hour)
			synctest.Wait()
			require.Len(t, ids, 3)
			require.Equal(t, []string{ids[0], ids[0], ids[0]}, ids)
			require.NoError(t, b.engine.SucceedCallback(b.ctx, ids[0], "done"))
			out, err := finish(b, x)
			require.NoError(t, err)
			require.Equal(t, "done", out)
		})
	})

	t.Run("SubmitterThatFailsForGoodFailsIt", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				return durable.WaitForCallback[string](ctx, "cb", func(context.Context, string) error { return &transient{500} }, durable.WithTimeout(100*time.Hour),
					durable.WithRetry(durable.RetryPolicy{MaxAttempts: 2, Initial: 5 * time.Minute, Jitter: durable.NoJitter}))
			},
			outside: func(b *bundle, id string) {
				cb := b.callback(id, "cb")
				time.Sleep(time.Hour)
				require.ErrorIs(b, b.engine.SucceedCallback(b.ctx, cb, ""), durable.ErrCallbackCompleted, "nobody waits for it any more")
			},
			check: func(t *testing.T, _ string, err error) {
				require.Equal(t, "CONTEXT", opError(err).Type)
				require.Equal(t, "cb", opError(err).Name)
				require.Equal(t, "transient", failure(err).Type)
				require.Equal(t, "code 500", failure(err).Message)
			},
			history: []string{"ContextStarted 1 cb", "CallbackStarted 1-1 cb", "StepStarted 1-2 cb", "StepFailed 1-2 cb", "StepStarted 1-2 cb", "StepFailed 1-2 cb", "ContextFailed 1 cb"},
		}.run(t)
	})

	t.Run("SubmitterIsRetriedByDefault", func(t *testing.T) {
		t.Parallel()
		var calls atomic.Int32
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				return durable.WaitForCallback[string](ctx, "cb", func(context.Context, string) error { calls.Add(1); return errors.New("no") })
			},
			check: func(t *testing.T, _ string, err error) {
				require.ErrorContains(t, err, "no")
				require.EqualValues(t, 6, calls.Swap(0))
			},
		}.run(t)
	})

	t.Run("FailureIsThatWhichWasSent", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op:      func(ctx *durable.Context) (string, error) { return durable.WaitForCallback[string](ctx, "cb", quiet) },
			outside: failed(durable.Failure{Type: "RejectedError", Message: "not approved", Data: json.RawMessage(`{"by":"me"}`), Stack: "there"}),
			check: func(t *testing.T, _ string, err error) {
				require.Equal(t, "ErrCallbackFailed", matching(err))
				f := failure(err)
				require.Equal(t, []string{"RejectedError", "not approved", `{"by":"me"}`, "there"}, []string{f.Type, f.Message, string(f.Data), f.Stack})
				require.Equal(t, "cb", opError(err).Name)
			},
			history: []string{"ContextStarted 1 cb", "CallbackStarted 1-1 cb", "StepStarted 1-2 cb", "StepSucceeded 1-2 cb", "CallbackFailed 1-1 cb", "ContextFailed 1 cb"},
		}.run(t)
	})

	t.Run("Timeouts", func(t *testing.T) {
		t.Parallel()
		trial[time.Duration]{
			op: func(ctx *durable.Context) (time.Duration, error) {
				return timed(ctx, func() error {
					_, err := durable.WaitForCallback[string](ctx, "cb", quiet, durable.WithTimeout(3*time.Minute))
					return err
				})
			},
			check: func(t *testing.T, took time.Duration, err error) {
				require.Equal(t, "ErrTimeout", matching(err))
				require.Equal(t, "Timeout", failure(err).Type)
				require.Equal(t, 3*time.Minute, took)
			},
		}.run(t)
		trial[time.Duration]{
			op: func(ctx *durable.Context) (time.Duration, error) {
				return timed(ctx, func() error {
					_, err := durable.WaitForCallback[string](ctx, "cb", quiet, durable.WithHeartbeatTimeout(3*time.Minute))
					return err
				})
			},
			check: func(t *testing.T, took time.Duration, err error) {
				require.Equal(t, "ErrHeartbeatTimeout", matching(err))
				require.Equal(t, "HeartbeatTimeout", failure(err).Type)
				require.Equal(t, 3*time.Minute, took)
			},
		}.run(t)
	})

	t.Run("AttemptTimeoutIsThatOfTheSubmitter", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				return durable.WaitForCallback[string](ctx, "cb", func(c context.Context, _ string) error {
					if info, _ := durable.StepInfoFrom(c); info.Attempt == 1 {
						<-c.Done()
						return c.Err()
					}
					return nil
				}, durable.WithAttemptTimeout(time.Second))
			},
			outside: succeeded("late, and in time"),
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "late, and in time", got)
			},
		}.run(t)
	})

	t.Run("NilAndZeroPayload", func(t *testing.T) {
		t.Parallel()
		trial[*point]{
			op:      func(ctx *durable.Context) (*point, error) { return durable.WaitForCallback[*point](ctx, "cb", quiet) },
			outside: succeeded(nil),
			check: func(t *testing.T, got *point, err error) {
				require.NoError(t, err)
				require.Nil(t, got)
			},
		}.run(t)
	})

	t.Run("InAChild", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				return durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (string, error) { return durable.WaitForCallback[string](ctx, "cb", quiet) })
			},
			outside: succeeded("inside"),
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, "inside", got)
			},
			history: []string{"ContextStarted 1 child", "ContextStarted 1-1 cb", "CallbackStarted 1-1-1 cb", "StepStarted 1-1-2 cb", "StepSucceeded 1-1-2 cb",
				"CallbackSucceeded 1-1-1 cb", "ContextSucceeded 1-1 cb", "ContextSucceeded 1 child"},
		}.run(t)
	})

	t.Run("Cancel", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op:      func(ctx *durable.Context) (string, error) { return durable.WaitForCallback[string](ctx, "cb", quiet) },
			outside: cancelled,
			check:   func(t *testing.T, _ string, err error) { require.Equal(t, "ErrCanceled", matching(err)) },
			history: []string{"ContextStarted 1 cb", "CallbackStarted 1-1 cb", "StepStarted 1-2 cb", "StepSucceeded 1-2 cb", "CallbackFailed 1-1 cb", "ContextFailed 1 cb"},
		}.run(t)
	})

	t.Run("SubmitterPanics", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				return durable.WaitForCallback[string](ctx, "cb", func(context.Context, string) error { panic("boom") }, durable.WithRetry(durable.NoRetry()))
			},
			check: func(t *testing.T, _ string, err error) { require.Equal(t, "ErrPanic", matching(err)) },
		}.run(t)
	})

	t.Run("CancelWhileTheSubmitterRuns", func(t *testing.T) {
		t.Parallel()
		for name, end := range map[string]error{"EndsWell": nil, "Fails": errors.New("no")} {
			t.Run(name, func(t *testing.T) {
				trial[string]{
					varied: end != nil, // the submitter may fail before the cancel is taken over
					op: func(ctx *durable.Context) (string, error) {
						return durable.WaitForCallback[string](ctx, "cb", func(c context.Context, _ string) error { <-c.Done(); return end })
					},
					outside: cancelled,
					check:   func(t *testing.T, _ string, err error) { require.Equal(t, "ErrCanceled", matching(err)) },
				}.runLoosely(t)
			})
		}
	})

	t.Run("LargePayloadIsNotStoredTwice", func(t *testing.T) {
		t.Parallel()
		large := strings.Repeat("x", 300)
		trial[string]{
			opts:    durable.Options{InlineResult: 100},
			op:      func(ctx *durable.Context) (string, error) { return durable.WaitForCallback[string](ctx, "cb", quiet) },
			outside: succeeded(large),
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, large, got)
			},
		}.run(t)
	})
}
