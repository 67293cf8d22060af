package durable_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// Bytes belong to whoever has them: what the user's code does with those that it was
// given, or has given, changes no record, no other value and no other execution.

// onEachStore runs f in a bubble on a machine with a store in memory, and on one with a file.
func onEachStore(t *testing.T, name string, f func(t *testing.T, m *machine)) {
	t.Helper()
	inBubble(t, name+"/Memory", func(t *testing.T) { f(t, newMachine(t)) })
	inBubble(t, name+"/File", func(t *testing.T) { f(t, newFileMachine(t, true)) })
}

// spoil changes bytes that somebody has no business in.
func spoil(b []byte) {
	for i := range b {
		b[i] = '!'
	}
}

// keeper is a value that keeps the very bytes it was decoded from.
type keeper struct{ raw []byte }

func keep(text string) keeper                  { return keeper{fmt.Appendf(nil, "%q", text)} }
func (k keeper) String() string                { return string(k.raw) }
func (k keeper) MarshalJSON() ([]byte, error)  { return k.raw, nil }
func (k *keeper) UnmarshalJSON(b []byte) error { k.raw = b; return nil }

// word is one that is text in JSON.
type word struct{ raw []byte }

func (w word) MarshalText() ([]byte, error)  { return w.raw, nil }
func (w *word) UnmarshalText(b []byte) error { w.raw = b; return nil }

// sloppy is a codec that encodes all values into one buffer, keeps what it decodes where it
// can, and leaves nothing of it otherwise.
type sloppy struct {
	mu  *sync.Mutex
	buf *[]byte
}

func newSloppy() sloppy { return sloppy{new(sync.Mutex), new([]byte)} }

func (sloppy) Name() string { return "sloppy" }

func (c sloppy) Encode(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	c.mu.Lock()
	defer c.mu.Unlock()
	spoil((*c.buf)[:cap(*c.buf)])
	*c.buf = append((*c.buf)[:0], data...)
	return *c.buf, err
}

func (c sloppy) Decode(data []byte, v any) error {
	if k, ok := v.(*keeper); ok {
		k.raw = data
		return nil
	}
	defer spoil(data)
	return json.Unmarshal(bytes.Clone(data), v)
}

// everyPlace brings a value through each kind of operation, twice: it wakes up between.
// It tells what it saw, and spoils it then.
func everyPlace[V any](n *notes, made func(string) V, spoil func(V)) []durable.Definition {
	echo := durable.Define("echo", func(ctx *durable.Context, in V) (V, error) {
		text := fmt.Sprint(in)
		spoil(in)
		return made("result after " + strings.Trim(text, `"`)), durable.Wait(ctx, "sleep", time.Second)
	})
	f := durable.Define("f", func(ctx *durable.Context, in V) (string, error) {
		var saw []string
		see := func(v V, err error) {
			saw = append(saw, fmt.Sprint(v, err))
			spoil(v)
		}
		see(in, nil)
		see(durable.Step(ctx, "step", func(context.Context) (V, error) { return made("step"), nil }))
		see(durable.WaitForCondition(ctx, "poll", made("state"), func(_ context.Context, v V) (V, error) {
			text := strings.Trim(fmt.Sprint(v), `"`)
			spoil(v)
			return made(text + "+"), nil
		}, func(v V, n int) durable.Poll {
			spoil(v)
			if n == 3 {
				return durable.PollDone()
			}
			return durable.PollAfter(time.Second)
		}))
		see(durable.RunInChildContext(ctx, "child", func(*durable.Context) (V, error) { return made("child"), nil }))
		future := durable.Go(ctx, "go", func(*durable.Context) (V, error) { return made("future"), nil })
		see(future.Await(ctx))
		see(future.Await(ctx))
		for _, opts := range [][]durable.BatchOption{nil, {durable.Flat()}} {
			opts = append(opts, durable.WithMaxConcurrency(1)) // nothing is encoded side by side
			batch, err := durable.Map(ctx, "map", []int{1, 2}, func(_ *durable.Context, i, _ int) (V, error) { return made(fmt.Sprint("item ", i)), nil }, opts...)
			if err != nil {
				return "", err
			}
			for _, v := range batch.Values() {
				see(v, nil)
			}
		}
		see(durable.Invoke(ctx, "invoke", echo, made("input")))
		see(durable.WaitForCallback[V](ctx, "cb", func(ctx context.Context, id string) error {
			info, _ := durable.StepInfoFrom(ctx)
			v := made("payload")
			defer spoil(v)
			return info.Engine.SucceedCallback(ctx, id, v)
		}))
		n.add("%s", strings.Join(saw, "\n"))
		return strings.Join(saw, "\n"), durable.Wait(ctx, "sleep", time.Hour)
	})
	return []durable.Definition{f, echo}
}

