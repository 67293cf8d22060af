package durable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// snag is code of the user's that does not return until it is released.
type snag struct {
	entered, release chan struct{}
	hangs            atomic.Bool
}

func newSnag() *snag {
	return &snag{entered: make(chan struct{}), release: make(chan struct{})}
}

// here hangs.
func (h *snag) here() {
	if h.hangs.CompareAndSwap(false, true) {
		close(h.entered)
	}
	<-h.release
}

// on hangs where what says so.
func (h *snag) on(what bool) {
	if what {
		h.here()
	}
}

// hangingSealer seals nothing, and hangs on what contains the words.
type hangingSealer struct {
	*snag
	seal, open string
	err        error // of Seal, for those words
}

func (s hangingSealer) Seal(dst, plain []byte, _ durable.Place) ([]byte, error) {
	if s.seal != "" && strings.Contains(string(plain), s.seal) {
		if s.err != nil {
			return nil, s.err
		}
		s.here()
	}
	return append(dst, plain...), nil
}

func (s hangingSealer) Open(dst, sealed []byte, _ durable.Place) ([]byte, error) {
	s.on(s.open != "" && strings.Contains(string(sealed), s.open))
	return append(dst, sealed...), nil
}

// hangingCodec is JSON that hangs, or fails, on what contains the words.
type hangingCodec struct {
	encode, decode func(text string) error
}

func (hangingCodec) Name() string { return "hanging" }

func (c hangingCodec) Encode(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err == nil && c.encode != nil {
		err = c.encode(string(data))
	}
	return data, err
}

func (c hangingCodec) Decode(data []byte, v any) error {
	if c.decode != nil {
		if err := c.decode(string(data)); err != nil {
			return err
		}
	}
	return json.Unmarshal(data, v)
}

// hangingError is an error, one of whose methods hangs.
type hangingError struct {
	*snag  `json:"-"`
	Method string
}

func (e *hangingError) Error() string { e.on(e.Method == "Error"); return "it hangs" }
func (e *hangingError) Is(error) bool { e.on(e.Method == "Is"); return false }
func (e *hangingError) As(any) bool   { e.on(e.Method == "As"); return false }
func (e *hangingError) Unwrap() error { e.on(e.Method == "Unwrap"); return nil }

// slowJSON is an error that hangs when it is read from its JSON.
type slowJSON struct{ Text string }

var slowJSONHang atomic.Pointer[snag]

func (e *slowJSON) Error() string { return e.Text }
func (e *slowJSON) MarshalJSON() ([]byte, error) {
	if h := slowJSONHang.Load(); h != nil && e.Text == "slow to write" {
		h.here()
	}
	return json.Marshal(map[string]string{"Text": e.Text})
}
func (e *slowJSON) UnmarshalJSON(data []byte) error {
	var m map[string]string
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	e.Text = m["Text"]
	if h := slowJSONHang.Load(); h != nil && e.Text == "slow to read" {
		h.here()
	}
	return nil
}

// hangingHandler is a log handler that hangs on lines with a word.
type hangingHandler struct {
	slog.Handler
	*snag
	method string
}

func (h hangingHandler) Enabled(ctx context.Context, l slog.Level) bool {
	h.on(h.method == "Enabled" && l >= slog.LevelWarn)
	return true
}

func (h hangingHandler) Handle(ctx context.Context, r slog.Record) error {
	h.on(h.method == "Handle" && r.Level >= slog.LevelWarn)
	return nil
}

func (h hangingHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.on(h.method == "WithAttrs")
	return h
}

// hangingContext hangs when it is asked for a value.
type hangingContext struct {
	context.Context
	*snag
}

func (c hangingContext) Value(any) any { c.here(); return nil }

type slowFunction = func(ctx *durable.Context, h *snag) error

// hangs are the places where code of the user's may hang: the options, and what the
// function "slow" does.
var hangs = map[string]func(h *snag) (durable.Options, slowFunction){}

