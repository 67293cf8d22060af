package durable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// badIDs are what an execution ID or the name of a function may not be.
var badIDs = map[string]string{
	"Empty": "", "Space": " ", "SpaceInside": "a b", "SpaceBehind": "a ", "Tab": "a\tb", "Newline": "a\nb", "NUL": "a\x00b", "Delete": "a\x7f",
	"InvalidUTF8": "a\xff", "CutUTF8": "a\xc3", "Umlaut": "ä", "FullWidth": "ａ", "RightToLeft": "a\u202eb", "ZeroWidth": "a\u200bb", "BOM": "\ufeffa", "Emoji": "😀",
	"Slash": "a/b", "Backslash": `a\b`, "Parent": "../x", "Absolute": "/etc/passwd", "Drive": `C:\x`, "URL": "http://x/y?z=1#f", "Percent": "a%2fb", "Query": "a?b=c",
	"Quote": `a"b`, "Apostrophe": "a'b", "SQL": "x'; DROP TABLE executions; --", "HTML": "<script>alert(1)</script>", "Shell": "$(reboot)", "Format": "%s%n%!d(BAD)", "Braces": "{}",
	"At129": strings.Repeat("a", 129), "Huge": strings.Repeat("a", 3<<20), "HugeAndOdd": strings.Repeat("\xff", 3<<20),
}

// byID are the methods that take an execution ID.
func byID(b *bundle) map[string]func(id string) error {
	ctx, e := context.Background(), b.engine
	f := durable.Define("f", func(*durable.Context, int) (int, error) { return 0, nil })
	return map[string]func(id string) error{
		"Start": func(id string) error { _, err := f.Start(ctx, e, 1, durable.WithExecutionID(id)); return err },
		"Run":   func(id string) error { _, err := f.Run(ctx, e, 1, durable.WithExecutionID(id)); return err },
		"StartByName": func(id string) error {
			_, err := e.StartByName(ctx, "f", json.RawMessage("1"), durable.WithExecutionID(id))
			return err
		},
		"Result":     func(id string) error { _, err := f.Attach(e, id).Result(ctx); return err },
		"ResultJSON": func(id string) error { _, err := e.ResultJSON(ctx, id); return err },
		"Describe":   func(id string) error { _, err := e.Describe(ctx, id); return err },
		"Operations": func(id string) error { _, err := e.Operations(ctx, id); return err },
		"Recording":  func(id string) error { _, err := e.Recording(ctx, id); return err },
		"History": func(id string) error {
			for _, err := range e.History(ctx, id) {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"Cancel":     func(id string) error { return e.Cancel(ctx, id, "") },
		"Stop":       func(id string) error { return e.Stop(ctx, id, "") },
		"Resume":     func(id string) error { return e.Resume(ctx, id) },
		"Delete":     func(id string) error { return e.Delete(ctx, id) },
		"CallbackID": func(id string) error { _, err := e.CallbackID(ctx, id, "cb"); return err },
	}
}

// readable requires that a message can be read: it is one line, printable, and short.
func readable(t require.TestingT, err error) {
	require.Error(t, err)
	text := err.Error()
	require.Less(t, len(text), 1200, "a message to read")
	require.True(t, utf8.ValidString(text), "%q", text)
	require.False(t, strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }), "%q", text)
}

// storedAs makes executions under an ID that is no longer allowed.
type storedAs struct {
	checkpoint.Store
	id string
}

func (s storedAs) Create(ctx context.Context, c checkpoint.Creation) (checkpoint.Summary, bool, error) {
	c.ID = s.id
	return s.Store.Create(ctx, c)
}