// throughEveryPlace runs everyPlace across a crash and returns what it saw and what is
// recorded.
func throughEveryPlace[V any](t *testing.T, m *machine, opts durable.Options, made func(string) V, spoil func(V)) (saw string, recorded []string) {
	opts.ParkFor = -1
	var n notes
	defs := everyPlace(&n, made, spoil)
	f := defs[0].(*durable.Function[V, string])
	b := m.open(opts, defs...)
	in := made("the input")
	x := start(b, f, in, durable.WithExecutionID("x"))
	spoil(in)
	time.Sleep(time.Minute)
	synctest.Wait()
	if sealer, ok := opts.Sealer.(*keeping); ok {
		sealer.spoil()
	}
	m.kill(b)
	b = m.open(opts, defs...)
	saw, err := within(b, f.Attach(b.engine, x.ID()), 2*time.Hour)
	require.NoError(t, err)
	for _, earlier := range n.all() {
		require.Equal(t, saw, earlier, "the first run sees what a replay does")
	}
	require.GreaterOrEqual(t, len(n.all()), 2)
	for ev := range b.events("x") {
		recorded = append(recorded, fmt.Sprintf("%s %s %s %s", ev.OperationID, ev.Type, ev.Input, ev.Result))
	}
	slices.Sort(recorded) // branches may be recorded in any order
	return saw, recorded
}

