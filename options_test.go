package durable_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// lives are the ways in which an execution can live: it leaves memory whenever
// nothing of it can go on, so that everything is replayed; it stays for the
// default time; it stays in memory to its end. What the handler sees and what is
// recorded must not depend on it.
var lives = []struct {
	name    string
	parkFor time.Duration
}{
	{"Suspended", -1},
	{"Default", 0},
	{"InMemory", 1000 * time.Hour},
}

// everyLife runs test once for each life, in a bubble of its own.
func everyLife(t *testing.T, test func(t *testing.T, opts durable.Options)) {
	t.Helper()
	for _, life := range lives {
		t.Run(life.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, durable.Options{ParkFor: life.parkFor}) })
		})
	}
}

// trial is one operation, or a few, looked at in every life, when it runs and
// when it is replayed.
type trial[O any] struct {
	opts      durable.Options // ParkFor is set by the trial
	functions []durable.Definition
	op        func(ctx *durable.Context) (O, error)
	outside   func(b *bundle, id string) // runs beside the execution, may be nil
	check     func(t *testing.T, got O, err error)
	history   []string // of the operation, without the end of invocations; nil: not looked at
	unordered bool     // the order of events is that of goroutines
	varied    bool     // which events there are, too
}

// run runs the operation and then a wait, after which a suspended execution sees
// the operation again. Value and error must be the same each time and in each
// life, and so must the history.
func (tr trial[O]) run(t *testing.T) {
	t.Helper()
	type sight struct {
		value O
		err   error
	}
	const id = "x"
	var first *sight
	var firstHistory []string
	everyLife(t, func(t *testing.T, life durable.Options) {
		opts := tr.opts
		opts.ParkFor = life.ParkFor
		var seen []sight
		f := durable.Define("f", func(ctx *durable.Context, _ durable.None) (durable.None, error) {
			v, err := tr.op(ctx)
			seen = append(seen, sight{v, err})
			return durable.None{}, durable.Wait(ctx.WithoutCancel(), "look again", 3*time.Hour)
		})
		b := setupWith(t, opts, append(tr.functions, f)...)
		x := start(b, f, durable.None{}, durable.WithExecutionID(id))
		if tr.outside != nil {
			tr.outside(b, id)
		}
		_, err := finish(b, x)
		require.NoError(t, err)
		if opts.ParkFor < 0 {
			require.GreaterOrEqual(t, len(seen), 2, "it was not replayed")
		}
		require.NotEmpty(t, seen)
		for i, s := range seen {
			require.Equal(t, seen[0].value, s.value, "value, time %d", i+1)
			require.Equal(t, describeError(seen[0].err), describeError(s.err), "error, time %d", i+1)
		}
		tr.check(t, seen[0].value, seen[0].err)
		history := outcomes(b, id)
		if tr.unordered {
			slices.Sort(history)
			slices.Sort(tr.history)
		}
		if tr.history != nil {
			require.Equal(t, tr.history, history)
		}
		if first == nil {
			first, firstHistory = &seen[0], history
		}
		require.Equal(t, first.value, seen[0].value, "value in another life")
		require.Equal(t, describeError(first.err), describeError(seen[0].err), "error in another life")
		if !tr.varied {
			require.Equal(t, firstHistory, history, "history in another life")
		}
	})
}

// finish is the result of an execution that is neither held nor waits for ever.
func finish[O any](b *bundle, x *durable.Execution[O]) (O, error) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 300*time.Hour)
	defer cancel()
	out, err := x.Result(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		require.FailNow(b, "the execution does not end", "held: %v\n%s", b.describe(x.ID()).Held, strings.Join(b.history(x.ID()), "\n"))
	}
	return out, err
}

// runLoosely is run for operations whose events have no fixed order.
func (tr trial[O]) runLoosely(t *testing.T) {
	t.Helper()
	tr.unordered = true
	tr.run(t)
}

// outcomes is the history of a trial between its start and its last wait,
// without the end of invocations.
func outcomes(b *bundle, id string) []string {
	b.Helper()
	lines := []string{}
	for _, l := range b.history(id) {
		if l != "InvocationCompleted" && !strings.HasPrefix(l, "Execution") && !strings.HasSuffix(l, "look again") {
			lines = append(lines, l)
		}
	}
	return lines
}

// body is a step's body that returns v.
func body[O any](v O) func(context.Context) (O, error) {
	return func(context.Context) (O, error) { return v, nil }
}

