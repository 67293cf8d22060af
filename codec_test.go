package durable_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// panicking is a codec that panics on one of its ways.
type panicking string

func (panicking) Name() string { return "panicking" }

func (c panicking) Encode(any) ([]byte, error) {
	if c == "encode" {
		panic("in Encode")
	}
	return []byte("1"), nil
}

func (c panicking) Decode([]byte, any) error {
	if c == "decode" {
		panic("in Decode")
	}
	return nil
}

// numbers is a codec of plain decimal numbers, as somebody outside may send them.
type numbers struct{}

func (numbers) Name() string                 { return "numbers" }
func (numbers) Encode(v any) ([]byte, error) { return []byte(fmt.Sprint("n", v)), nil }
func (numbers) Decode(data []byte, v any) error {
	n, err := strconv.Atoi(strings.TrimPrefix(string(data), "n"))
	*v.(*int) = n
	return err
}

// binary is a codec whose payloads are no text.
type binary struct{}

func (binary) Name() string { return "binary" }
func (binary) Encode(v any) ([]byte, error) {
	return append([]byte{0xff, 0x00}, fmt.Sprint(v)...), nil
}
func (binary) Decode(data []byte, v any) error {
	_, err := fmt.Sscan(string(data[2:]), v)
	return err
}

// coded are the operations that take WithCodec, each with an int as its result.
var coded = map[string]func(ctx *durable.Context, c durable.Codec) (int, error){
	"Step": func(ctx *durable.Context, c durable.Codec) (int, error) {
		return durable.Step(ctx, "op", body(42), durable.WithCodec(c))
	},
	"Condition": func(ctx *durable.Context, c durable.Codec) (int, error) {
		return durable.WaitForCondition(ctx, "op", 41, increment, durable.PollEvery(time.Minute, atLeast(42)), durable.WithCodec(c))
	},
	"Child": func(ctx *durable.Context, c durable.Codec) (int, error) {
		return durable.RunInChildContext(ctx, "op", func(*durable.Context) (int, error) { return 42, nil }, durable.WithCodec(c))
	},
	"Future": func(ctx *durable.Context, c durable.Codec) (int, error) {
		return durable.Go(ctx, "op", func(*durable.Context) (int, error) { return 42, nil }, durable.WithCodec(c)).Await(ctx)
	},
	"Map": func(ctx *durable.Context, c durable.Codec) (int, error) {
		b, err := durable.Map(ctx, "op", []int{42}, func(_ *durable.Context, n, _ int) (int, error) { return n, nil }, durable.WithCodec(c))
		if err != nil {
			return 0, err
		}
		return b.Values()[0], nil
	},
	"FlatMap": func(ctx *durable.Context, c durable.Codec) (int, error) {
		b, err := durable.Map(ctx, "op", []int{42}, func(_ *durable.Context, n, _ int) (int, error) { return n, nil }, durable.Flat(), durable.WithCodec(c))
		if err != nil {
			return 0, err
		}
		return b.Values()[0], nil
	},
}

