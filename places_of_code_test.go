package durable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// codePlace is a place where the library calls the user's code. Its handler, or
// its options, have bad called there.
type codePlace struct {
	options func(o *durable.Options, bad func())
	handler func(ctx *durable.Context, bad func()) error
	plain   func(ctx context.Context, bad func()) error // instead of a handler
	// notHeard: what happens there must not be seen by the execution.
	notHeard bool
	// noGoexit: it is called on goroutines of the engine, and documented as not to
	// call runtime.Goexit.
	noGoexit bool
}

// badDeed is what the user's code does at a place.
type badDeed struct {
	do   func()
	exit bool // by runtime.Goexit
}

var badDeeds = map[string]badDeed{
	"PanicText":     {do: func() { panic("boom") }},
	"PanicNil":      {do: func() { panic(nil) }},
	"PanicError":    {do: func() { panic(errors.New("boom")) }},
	"PanicRuntime":  {do: func() { zero := 0; panic(1 / zero) }},
	"PanicBadError": {do: func() { panic(badError{}) }},
	"PanicTypedNil": {do: func() { panic((*durable.OpError)(nil)) }},
	"PanicHuge":     {do: func() { panic(strings.Repeat("x", 3<<20)) }},
	"PanicInADefer": {do: func() { defer func() { panic("again") }(); panic("boom") }},
	"Goexit":        {do: runtime.Goexit, exit: true},
}

// deedError is an error of which a method does something bad.
type deedError struct {
	method string
	bad    func()
}

func (e *deedError) Error() string { e.do("Error"); return "deed" }
func (e *deedError) Is(error) bool { e.do("Is"); return false }
func (e *deedError) As(any) bool   { e.do("As"); return false }
func (e *deedError) Unwrap() error { e.do("Unwrap"); return nil }
func (e *deedError) do(method string) {
	if method == e.method {
		e.bad()
	}
}

// deedsError is one whose Unwrap returns several.
type deedsError struct{ bad func() }

func (e *deedsError) Error() string   { return "deeds" }
func (e *deedsError) Unwrap() []error { e.bad(); return nil }

// deedCodec is JSON, but for a method that does something bad.
type deedCodec struct {
	durable.Codec
	method string
	bad    func()
}

func newDeedCodec(method string, bad func()) deedCodec { return deedCodec{durable.JSON, method, bad} }

func (c deedCodec) Name() string {
	if c.method == "Name" {
		c.bad()
	}
	return "deed"
}

func (c deedCodec) Encode(v any) ([]byte, error) {
	if c.method == "Encode" {
		c.bad()
	}
	return c.Codec.Encode(v)
}

func (c deedCodec) Decode(data []byte, v any) error {
	if c.method == "Decode" {
		c.bad()
	}
	return c.Codec.Decode(data, v)
}

// deedValue does something bad when it is encoded.
type deedValue struct{ encode func() }

func (v deedValue) MarshalJSON() ([]byte, error) {
	if v.encode != nil {
		v.encode()
	}
	return []byte("{}"), nil
}

// deedInput does something bad when it is decoded. The deed is a global of the
// test: what is decoded is a new value.
type deedInput struct{}

var decodeDeed atomic.Pointer[func()]

func (*deedInput) UnmarshalJSON([]byte) error {
	if bad := decodeDeed.Load(); bad != nil {
		(*bad)()
	}
	return nil
}

// deedHandler is a slog.Handler of which a method does something bad.
type deedHandler struct {
	method string
	bad    func()
}

func (h deedHandler) do(method string) {
	if method == h.method {
		h.bad()
	}
}

func (h deedHandler) Enabled(context.Context, slog.Level) bool  { h.do("Enabled"); return true }
func (h deedHandler) Handle(context.Context, slog.Record) error { h.do("Handle"); return nil }
func (h deedHandler) WithAttrs([]slog.Attr) slog.Handler        { h.do("WithAttrs"); return h }
func (h deedHandler) WithGroup(string) slog.Handler             { h.do("WithGroup"); return h }