func TestBadIDs(t *testing.T) {
	t.Parallel()
	echo := func(name string) *durable.Function[int, int] {
		return durable.Define(name, func(ctx *durable.Context, n int) (int, error) { return n, nil })
	}

	t.Run("OfExecutions", func(t *testing.T) {
		t.Parallel()
		tried := 0
		noLeaks(t, func(t *testing.T) {
			f := echo("f")
			b := setup(t, f)
			defer b.engine.Close()
			for method, call := range byID(b) {
				for kind, id := range badIDs {
					err := call(id)
					require.ErrorIs(t, err, durable.ErrInvalidID, "%s: %s", method, kind)
					readable(t, err)
					tried++
				}
				if method == "Start" || method == "Run" || method == "StartByName" {
					require.ErrorIs(t, call("inv-1"), durable.ErrInvalidID, "the prefix of invoked executions")
					require.ErrorIs(t, call("."), durable.ErrInvalidID, "no part of a path")
					require.ErrorIs(t, call(".."), durable.ErrInvalidID, "no part of a path")
					continue
				}
				for _, id := range []string{"nobody", "inv-1", "..", ":", strings.Repeat("z", 128)} {
					err := call(id)
					require.ErrorIs(t, err, durable.ErrExecutionNotFound, "%s: %s", method, id)
					readable(t, err)
					tried++
				}
			}
			for _, prefix := range badIDs {
				for _, err := range b.engine.Executions(b.ctx, durable.Query{IDPrefix: prefix, Function: prefix, Limit: -1}) {
					require.NoError(t, err)
				}
				for _, err := range b.engine.Executions(b.ctx, durable.Query{Status: durable.ExecutionStatus("X" + prefix)}) {
					readable(t, err)
				}
				tried++
			}
			require.Equal(t, 0, b.count(durable.Query{}), "nothing was started")
			require.Equal(t, 7, run(b, f, 7, durable.WithExecutionID(strings.Repeat("Az09._:-", 16))))
		})
		t.Logf("bad IDs of executions: %d calls", tried)
	})

	t.Run("ThatAreStoredCanBeReadAndDeleted", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			for _, id := range []string{".", ".."} {
				f := echo("f")
				e, err := durable.New(storedAs{memstore.New(), id}, &durable.Options{Functions: []durable.Definition{f}})
				require.NoError(t, err)
				defer e.Close()
				_, err = f.Start(t.Context(), e, 7)
				require.NoError(t, err)
				out, err := f.Attach(e, id).Result(t.Context())
				require.NoError(t, err)
				require.Equal(t, 7, out)
				r, err := e.Recording(t.Context(), id)
				require.NoError(t, err)
				_, err = e.Import(t.Context(), r)
				require.ErrorIs(t, err, durable.ErrInvalidID)
				readable(t, err)
				imported, err := setup(t).engine.Import(t.Context(), r, durable.WithExecutionID("dots"))
				require.NoError(t, err)
				require.Equal(t, "dots", imported)
				require.NoError(t, e.Delete(t.Context(), id))
				_, err = e.Describe(t.Context(), id)
				require.ErrorIs(t, err, durable.ErrExecutionNotFound)
			}
		})
	})

	t.Run("OfFunctions", func(t *testing.T) {
		t.Parallel()
		tried := 0
		noLeaks(t, func(t *testing.T) {
			var invoke string
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return durable.InvokeByName[int](ctx, "i", invoke, 1) })
			b := setup(t, f)
			defer b.engine.Close()
			for kind, name := range badIDs {
				_, err := durable.New(memstore.New(), &durable.Options{Functions: []durable.Definition{echo(name)}})
				require.ErrorIs(t, err, durable.ErrInvalidID, kind)
				readable(t, err)
				_, err = b.engine.StartByName(b.ctx, name, json.RawMessage("1"))
				require.ErrorIs(t, err, durable.ErrFunctionNotFound, kind)
				readable(t, err)
				_, err = echo(name).Start(b.ctx, b.engine, 1)
				require.ErrorIs(t, err, durable.ErrFunctionNotFound, kind)
				readable(t, err)
				invoke = name
				_, err = within(b, start(b, f, 0), time.Minute)
				require.ErrorIs(t, err, durable.ErrInvalidID, kind)
				readable(t, err)
				tried += 4
			}
		})
		t.Logf("bad names of functions: %d calls", tried)
	})

	t.Run("OfOperations", func(t *testing.T) {
		t.Parallel()
		bad := map[string]string{"Tab": "a\tb", "Newline": "a\nb", "NUL": "\x00", "Delete": "\x7f", "InvalidUTF8": "a\xff", "RightToLeft": "a\u202eb", "ZeroWidth": "a\u200bb",
			"NoBreakSpace": "a\u00a0b", "At257": strings.Repeat("a", 257), "Huge": strings.Repeat("a", 3<<20), "HugeAndOdd": strings.Repeat("\xff", 3<<20)}
		tried := 0
		for operation, call := range namedOperations {
			for kind, name := range bad {
				tried++
				t.Run(operation+"/"+kind, func(t *testing.T) {
					noLeaks(t, func(t *testing.T) {
						f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 0, call(ctx, name) })
						b := setup(t, f)
						defer b.engine.Close()
						x := start(b, f, 0)
						if operation == "Settled" || operation == "Version" { // they can't return an error
							why := b.held(x.ID())
							require.ErrorIs(t, why, durable.ErrInvalidID)
							readable(t, why)
							return
						}
						_, err := within(b, x, 24*time.Hour)
						require.ErrorIs(t, err, durable.ErrInvalidID)
						readable(t, err)
						for _, line := range recordedIn(b, x.ID()) {
							require.NotContains(t, line, name, "it is not recorded")
						}
					})
				})
			}
		}
		t.Logf("bad names of operations: %d calls", tried)
	})

	t.Run("OfCallbacks", func(t *testing.T) {
		t.Parallel()
		tried := 0
		noLeaks(t, func(t *testing.T) {
			b := setup(t, awaitCallback)
			defer b.engine.Close()
			for kind, id := range badIDs {
				for _, id := range []string{id, "cb-" + id} {
					for _, err := range []error{
						b.engine.SucceedCallback(b.ctx, id, 1), b.engine.FailCallback(b.ctx, id, durable.Failure{}), b.engine.HeartbeatCallback(b.ctx, id),
					} {
						require.ErrorIs(t, err, durable.ErrCallbackNotFound, kind)
						readable(t, err)
						tried++
					}
				}
			}
			x := start(b, awaitCallback, 0)
			synctest.Wait()
			for kind, name := range badIDs { // it is a name to look for: it waits for one that comes
				ctx, done := context.WithTimeout(b.ctx, time.Second)
				_, err := b.engine.CallbackID(ctx, x.ID(), name)
				require.ErrorIs(t, err, context.DeadlineExceeded, kind)
				done()
				tried++
			}
		})
		t.Logf("bad IDs of callbacks: %d calls", tried)
	})
}

