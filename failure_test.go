package durable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// declined is a typed error that is a value, with a field that JSON renames.
type declined struct {
	Reason string `json:"why"`
	Limits map[string]int
}

func (d declined) Error() string { return "declined: " + d.Reason }

// temporary is a typed error that matches by its own rule.
type temporary struct{ After time.Duration }

func (t *temporary) Error() string        { return "try later" }
func (t *temporary) Is(target error) bool { return target == errSoldOut }

// touchy encodes only while its mood is good.
type touchy struct{ Bad bool }

func (m *touchy) Error() string { return "touchy" }
func (m *touchy) MarshalJSON() ([]byte, error) {
	if m.Bad {
		return nil, errors.New("not now")
	}
	return []byte(`{}`), nil
}

// generic is a typed error with a type parameter.
type generic[T any] struct{ V T }

func (g *generic[T]) Error() string { return "generic" }

// mean is an error whose methods panic.
type mean struct{ what string }

func (m *mean) Error() string {
	if m.what == "Error" {
		panic("in Error")
	}
	return "mean"
}

func (m *mean) Is(error) bool {
	if m.what == "Is" {
		panic("in Is")
	}
	return false
}

func (m *mean) Unwrap() error {
	if m.what == "Unwrap" {
		panic("in Unwrap")
	}
	return nil
}

// ways are the ways that an error takes from a body to a handler.
var ways = map[string]func(ctx *durable.Context, fail func() error) error{
	"Step": func(ctx *durable.Context, fail func() error) error {
		return durable.Do(ctx, "s", func(context.Context) error { return durable.Permanent(fail()) })
	},
	"Condition": func(ctx *durable.Context, fail func() error) error {
		_, err := durable.WaitForCondition(ctx, "c", 0, func(context.Context, int) (int, error) { return 0, fail() }, durable.PollEvery(time.Second, atLeast(1)))
		return err
	},
	"Submitter": func(ctx *durable.Context, fail func() error) error {
		_, err := durable.WaitForCallback[int](ctx, "cb", func(context.Context, string) error { return durable.Permanent(fail()) })
		return err
	},
	"Child": func(ctx *durable.Context, fail func() error) error {
		_, err := durable.RunInChildContext(ctx, "child", func(*durable.Context) (int, error) { return 0, fail() })
		return err
	},
	"StepInAChild": func(ctx *durable.Context, fail func() error) error {
		_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) {
			return 0, durable.Do(ctx, "s", func(context.Context) error { return durable.Permanent(fail()) })
		})
		return err
	},
	"Future": func(ctx *durable.Context, fail func() error) error {
		_, err := durable.Go(ctx, "f", func(*durable.Context) (int, error) { return 0, fail() }).Await(ctx)
		return err
	},
	"Item": func(ctx *durable.Context, fail func() error) error {
		b, err := durable.Map(ctx, "m", []int{1}, func(*durable.Context, int, int) (int, error) { return 0, fail() }, durable.WithToleratedFailures(1))
		if err != nil {
			return err
		}
		return b.Errors()[0]
	},
	"FlatItem": func(ctx *durable.Context, fail func() error) error {
		b, err := durable.Map(ctx, "m", []int{1}, func(*durable.Context, int, int) (int, error) { return 0, fail() }, durable.WithToleratedFailures(1), durable.Flat())
		if err != nil {
			return err
		}
		return b.Errors()[0]
	},
}