// chatty is a handler that makes the engine log: a retry, and a future that nobody awaits.
func chatty(ctx *durable.Context, _ func()) error {
	ctx.Logger().WithGroup("g").Info("hello", "a", 1)
	durable.Go(ctx, "unseen", func(*durable.Context) (int, error) { return 0, errors.New("unseen") })
	return durable.Do(ctx, "retry", func(c context.Context) error {
		info, _ := durable.StepInfoFrom(c)
		info.Logger.Info("hello")
		if info.Attempt == 1 {
			return errors.New("not yet")
		}
		return nil
	}, durable.WithRetry(durable.RetryPolicy{MaxAttempts: 3, Initial: time.Minute}))
}

func returning(method string) func(ctx *durable.Context, bad func()) error {
	return func(ctx *durable.Context, bad func()) error {
		return durable.Do(ctx, "x", func(context.Context) error { return &deedError{method, bad} })
	}
}

func withCodec(op func(ctx *durable.Context, c durable.CodecOption) error, method string) func(ctx *durable.Context, bad func()) error {
	return func(ctx *durable.Context, bad func()) error {
		return op(ctx, durable.WithCodec(newDeedCodec(method, bad)))
	}
}

// codedOperations are the operations that take a codec.
var codedOperations = map[string]func(ctx *durable.Context, c durable.CodecOption) error{
	"Step": func(ctx *durable.Context, c durable.CodecOption) error {
		_, err := durable.Step(ctx, "x", func(context.Context) (int, error) { return 1, nil }, c)
		return err
	},
	"StepWithATimeout": func(ctx *durable.Context, c durable.CodecOption) error {
		_, err := durable.Step(ctx, "x", func(context.Context) (int, error) { return 1, nil }, c, durable.WithTimeout(time.Hour))
		return err
	},
	"Do": func(ctx *durable.Context, c durable.CodecOption) error {
		return durable.Do(ctx, "x", func(context.Context) error { return nil }, c)
	},
	"Condition": func(ctx *durable.Context, c durable.CodecOption) error {
		_, err := durable.WaitForCondition(ctx, "x", 1, func(_ context.Context, n int) (int, error) { return n + 1, nil }, durable.PollEvery(time.Second, func(n int) bool { return n > 2 }), c)
		return err
	},
	"Child": func(ctx *durable.Context, c durable.CodecOption) error {
		_, err := durable.RunInChildContext(ctx, "x", func(*durable.Context) (int, error) { return 1, nil }, c)
		return err
	},
	"Go": func(ctx *durable.Context, c durable.CodecOption) error {
		_, err := durable.Go(ctx, "x", func(*durable.Context) (int, error) { return 1, nil }, c).Await(ctx)
		return err
	},
	"Map": func(ctx *durable.Context, c durable.CodecOption) error {
		_, err := durable.Map(ctx, "x", []int{1, 2}, func(*durable.Context, int, int) (int, error) { return 1, nil }, c)
		return err
	},
	"Invoke": func(ctx *durable.Context, c durable.CodecOption) error {
		_, err := durable.InvokeByName[int](ctx, "x", "fine", 1, c)
		return err
	},
	"Callback": func(ctx *durable.Context, c durable.CodecOption) error {
		cb, err := durable.CreateCallback[int](ctx, "x", c)
		if err != nil {
			return err
		}
		if err := durable.Do(ctx, "complete", func(sc context.Context) error {
			info, _ := durable.StepInfoFrom(sc)
			return info.Engine.SucceedCallback(sc, cb.ID(), 1)
		}); err != nil {
			return err
		}
		_, err = cb.Await(ctx)
		return err
	},
	"WaitForCallback": func(ctx *durable.Context, c durable.CodecOption) error {
		_, err := durable.WaitForCallback[int](ctx, "x", func(sc context.Context, id string) error {
			info, _ := durable.StepInfoFrom(sc)
			return info.Engine.SucceedCallback(sc, id, 1)
		}, c)
		return err
	},
}

