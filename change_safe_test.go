package durable_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/durable-go/durable"
)

// safeChanges are the rows of the guide's first table.
var safeChanges = map[string]codeChange{
	"Raise WithMinSuccessful of a batch that has ended": {
		old: minimum(1), new: minimum(2),
		result: `"not reached: false"`,
	},
	"Change what a body does": {
		old: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			return performed(ctx, n, "a", "wait", "b")
		}),
		new: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			a, err := durable.Step(ctx, "a", n.body("new a"))
			if err != nil {
				return "", err
			}
			if err := durable.Wait(ctx, "wait", time.Hour); err != nil {
				return "", err
			}
			b, err := durable.Step(ctx, "b", n.body("new b"))
			return a + " " + b, err
		}),
		ran: "a", runs: "new b", result: `"a new b"`,
	},
	"Change a body whose attempt was cut off": {
		old: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			return durable.Step(ctx, "a", func(ctx context.Context) (string, error) {
				n.add("a%d", attempt(ctx))
				return "", rest(ctx, time.Hour)
			})
		}),
		new: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			return durable.Step(ctx, "a", func(ctx context.Context) (string, error) {
				n.add("new a%d", attempt(ctx))
				return "new a", nil
			})
		}),
		cutOff: true, ran: "a1", runs: "new a1", result: `"new a"`,
	},
	"Change code between operations": {
		old: does("a", "wait", "b"),
		new: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			defer ctx.Logger().Info("the new code")
			out, err := performed(ctx, n, "a", "wait", "b")
			return strings.ToUpper(out), err
		}),
		ran: "a", runs: "b", result: `"A B"`,
	},
	"Return something else": {
		old: does("a", "wait"),
		new: code(func(ctx *durable.Context, n *notes, _ int) (int, error) {
			out, err := performed(ctx, n, "a", "wait")
			return len(out), err
		}),
		ran: "a", result: "1",
	},
	"Add an operation at the end": {
		old: does("a", "wait"),
		new: does("a", "wait", "b", "wait"),
		ran: "a", runs: "b", result: `"a b"`,
	},
	"Add, remove or rename what no execution has reached": {
		old: does("a", "wait", "b", "c", "d"),
		new: does("a", "wait", "new", "C", "d"),
		ran: "a", runs: "new C d", result: `"a new C d"`,
	},
	"More rounds of a loop that is under way": {
		old: does("a", "wait", "a", "wait", "b"),
		new: does("a", "wait", "a", "wait", "a", "wait", "b"),
		ran: "a", runs: "a a b", result: `"a a a b"`,
	},
	"Add an operation at the end of a child context under way": {
		old: code(func(ctx *durable.Context, n *notes, _ int) (string, error) { return childThenWait(ctx, n, "a", "wait") }),
		new: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			return childThenWait(ctx, n, "a", "wait", "b")
		}),
		ran: "a", runs: "b", result: `"a b"`,
	},
	"Change operations in a child context that has ended": {
		old: code(func(ctx *durable.Context, n *notes, _ int) (string, error) { return childThenWait(ctx, n, "a", "b") }),
		new: code(func(ctx *durable.Context, n *notes, _ int) (string, error) { return childThenWait(ctx, n, "new") }),
		ran: "a b", result: `"a b"`,
	},
	"Guard a change with Version": {
		old: does("a", "wait", "b", "wait"),
		new: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			if durable.Version(ctx, "check first", 1) >= 1 {
				return performed(ctx, n, "check", "a", "wait", "b", "wait")
			}
			return performed(ctx, n, "a", "wait", "b", "wait")
		}),
		ran: "a", runs: "b", result: `"a b"`,
	},
	"Guard a change of a loop, round by round": {
		old: does("a", "wait", "a", "wait", "a", "wait"),
		new: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			var results []string
			for round := range 3 {
				name := "a"
				if durable.Version(ctx, fmt.Sprintf("b, round %d", round), 1) >= 1 {
					name = "b"
				}
				result, err := performed(ctx, n, name, "wait")
				if err != nil {
					return "", err
				}
				results = append(results, result)
			}
			return strings.Join(results, " "), nil
		}),
		ran: "a", runs: "b b", result: `"a b b"`,
	},
	"Raise a Version": {
		old: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			if durable.Version(ctx, "carrier", 1) >= 1 {
				return performed(ctx, n, "bike", "wait")
			}
			return performed(ctx, n, "truck", "wait")
		}),
		new: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			switch durable.Version(ctx, "carrier", 2) {
			case 2:
				return performed(ctx, n, "drone", "wait")
			case 1:
				return performed(ctx, n, "bike", "wait")
			default:
				return performed(ctx, n, "truck", "wait")
			}
		}),
		ran: "bike", result: `"bike"`,
	},
	"Remove a Version whose old arm nobody is on": {
		old: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			if durable.Version(ctx, "carrier", 1) >= 1 {
				return performed(ctx, n, "bike", "wait", "ring")
			}
			return performed(ctx, n, "truck", "wait")
		}),
		new: does("bike", "wait", "ring"),
		ran: "bike", runs: "ring", result: `"bike ring"`,
	},
	"Change how long a Wait takes": {
		old: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			return "", errors.Join(waitOf(ctx, n, 10*time.Hour), waitOf(ctx, n, 10*time.Hour))
		}),
		new: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			return "", errors.Join(waitOf(ctx, n, time.Hour), waitOf(ctx, n, time.Hour))
		}),
		// The first one takes ten hours, the second one an hour.
		runs: "10h0m0s 11h0m0s", result: `""`,
	},
	"Change a retry policy": {
		// The delay that is recorded stays; what follows the next failure is the
		// new policy's: one attempt more.
		old: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			return durable.Step(ctx, "a", failingBody(ctx, n), every10Hours)
		}),
		new: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			return durable.Step(ctx, "a", failingBody(ctx, n), durable.WithRetry(durable.RetryPolicy{MaxAttempts: 3, Initial: time.Minute, Multiplier: 1, Jitter: durable.NoJitter}))
		}),
		ran: "attempt 1 after 0s", runs: "attempt 2 after 10h0m0s attempt 3 after 10h1m0s", fails: "error",
	},
	"Change a timeout": {
		// The one that is recorded stays, for the operation that has it.
		old: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			return "", errors.Join(childOf(ctx, n, 20*time.Hour, durable.WithTimeout(10*time.Hour)), childOf(ctx, n, 20*time.Hour, durable.WithTimeout(10*time.Hour)))
		}),
		new: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			return "", errors.Join(childOf(ctx, n, 20*time.Hour, durable.WithTimeout(time.Hour)), childOf(ctx, n, 20*time.Hour, durable.WithTimeout(time.Hour)))
		}),
		runs: "timeout after 10h0m0s timeout after 11h0m0s", result: `""`,
	},
	"Take a timeout away": {
		old: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			return "", errors.Join(childOf(ctx, n, 20*time.Hour, durable.WithTimeout(10*time.Hour)), childOf(ctx, n, 20*time.Hour, durable.WithTimeout(10*time.Hour)))
		}),
		new: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			return "", errors.Join(childOf(ctx, n, 20*time.Hour), childOf(ctx, n, 20*time.Hour))
		}),
		runs: "timeout after 10h0m0s ended after 30h0m0s", result: `""`,
	},
	"Give a timeout to a child, batch, callback or invoke under way": {
		old: code(func(ctx *durable.Context, n *notes, _ int) ([]string, error) { return takesTwentyHours(ctx) }).and(longNap),
		new: code(func(ctx *durable.Context, n *notes, _ int) ([]string, error) {
			return takesTwentyHours(ctx, durable.WithTimeout(time.Hour))
		}).and(longNap),
		result: `["child: <nil> after 20h0m0s", "batch: <nil> after 20h0m0s", "callback: <nil> after 20h0m0s", "invoke: <nil> after 20h0m0s"]`,
	},
	"Give a timeout to a step or condition under way": {
		old: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			return durable.Step(ctx, "a", failingBody(ctx, n), every10Hours)
		}),
		new: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			_, err := durable.Step(ctx, "a", failingBody(ctx, n), every10Hours, durable.WithTimeout(time.Hour))
			if errors.Is(err, durable.ErrTimeout) {
				err = since(ctx, n, "timeout after ")
			}
			return "", err
		}),
		ran: "attempt 1 after 0s", runs: "attempt 2 after 10h0m0s timeout after 11h0m0s", result: `""`,
	},
	"Add AtMostOnce to a step": {
		// The attempt that was cut off began without it, and is made again.
		old: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			return durable.Step(ctx, "a", endless(n, "a"))
		}),
		new: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			return durable.Step(ctx, "a", n.body("a"), durable.AtMostOnce())
		}),
		cutOff: true, ran: "a", runs: "a", result: `"a"`,
	},
	"Take AtMostOnce away": {
		// The attempt that was cut off began with it, and has failed; the next one
		// is the retry policy's affair.
		old: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			return durable.Step(ctx, "a", endless(n, "a"), durable.AtMostOnce())
		}),
		new: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			return durable.Step(ctx, "a", n.body("a"), durable.WithRetry(durable.NoRetry()))
		}),
		cutOff: true, ran: "a", fails: "Interrupted",
	},
	"Change the concurrency of a batch": {
		old: batchOf(3, durable.WithMaxConcurrency(1)),
		new: batchOf(3, durable.WithMaxConcurrency(2)),
		ran: "0", runs: "1 2", result: "[0,1,2]",
	},
	"Change the minimum or the tolerance of a batch under way": {
		old: batchOf(3, durable.WithMaxConcurrency(1), durable.WithMinSuccessful(3)),
		new: batchOf(3, durable.WithMaxConcurrency(1), durable.WithMinSuccessful(2)),
		ran: "0", runs: "1", result: "[0,1]",
	},
	"More items at the end of a batch under way": {
		old: batchOf(2),
		new: batchOf(4),
		ran: "0 1", runs: "2 3", result: "[0,1,2,3]",
	},
	"Fewer items of a batch under way, none of them started": {
		old: batchOf(4, durable.WithMaxConcurrency(1)),
		new: batchOf(2, durable.WithMaxConcurrency(1)),
		ran: "0", runs: "1", result: "[0,1]",
	},
	"Change what a step or an invoke is given": {
		// What is recorded was made of the old input.
		old: code(func(ctx *durable.Context, n *notes, _ int) (int, error) { return called(ctx, n, 1) }).and(twice),
		new: code(func(ctx *durable.Context, n *notes, _ int) (int, error) { return called(ctx, n, 100) }).and(twice),
		ran: "1", runs: "100", result: "103", // 1 of the step, twice 1 of the invoke under way, 100 of the new step
	},
	"Add or remove a field of a recorded type": {
		input: `{"item":"book","gone":1}`,
		old: code(func(ctx *durable.Context, n *notes, in struct{ Item string }) (string, error) {
			return "", errors.Join(stepOf(ctx, map[string]int{"price": 7, "gone": 1}), durable.Wait(ctx, "wait", time.Hour))
		}),
		new: code(func(ctx *durable.Context, n *notes, in struct {
			Item string
			New  *int
		}) (string, error) {
			v, err := durable.Step(ctx, "a", func(context.Context) (struct{ Price, New int }, error) {
				return struct{ Price, New int }{9, 9}, nil
			})
			return fmt.Sprint(in.Item, " ", in.New == nil, v), errors.Join(err, durable.Wait(ctx, "wait", time.Hour))
		}),
		result: `"book true {7 0}"`,
	},
	"Change a type to one that reads the old form": {
		old: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			return "", errors.Join(stepOf(ctx, 7), durable.Wait(ctx, "wait", time.Hour))
		}),
		new: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			v, err := durable.Step(ctx, "a", func(context.Context) (price, error) { return price{Cents: 900}, nil })
			return fmt.Sprint(v.Cents), errors.Join(err, durable.Wait(ctx, "wait", time.Hour))
		}),
		result: `"700"`,
	},
	"Set a codec where there was none": {
		old: does("a", "wait", "b"), new: does("a", "wait", "b"),
		newOpts: durable.Options{Codec: boxed{}},
		ran:     "a", runs: "b", result: `{"boxed":"a b"}`,
	},
	"Change InlineResult": {
		// What was rebuilt is rebuilt, what was stored is read.
		old:     code(func(ctx *durable.Context, n *notes, _ int) (string, error) { return childThenWait(ctx, n, "a", "b") }),
		new:     code(func(ctx *durable.Context, n *notes, _ int) (string, error) { return childThenWait(ctx, n, "a", "b") }),
		oldOpts: durable.Options{InlineResult: 2},
		ran:     "a b", result: `"a b"`,
	},
	"Change ParkFor, MaxResident, Retention, Logger or Observer": {
		old: does("a", "wait", "b"), new: does("a", "wait", "b"),
		newOpts: durable.Options{ParkFor: time.Minute, MaxResident: 1, Retention: -1, Observer: &durable.Observer{}},
		ran:     "a", runs: "b", result: `"a b"`,
	},
	"Lower MaxPayload": {
		old: code(func(ctx *durable.Context, n *notes, _ int) (int, error) {
			v, err := performed(ctx, n, "a long result", "wait")
			return len(v), err
		}),
		new: code(func(ctx *durable.Context, n *notes, _ int) (int, error) {
			v, err := performed(ctx, n, "a long result", "wait")
			return len(v), err
		}),
		newOpts: durable.Options{MaxPayload: 5},
		ran:     "a long result", result: "13",
	},
	"Change WithExecutionTimeout": {
		old: does("wait", "a"),
		new: func(n *notes) []durable.Definition {
			return []durable.Definition{durable.Define("order", func(ctx *durable.Context, _ int) (string, error) {
				return performed(ctx, n, "wait", "a")
			}, durable.WithExecutionTimeout(time.Minute))}
		},
		runs: "a", result: `"a"`,
	},
	"Register a function under a new name too": {
		old: does("a", "wait", "b"),
		new: func(n *notes) []durable.Definition {
			h := func(ctx *durable.Context, _ int) (string, error) { return performed(ctx, n, "a", "wait", "b") }
			return []durable.Definition{durable.Define("order", h), durable.Define("orders.order", h)}
		},
		ran: "a", runs: "b", result: `"a b"`,
	},
	"Change the Sealer's key and still open with the old one": {
		old: does("a", "wait", "b"), new: does("a", "wait", "b"),
		oldOpts: durable.Options{Sealer: oldKeys},
		newOpts: durable.Options{Sealer: bothKeys},
		ran:     "a", runs: "b", result: `"a b"`,
	},
	"Set a Sealer where there was none": {
		old: does("a", "wait", "b"), new: does("a", "wait", "b"),
		newOpts: durable.Options{Sealer: newKeys},
		ran:     "a", runs: "b", result: `"a b"`,
	},
	"Add WithBatchCodec": {
		old: batchOf(2), new: batchOf(2, durable.WithBatchCodec(durable.JSON)), after: 3 * time.Hour,
		ran: "0 1", result: "[0,1]",
	},
	"Remove WithBatchCodec": {
		old: batchOf(2, durable.WithBatchCodec(durable.JSON)), new: batchOf(2), after: 3 * time.Hour,
		ran: "0 1", result: "[0,1]",
	},
}