func init() {
	step := func(ctx *durable.Context, text string) error {
		_, err := durable.Step(ctx, "step", func(context.Context) (string, error) { return text, nil })
		return err
	}
	fails := func(ctx *durable.Context, err error) error {
		return durable.Do(ctx, "fails", func(context.Context) error { return err }, durable.WithRetry(durable.NoRetry()))
	}
	callback := func(ctx *durable.Context, payload string) error {
		_, err := durable.WaitForCallback[string](ctx, "cb", func(ctx context.Context, id string) error {
			info, _ := durable.StepInfoFrom(ctx)
			return info.Engine.SucceedCallback(ctx, id, payload)
		})
		return err
	}
	type opts = durable.Options

	hangs["Sealer/Seal/Result"] = func(h *snag) (opts, slowFunction) {
		return opts{Sealer: hangingSealer{snag: h, seal: "SLOW"}}, func(ctx *durable.Context, _ *snag) error { return step(ctx, "SLOW") }
	}
	hangs["Sealer/Seal/BesideABody"] = func(h *snag) (opts, slowFunction) {
		return opts{Sealer: hangingSealer{snag: h, seal: "SLOW"}}, func(ctx *durable.Context, _ *snag) error {
			beside := durable.Go(ctx, "beside", func(ctx *durable.Context) (int, error) { return 0, step(ctx, "SLOW") })
			err := durable.Wait(ctx, "sleep", 10*time.Millisecond)
			_, err2 := beside.Await(ctx)
			return errors.Join(err, err2)
		}
	}
	hangs["Sealer/Seal/Failure"] = func(h *snag) (opts, slowFunction) {
		return opts{Sealer: hangingSealer{snag: h, seal: "SLOW"}}, func(ctx *durable.Context, _ *snag) error {
			_ = fails(ctx, errors.New("SLOW"))
			return nil
		}
	}
	hangs["Sealer/Seal/End"] = func(h *snag) (opts, slowFunction) {
		return opts{Sealer: hangingSealer{snag: h, seal: "SLOW"}}, func(*durable.Context, *snag) error { return errors.New("SLOW") }
	}
	hangs["Sealer/Seal/Hold"] = func(h *snag) (opts, slowFunction) {
		return opts{Sealer: hangingSealer{snag: h, seal: "ConcurrentUse"}}, func(ctx *durable.Context, _ *snag) error {
			return durable.Do(ctx, "step", func(context.Context) error { durable.Now(ctx); return nil })
		}
	}
	hangs["Sealer/Open/Replay"] = func(h *snag) (opts, slowFunction) {
		return opts{Sealer: hangingSealer{snag: h, open: "SLOW"}}, func(ctx *durable.Context, _ *snag) error {
			return errors.Join(step(ctx, "SLOW"), durable.Wait(ctx, "sleep", 10*time.Millisecond))
		}
	}
	hangs["Sealer/Open/Inbox"] = func(h *snag) (opts, slowFunction) {
		return opts{Sealer: hangingSealer{snag: h, open: "SLOW"}}, func(ctx *durable.Context, _ *snag) error { return callback(ctx, "SLOW") }
	}
	hangs["Sealer/ErrorsMethod"] = func(h *snag) (opts, slowFunction) {
		return opts{Sealer: hangingSealer{snag: h, seal: "SLOW", err: &hangingError{h, "Error"}}}, func(ctx *durable.Context, h *snag) error {
			if h.hangs.Load() {
				return nil // its replay does something else
			}
			return step(ctx, "SLOW")
		}
	}
	for _, method := range []string{"Error", "Is", "As", "Unwrap", "MarshalJSON"} {
		hangs["Error/OfABody/"+method] = func(h *snag) (opts, slowFunction) {
			if method == "MarshalJSON" {
				return opts{Errors: []error{new(slowJSON)}}, func(ctx *durable.Context, h *snag) error {
					slowJSONHang.Store(h)
					_ = fails(ctx, &slowJSON{"slow to write"})
					return nil
				}
			}
			return opts{Errors: []error{errOut}}, func(ctx *durable.Context, h *snag) error {
				_ = fails(ctx, &hangingError{h, method})
				return nil
			}
		}
		if method == "MarshalJSON" {
			continue
		}
		hangs["Error/OfAChild/"+method] = func(h *snag) (opts, slowFunction) {
			return opts{}, func(ctx *durable.Context, h *snag) error {
				_, _ = durable.RunInChildContext(ctx, "child", func(*durable.Context) (int, error) { return 0, &hangingError{h, method} })
				return nil
			}
		}
		hangs["Error/OfAHandler/"+method] = func(h *snag) (opts, slowFunction) {
			return opts{}, func(_ *durable.Context, h *snag) error { return &hangingError{h, method} }
		}
		hangs["Error/OfABatchCodec/"+method] = func(h *snag) (opts, slowFunction) {
			return opts{}, func(ctx *durable.Context, h *snag) error {
				codec := hangingCodec{encode: func(string) error { return &hangingError{h, method} }}
				_, _ = durable.Map(ctx, "map", []int{1}, func(_ *durable.Context, i, _ int) (int, error) { return i, nil }, durable.WithBatchCodec(codec))
				return nil
			}
		}
		for _, fail := range []bool{false, true} {
			hangs[fmt.Sprintf("Error/OfACodecThatHolds/%s/FailOnMismatch=%v", method, fail)] = func(h *snag) (opts, slowFunction) {
				var decoded atomic.Int32
				return opts{FailOnMismatch: fail}, func(ctx *durable.Context, h *snag) error {
					codec := hangingCodec{decode: func(string) error {
						if decoded.Add(1) > 1 {
							return &hangingError{h, method}
						}
						return nil
					}}
					_, err := durable.Step(ctx, "step", func(context.Context) (int, error) { return 1, nil }, durable.WithCodec(codec))
					return errors.Join(err, durable.Wait(ctx, "sleep", 10*time.Millisecond))
				}
			}
		}
	}
	hangs["Codec/Encode"] = func(h *snag) (opts, slowFunction) {
		return opts{Codec: hangingCodec{encode: func(text string) error { h.on(strings.Contains(text, "SLOW")); return nil }}}, func(ctx *durable.Context, _ *snag) error { return step(ctx, "SLOW") }
	}
	hangs["Codec/Decode"] = func(h *snag) (opts, slowFunction) {
		return opts{Codec: hangingCodec{decode: func(text string) error { h.on(strings.Contains(text, "SLOW")); return nil }}}, func(ctx *durable.Context, _ *snag) error { return callback(ctx, "SLOW") }
	}
	for observer, o := range map[string]*durable.Observer{
		"Event":          {Event: func(string, durable.Event) {}},
		"OperationEnded": {OperationEnded: func(context.Context, string, durable.Operation) {}},
		"ExecutionEnded": {ExecutionEnded: func(durable.ObservedExecution, durable.ExecutionStatus, time.Time, *durable.Failure) {}},
	} {
		hangs["Error/Unmarshal/For"+observer] = func(h *snag) (opts, slowFunction) {
			return opts{Observer: o, Errors: []error{new(slowJSON)}}, func(ctx *durable.Context, h *snag) error {
				slowJSONHang.Store(h)
				return fails(ctx, &slowJSON{"slow to read"})
			}
		}
	}

	all := func(ctx *durable.Context, _ *snag) error {
		_ = fails(ctx, errors.New("no"))
		return errors.Join(step(ctx, "x"), durable.Wait(ctx, "sleep", 10*time.Millisecond), callback(ctx, "x"))
	}
	slow := func(id string) bool { return id == "slow" }
	for name, observer := range map[string]func(h *snag) durable.Observer{
		"Event": func(h *snag) durable.Observer {
			return durable.Observer{Event: func(id string, ev durable.Event) { h.on(slow(id)) }}
		},
		"Event/Last": func(h *snag) durable.Observer {
			return durable.Observer{Event: func(id string, ev durable.Event) { h.on(slow(id) && ev.Type == "ExecutionSucceeded") }}
		},
		"Event/Suspension": func(h *snag) durable.Observer {
			return durable.Observer{Event: func(id string, ev durable.Event) { h.on(slow(id) && ev.Type == "InvocationCompleted") }}
		},
		"InvocationStarted": func(h *snag) durable.Observer {
			return durable.Observer{InvocationStarted: func(id, _ string, _ bool) { h.on(slow(id)) }}
		},
		"InvocationEnded": func(h *snag) durable.Observer {
			return durable.Observer{InvocationEnded: func(id, _ string) { h.on(slow(id)) }}
		},
		"AttemptStarted": func(h *snag) durable.Observer {
			return durable.Observer{AttemptStarted: func(ctx context.Context, info durable.StepInfo) context.Context {
				h.on(slow(info.ExecutionID))
				return ctx
			}}
		},
		"AttemptEnded": func(h *snag) durable.Observer {
			return durable.Observer{AttemptEnded: func(_ context.Context, info durable.StepInfo, _ error) { h.on(slow(info.ExecutionID)) }}
		},
		"ExecutionEnded": func(h *snag) durable.Observer {
			return durable.Observer{ExecutionEnded: func(x durable.ObservedExecution, _ durable.ExecutionStatus, _ time.Time, _ *durable.Failure) {
				h.on(slow(x.ID))
			}}
		},
		"ExecutionStarted": func(h *snag) durable.Observer {
			return durable.Observer{ExecutionStarted: func(x durable.ObservedExecution) { h.on(slow(x.ID)) }}
		},
		"BeginInvocation": func(h *snag) durable.Observer {
			return durable.Observer{BeginInvocation: func(ctx context.Context, x durable.ObservedExecution, _ durable.Invocation) context.Context {
				h.on(slow(x.ID))
				return ctx
			}}
		},
		"BeginInvocation/ItsContext": func(h *snag) durable.Observer {
			return durable.Observer{BeginInvocation: func(ctx context.Context, x durable.ObservedExecution, _ durable.Invocation) context.Context {
				if slow(x.ID) {
					return hangingContext{ctx, h}
				}
				return ctx
			}}
		},
		"OperationEnded": func(h *snag) durable.Observer {
			return durable.Observer{OperationEnded: func(_ context.Context, id string, _ durable.Operation) { h.on(slow(id)) }}
		},
		"Woken": func(h *snag) durable.Observer {
			return durable.Observer{Woken: func(function string, _ time.Duration) { h.on(slow(function)) }}
		},
		"Committed": func(h *snag) durable.Observer {
			return durable.Observer{Committed: func(checkpoint.Commit) { h.here() }}
		},
	} {
		hangs["Observer/"+name] = func(h *snag) (opts, slowFunction) {
			o := observer(h)
			do := all
			if name == "BeginInvocation/ItsContext" {
				do = func(ctx *durable.Context, _ *snag) error {
					return durable.Do(ctx, "asks", func(ctx context.Context) error { ctx.Value("x"); return nil })
				}
			}
			return opts{Observer: &o}, do
		}
	}
	for _, method := range []string{"Enabled", "Handle", "WithAttrs"} {
		for what, do := range map[string]slowFunction{
			"Retry": func(ctx *durable.Context, _ *snag) error {
				var n atomic.Int32
				return durable.Do(ctx, "fails", func(context.Context) error {
					if n.Add(1) == 1 {
						return errors.New("not yet")
					}
					return nil
				}, durable.WithRetry(durable.RetryPolicy{Initial: time.Millisecond}))
			},
			"Hold": func(ctx *durable.Context, _ *snag) error {
				return durable.Do(ctx, "step", func(context.Context) error { durable.Now(ctx); return nil })
			},
			"Unawaited": func(ctx *durable.Context, _ *snag) error {
				_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
					durable.Go(ctx, "lost", func(*durable.Context) (int, error) { return 0, errors.New("no") })
					return 0, durable.Wait(ctx, "sleep", 200*time.Millisecond) // it has failed by then, on a busy machine, too
				})
				return err
			},
			"Observer": func(*durable.Context, *snag) error { return nil },
		} {
			if method == "WithAttrs" && what != "Retry" && what != "Unawaited" {
				continue // the line has all in itself
			}
			hangs["Logger/"+method+"/"+what] = func(h *snag) (opts, slowFunction) {
				o := opts{Logger: slog.New(hangingHandler{snag: h, method: method})}
				if what == "Observer" {
					o.Observer = &durable.Observer{Event: func(id string, _ durable.Event) {
						if slow(id) {
							panic("it is logged")
						}
					}}
				}
				return o, do
			}
		}
	}
	hangs["Retryable"] = func(h *snag) (opts, slowFunction) {
		return opts{}, func(ctx *durable.Context, h *snag) error {
			_ = durable.Do(ctx, "fails", func(context.Context) error { return errors.New("no") }, durable.WithRetry(durable.RetryPolicy{Retryable: func(error) bool { h.here(); return false }}))
			return nil
		}
	}
	hangs["Next"] = func(h *snag) (opts, slowFunction) {
		return opts{}, func(ctx *durable.Context, h *snag) error {
			_, err := durable.WaitForCondition(ctx, "poll", 0, func(_ context.Context, i int) (int, error) { return i, nil }, durable.PollEvery(time.Second, func(int) bool { h.here(); return true }))
			return err
		}
	}
	hangs["Interceptor"] = func(h *snag) (opts, slowFunction) {
		return opts{Interceptor: func(ctx context.Context, info durable.StepInfo, next func(context.Context) (any, error)) (any, error) {
			h.on(slow(info.ExecutionID))
			return next(ctx)
		}}, all
	}
}