// codePlaces are all places where the library calls the user's code, by their
// names in the public API.
func codePlaces() map[string]codePlace {
	step := func(body func(bad func()), opts ...durable.StepOption) codePlace {
		return codePlace{handler: func(ctx *durable.Context, bad func()) error {
			return durable.Do(ctx, "x", func(context.Context) error { body(bad); return nil }, opts...)
		}}
	}
	child := func(run func(ctx *durable.Context, f func(*durable.Context) (int, error)) error) codePlace {
		return codePlace{handler: func(ctx *durable.Context, bad func()) error {
			return run(ctx, func(*durable.Context) (int, error) { bad(); return 0, nil })
		}}
	}
	once := durable.WithRetry(durable.NoRetry())
	places := map[string]codePlace{
		"Handler": {handler: func(_ *durable.Context, bad func()) error { bad(); return nil }},
		"Handler/AfterAWait": {handler: func(ctx *durable.Context, bad func()) error {
			err := durable.Wait(ctx, "x", time.Hour)
			bad()
			return err
		}},
		"Handler/Defer": {handler: func(ctx *durable.Context, bad func()) error { defer bad(); return durable.Wait(ctx, "x", time.Hour) }},
		"PlainFunction": {plain: func(_ context.Context, bad func()) error { bad(); return nil }},
		"PlainFunction/Defer": {plain: func(_ context.Context, bad func()) error {
			defer bad()
			return errors.New("deferred")
		}},
		"Step/Body":             step(func(bad func()) { bad() }),
		"Step/Body/NoRetry":     step(func(bad func()) { bad() }, once),
		"Step/Body/AtMostOnce":  step(func(bad func()) { bad() }, durable.AtMostOnce()),
		"Step/Body/Timeout":     step(func(bad func()) { bad() }, durable.WithTimeout(time.Hour)),
		"Step/Body/AttemptTime": step(func(bad func()) { bad() }, durable.WithAttemptTimeout(time.Hour)),
		"Step/Body/Defer":       step(func(bad func()) { defer bad() }),
		"Step/Body/AGoroutine":  step(func(bad func()) { handOn(bad) }, once),
		"Call/Body": {handler: func(ctx *durable.Context, bad func()) error {
			_, err := durable.Call(ctx, "x", func(context.Context, int) (int, error) { bad(); return 0, nil }, 1, once)
			return err
		}},
		"AsStep/Body": {handler: func(ctx *durable.Context, bad func()) error {
			_, err := durable.Map(ctx, "x", []int{1, 2}, durable.AsStep(func(context.Context, int) (int, error) { bad(); return 0, nil }, once))
			return err
		}},
		"WaitForCondition/Check": {handler: func(ctx *durable.Context, bad func()) error {
			_, err := durable.WaitForCondition(ctx, "x", 0, func(context.Context, int) (int, error) { bad(); return 0, nil }, func(int, int) durable.Poll { return durable.PollDone() })
			return err
		}},
		"WaitForCondition/Next": {handler: func(ctx *durable.Context, bad func()) error {
			_, err := durable.WaitForCondition(ctx, "x", 0, func(context.Context, int) (int, error) { return 0, nil }, func(int, int) durable.Poll { bad(); return durable.PollDone() })
			return err
		}},
		"PollEvery/Done": {handler: func(ctx *durable.Context, bad func()) error {
			_, err := durable.WaitForCondition(ctx, "x", 0, func(context.Context, int) (int, error) { return 0, nil }, durable.PollEvery(time.Second, func(int) bool { bad(); return true }))
			return err
		}},
		"PollBackoff/Done": {handler: func(ctx *durable.Context, bad func()) error {
			_, err := durable.WaitForCondition(ctx, "x", 0, func(context.Context, int) (int, error) { return 0, nil }, durable.PollBackoff(durable.RetryPolicy{}, func(int) bool { bad(); return true }))
			return err
		}},
		"WaitForCallback/Submit": {handler: func(ctx *durable.Context, bad func()) error {
			_, err := durable.WaitForCallback[int](ctx, "x", func(context.Context, string) error { bad(); return nil }, once)
			return err
		}},
		"RunInChildContext": child(func(ctx *durable.Context, f func(*durable.Context) (int, error)) error {
			_, err := durable.RunInChildContext(ctx, "x", f)
			return err
		}),
		"Go": child(func(ctx *durable.Context, f func(*durable.Context) (int, error)) error {
			_, err := durable.Go(ctx, "x", f).Await(ctx)
			return err
		}),
		"Go/All": child(func(ctx *durable.Context, f func(*durable.Context) (int, error)) error {
			_, err := durable.All(ctx, "all", durable.Go(ctx, "x", f), durable.Go(ctx, "y", f))
			return err
		}),
		"Go/Any": child(func(ctx *durable.Context, f func(*durable.Context) (int, error)) error {
			_, err := durable.Any(ctx, "any", durable.Go(ctx, "x", f), durable.Go(ctx, "y", f))
			return err
		}),
		"Go/Race": child(func(ctx *durable.Context, f func(*durable.Context) (int, error)) error {
			_, err := durable.Race(ctx, "race", durable.Go(ctx, "x", f), durable.Go(ctx, "y", f))
			return err
		}),
		"Parallel/Branch": child(func(ctx *durable.Context, f func(*durable.Context) (int, error)) error {
			_, err := durable.Parallel(ctx, "x", []durable.Branch[int]{{Run: f}, {Run: f}})
			return err
		}),
		"Map/Item": child(func(ctx *durable.Context, f func(*durable.Context) (int, error)) error {
			_, err := durable.Map(ctx, "x", []int{1, 2, 3}, func(ctx *durable.Context, _, _ int) (int, error) { return f(ctx) }, durable.WithMaxConcurrency(1))
			return err
		}),
		"Map/Item/Flat": child(func(ctx *durable.Context, f func(*durable.Context) (int, error)) error {
			_, err := durable.Map(ctx, "x", []int{1, 2, 3}, func(ctx *durable.Context, _, _ int) (int, error) { return f(ctx) }, durable.Flat())
			return err
		}),
		"Map/ItemNames": {handler: func(ctx *durable.Context, bad func()) error {
			_, err := durable.Map(ctx, "x", []int{1, 2, 3}, func(*durable.Context, int, int) (int, error) { return 0, nil }, durable.WithItemNames(func(int) string { bad(); return "" }))
			return err
		}},
		"Settled/LoopBody": {handler: func(ctx *durable.Context, bad func()) error {
			for range durable.Settled(ctx, "x", durable.After(ctx, "t", time.Hour)) {
				bad()
			}
			return durable.Wait(ctx, "y", time.Hour)
		}},
		"Batch.All/LoopBody": {handler: func(ctx *durable.Context, bad func()) error {
			batch, err := durable.Map(ctx, "x", []int{1}, func(*durable.Context, int, int) (int, error) { return 0, nil })
			if err != nil {
				return err
			}
			for range batch.All() {
				bad()
			}
			return nil
		}},
		"RetryPolicy.Retryable": {handler: func(ctx *durable.Context, bad func()) error {
			return durable.Do(ctx, "x", func(context.Context) error { return errors.New("fails") }, durable.WithRetry(durable.RetryPolicy{Retryable: func(error) bool { bad(); return true }}))
		}},
		"RetryPolicy.Retryable/Condition": {handler: func(ctx *durable.Context, bad func()) error {
			_, err := durable.WaitForCondition(ctx, "x", 0, func(context.Context, int) (int, error) { return 0, errors.New("fails") }, func(int, int) durable.Poll { return durable.PollDone() },
				durable.WithRetry(durable.RetryPolicy{Retryable: func(error) bool { bad(); return true }}))
			return err
		}},
		"Error.Error":  {handler: returning("Error")},
		"Error.Is":     {handler: returning("Is")},
		"Error.As":     {handler: returning("As")},
		"Error.Unwrap": {handler: returning("Unwrap")},
		"Error.Unwrap/Joined": {handler: func(ctx *durable.Context, bad func()) error {
			return durable.Do(ctx, "x", func(context.Context) error { return &deedsError{bad} })
		}},
		"Error.Is/Handler":    {handler: func(_ *durable.Context, bad func()) error { return &deedError{"Is", bad} }},
		"Error.Error/Handler": {handler: func(_ *durable.Context, bad func()) error { return &deedError{"Error", bad} }},
		"Error.Is/Child": {handler: func(ctx *durable.Context, bad func()) error {
			_, err := durable.RunInChildContext(ctx, "x", func(*durable.Context) (int, error) { return 0, &deedError{"Is", bad} })
			return err
		}},
		"Error.Is/Future": {handler: func(ctx *durable.Context, bad func()) error {
			_, err := durable.Go(ctx, "x", func(*durable.Context) (int, error) { return 0, &deedError{"Is", bad} }).Await(ctx)
			return err
		}},
		"Error.Is/Marked": {handler: func(ctx *durable.Context, bad func()) error {
			return durable.Do(ctx, "x", func(context.Context) error { return durable.RetryAfter(time.Second, &deedError{"Is", bad}) })
		}},
		"MarshalJSON/StepResult": {handler: func(ctx *durable.Context, bad func()) error {
			_, err := durable.Step(ctx, "x", func(context.Context) (deedValue, error) { return deedValue{encode: bad}, nil })
			return err
		}},
		"MarshalJSON/State": {handler: func(ctx *durable.Context, bad func()) error {
			_, err := durable.WaitForCondition(ctx, "x", deedValue{encode: bad}, func(_ context.Context, v deedValue) (deedValue, error) { return v, nil }, func(deedValue, int) durable.Poll { return durable.PollDone() })
			return err
		}},
		"MarshalJSON/ChildResult": {handler: func(ctx *durable.Context, bad func()) error {
			_, err := durable.RunInChildContext(ctx, "x", func(*durable.Context) (deedValue, error) { return deedValue{encode: bad}, nil })
			return err
		}},
		"MarshalJSON/ItemResult": {handler: func(ctx *durable.Context, bad func()) error {
			_, err := durable.Map(ctx, "x", []int{1}, func(*durable.Context, int, int) (deedValue, error) { return deedValue{encode: bad}, nil })
			return err
		}},
		"MarshalJSON/InvokeInput": {handler: func(ctx *durable.Context, bad func()) error {
			_, err := durable.InvokeByName[int](ctx, "x", "fine", deedValue{encode: bad})
			return err
		}},
		"UnmarshalJSON/StepResult": {handler: func(ctx *durable.Context, bad func()) error {
			decodeDeed.Store(&bad)
			_, err := durable.Step(ctx, "x", func(context.Context) (deedInput, error) { return deedInput{}, nil })
			return err
		}},
		"BatchCodec.Encode": {handler: withBatchCodec("Encode")},
		"BatchCodec.Decode": {handler: withBatchCodec("Decode")},
		"BatchCodec.Name":   {handler: withBatchCodec("Name")},

		"Interceptor": {
			options: func(o *durable.Options, bad func()) {
				o.Interceptor = func(ctx context.Context, info durable.StepInfo, next func(context.Context) (any, error)) (any, error) {
					if info.Name == "x" {
						bad()
					}
					return next(ctx)
				}
			},
			handler: func(ctx *durable.Context, _ func()) error {
				return durable.Do(ctx, "x", func(context.Context) error { return nil })
			},
		},
		"Interceptor/Result": {
			options: func(o *durable.Options, bad func()) {
				o.Interceptor = func(ctx context.Context, info durable.StepInfo, next func(context.Context) (any, error)) (any, error) {
					if info.Name == "x" {
						return deedValue{encode: bad}, nil
					}
					return next(ctx)
				}
			},
			handler: func(ctx *durable.Context, _ func()) error {
				_, err := durable.Step(ctx, "x", func(context.Context) (deedInput, error) { return deedInput{}, nil })
				return err
			},
		},
	}
	for name, op := range codedOperations {
		for _, method := range []string{"Name", "Encode", "Decode"} {
			if method == "Encode" && strings.Contains(name, "Callback") || method == "Decode" && name == "Do" {
				continue // the sender encodes, and there is nothing to decode
			}
			places["Codec."+method+"/"+name] = codePlace{handler: withCodec(op, method)}
		}
	}
	observers := map[string]func(bad func()) *durable.Observer{
		"Event": func(bad func()) *durable.Observer {
			return &durable.Observer{Event: func(string, durable.Event) { bad() }}
		},
		"InvocationStarted": func(bad func()) *durable.Observer {
			return &durable.Observer{InvocationStarted: func(string, string, bool) { bad() }}
		},
		"InvocationEnded": func(bad func()) *durable.Observer {
			return &durable.Observer{InvocationEnded: func(string, string) { bad() }}
		},
		"AttemptStarted": func(bad func()) *durable.Observer {
			return &durable.Observer{AttemptStarted: func(ctx context.Context, _ durable.StepInfo) context.Context { bad(); return nil }}
		},
		"AttemptEnded": func(bad func()) *durable.Observer {
			return &durable.Observer{AttemptEnded: func(context.Context, durable.StepInfo, error) { bad() }}
		},
		"Inject": func(bad func()) *durable.Observer {
			return &durable.Observer{Inject: func(context.Context) string { bad(); return "" }}
		},
		"ExecutionStarted": func(bad func()) *durable.Observer {
			return &durable.Observer{ExecutionStarted: func(durable.ObservedExecution) { bad() }}
		},
		"ExecutionEnded": func(bad func()) *durable.Observer {
			return &durable.Observer{ExecutionEnded: func(durable.ObservedExecution, durable.ExecutionStatus, time.Time, *durable.Failure) { bad() }}
		},
		"BeginInvocation": func(bad func()) *durable.Observer {
			return &durable.Observer{BeginInvocation: func(context.Context, durable.ObservedExecution, durable.Invocation) context.Context {
				bad()
				return nil
			}}
		},
		"OperationEnded": func(bad func()) *durable.Observer {
			return &durable.Observer{OperationEnded: func(context.Context, string, durable.Operation) { bad() }}
		},
		"Woken": func(bad func()) *durable.Observer {
			return &durable.Observer{Woken: func(string, time.Duration) { bad() }}
		},
		"Committed": func(bad func()) *durable.Observer {
			return &durable.Observer{Committed: func(checkpoint.Commit) { bad() }}
		},
	}
	for name, observer := range observers {
		places["Observer."+name] = codePlace{notHeard: true, noGoexit: true, handler: chatty,
			options: func(o *durable.Options, bad func()) { o.Observer = observer(bad) }}
	}
	for _, method := range []string{"Enabled", "Handle", "WithAttrs", "WithGroup"} {
		places["Logger."+method] = codePlace{notHeard: true, noGoexit: true, handler: chatty,
			options: func(o *durable.Options, bad func()) { o.Logger = slog.New(deedHandler{method, bad}) }}
	}
	return places
}

