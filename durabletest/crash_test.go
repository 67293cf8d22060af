package durabletest_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/durabletest"
)

func TestCrashEverywhere(t *testing.T) {
	t.Parallel()
	var charged int
	durabletest.CrashEverywhere(t, durabletest.Config{
		Functions: []durable.Definition{orders, ship},
		Steps:     map[string]durabletest.Step{"charge": func(context.Context, durable.StepInfo) (any, error) { charged++; return "receipt 7", nil }},
		Answers:   map[string]durabletest.Answer{"approval": approve},
		Before:    func() { charged = 0 },
		Outside:   func() any { return charged > 0 },
	}, orders, order{ID: "42"})
}

// everything is a handler with each kind of operation.
var everything = durable.Define("everything", func(ctx *durable.Context, n int) (string, error) {
	items, err := durable.Map(ctx, "map", []int{1, 2, 3, 4}, func(ctx *durable.Context, item, _ int) (int, error) {
		if err := durable.Wait(ctx, "nap", time.Duration(item)*time.Minute); err != nil {
			return 0, err
		}
		return durable.Step(ctx, "double", func(ctx context.Context) (int, error) {
			if info, _ := durable.StepInfoFrom(ctx); item == 3 && info.Attempt < 3 {
				return 0, errors.New("not yet")
			}
			return 2 * item, nil
		})
	}, durable.WithMaxConcurrency(2))
	if err != nil {
		return "", err
	}
	polls, err := durable.WaitForCondition(ctx, "poll", 0, func(_ context.Context, s int) (int, error) { return s + 1, nil },
		durable.PollEvery(time.Hour, func(s int) bool { return s == 3 }))
	if err != nil {
		return "", err
	}
	fast := durable.Go(ctx, "fast", func(ctx *durable.Context) (string, error) { return "fast", durable.Wait(ctx, "w", time.Hour) })
	slow := durable.Go(ctx, "slow", func(ctx *durable.Context) (string, error) { return "slow", durable.Wait(ctx, "w", 2*time.Hour) })
	won, err := durable.Race(ctx, "race", fast, slow)
	if err != nil {
		return "", err
	}
	_, failed := durable.Step(ctx, "fails", func(context.Context) (int, error) { return 0, durable.Permanent(errors.New("no")) })
	once, err := durable.Step(ctx, "once", func(context.Context) (int, error) { return 5, nil }, durable.AtMostOnce(), durable.WithRetry(durable.RetryPolicy{MaxAttempts: 3}))
	if err != nil {
		return "", err
	}
	_, late := durable.WaitForCallback[string](ctx, "nobody", func(context.Context, string) error { return nil }, durable.WithTimeout(time.Hour))
	shipped, err := durable.Invoke(ctx, "ship", ship, fmt.Sprint(n))
	return fmt.Sprint(items.Values(), polls, won, failed, once, late, shipped), err
})

func TestCrashEverywhereWithEachKindOfOperation(t *testing.T) {
	t.Parallel()
	durabletest.CrashEverywhere(t, durabletest.Config{Functions: []durable.Definition{everything, ship}, MaxCrashes: 25}, everything, 7)
}

// What follows are bugs that must be found. Each is run by a process of its own,
// because it must fail.

var global int

var buggy = map[string]*durable.Function[int, string]{
	"StateInAGlobal": durable.Define("StateInAGlobal", func(ctx *durable.Context, _ int) (string, error) {
		if err := durable.Do(ctx, "count", func(context.Context) error { global = 1; return nil }); err != nil {
			return "", err
		}
		if err := durable.Wait(ctx, "sleep", time.Hour); err != nil {
			return "", err
		}
		return fmt.Sprint("counted ", global), nil
	}),
	"StateInACapturedVariable": durable.Define("StateInACapturedVariable", func(ctx *durable.Context, _ int) (string, error) {
		n := 0
		err := durable.Do(ctx, "count", func(context.Context) error { n++; return nil })
		if err != nil {
			return "", err
		}
		if err := durable.Do(ctx, "more", func(context.Context) error { return nil }); err != nil {
			return "", err
		}
		return fmt.Sprint("counted ", n), nil
	}),
	"AnEffectOutsideOfAStep": durable.Define("AnEffectOutsideOfAStep", func(ctx *durable.Context, _ int) (string, error) {
		outbox.send("mail")
		return durable.Step(ctx, "step", func(context.Context) (string, error) { return "sent", nil })
	}),
	"ACounterInAGlobal": durable.Define("ACounterInAGlobal", func(ctx *durable.Context, _ int) (string, error) {
		global++
		return durable.Step(ctx, "step", func(context.Context) (string, error) { return fmt.Sprint(global), nil })
	}),
	"AnEffectThatIsNotIdempotent": durable.Define("AnEffectThatIsNotIdempotent", func(ctx *durable.Context, _ int) (string, error) {
		return durable.Step(ctx, "step", func(context.Context) (string, error) { outbox.send("mail"); return "sent", nil })
	}),
	"Random": durable.Define("Random", func(ctx *durable.Context, _ int) (string, error) {
		return durable.Step(ctx, "draw", func(context.Context) (string, error) { return rand.Text(), nil })
	}),
	"ItPollsForEver": durable.Define("ItPollsForEver", func(ctx *durable.Context, _ int) (string, error) {
		_, err := durable.WaitForCondition(ctx, "poll", 0, func(_ context.Context, s int) (int, error) { return s, nil },
			durable.PollEvery(time.Second, func(int) bool { return false }))
		return "", err
	}),
	"ItNeverEnds": durable.Define("ItNeverEnds", func(ctx *durable.Context, _ int) (string, error) {
		return durable.WaitForCallback[string](ctx, "nobody answers", func(context.Context, string) error { return nil })
	}),
	"ItWaitsForWhatACrashLoses": durable.Define("ItWaitsForWhatACrashLoses", func(ctx *durable.Context, _ int) (string, error) {
		sent := make(chan string, 1)
		if err := durable.Do(ctx, "send", func(context.Context) error { sent <- "x"; return nil }); err != nil {
			return "", err
		}
		select {
		case s := <-sent:
			return s, durable.Do(ctx, "more", func(context.Context) error { return nil })
		case <-ctx.Context().Done():
			return "", errors.New("ended")
		}
	}),
}