func TestBytesInsideOfExecutions(t *testing.T) {
	ways := map[string]func(t *testing.T, m *machine, careless bool) (string, []string){
		"ACodecThatUsesItsBufferAgain": func(t *testing.T, m *machine, careless bool) (string, []string) {
			var opts durable.Options
			if careless {
				opts.Codec = newSloppy()
			}
			return throughEveryPlace(t, m, opts, func(s string) string { return s }, func(string) {})
		},
		"ACodecThatKeepsWhatItDecodes": func(t *testing.T, m *machine, careless bool) (string, []string) {
			if !careless {
				return throughEveryPlace(t, m, durable.Options{}, keep, func(keeper) {})
			}
			return throughEveryPlace(t, m, durable.Options{Codec: newSloppy()}, keep, func(k keeper) { spoil(k.raw) })
		},
		"AnUnmarshalJSONThatKeepsWhatItGets": func(t *testing.T, m *machine, careless bool) (string, []string) {
			if !careless {
				return throughEveryPlace(t, m, durable.Options{}, keep, func(keeper) {})
			}
			return throughEveryPlace(t, m, durable.Options{}, keep, func(k keeper) { spoil(k.raw) })
		},
		"ASealerThatWorksInPlace": func(t *testing.T, m *machine, careless bool) (string, []string) {
			var opts durable.Options
			if careless {
				opts.Sealer = inPlace{}
			}
			return throughEveryPlace(t, m, opts, keep, func(keeper) {})
		},
		"ASealerThatKeepsWhatItGetsAndReturns": func(t *testing.T, m *machine, careless bool) (string, []string) {
			var opts durable.Options
			if careless {
				opts.Sealer = new(keeping)
			}
			return throughEveryPlace(t, m, opts, keep, func(keeper) {})
		},
		"AnObserverThatChangesWhatItIsTold": func(t *testing.T, m *machine, careless bool) (string, []string) {
			var opts durable.Options
			if careless {
				opts.Observer = &durable.Observer{Event: func(_ string, ev durable.Event) { spoil(ev.Input); spoil(ev.Result) }}
			}
			return throughEveryPlace(t, m, opts, keep, func(keeper) {})
		},
	}
	for name, way := range ways {
		onEachStore(t, name, func(t *testing.T, m *machine) {
			saw, recorded := way(t, m, true)
			wantSaw, wantRecorded := way(t, newMachine(t), false)
			require.Equal(t, wantSaw, saw)
			require.Equal(t, wantRecorded, recorded)
			require.NotContains(t, saw, "!")
		})
	}

	// Whatever the shape of the type is: JSON hands what it decodes to methods inside.
	shapes := map[string]func(ctx *durable.Context) (text string, spoils func()){}
	shape := func(name string, f func(ctx *durable.Context) (string, func())) { shapes[name] = f }
	shape("Struct", func(ctx *durable.Context) (string, func()) {
		type T struct{ K keeper }
		v, _ := durable.Step(ctx, "s", func(context.Context) (T, error) { return T{keep("x")}, nil })
		return fmt.Sprint(v.K), func() { spoil(v.K.raw) }
	})
	shape("Pointer", func(ctx *durable.Context) (string, func()) {
		v, _ := durable.Step(ctx, "s", func(context.Context) (*keeper, error) { k := keep("x"); return &k, nil })
		return fmt.Sprint(v), func() { spoil(v.raw) }
	})
	shape("Slice", func(ctx *durable.Context) (string, func()) {
		v, _ := durable.Step(ctx, "s", func(context.Context) ([]keeper, error) { return []keeper{keep("x")}, nil })
		return fmt.Sprint(v[0]), func() { spoil(v[0].raw) }
	})
	shape("Map", func(ctx *durable.Context) (string, func()) {
		v, _ := durable.Step(ctx, "s", func(context.Context) (map[string]keeper, error) { return map[string]keeper{"k": keep("x")}, nil })
		return fmt.Sprint(v["k"]), func() { spoil(v["k"].raw) }
	})
	shape("Embedded", func(ctx *durable.Context) (string, func()) {
		type Inner struct{ K *keeper }
		type T struct{ Inner }
		v, _ := durable.Step(ctx, "s", func(context.Context) (T, error) { k := keep("x"); return T{Inner{&k}}, nil })
		return fmt.Sprint(v.K), func() { spoil(v.K.raw) }
	})
	shape("Text", func(ctx *durable.Context) (string, func()) {
		v, _ := durable.Step(ctx, "s", func(context.Context) (word, error) { return word{[]byte("x")}, nil })
		return string(v.raw), func() { spoil(v.raw) }
	})
	shape("Raw", func(ctx *durable.Context) (string, func()) {
		v, _ := durable.Step(ctx, "s", func(context.Context) (json.RawMessage, error) { return json.RawMessage(`"x"`), nil })
		return string(v), func() { spoil(v) }
	})
	shape("Bytes", func(ctx *durable.Context) (string, func()) {
		v, _ := durable.Step(ctx, "s", func(context.Context) ([]byte, error) { return []byte("x"), nil })
		return string(v), func() { spoil(v) }
	})
	for name, op := range shapes {
		onEachStore(t, "Shapes/"+name, func(t *testing.T, m *machine) {
			var n notes
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				text, spoils := op(ctx)
				n.add("%s", text)
				spoils()
				return 0, durable.Wait(ctx, "sleep", time.Hour)
			})
			b := m.open(durable.Options{ParkFor: -1}, f)
			_, err := within(b, start(b, f, 0), 2*time.Hour)
			require.NoError(t, err)
			require.Len(t, n.all(), 2)
			require.Equal(t, n.all()[0], n.all()[1])
			require.NotContains(t, n.all()[0], "!")
		})
	}
}

// inPlace is a sealer that works in the bytes that it gets.
type inPlace struct{}

func (inPlace) turn(b []byte) ([]byte, error) {
	for i := range b {
		b[i] ^= 0x55
	}
	return b, nil
}
func (s inPlace) Seal(_, plain []byte, _ durable.Place) ([]byte, error)  { return s.turn(plain) }
func (s inPlace) Open(_, sealed []byte, _ durable.Place) ([]byte, error) { return s.turn(sealed) }

// keeping is a sealer that keeps all bytes that it gets and returns.
type keeping struct {
	mu   sync.Mutex
	kept [][]byte
}