func withBatchCodec(method string) func(ctx *durable.Context, bad func()) error {
	return func(ctx *durable.Context, bad func()) error {
		_, err := durable.Map(ctx, "x", []int{1, 2}, func(*durable.Context, int, int) (int, error) { return 1, nil }, durable.WithBatchCodec(newDeedCodec(method, bad)))
		return err
	}
}

// handOn calls f on a goroutine and hands its panic on, as careful code does.
func handOn(f func()) {
	done := make(chan any)
	go func() {
		returned := false
		defer func() {
			if p := recover(); p != nil || returned {
				done <- p
			}
			close(done)
		}()
		f()
		returned = true
	}()
	switch p, ok := <-done; {
	case !ok:
		runtime.Goexit()
	case p != nil:
		panic(p)
	}
}

// TestBadDeeds does each bad deed at each place where the user's code is called.
// The execution ends, and says of what; other executions, before, beside and
// after it, are not harmed; Shutdown finds nothing that still runs; and nothing
// is left behind.
func TestBadDeeds(t *testing.T) {
	t.Parallel()
	places := codePlaces()
	tried := 0
	for name, place := range places {
		for deedName, deed := range badDeeds {
			if deed.exit && place.noGoexit || deedName == "PanicHuge" && testing.Short() { // mebibytes of JSON, each time
				continue
			}
			tried++
			t.Run(name+"/"+deedName, func(t *testing.T) {
				noLeaks(t, func(t *testing.T) { place.try(t, deed) })
			})
		}
	}
	t.Logf("places of user code: %d, bad deeds tried: %d", len(places), tried)
}