// fails is a step's body that fails for good.
func fails[O any](text string) func(context.Context) (O, error) {
	return func(context.Context) (O, error) {
		var zero O
		return zero, durable.Permanent(errors.New(text))
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	noop := func(ctx *durable.Context, _ int) (int, error) { return 0, nil }

	t.Run("NilIsAllDefaults", func(t *testing.T) {
		t.Parallel()
		e, err := durable.New(memstore.New(), nil)
		require.NoError(t, err)
		require.NoError(t, e.Close())
		require.NoError(t, e.Close(), "closing again does nothing")
	})

	t.Run("AllProblemsAreReportedAtOnce", func(t *testing.T) {
		t.Parallel()
		_, err := durable.New(memstore.New(), &durable.Options{
			Functions: []durable.Definition{
				durable.Define("same", noop), durable.Define("same", noop), durable.Define("has space", noop), durable.Define("", noop), nil,
				durable.Define("late", noop, durable.WithExecutionTimeout(-time.Second)),
				durable.Define(strings.Repeat("x", 129), noop),
			},
			MaxResident: -1, MaxPayload: -2, InlineResult: -3,
			Errors: []error{nil, errors.New("twin"), errors.New("twin"), &hidden{text: "x"}},
		})
		require.ErrorIs(t, err, durable.ErrInvalidID)
		for _, part := range []string{`two functions have the name "same"`, `"has space"`, `function name ""`, "Functions[4] is nil", `"late"`, "129 bytes",
			"MaxResident", "MaxPayload", "InlineResult", "Errors[0] is nil", `"twin"`, "hidden does not survive JSON"} {
			require.ErrorContains(t, err, part)
		}
	})

	t.Run("NamesOfFunctionsMayHave128Bytes", func(t *testing.T) {
		t.Parallel()
		e, err := durable.New(memstore.New(), &durable.Options{Functions: []durable.Definition{
			durable.Define(strings.Repeat("x", 128), noop), durable.Define("aZ9._:-", noop)}})
		require.NoError(t, err)
		require.NoError(t, e.Close())
	})

	t.Run("TheStoreIsClosedWhenNewFails", func(t *testing.T) {
		t.Parallel()
		store := memstore.New()
		_, err := durable.New(store, &durable.Options{MaxPayload: -1})
		require.Error(t, err)
		_, err = store.Get(t.Context(), "x")
		require.ErrorIs(t, err, durable.ErrClosed)
	})

	t.Run("ANilFunctionPointerIsReported", func(t *testing.T) {
		t.Parallel()
		var missing *durable.Function[int, int]
		require.NotPanics(t, func() {
			_, err := durable.New(memstore.New(), &durable.Options{Functions: []durable.Definition{missing}})
			require.ErrorContains(t, err, "Functions[0] is nil")
		})
	})

	t.Run("WrongOptionsOfOperationsAreErrors", func(t *testing.T) {
		t.Parallel()
		one := []int{1}
		item := func(*durable.Context, int, int) (int, error) { return 1, nil }
		check := func(context.Context, int) (int, error) { return 1, nil }
		done := durable.PollEvery(time.Second, func(int) bool { return true })
		batch := func(opts ...durable.BatchOption) func(*durable.Context) error {
			return func(ctx *durable.Context) error {
				_, err := durable.Map(ctx, "m", one, item, opts...)
				return err
			}
		}
		for _, c := range []struct {
			says string
			op   func(*durable.Context) error
		}{
			{"WithMaxConcurrency(0)", batch(durable.WithMaxConcurrency(0))},
			{"WithMaxConcurrency(-1)", batch(durable.WithMaxConcurrency(-1))},
			{"WithMinSuccessful(-1)", batch(durable.WithMinSuccessful(-1))},
			{"WithToleratedFailures(-1)", batch(durable.WithToleratedFailures(-1))},
			{"WithToleratedFailurePercent(-0.5)", batch(durable.WithToleratedFailurePercent(-0.5))},
			{"WithToleratedFailurePercent(100.5)", batch(durable.WithToleratedFailurePercent(100.5))},
			{"WithTimeout(-1s)", batch(durable.WithTimeout(-time.Second))},
			{"WithTimeout(-1s)", func(ctx *durable.Context) error {
				return durable.Do(ctx, "s", func(context.Context) error { return nil }, durable.WithTimeout(-time.Second))
			}},
			{"WithAttemptTimeout(-1s)", func(ctx *durable.Context) error {
				return durable.Do(ctx, "s", func(context.Context) error { return nil }, durable.WithAttemptTimeout(-time.Second))
			}},
			{"WithTimeout(-1s)", func(ctx *durable.Context) error {
				_, err := durable.WaitForCondition(ctx, "w", 0, check, done, durable.WithTimeout(-time.Second))
				return err
			}},
			{"WithHeartbeatTimeout(-1s)", func(ctx *durable.Context) error {
				_, err := durable.CreateCallback[int](ctx, "c", durable.WithHeartbeatTimeout(-time.Second))
				return err
			}},
			{"WithTimeout(-1s)", func(ctx *durable.Context) error {
				_, err := durable.WaitForCallback[int](ctx, "c", func(context.Context, string) error { return nil }, durable.WithTimeout(-time.Second))
				return err
			}},
			{"WithTimeout(-1s)", func(ctx *durable.Context) error {
				_, err := durable.RunInChildContext(ctx, "c", func(*durable.Context) (int, error) { return 1, nil }, durable.WithTimeout(-time.Second))
				return err
			}},
			{"WithTimeout(-1s)", func(ctx *durable.Context) error {
				_, err := durable.Go(ctx, "c", func(*durable.Context) (int, error) { return 1, nil }, durable.WithTimeout(-time.Second)).Await(ctx)
				return err
			}},
			{"WithTimeout(-1s)", func(ctx *durable.Context) error {
				_, err := durable.InvokeByName[int](ctx, "i", "f", nil, durable.WithTimeout(-time.Second))
				return err
			}},
		} {
			t.Run(c.says, func(t *testing.T) {
				trial[durable.None]{
					op: func(ctx *durable.Context) (durable.None, error) { return durable.None{}, c.op(ctx) },
					check: func(t *testing.T, _ durable.None, err error) {
						require.ErrorContains(t, err, c.says)
						op, ok := errors.AsType[*durable.OpError](err)
						require.True(t, ok)
						require.Equal(t, "x", op.ExecutionID)
					},
					history: []string{}, // it takes no position
				}.run(t)
			})
		}
	})
}