var outbox = &mailbox{}

type mailbox struct {
	mu   sync.Mutex
	Sent []string
}

func (m *mailbox) send(s string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Sent = append(m.Sent, s)
}

// normalized is the way to live with what is random.
func TestNormalize(t *testing.T) {
	t.Parallel()
	durabletest.CrashEverywhere(t, durabletest.Config{
		Functions: []durable.Definition{buggy["Random"]},
		Normalize: func(result json.RawMessage, _ *durable.Failure) any { return len(result) },
	}, buggy["Random"], 0)
}

// TestBuggy is run by TestBugsAreFound.
func TestBuggy(t *testing.T) {
	for name, f := range buggy {
		t.Run(name, func(t *testing.T) {
			if !inChild() {
				t.Skip("run by TestBugsAreFound")
			}
			durabletest.CrashEverywhere(t, durabletest.Config{
				Functions: []durable.Definition{f},
				Before:    func() { outbox.Sent = nil },
				Outside:   func() any { return outbox },
				Limit:     24 * time.Hour,

				MaxCheckpoints: 1000,
			}, f, 0)
		})
	}
}

func TestBugsAreFound(t *testing.T) {
	t.Parallel()
	for name, what := range map[string]string{
		"StateInAGlobal":              "in a fresh process after checkpoint 2",
		"StateInACapturedVariable":    `the result is "counted 0", without a crash "counted 1"`,
		"AnEffectOutsideOfAStep":      `the world outside is {"Sent":["mail","mail"]}, without a crash {"Sent":["mail"]}`,
		"ACounterInAGlobal":           "once more, without a crash",
		"AnEffectThatIsNotIdempotent": "before checkpoint 2 (StepSucceeded 1 \"step\", InvocationCompleted, ExecutionSucceeded) became durable: the world outside is {\"Sent\":[\"mail\",\"mail\"]}",
		"Random":                      "see Config.Normalize",
		"ItPollsForEver":              `it made 1000 checkpoints and had not ended (see Config.MaxCheckpoints): execution crash-everywhere waits for WaitForCondition "poll"`,
		"ItNeverEnds":                 `without a crash: it did not end in 24h0m0s of virtual time: execution crash-everywhere waits for Callback "nobody answers" (operation 1-1)`,
		"ItWaitsForWhatACrashLoses":   "it did not end",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			output, err := child(t, "^TestBuggy$/^"+name+"$")
			require.Error(t, err, output)
			require.Contains(t, output, what)
			require.Contains(t, output, "FAIL: TestBuggy/"+name)
		})
	}
}

// TestTwoCalls crashes twice in one test: each fresh process goes on with its own.
func TestTwoCalls(t *testing.T) {
	for range 2 {
		durabletest.CrashEverywhere(t, durabletest.Config{Functions: []durable.Definition{ship}}, ship, "1")
	}
	durabletest.CrashEverywhere(t, durabletest.Config{Functions: []durable.Definition{ship}}, ship, "2")
}

// TestValuesApart runs a test binary by hand, with values apart from their flags, as
// child does: a fresh process runs its own test and no other.
func TestValuesApart(t *testing.T) {
	t.Parallel()
	output, err := child(t, "^TestTwoCalls$")
	require.NoError(t, err, output)
}