func (p codePlace) try(t *testing.T, deed badDeed) {
	var armed atomic.Bool
	var done atomic.Int32
	bad := func() {
		if armed.Load() {
			done.Add(1)
			deed.do()
		}
	}
	opts := durable.Options{ParkFor: -1}
	if p.options != nil {
		p.options(&opts, bad)
	}
	f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 7, p.handler(ctx, bad) })
	if p.plain != nil {
		f = durable.DefinePlain("f", func(ctx context.Context, _ int) (int, error) { return 7, p.plain(ctx, bad) })
	}
	fine := durable.Define("fine", func(ctx *durable.Context, n int) (int, error) {
		if err := durable.Wait(ctx, "pause", time.Minute); err != nil {
			return 0, err
		}
		return durable.Step(ctx, "one more", func(context.Context) (int, error) { return n + 1, nil })
	})
	b := setupWith(t, opts, f, fine)
	defer b.engine.Close()
	beside := start(b, fine, 1)
	armed.Store(true)
	x := start(b, f, 0)
	out, err := within(b, x, 48*time.Hour)
	require.NotErrorIs(t, err, context.DeadlineExceeded, "it does not end")
	synctest.Wait() // an observer may be told after the result
	require.NotZero(t, done.Load(), "the place was never reached")
	switch {
	case p.notHeard:
		require.NoError(t, err)
		require.Equal(t, 7, out)
	default:
		require.Error(t, err)
		op, ok := errors.AsType[*durable.OpError](err)
		require.True(t, ok)
		require.Equal(t, x.ID(), op.ExecutionID)
		info := b.describe(x.ID())
		require.Equal(t, durable.ExecutionFailed, info.Status)
		require.NotEmpty(t, info.Failure.Message)
		require.Less(t, len(info.Failure.Message), 2<<20)
	}
	synctest.Wait()
	require.Empty(t, b.describe(x.ID()).Bodies)
	out, err = within(b, beside, time.Hour)
	require.NoError(t, err, "one beside it is not harmed")
	require.Equal(t, 2, out)
	armed.Store(false)
	require.Equal(t, 8, run(b, fine, 7), "the engine lives on")
	synctest.Wait() // whoever waits for a result is told before the execution has left memory
	require.Zero(t, b.engine.Stats().Resident)
	require.NoError(t, b.engine.Shutdown(b.ctx))
}