func TestCodec(t *testing.T) {
	t.Parallel()

	t.Run("OfAnOperation", func(t *testing.T) {
		t.Parallel()
		for name, op := range coded {
			for _, codec := range []durable.Codec{numbers{}, binary{}, tagged("tag"), durable.JSON, nil} {
				t.Run(fmt.Sprintf("%s/%T", name, codec), func(t *testing.T) {
					trial[int]{
						op: func(ctx *durable.Context) (int, error) { return op(ctx, codec) },
						check: func(t *testing.T, got int, err error) {
							require.NoError(t, err)
							require.Equal(t, 42, got)
						},
					}.run(t)
				})
			}
		}
	})

	t.Run("OfACallbackIsOfThePayloadAsSent", func(t *testing.T) {
		t.Parallel()
		for name, payload := range map[string]any{"Bytes": []byte("n42"), "BytesThatAreJSON": []byte("42")} {
			t.Run(name, func(t *testing.T) {
				trial[int]{
					op:      awaited[int](durable.WithCodec(numbers{})),
					outside: succeeded(payload),
					check: func(t *testing.T, got int, err error) {
						require.NoError(t, err)
						require.Equal(t, 42, got)
					},
				}.run(t)
				trial[int]{
					op: func(ctx *durable.Context) (int, error) {
						return durable.WaitForCallback[int](ctx, "cb", func(context.Context, string) error { return nil }, durable.WithCodec(numbers{}))
					},
					outside: succeeded(payload),
					check: func(t *testing.T, got int, err error) {
						require.NoError(t, err)
						require.Equal(t, 42, got)
					},
				}.run(t)
			})
		}
	})

	t.Run("OfTheEngine", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			opts.Codec = tagged("eng")
			double := durable.DefinePlain("double", func(_ context.Context, n int) (int, error) { return 2 * n, nil })
			f := durable.Define("f", func(ctx *durable.Context, n int) (int, error) {
				cb, err := durable.CreateCallback[int](ctx, "cb")
				if err != nil {
					return 0, err
				}
				sum, err := cb.Await(ctx)
				if err != nil {
					return 0, err
				}
				for _, name := range []string{"Step", "Condition", "Child", "Future", "Map", "FlatMap"} {
					v, err := coded[name](ctx, nil)
					if err != nil {
						return 0, fmt.Errorf("%s: %w", name, err)
					}
					sum += v
				}
				v, err := durable.Invoke(ctx, "call", double, n)
				if err != nil {
					return 0, err
				}
				return sum + v, durable.Wait(ctx, "w", time.Hour)
			})
			b := setupWith(t, opts, f, double)
			x := start(b, f, 10)
			require.NoError(t, b.engine.SucceedCallback(b.ctx, b.callback(x.ID(), "cb"), 100))
			out, err := finish(b, x)
			require.NoError(t, err)
			require.Equal(t, 100+6*42+20, out)
			info := b.describe(x.ID())
			require.JSONEq(t, `"eng:10"`, string(info.Input))
			require.JSONEq(t, `"eng:372"`, string(info.Result))
			raw, err := b.engine.ResultJSON(b.ctx, x.ID())
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(string(raw), `"`), "it is a JSON string: %s", raw)
		})
	})

	t.Run("HistoryShowsWhatIsNoJSONAsAString", func(t *testing.T) {
		t.Parallel()
		for name, c := range map[string]struct {
			codec durable.Codec
			want  string
		}{"JSON": {nil, `42`}, "Text": {tagged("tag"), `"tag:42"`}, "Binary": {binary{}, `"base64:/wA0Mg=="`}} {
			t.Run(name, func(t *testing.T) {
				everyLife(t, func(t *testing.T, opts durable.Options) {
					f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return coded["Step"](ctx, c.codec) })
					b := setupWith(t, opts, f)
					x := start(b, f, 1)
					_, err := finish(b, x)
					require.NoError(t, err)
					require.Equal(t, c.want, results(b, x.ID())["1"])
					ops, err := b.engine.Operations(b.ctx, x.ID())
					require.NoError(t, err)
					require.Equal(t, c.want, string(ops[0].Result))
				})
			})
		}
	})

	t.Run("Panics", func(t *testing.T) {
		t.Parallel()
		for name, op := range coded {
			for _, way := range []panicking{"encode", "decode"} {
				t.Run(name+"/"+string(way), func(t *testing.T) {
					trial[int]{
						op: func(ctx *durable.Context) (int, error) { return op(ctx, way) },
						check: func(t *testing.T, _ int, err error) {
							require.ErrorIs(t, err, durable.ErrCodec)
							require.ErrorContains(t, err, "panic")
						},
					}.run(t)
				})
			}
		}
	})

	t.Run("Errors", func(t *testing.T) {
		t.Parallel()
		for name, op := range coded {
			t.Run(name, func(t *testing.T) {
				trial[int]{
					op: func(ctx *durable.Context) (int, error) { return op(ctx, broken{}) },
					check: func(t *testing.T, _ int, err error) {
						require.ErrorIs(t, err, durable.ErrCodec)
						require.ErrorContains(t, err, `"broken"`)
					},
				}.run(t)
			})
		}
	})

	// changed runs op with a codec, replays it with another one, and returns the
	// result, or why the execution is held.
	changed := func(t *testing.T, op func(*durable.Context, durable.Codec) (int, error), then, now durable.Codec) (out int, held *durable.Failure) {
		synctest.Test(t, func(t *testing.T) {
			var code atomic.Value
			type box struct{ durable.Codec }
			code.Store(box{then})
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				v, err := op(ctx, code.Load().(box).Codec)
				if err != nil {
					return 0, err
				}
				return v, durable.Wait(ctx, "w", time.Hour)
			})
			b := setup(t, f)
			x := start(b, f, 1)
			time.Sleep(30 * time.Minute)
			code.Store(box{now})
			time.Sleep(3 * time.Hour)
			if held = b.describe(x.ID()).Held; held == nil {
				var err error
				out, err = x.Result(b.ctx)
				require.NoError(t, err)
			}
		})
		return out, held
	}

	t.Run("GivenLaterReadsWhatWasRecordedAsJSON", func(t *testing.T) {
		t.Parallel()
		for name, op := range coded {
			t.Run(name, func(t *testing.T) {
				out, held := changed(t, op, nil, tagged("tag"))
				require.Nil(t, held)
				require.Equal(t, 42, out)
			})
		}
	})

	t.Run("TakenAwayHolds", func(t *testing.T) {
		t.Parallel()
		for name, op := range coded {
			t.Run(name, func(t *testing.T) {
				for _, now := range []durable.Codec{nil, tagged("other")} {
					_, held := changed(t, op, tagged("tag"), now)
					require.NotNil(t, held, "it must not be read with another codec")
					require.ErrorContains(t, held, `"tag"`, "it says which codec is missing")
				}
			})
		}
	})

	t.Run("BatchCodecTakenAwayHolds", func(t *testing.T) {
		t.Parallel()
		op := func(ctx *durable.Context, c durable.Codec) (int, error) {
			var opts []durable.BatchOption
			if c != nil {
				opts = append(opts, durable.WithBatchCodec(c))
			}
			b, err := durable.Map(ctx, "op", []int{42}, func(_ *durable.Context, n, _ int) (int, error) { return n, nil }, append(opts, durable.Flat())...)
			if err != nil {
				return 0, err
			}
			return b.Values()[0], nil
		}
		_, held := changed(t, op, tagged("tag"), tagged("other"))
		require.NotNil(t, held)
		out, held := changed(t, op, tagged("tag"), tagged("tag"))
		require.Nil(t, held)
		require.Equal(t, 42, out)
	})

	t.Run("ChangedTypeHolds", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var deployed atomic.Bool
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				var err error
				if deployed.Load() {
					_, err = durable.Step(ctx, "s", body([]string{"new"}))
				} else {
					_, err = durable.Step(ctx, "s", body("old"))
				}
				if err != nil {
					return 0, err
				}
				return 1, durable.Wait(ctx, "w", time.Hour)
			})
			b := setup(t, f)
			x := start(b, f, 1)
			synctest.Wait()
			deployed.Store(true)
			time.Sleep(3 * time.Hour)
			info := b.describe(x.ID())
			require.Equal(t, durable.ExecutionRunning, info.Status)
			require.NotNil(t, info.Held)
			require.ErrorIs(t, info.Held, durable.ErrCodec)
		})
	})

	t.Run("OfTheEngineMayChange", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, n int) (int, error) {
				v, err := durable.Step(ctx, "s", body(n+1))
				if err != nil {
					return 0, err
				}
				if err := durable.Wait(ctx, "w", time.Hour); err != nil {
					return 0, err
				}
				w, err := durable.Step(ctx, "s", body(v+1))
				return w, err
			})
			d := newDisk(t)
			b := boot(t, d, opts, f)
			x := start(b, f, 40)
			done := start(b, f, 0)
			require.NoError(t, b.engine.Shutdown(b.ctx))
			opts.Codec = tagged("eng")
			b = boot(t, d, opts, f)
			out, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
			require.NoError(t, err)
			require.Equal(t, 42, out)
			out, err = f.Attach(b.engine, done.ID()).Result(b.ctx)
			require.NoError(t, err)
			require.Equal(t, 2, out)
		})
	})

	t.Run("InputsAndResults", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			opts.MaxPayload = 100
			same := durable.Define("same", func(_ *durable.Context, v any) (any, error) {
				switch v {
				case "function":
					return func() {}, nil
				case "large":
					return strings.Repeat("x", 99), nil
				}
				return v, nil
			})
			b := setupWith(t, opts, same)
			_, err := same.Start(b.ctx, b.engine, func() {})
			require.ErrorIs(t, err, durable.ErrCodec)
			_, err = same.Start(b.ctx, b.engine, strings.Repeat("x", 99))
			require.ErrorIs(t, err, durable.ErrPayloadTooLarge)
			require.ErrorContains(t, err, `start "same"`)
			require.NotContains(t, err.Error(), "result is")
			_, err = same.Run(b.ctx, b.engine, "function")
			require.ErrorIs(t, err, durable.ErrCodec)
			require.Equal(t, "EXECUTION", opError(err).Type)
			_, err = same.Run(b.ctx, b.engine, "large")
			require.ErrorIs(t, err, durable.ErrPayloadTooLarge)
			out, err := same.Run(b.ctx, b.engine, nil)
			require.NoError(t, err)
			require.Nil(t, out)
			id := start(b, same, any("text")).ID()
			_, err = durable.Define("same", func(*durable.Context, any) (int, error) { return 0, nil }).Attach(b.engine, id).Result(b.ctx)
			require.ErrorIs(t, err, durable.ErrCodec, "the result is of another type")
		})
	})

	t.Run("InputOfAnotherTypeFailsTheExecution", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(_ *durable.Context, n int) (int, error) { return n, nil })
			b := setupWith(t, opts, f)
			id, err := b.engine.StartByName(b.ctx, "f", []byte(`"text"`))
			require.NoError(t, err)
			_, err = f.Attach(b.engine, id).Result(b.ctx)
			require.ErrorIs(t, err, durable.ErrCodec)
			require.Equal(t, durable.ExecutionFailed, b.describe(id).Status)
		})
	})

	t.Run("SameInputIsTheSameJSON", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := durable.Define("f", func(_ *durable.Context, in map[string]int) (int, error) { return len(in), nil })
			b := setup(t, f)
			id := durable.WithExecutionID("x")
			_, err := b.engine.StartByName(b.ctx, "f", []byte(`{ "a" : 1 }`), id)
			require.NoError(t, err)
			_, err = b.engine.StartByName(b.ctx, "f", []byte(`{"a":1}`), id)
			require.NoError(t, err)
			_, err = f.Start(b.ctx, b.engine, map[string]int{"a": 1}, id)
			require.NoError(t, err)
			_, err = b.engine.StartByName(b.ctx, "f", []byte(`{"a":2}`), id)
			require.ErrorIs(t, err, durable.ErrExecutionExists)
			_, err = b.engine.StartByName(b.ctx, "f", []byte(`{`), id)
			require.ErrorContains(t, err, "not JSON")
		})
	})

	t.Run("JSONReadsNothingAsNull", func(t *testing.T) {
		t.Parallel()
		v := &point{1, 2, ""}
		require.NoError(t, durable.JSON.Decode(nil, &v))
		require.Nil(t, v)
		require.Equal(t, "json", durable.JSON.Name())
	})
}