func TestStuck(t *testing.T) {
	if !inChild() {
		t.Parallel()
		output, err := child(t, "^TestStuck$")
		require.Error(t, err, output)
		require.Contains(t, output, `waits for Callback "nobody answers" (operation 1-1)`)
		return
	}
	f := buggy["ItNeverEnds"]
	durabletest.Test(t, durabletest.Config{Functions: []durable.Definition{f}}, func(t *testing.T, e *durabletest.Engine) {
		_, err := f.Run(t.Context(), e.Engine, 0)
		require.ErrorIs(t, err, durable.ErrClosed)
	})
}

func TestRefusedOptions(t *testing.T) {
	if !inChild() {
		t.Parallel()
		output, err := child(t, "^TestRefusedOptions$")
		require.Error(t, err, output)
		require.Contains(t, output, "Options.Errors[0] is nil")
		require.NotContains(t, output, "panic")
		return
	}
	durabletest.Test(t, durabletest.Config{Options: durable.Options{Errors: []error{nil}}}, func(*testing.T, *durabletest.Engine) {})
}

// TestPlausible are handlers and configs in which nothing is wrong.
func TestPlausible(t *testing.T) {
	t.Parallel()
	t.Run("AHandlerThatFails", func(t *testing.T) {
		t.Parallel()
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			return durable.Step(ctx, "a", func(context.Context) (string, error) { return "", durable.Permanent(errors.New("no")) })
		})
		durabletest.CrashEverywhere(t, durabletest.Config{Functions: []durable.Definition{f}, Fails: "error: no"}, f, 0)
	})
	t.Run("AnExecutionTimeout", func(t *testing.T) {
		t.Parallel()
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			return "", durable.Wait(ctx, "long", time.Hour)
		}, durable.WithExecutionTimeout(time.Minute))
		durabletest.CrashEverywhere(t, durabletest.Config{Functions: []durable.Definition{f}, Fails: "deadline"}, f, 0)
	})
	t.Run("AnAnswerThatChecksItsError", func(t *testing.T) {
		t.Parallel()
		f := buggy["ItNeverEnds"]
		durabletest.CrashEverywhere(t, durabletest.Config{Functions: []durable.Definition{f}, Answers: map[string]durabletest.Answer{
			"nobody answers": func(cb *durabletest.Callback) {
				if err := cb.Succeed("yes"); err != nil {
					t.Error(err)
				}
			},
		}}, f, 0)
	})
	t.Run("AtMostOnce", func(t *testing.T) {
		t.Parallel()
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			return durable.Step(ctx, "a", func(context.Context) (string, error) { return "sent", nil }, durable.AtMostOnce())
		})
		durabletest.CrashEverywhere(t, durabletest.Config{Functions: []durable.Definition{f}, Normalize: func(result json.RawMessage, failure *durable.Failure) any {
			if failure != nil && failure.Type == "Interrupted" {
				return `"sent"`
			}
			return string(result)
		}}, f, 0)
	})
	t.Run("ABodyThatIgnoresItsContext", func(t *testing.T) {
		t.Parallel()
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			slow := durable.Go(ctx, "slow", func(ctx *durable.Context) (string, error) {
				return durable.Step(ctx, "sleep", func(context.Context) (string, error) { time.Sleep(10 * time.Second); return "slept", nil })
			})
			_, err := durable.RunInChildContext(ctx, "quick", func(ctx *durable.Context) (string, error) {
				return "", durable.Wait(ctx, "wait", 5*time.Second)
			}, durable.WithTimeout(6*time.Second))
			if err != nil {
				return "", err
			}
			return slow.Await(ctx)
		})
		durabletest.CrashEverywhere(t, durabletest.Config{Functions: []durable.Definition{f}}, f, 0)
	})
	t.Run("AnExecutionThatAStepStarts", func(t *testing.T) {
		t.Parallel()
		mails := map[string]int{}
		mailer := durable.Define("mailer", func(ctx *durable.Context, _ int) (string, error) {
			if err := durable.Wait(ctx, "later", time.Hour); err != nil {
				return "", err
			}
			return durable.Step(ctx, "mail", func(ctx context.Context) (string, error) {
				info, _ := durable.StepInfoFrom(ctx)
				mails[info.IdempotencyKey] = 1
				return "sent", nil
			})
		})
		f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
			return durable.Step(ctx, "kick", func(ctx context.Context) (string, error) {
				info, _ := durable.StepInfoFrom(ctx)
				_, err := mailer.Start(ctx, info.Engine, 0, durable.WithExecutionID(info.IdempotencyKey))
				return "", err
			})
		})
		durabletest.CrashEverywhere(t, durabletest.Config{Functions: []durable.Definition{f, mailer},
			Before: func() { clear(mails) }, Outside: func() any { return len(mails) }}, f, 0)
	})
}