// grudge is a codec that decodes until it is told not to; its errors do bad deeds.
type grudge struct {
	durable.Codec
	err *atomic.Pointer[deedError]
}

func (grudge) Name() string { return "grudge" }
func (g grudge) Decode(data []byte, v any) error {
	if err := g.err.Load(); err != nil {
		return err
	}
	return g.Codec.Decode(data, v)
}

// oddError can be read from JSON, but not when it is odd.
type oddError struct{ N int }

func (oddError) Error() string { return "odd" }
func (e *oddError) UnmarshalJSON(data []byte) error {
	type plain oddError
	if err := json.Unmarshal(data, (*plain)(e)); err != nil || e.N%2 == 0 {
		return err
	}
	panic("odd")
}

// TestBadDeedsOnReplay: what fails on a replay only, where the execution is locked.
func TestBadDeedsOnReplay(t *testing.T) {
	t.Parallel()
	for name, deed := range badDeeds {
		for _, method := range []string{"Error", "Is", "As", "Unwrap"} {
			t.Run("ErrorOfDecode."+method+"/"+name, func(t *testing.T) {
				t.Parallel()
				noLeaks(t, func(t *testing.T) {
					codec := grudge{durable.JSON, new(atomic.Pointer[deedError])}
					f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
						if _, err := durable.Step(ctx, "x", func(context.Context) (int, error) { return 1, nil }, durable.WithCodec(codec)); err != nil {
							return 0, err
						}
						return 7, durable.Wait(ctx, "sleep", time.Hour)
					})
					b := setup(t, f)
					defer b.engine.Close()
					x := start(b, f, 0)
					time.Sleep(time.Minute)
					codec.err.Store(&deedError{method, deed.do})
					time.Sleep(2 * time.Hour)
					require.NotEmpty(t, b.held(x.ID()).Message)
					codec.err.Store(nil)
					require.NoError(t, b.engine.Resume(b.ctx, x.ID()))
					out, err := within(b, x, time.Hour)
					require.NoError(t, err)
					require.Equal(t, 7, out)
				})
			})
		}
	}
	t.Run("UnmarshalJSONOfARegisteredError", func(t *testing.T) {
		t.Parallel()
		noLeaks(t, func(t *testing.T) {
			f := durable.Define("f", func(ctx *durable.Context, n int) (string, error) {
				err := durable.Do(ctx, "x", func(context.Context) error { return durable.Permanent(oddError{n}) })
				_, found := errors.AsType[oddError](err)
				return fmt.Sprint(found), durable.Wait(ctx, "sleep", time.Hour)
			})
			b := setupWith(t, durable.Options{ParkFor: -1, Errors: []error{oddError{}}}, f)
			defer b.engine.Close()
			require.Equal(t, "true", run(b, f, 2))
			require.Equal(t, "false", run(b, f, 1), "it matches nothing, and the Failure is there")
		})
	})
}