func (s *keeping) turn(b []byte) ([]byte, error) {
	made, _ := inPlace{}.turn(bytes.Clone(b))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, b, made)
	return made, nil
}
func (s *keeping) Seal(_, plain []byte, _ durable.Place) ([]byte, error)  { return s.turn(plain) }
func (s *keeping) Open(_, sealed []byte, _ durable.Place) ([]byte, error) { return s.turn(sealed) }

func (s *keeping) spoil() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.kept {
		spoil(b)
	}
}

// keepingError is an error that keeps, and spoils, what it is decoded from.
type keepingError struct{ Text string }

func (e *keepingError) Error() string { return e.Text }
func (e *keepingError) UnmarshalJSON(data []byte) error {
	defer spoil(data)
	type plain keepingError
	return json.Unmarshal(bytes.Clone(data), (*plain)(e))
}

// TestBytesOfCallers: what is given to the engine's methods, and what they return.
func TestBytesOfCallers(t *testing.T) {
	callback := durable.Define("callback", func(ctx *durable.Context, _ int) (string, error) {
		cb, err := durable.CreateCallback[json.RawMessage](ctx, "cb")
		if err != nil {
			return "", err
		}
		if err := durable.Wait(ctx, "sleep", time.Hour); err != nil {
			return "", err
		}
		payload, err := cb.Await(ctx)
		if failure, ok := errors.AsType[*durable.Failure](err); ok {
			return string(failure.Data), nil
		}
		return string(payload), err
	})
	echo := durable.Define("echo", func(ctx *durable.Context, in json.RawMessage) (json.RawMessage, error) {
		return in, durable.Wait(ctx, "sleep", time.Hour)
	})
	const text = `"the text"`
	for name, given := range map[string]func(e *durable.Engine, ctx context.Context) (id string, buf []byte, err error){
		"SucceedCallback/RawMessage": func(e *durable.Engine, ctx context.Context) (string, []byte, error) {
			buf := json.RawMessage(text)
			id, err := e.CallbackID(ctx, "callback", "cb")
			return "callback", buf, errors.Join(err, e.SucceedCallback(ctx, id, buf))
		},
		"SucceedCallback/Bytes": func(e *durable.Engine, ctx context.Context) (string, []byte, error) {
			buf := []byte(text)
			id, err := e.CallbackID(ctx, "callback", "cb")
			return "callback", buf, errors.Join(err, e.SucceedCallback(ctx, id, buf))
		},
		"FailCallback": func(e *durable.Engine, ctx context.Context) (string, []byte, error) {
			buf := json.RawMessage(text)
			id, err := e.CallbackID(ctx, "callback", "cb")
			return "callback", buf, errors.Join(err, e.FailCallback(ctx, id, durable.Failure{Type: "Bad", Data: buf}))
		},
		"Start": func(e *durable.Engine, ctx context.Context) (string, []byte, error) {
			buf := json.RawMessage(text)
			_, err := echo.Start(ctx, e, buf, durable.WithExecutionID("x"))
			return "x", buf, err
		},
		"StartByName": func(e *durable.Engine, ctx context.Context) (string, []byte, error) {
			buf := json.RawMessage(text)
			_, err := e.StartByName(ctx, "echo", buf, durable.WithExecutionID("x"))
			return "x", buf, err
		},
		"Import": func(e *durable.Engine, ctx context.Context) (string, []byte, error) {
			_, err := echo.Start(ctx, e, json.RawMessage(text), durable.WithExecutionID("y"))
			if err != nil {
				return "", nil, err
			}
			r, err := e.Recording(ctx, "y")
			if err != nil {
				return "", nil, err
			}
			data, err := json.Marshal(r)
			if err != nil {
				return "", nil, err
			}
			back := new(durable.Recording)
			err = json.Unmarshal(data, back)
			spoil(data)
			if err != nil {
				return "", nil, err
			}
			id, err := e.Import(ctx, back, durable.WithExecutionID("z"))
			return id, data, err
		},
	} {
		onEachStore(t, "Given/"+name, func(t *testing.T, m *machine) {
			b := m.open(durable.Options{ParkFor: -1}, callback, echo)
			start(b, callback, 0, durable.WithExecutionID("callback"))
			time.Sleep(time.Second)
			id, buf, err := given(b.engine, b.ctx)
			require.NoError(t, err)
			spoil(buf)
			time.Sleep(time.Minute)
			m.kill(b)
			b = m.open(durable.Options{ParkFor: -1}, callback, echo)
			got, err := b.engine.ResultJSON(b.ctx, id)
			require.NoError(t, err)
			if id == "callback" {
				var inner string
				require.NoError(t, json.Unmarshal(got, &inner))
				got = json.RawMessage(inner)
			}
			require.JSONEq(t, text, string(got))
		})
	}

	for name, taken := range map[string]func(b *bundle) [][]byte{
		"Describe": func(b *bundle) [][]byte { info := b.describe("x"); return [][]byte{info.Input, info.Result} },
		"Executions": func(b *bundle) (got [][]byte) {
			for info, err := range b.engine.Executions(b.ctx, durable.Query{IDPrefix: "x"}) {
				require.NoError(b, err)
				got = append(got, info.Input, info.Result)
			}
			return got
		},
		"Operations": func(b *bundle) (got [][]byte) {
			ops, err := b.engine.Operations(b.ctx, "x")
			require.NoError(b, err)
			for _, op := range ops {
				if got = append(got, op.Result); op.Failure != nil {
					got = append(got, op.Failure.Data)
				}
			}
			return got
		},
		"History": func(b *bundle) (got [][]byte) {
			for ev := range b.events("x") {
				if got = append(got, ev.Input, ev.Result); ev.Failure != nil {
					got = append(got, ev.Failure.Data)
				}
			}
			return got
		},
		"Follow": func(b *bundle) (got [][]byte) {
			for ev, err := range b.engine.Follow(b.ctx, "x", 0) {
				require.NoError(b, err)
				got = append(got, ev.Input, ev.Result)
			}
			return got
		},
		"ResultJSON": func(b *bundle) [][]byte {
			got, err := b.engine.ResultJSON(b.ctx, "x")
			require.NoError(b, err)
			return [][]byte{got}
		},
		"Recording": func(b *bundle) [][]byte {
			r, err := b.engine.Recording(b.ctx, "x")
			require.NoError(b, err)
			data, err := r.MarshalJSON()
			require.NoError(b, err)
			return [][]byte{data}
		},
	} {
		onEachStore(t, "Taken/"+name, func(t *testing.T, m *machine) {
			f := durable.Define("f", func(ctx *durable.Context, in json.RawMessage) (json.RawMessage, error) {
				for i := range 3 {
					if _, err := durable.Step(ctx, "step", func(context.Context) (string, error) { return fmt.Sprint("result ", i), nil }); err != nil {
						return nil, err
					}
				}
				_ = durable.Do(ctx, "fails", func(context.Context) error { return &durable.Failure{Type: "Bad", Data: json.RawMessage(`"data"`)} }, durable.WithRetry(durable.NoRetry()))
				return in, nil
			})
			b := m.open(durable.Options{ParkFor: -1}, f)
			x := start(b, f, json.RawMessage(text), durable.WithExecutionID("x"))
			_, err := x.Result(b.ctx)
			require.NoError(t, err)
			copied := func(bs [][]byte) (texts []string) {
				for _, b := range bs {
					texts = append(texts, string(b))
				}
				return texts
			}
			first := taken(b)
			want := copied(first)
			for _, b := range first {
				spoil(b)
			}
			require.Equal(t, want, copied(taken(b)))
			m.kill(b)
			b = m.open(durable.Options{ParkFor: -1}, f)
			require.Equal(t, want, copied(taken(b)))
		})
	}

	onEachStore(t, "Errors", func(t *testing.T, m *machine) {
		var n notes
		see := func(err error) {
			failure, ok := errors.AsType[*durable.Failure](err)
			require.True(t, ok)
			typed, _ := errors.AsType[*keepingError](err)
			n.add("%s %s %v", failure.Message, string(failure.Data), typed) // of none, a RawMessage tells of null in newer versions of Go
			spoil(failure.Data)
		}
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			typed := durable.Go(ctx, "typed", func(*durable.Context) (int, error) { return 0, &keepingError{"kept"} })
			data := durable.Go(ctx, "data", func(*durable.Context) (int, error) {
				return 0, &durable.Failure{Type: "T", Message: "m", Data: json.RawMessage(`"d"`)}
			})
			for _, future := range []*durable.Future[int]{typed, data, typed, data} {
				_, err := future.Await(ctx)
				see(err)
			}
			return 0, durable.Wait(ctx, "sleep", time.Hour)
		})
		b := m.open(durable.Options{ParkFor: -1, Errors: []error{new(keepingError)}, Observer: &durable.Observer{
			Event: func(_ string, ev durable.Event) {
				if ev.Failure != nil {
					spoil(ev.Failure.Data)
				}
			},
			OperationEnded: func(_ context.Context, _ string, op durable.Operation) {
				if op.Failure != nil {
					spoil(op.Failure.Data)
				}
			},
		}}, f)
		_, err := within(b, start(b, f, 0), 2*time.Hour)
		require.NoError(t, err)
		once := []string{"kept  kept", `m "d" <nil>`, "kept  kept", `m "d" <nil>`}
		require.Equal(t, append(once, once...), n.all())
	})

	onEachStore(t, "AnInterceptorThatKeepsWhatNextReturned", func(t *testing.T, m *machine) {
		var mu sync.Mutex
		kept := map[string]any{}
		intercept := func(ctx context.Context, info durable.StepInfo, next func(context.Context) (any, error)) (any, error) {
			mu.Lock()
			v, ok := kept[info.Name]
			mu.Unlock()
			if ok {
				return v, nil
			}
			v, err := next(ctx)
			mu.Lock()
			kept[info.Name] = v
			mu.Unlock()
			return v, err
		}
		bodies := 0
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			for range 2 {
				v, err := durable.Step(ctx, "prices", func(context.Context) (map[string][]int, error) {
					bodies++
					return map[string][]int{"a": {1, 2, 3}}, nil
				})
				if err != nil {
					return 0, err
				}
				n.add("%v", v)
				v["a"][0], v["b"] = 99, nil
			}
			return 0, durable.Wait(ctx, "sleep", time.Hour)
		})
		b := m.open(durable.Options{ParkFor: -1, Interceptor: intercept}, f)
		for range 3 {
			_, err := within(b, start(b, f, 0), 2*time.Hour)
			require.NoError(t, err)
		}
		require.Equal(t, 1, bodies)
		require.Equal(t, slices.Repeat([]string{"map[a:[1 2 3]]"}, 3*2*2), n.all())
	})

	inBubble(t, "AnInterceptorThatReturnsAnotherStepsResult", func(t *testing.T) {
		var kept any
		intercept := func(ctx context.Context, info durable.StepInfo, next func(context.Context) (any, error)) (any, error) {
			if kept != nil {
				return kept, nil
			}
			v, err := next(ctx)
			kept = v
			return v, err
		}
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			if _, err := durable.Step(ctx, "text", func(context.Context) (string, error) { return "text", nil }); err != nil {
				return 0, err
			}
			if err := durable.Do(ctx, "nothing", func(context.Context) error { return nil }); err != nil {
				return 0, err
			}
			return durable.Step(ctx, "number", func(context.Context) (int, error) { return 1, nil })
		})
		b := setupWith(t, durable.Options{ParkFor: -1, Interceptor: intercept}, f)
		_, err := within(b, start(b, f, 0), time.Hour)
		require.ErrorIs(t, err, durable.ErrCodec, "it does not decode into the step's type")
	})

	inBubble(t, "AnObserverThatIsChangedLater", func(t *testing.T) {
		n := 0
		o := &durable.Observer{ExecutionStarted: func(durable.ObservedExecution) { n++ }}
		f := durable.Define("f", func(*durable.Context, int) (int, error) { return 1, nil })
		b := setupWith(t, durable.Options{ParkFor: -1, Observer: o}, f)
		o.ExecutionStarted = nil
		require.Equal(t, 1, run(b, f, 0))
		require.Equal(t, 1, n)
	})
}