var errOut = errors.New("out of stock")

// patience is for what must not take long at all.
const patience = 20 * time.Second

// soon fails the test if f does not return, or returns an error.
func soon(t *testing.T, what string, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		require.NoError(t, err, what)
	case <-time.After(patience):
		require.FailNow(t, "waits for code that hangs", what)
	}
}

// TestCodeThatHangs has code of the user's hang everywhere: nothing else may wait for it.
// It takes real time: in a bubble who waits for a lock keeps the time from going on.
func TestCodeThatHangs(t *testing.T) {
	t.Parallel()
	for name, kind := range hangs {
		for _, end := range []string{"GoesOn", "Close", "Shutdown"} {
			if testing.Short() && end != "GoesOn" {
				continue
			}
			t.Run(name+"/"+end, func(t *testing.T) {
				t.Parallel()
				h := newSnag()
				opts, do := kind(h)
				slow := durable.Define("slow", func(ctx *durable.Context, _ int) (int, error) { return 1, do(ctx, h) })
				quick := durable.Define("quick", func(ctx *durable.Context, i int) (int, error) {
					if err := durable.Wait(ctx, "sleep", 5*time.Millisecond); err != nil {
						return 0, err
					}
					return durable.Step(ctx, "step", func(context.Context) (int, error) { return i, nil })
				})
				opts.Functions, opts.ParkFor = []durable.Definition{slow, quick}, -1
				if opts.Logger == nil {
					opts.Logger = slog.New(slog.DiscardHandler)
				}
				e, err := durable.New(memstore.New(), &opts)
				require.NoError(t, err)
				defer e.Close()
				released := false
				defer func() {
					if !released {
						close(h.release)
					}
				}()
				started := make(chan error, 1)
				go func() {
					_, err := slow.Start(context.Background(), e, 0, durable.WithExecutionID("slow"))
					started <- err
				}()
				select {
				case <-h.entered:
				case <-time.After(patience):
					require.FailNow(t, "it does not hang")
				}
				ctx := context.Background()
				for range 2 {
					soon(t, "Stats", func() error { e.Stats(); return nil })
					soon(t, "another execution", func() error { _, err := quick.Run(ctx, e, 7); return err })
					soon(t, "Describe", func() error { _, err := e.Describe(ctx, "slow"); return err })
					soon(t, "Executions", func() error {
						for _, err := range e.Executions(ctx, durable.Query{}) {
							if err != nil {
								return err
							}
						}
						return nil
					})
					soon(t, "Cancel", func() error { return e.Cancel(ctx, "slow", "") })
				}
				soon(t, "Start", func() error { return <-started })
				switch end {
				case "GoesOn":
					close(h.release)
					released = true
					soon(t, "what hung", func() error {
						for {
							info, err := e.Describe(ctx, "slow")
							if err != nil || info.Status != durable.ExecutionRunning || info.Held != nil {
								return err
							}
							time.Sleep(time.Millisecond)
						}
					})
					soon(t, "Close", e.Close)
				case "Close":
					soon(t, "Close", e.Close)
				case "Shutdown":
					ctx, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
					defer cancel()
					soon(t, "Shutdown", func() error { _ = e.Shutdown(ctx); return nil })
				}
			})
		}
	}
}