// TestJSONDecodesAsTheStandardLibrary: values that are decoded in a shorter way come
// out the same, and so do errors.
func TestJSONDecodesAsTheStandardLibrary(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "0", "-0", "00", "01", "-1", "-", "+1", "7", "123456789012345678", "-123456789012345678", "1234567890123456789", "9223372036854775807", "99999999999999999999",
		"1.0", "1e3", " 1", "1 ", "null", "true", `""`, `"a"`, `"é"`, `"a\nb"`, `"\u00e9"`, "\"a\nb\"", "\"\xff\"", `"`, `"a"b"`, `a`, "{}", "{ }", `{"a":1}`, "[]", `"<"`} {
		for _, out := range []func() (any, any){
			func() (any, any) { return new(int), new(int) },
			func() (any, any) { return new(int64), new(int64) },
			func() (any, any) { return new(string), new(string) },
			func() (any, any) { return new(durable.None), new(durable.None) },
			func() (any, any) { return new(any), new(any) },
			func() (any, any) { return new(*int), new(*int) },
		} {
			want, got := out()
			data := cmp.Or(text, "null")
			wantErr, gotErr := json.Unmarshal([]byte(data), want), durable.JSON.Decode([]byte(text), got)
			require.Equal(t, wantErr, gotErr, "%q into %T", text, got)
			require.Equal(t, want, got, "%q into %T", text, got)
		}
	}
}

// What JSON encodes without encoding/json is what that would make of it.
func TestScalarsAreEncodedAsJSON(t *testing.T) {
	check := func(t *testing.T, v any) {
		want, err := json.Marshal(v)
		require.NoError(t, err)
		got, err := durable.JSON.Encode(v)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	}
	for _, v := range []any{0, -1, math.MaxInt, math.MinInt, int64(math.MinInt64), true, false, durable.None{}, nil, 1.5, uint8(7), "", "plain", "<&>", "\"\\", "ü", "\x7f", "\u2028", "\xff", "a\nb"} {
		check(t, v)
	}
	for c := range 256 {
		check(t, "a"+string([]byte{byte(c)})+"z")
	}
}