func TestFailure(t *testing.T) {
	t.Parallel()
	registered := durable.Options{Errors: []error{errSoldOut, io.ErrUnexpectedEOF, &transient{}, declined{}, &temporary{}, &touchy{}, &fs.PathError{Err: nil}}}

	// seen is what a handler can learn from an error, without the operation around it.
	type seen struct {
		Type, Message       string
		Matches             string
		SoldOut, EOF, Other bool
		Transient           *transient
		Declined            declined
		Temporary           *temporary
		ContextEnded        bool
	}
	look := func(err error) (s seen) {
		f := failure(err)
		s = seen{Type: f.Type, Message: f.Message, Matches: matching(err), SoldOut: errors.Is(err, errSoldOut), EOF: errors.Is(err, io.ErrUnexpectedEOF), Other: errors.Is(err, io.EOF)}
		s.Transient, _ = errors.AsType[*transient](err)
		s.Declined, _ = errors.AsType[declined](err)
		s.Temporary, _ = errors.AsType[*temporary](err)
		s.ContextEnded = errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
		return s
	}
	transientErr := &transient{503}
	for name, c := range map[string]struct {
		err  error
		want seen
	}{
		"Plain":              {errors.New("no"), seen{Type: "error", Message: "no"}},
		"Formatted":          {fmt.Errorf("no %d", 7), seen{Type: "error", Message: "no 7"}},
		"Sentinel":           {errSoldOut, seen{Type: "error", Message: "sold out", SoldOut: true}},
		"SentinelWrapped":    {fmt.Errorf("item 7: %w", errSoldOut), seen{Type: "error", Message: "item 7: sold out", SoldOut: true}},
		"SentinelOfAPackage": {fmt.Errorf("read: %w", io.ErrUnexpectedEOF), seen{Type: "error", Message: "read: unexpected EOF", EOF: true}},
		"NotRegistered":      {fmt.Errorf("read: %w", io.EOF), seen{Type: "error", Message: "read: EOF"}},
		"SameTextOnly":       {errors.New("sold out"), seen{Type: "error", Message: "sold out"}},
		"Typed":              {transientErr, seen{Type: "transient", Message: "code 503", Transient: transientErr}},
		"TypedWrapped":       {fmt.Errorf("call: %w", transientErr), seen{Type: "error", Message: "call: code 503", Transient: transientErr}},
		"TypedValue":         {declined{"limit", map[string]int{"day": 5}}, seen{Type: "declined", Message: "declined: limit", Declined: declined{"limit", map[string]int{"day": 5}}}},
		"TypedWithItsOwnIs":  {&temporary{time.Minute}, seen{Type: "temporary", Message: "try later", SoldOut: true, Temporary: &temporary{time.Minute}}},
		"Joined": {errors.Join(errSoldOut, transientErr, declined{Reason: "x"}),
			seen{Type: "error", Message: "sold out\ncode 503\ndeclined: x", SoldOut: true, Transient: transientErr, Declined: declined{Reason: "x"}}},
		"OwnSentinel":         {fmt.Errorf("mine: %w", durable.ErrTimeout), seen{Type: "Timeout", Message: "mine: durable: timed out", Matches: "ErrTimeout"}},
		"ContextCanceled":     {context.Canceled, seen{Type: "error", Message: "context canceled"}},
		"Deadline":            {fmt.Errorf("x: %w", context.DeadlineExceeded), seen{Type: "error", Message: "x: context deadline exceeded"}},
		"TypeOfAPackage":      {&fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}, seen{Type: "PathError", Message: "open x: file does not exist"}},
		"Anonymous":           {struct{ error }{errors.New("hidden")}, seen{Type: "error", Message: "hidden"}},
		"DoesNotEncode":       {&touchy{Bad: true}, seen{Type: "touchy", Message: "touchy"}},
		"NotUTF8":             {errors.New("bad \xff text"), seen{Type: "error", Message: "bad \ufffd text"}},
		"Long":                {errors.New(strings.Repeat("x", 5000)), seen{Type: "error", Message: strings.Repeat("x", 5000)}},
		"ErrorPanics":         {&mean{"Error"}, seen{Type: "Panic", Matches: "ErrPanic"}},
		"IsPanics":            {&mean{"Is"}, seen{Type: "Panic", Matches: "ErrPanic"}},
		"UnwrapPanics":        {&mean{"Unwrap"}, seen{Type: "Panic", Matches: "ErrPanic"}},
		"NilPointer":          {(*transient)(nil), seen{Type: "Panic", Matches: "ErrPanic"}},
		"MultilineAndQuotes":  {errors.New("a\n\"b\"\t<c>"), seen{Type: "error", Message: "a\n\"b\"\t<c>"}},
		"EmptyTextWithASense": {fmt.Errorf("%w", errSilent), seen{Type: "error"}},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "IsPanics" || name == "UnwrapPanics" {
			}
			if name == "NotUTF8" {
			}
			t.Parallel()
			for way, op := range ways {
				t.Run(way, func(t *testing.T) {
					trial[seen]{
						opts: registered,
						op: func(ctx *durable.Context) (seen, error) {
							return look(op(ctx, func() error { return c.err })), nil
						},
						check: func(t *testing.T, got seen, err error) {
							require.NoError(t, err)
							if c.want.Type == "Panic" {
								require.Contains(t, got.Message, "panic")
								got.Message = ""
							}
							require.Equal(t, c.want, got)
						},
					}.runLoosely(t)
				})
			}
			t.Run("Execution", func(t *testing.T) {
				everyLife(t, func(t *testing.T, opts durable.Options) {
					opts.Errors = registered.Errors
					f := durable.Define("f", func(*durable.Context, int) (int, error) { return 0, c.err })
					b := setupWith(t, opts, f)
					x := start(b, f, 1)
					_, err := finish(b, x)
					got := look(err)
					if c.want.Type == "Panic" {
						got.Message = ""
					}
					require.Equal(t, c.want, got)
					info := b.describe(x.ID())
					require.Equal(t, durable.ExecutionFailed, info.Status)
					require.Equal(t, got.Type, info.Failure.Type)
				})
			})
		})
	}

	t.Run("GenericTypeHasAName", func(t *testing.T) {
		t.Parallel()
		trial[int]{
			op: func(ctx *durable.Context) (int, error) {
				return durable.Step(ctx, "s", func(context.Context) (int, error) { return 0, durable.Permanent(&generic[int]{}) })
			},
			check: func(t *testing.T, _ int, err error) {
				require.Contains(t, failure(err).Type, "generic")
			},
		}.run(t)
	})

	t.Run("OfAPanicWithAnError", func(t *testing.T) {
		t.Parallel()
		for way, op := range ways {
			t.Run(way, func(t *testing.T) {
				trial[seen]{
					opts: registered,
					op: func(ctx *durable.Context) (seen, error) {
						return look(op(ctx, func() error { panic(fmt.Errorf("deep: %w", transientErr)) })), nil
					},
					check: func(t *testing.T, got seen, err error) {
						require.NoError(t, err)
						require.Equal(t, seen{Type: "Panic", Message: "panic: deep: code 503", Matches: "ErrPanic", Transient: transientErr}, got)
					},
				}.runLoosely(t)
			})
		}
	})

	t.Run("FailureIsPassedOn", func(t *testing.T) {
		t.Parallel()
		mine := &durable.Failure{Type: "RejectedError", Message: "not approved", Data: json.RawMessage(`{"by":"me"}`), Stack: "there"}
		for way, op := range ways {
			t.Run(way, func(t *testing.T) {
				trial[durable.Failure]{
					op: func(ctx *durable.Context) (durable.Failure, error) {
						f := failure(op(ctx, func() error { return mine }))
						return durable.Failure{Type: f.Type, Message: f.Message, Data: f.Data, Stack: f.Stack}, nil
					},
					check: func(t *testing.T, got durable.Failure, err error) {
						require.NoError(t, err)
						require.Equal(t, *mine, got)
					},
				}.runLoosely(t)
			})
		}
	})

	t.Run("DataOfAFailureThatIsNoJSON", func(t *testing.T) {
		t.Parallel()
		trial[string]{
			op: func(ctx *durable.Context) (string, error) {
				f := failure(ways["Step"](ctx, func() error { return &durable.Failure{Type: "T", Data: json.RawMessage("{not JSON")} }))
				return f.Type + string(f.Data), nil
			},
			check: func(t *testing.T, got string, err error) {
				require.NoError(t, err)
				require.Equal(t, `T"{not JSON"`, got)
			},
		}.run(t)
	})

	t.Run("ErrorIsItsMessageOrItsType", func(t *testing.T) {
		t.Parallel()
		require.EqualError(t, &durable.Failure{Type: "T", Message: "m"}, "m")
		require.EqualError(t, &durable.Failure{Type: "T"}, "T")
	})

	t.Run("NotRegisteredAnyMore", func(t *testing.T) {
		t.Parallel()
		everyLife(t, func(t *testing.T, opts durable.Options) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				err := ways["Step"](ctx, func() error { return fmt.Errorf("%w: %w", errSoldOut, transientErr) })
				if err := durable.Wait(ctx, "w", time.Hour); err != nil {
					return "", err
				}
				typed, _ := errors.AsType[*transient](err)
				return fmt.Sprint(errors.Is(err, errSoldOut), typed != nil, failure(err).Message), nil
			})
			d := newDisk(t)
			opts.Errors = registered.Errors
			b := boot(t, d, opts, f)
			x := start(b, f, 1)
			time.Sleep(time.Minute)
			require.NoError(t, b.engine.Shutdown(b.ctx))
			opts.Errors = nil
			b = boot(t, d, opts, f)
			out, err := f.Attach(b.engine, x.ID()).Result(b.ctx)
			require.NoError(t, err)
			require.Equal(t, "false falsesold out: code 503", out, "it matches nothing, and the failure is still there")
		})
	})

	t.Run("BadExamplesAreReported", func(t *testing.T) {
		t.Parallel()
		for name, example := range map[string]error{"HiddenField": &hidden{"x"}, "NoMarshal": &unmarshalable{}} {
			t.Run(name, func(t *testing.T) {
				_, err := durable.New(newDisk(t), &durable.Options{Errors: []error{example}})
				require.ErrorContains(t, err, "does not survive JSON")
			})
		}
	})
}

var errSilent = errors.New("")

// unmarshalable does not encode at all.
type unmarshalable struct{ C chan int }

func (*unmarshalable) Error() string { return "unmarshalable" }