// namedOperations are the operations that take a name, and what else does.
var namedOperations = map[string]func(ctx *durable.Context, name string) error{
	"Step": func(ctx *durable.Context, name string) error {
		return durable.Do(ctx, name, func(context.Context) error { return nil })
	},
	"Wait": func(ctx *durable.Context, name string) error { return durable.Wait(ctx, name, time.Hour) },
	"WaitUntil": func(ctx *durable.Context, name string) error {
		return durable.WaitUntil(ctx, name, time.Now().Add(time.Hour))
	},
	"After": func(ctx *durable.Context, name string) error { return durable.After(ctx, name, time.Hour).Await(ctx) },
	"Condition": func(ctx *durable.Context, name string) error {
		_, err := durable.WaitForCondition(ctx, name, 0, func(context.Context, int) (int, error) { return 0, nil }, func(int, int) durable.Poll { return durable.PollDone() })
		return err
	},
	"CreateCallback": func(ctx *durable.Context, name string) error {
		_, err := durable.CreateCallback[int](ctx, name)
		return err
	},
	"WaitForCallback": func(ctx *durable.Context, name string) error {
		_, err := durable.WaitForCallback[int](ctx, name, func(context.Context, string) error { return nil })
		return err
	},
	"Invoke": func(ctx *durable.Context, name string) error {
		_, err := durable.InvokeByName[int](ctx, name, "f", 0)
		return err
	},
	"Child": func(ctx *durable.Context, name string) error {
		_, err := durable.RunInChildContext(ctx, name, func(*durable.Context) (int, error) { return 0, nil })
		return err
	},
	"Go": func(ctx *durable.Context, name string) error {
		_, err := durable.Go(ctx, name, func(*durable.Context) (int, error) { return 0, nil }).Await(ctx)
		return err
	},
	"All": func(ctx *durable.Context, name string) error { _, err := durable.All[int](ctx, name); return err },
	"Any": func(ctx *durable.Context, name string) error {
		_, err := durable.Any(ctx, name, someFuture(ctx))
		return err
	},
	"Race": func(ctx *durable.Context, name string) error {
		_, err := durable.Race(ctx, name, someFuture(ctx))
		return err
	},
	"Select": func(ctx *durable.Context, name string) error {
		_, err := durable.Select(ctx, name, someFuture(ctx))
		return err
	},
	"Parallel": func(ctx *durable.Context, name string) error {
		_, err := durable.Parallel(ctx, name, []durable.Branch[int]{{Run: func(*durable.Context) (int, error) { return 0, nil }}}, durable.WithItemNames(func(int) string { return "" }))
		return err
	},
	"Map": func(ctx *durable.Context, name string) error {
		_, err := durable.Map(ctx, name, []int{1}, func(*durable.Context, int, int) (int, error) { return 0, nil })
		return err
	},
	"Branch.Name": func(ctx *durable.Context, name string) error {
		_, err := durable.Parallel(ctx, "x", []durable.Branch[int]{{Name: name, Run: func(*durable.Context) (int, error) { return 0, nil }}})
		return err
	},
	"WithItemNames": func(ctx *durable.Context, name string) error {
		_, err := durable.Map(ctx, "x", []int{1}, func(*durable.Context, int, int) (int, error) { return 0, nil }, durable.WithItemNames(func(int) string { return name }))
		return err
	},
	"Version": func(ctx *durable.Context, name string) error {
		if v := durable.Version(ctx, name, 1); v != 1 {
			return fmt.Errorf("version %d", v)
		}
		return nil
	},
	"Settled": func(ctx *durable.Context, name string) error {
		for range durable.Settled(ctx, name, someFuture(ctx)) {
		}
		return errors.New("settled")
	},
}

func someFuture(ctx *durable.Context) *durable.Future[int] {
	return durable.Go(ctx, "some", func(*durable.Context) (int, error) { return 0, nil })
}
