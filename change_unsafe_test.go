package durable_test

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/durable-go/durable"
)

// guarded is a release that performs the new operations behind a Version, and the
// old ones before it.
func guarded(old, new string) release { return guardedBy("change", old, new) }

func guardedBy(change, old, new string) release {
	return code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
		if durable.Version(ctx, change, 1) >= 1 {
			return performed(ctx, n, strings.Fields(new)...)
		}
		return performed(ctx, n, strings.Fields(old)...)
	})
}

// sequences is a change of the operations that a handler performs in a row.
func sequences(old, new, ran, runs, result string, says ...string) codeChange {
	return codeChange{
		old: does(strings.Fields(old)...), new: does(strings.Fields(new)...), guarded: guarded(old, new),
		ran: ran, runs: runs, result: `"` + result + `"`, says: says,
		renewed: `"` + strings.Join(strings.Fields(strings.ReplaceAll(new, "wait", "")), " ") + `"`,
	}
}

// handlers is a change of the function of the execution.
func handlers(old, new func(ctx *durable.Context, n *notes) error, ran, runs string, says ...string) codeChange {
	of := func(h func(ctx *durable.Context, n *notes) error) release {
		return code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			if err := h(ctx, n); err != nil {
				return "", err
			}
			return "done", durable.Wait(ctx, "wait", 10*time.Hour)
		})
	}
	return codeChange{
		old: of(old), new: of(new), ran: ran, runs: runs, result: `"done"`, says: says,
		guarded: of(func(ctx *durable.Context, n *notes) error {
			if durable.Version(ctx, "change", 1) >= 1 {
				n = &notes{} // the other execution's
				return new(ctx, n)
			}
			return old(ctx, n)
		}),
		renewed: `"done"`,
	}
}

// operations is a handler of operations in a row.
func operations(names ...string) func(ctx *durable.Context, n *notes) error {
	return func(ctx *durable.Context, n *notes) error {
		_, err := performed(ctx, n, names...)
		return err
	}
}

func inChild(child string, names ...string) func(ctx *durable.Context, n *notes) error {
	return func(ctx *durable.Context, n *notes) error {
		_, err := durable.RunInChildContext(ctx, child, func(ctx *durable.Context) (string, error) { return performed(ctx, n, names...) })
		return err
	}
}

// inItems is a handler of a batch whose items rest an hour.
func inItems(count int, opts ...durable.BatchOption) func(ctx *durable.Context, n *notes) error {
	return func(ctx *durable.Context, n *notes) error {
		_, err := durable.Map(ctx, "legs", make([]int, count), func(ctx *durable.Context, _, _ int) (int, error) {
			return 0, durable.Wait(ctx, "nap", time.Hour)
		}, opts...)
		return err
	}
}

// inBranches is a handler of a Parallel of named branches that rest an hour.
func inBranches(names ...string) func(ctx *durable.Context, n *notes) error {
	return func(ctx *durable.Context, n *notes) error {
		var bs []durable.Branch[int]
		for _, name := range names {
			bs = append(bs, durable.Branch[int]{Name: name, Run: func(ctx *durable.Context) (int, error) { return 0, durable.Wait(ctx, "nap", time.Hour) }})
		}
		_, err := durable.Parallel(ctx, "legs", bs)
		return err
	}
}

// muchLater is a change that is deployed when the first hour's rest is over.
func muchLater(c codeChange) codeChange {
	c.after = 90 * time.Minute
	return c
}

// unsafeChanges are the rows of the guide's second table.
var unsafeChanges = map[string]codeChange{
	"Add an operation before a recorded one": sequences("reserve wait ship", "reserve check wait ship", "reserve", "ship", "reserve ship",
		"operation 2:", `recorded is WAIT (Wait) "wait"`, `asks for STEP (Step) "check"`),
	"Add Now or NewUUID before a recorded operation": handlers(operations("reserve", "wait"), func(ctx *durable.Context, n *notes) error {
		durable.Now(ctx)
		return operations("reserve", "wait")(ctx, n)
	}, "reserve", "", "operation 1:", `recorded is STEP (Step) "reserve"`, `asks for STEP (Now) ""`),
	"Remove a recorded operation": sequences("reserve pack wait ship", "pack wait ship", "reserve pack", "ship", "reserve pack ship",
		"operation 1:", `recorded is STEP (Step) "reserve"`, `asks for STEP (Step) "pack"`),
	"Remove the last recorded operation": sequences("reserve wait", "reserve", "reserve", "", "reserve",
		"operation 2:", `recorded is WAIT (Wait) "wait"`, "asks for nothing: the function returned"),
	"Rename an operation": sequences("reserve wait ship", "reserve-stock wait ship", "reserve", "ship", "reserve ship",
		"operation 1:", `recorded is STEP (Step) "reserve"`, `asks for STEP (Step) "reserve-stock"`),
	"Reorder operations": sequences("reserve pack wait", "pack reserve wait", "reserve pack", "", "reserve pack",
		"operation 1:", `recorded is STEP (Step) "reserve"`, `asks for STEP (Step) "pack"`),
	"Turn an operation into another type": handlers(operations("a", "wait"), func(ctx *durable.Context, n *notes) error {
		if err := durable.Wait(ctx, "a", time.Minute); err != nil {
			return err
		}
		return operations("wait")(ctx, n)
	}, "a", "", "operation 1:", `recorded is STEP (Step) "a"`, `asks for WAIT (Wait) "a"`),
	"Turn a step into a child context": handlers(operations("pack", "wait"), func(ctx *durable.Context, n *notes) error {
		if err := inChild("pack", "fold", "wrap")(ctx, n); err != nil {
			return err
		}
		return operations("wait")(ctx, n)
	}, "pack", "", "operation 1:", `recorded is STEP (Step) "pack"`, `asks for CONTEXT (RunInChildContext) "pack"`),
	"Take operations out of their child context": handlers(inChild("child", "reserve", "wait", "ship"), operations("reserve", "wait", "ship"), "reserve", "ship",
		"operation 1:", `recorded is CONTEXT (RunInChildContext) "child"`, `asks for STEP (Step) "reserve"`),
	"Turn WaitForCallback into CreateCallback and Await": handlers(func(ctx *durable.Context, n *notes) error {
		_, err := durable.WaitForCallback[int](ctx, "ok", func(context.Context, string) error { return nil }, durable.WithTimeout(time.Hour))
		return timedOut(err)
	}, func(ctx *durable.Context, n *notes) error {
		cb, err := durable.CreateCallback[int](ctx, "ok", durable.WithTimeout(time.Hour))
		if err != nil {
			return err
		}
		_, err = cb.Await(ctx)
		return timedOut(err)
	}, "", "", "operation 1:", `recorded is CONTEXT (WaitForCallback) "ok"`, `asks for CALLBACK (Callback) "ok"`),
	"Turn a Parallel into a Map": handlers(inBranches("", ""), inItems(2), "", "",
		"operation 1:", `recorded is CONTEXT (Parallel) "legs"`, `asks for CONTEXT (Map) "legs"`),
	"Change operations in a child context that is under way": handlers(inChild("child", "reserve", "wait"), inChild("child", "check", "wait"), "reserve", "",
		"operation 1-1:", `recorded is STEP (Step) "reserve"`, `asks for STEP (Step) "check"`),
	"Fewer rounds of a loop than were begun": muchLater(sequences("poll wait poll wait poll wait", "poll wait", "poll poll", "poll", "poll poll poll",
		"operation 3:", `recorded is STEP (Step) "poll"`, "asks for nothing: the function returned")),
	"More rounds of a loop that was left": sequences("poll ship wait mail", "poll poll ship wait mail", "poll ship", "mail", "poll ship mail",
		"operation 2:", `recorded is STEP (Step) "ship"`, `asks for STEP (Step) "poll"`),
	"Another number of items of a batch that has ended": muchLater(handlers(inItems(3), inItems(4), "", "",
		"operation 1:", `recorded is CONTEXT (Map) "legs" of 3 items`, `asks for CONTEXT (Map) "legs" of 4 items`)),
	"Fewer items of a batch under way than were started": handlers(inItems(3), inItems(1), "", "",
		"operation 1-2:", `recorded is CONTEXT (MapIteration) ""`, "asks for nothing: the function returned"),
	"Rename the items of a batch": handlers(inItems(2), inItems(2, durable.WithItemNames(func(int) string { return "item" })), "", "",
		"operation 1-1:", `recorded is CONTEXT (MapIteration) ""`, `asks for CONTEXT (MapIteration) "item"`),
	"Reorder the named branches of a Parallel": handlers(inBranches("air", "sea"), inBranches("sea", "air"), "", "",
		"operation 1-1:", `recorded is CONTEXT (ParallelBranch) "air"`, `asks for CONTEXT (ParallelBranch) "sea"`),
	"Reorder the named branches of a Parallel that has ended": muchLater(handlers(inBranches("air", "sea"), inBranches("sea", "air"), "", "",
		"operation 1-1:", `recorded is CONTEXT (ParallelBranch) "air"`, `asks for CONTEXT (ParallelBranch) "sea"`)),
	"Make a batch under way Flat": handlers(inItems(2), inItems(2, durable.Flat()), "", "",
		"operation 1-1:", "recorded is an item of a batch that is not Flat", "asks for an item of a Flat batch"),
	"Invoke another function": {
		old: invokes("payV1"), new: invokes("payV2"),
		says:   []string{"operation 1:", `recorded is CHAINED_INVOKE (ChainedInvoke) "pay" of function payV1`, `asks for CHAINED_INVOKE (ChainedInvoke) "pay" of function payV2`},
		result: "1", renewed: "2",
		guarded: code(func(ctx *durable.Context, n *notes, _ int) (int, error) {
			function := "payV1"
			if durable.Version(ctx, "pay", 1) >= 1 {
				function = "payV2"
			}
			return durable.InvokeByName[int](ctx, "pay", function, 0)
		}).and(payV1, payV2),
	},
	"Rename a function": {
		old: does("a", "wait", "b"),
		new: func(n *notes) []durable.Definition {
			return []durable.Definition{durable.Define("orders.order", func(ctx *durable.Context, _ int) (string, error) { return performed(ctx, n, "a", "wait", "b") })}
		},
		guarded: func(n *notes) []durable.Definition {
			h := func(ctx *durable.Context, _ int) (string, error) { return performed(ctx, n, "a", "wait", "b") }
			return []durable.Definition{durable.Define("order", h), durable.Define("orders.order", h)}
		},
		ran: "a", runs: "b", result: `"a b"`, renewed: `"a b"`,
		held: "FunctionNotFound", says: []string{`function "order" is not in Options.Functions of this engine`},
	},
	"Change a recorded type to one that can't read it": {
		old: code(func(ctx *durable.Context, n *notes, _ int) (int, error) {
			return 1, errors.Join(stepOf(ctx, "seven"), durable.Wait(ctx, "wait", time.Hour))
		}),
		new: code(func(ctx *durable.Context, n *notes, _ int) (int, error) {
			return 2, errors.Join(stepOf(ctx, 7), durable.Wait(ctx, "wait", time.Hour))
		}),
		guarded: code(func(ctx *durable.Context, n *notes, _ int) (int, error) {
			if durable.Version(ctx, "number", 1) >= 1 {
				return 2, errors.Join(stepOf(ctx, 7), durable.Wait(ctx, "wait", time.Hour))
			}
			return 1, errors.Join(stepOf(ctx, "seven"), durable.Wait(ctx, "wait", time.Hour))
		}),
		result: "1", renewed: "2",
		held: "Codec", says: []string{`operation 1 "a"`, "decode into *int", "make the new one read the old form"},
	},
	"Change a function's input to a type that can't read it": {
		input: `"seven"`,
		old: code(func(ctx *durable.Context, n *notes, in string) (string, error) {
			return in, durable.Wait(ctx, "wait", time.Hour)
		}),
		new: code(func(ctx *durable.Context, n *notes, in int) (int, error) {
			return in, durable.Wait(ctx, "wait", time.Hour)
		}),
		result: `"seven"`,
		held:   "Codec", says: []string{"order-42", "input", "decode into *int"},
	},
	"Take the codec of a recorded operation away": {
		old: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			return stepWith(ctx, durable.WithCodec(boxed{}))
		}),
		new:    code(func(ctx *durable.Context, n *notes, _ int) (string, error) { return stepWith(ctx) }),
		result: `"v"`,
		held:   "Codec", says: []string{`operation 1 "a"`, `recorded with "boxed"`, "give the operation that codec again"},
	},
	"Compute a large result in another way": {
		// It is not stored: a replay computes it again and compares.
		old:     large("x"),
		new:     large("y"),
		oldOpts: durable.Options{InlineResult: 10}, newOpts: durable.Options{InlineResult: 10},
		guarded: code(func(ctx *durable.Context, n *notes, _ int) (int, error) {
			if durable.Version(ctx, "y", 1) >= 1 {
				return sizeOf(ctx, "y")
			}
			return sizeOf(ctx, "x")
		}),
		result: "100", renewed: "100",
		says: []string{"operation 1:", "recorded is a large value by its digest", "asks for another value when it was rebuilt"},
	},
	"Decide by a flag that is not recorded": {
		old:     does("standard", "wait", "ship"),
		new:     does("express", "wait", "ship"),
		guarded: guarded("standard wait ship", "express wait ship"),
		ran:     "standard", runs: "ship", result: `"standard ship"`, renewed: `"express ship"`,
		says: []string{"operation 1:", `recorded is STEP (Step) "standard"`, `asks for STEP (Step) "express"`},
	},
	"Go back behind a Version": {
		old: code(func(ctx *durable.Context, n *notes, _ int) (int, error) {
			return durable.Version(ctx, "carrier", 2), durable.Wait(ctx, "wait", time.Hour)
		}),
		new: code(func(ctx *durable.Context, n *notes, _ int) (int, error) {
			return durable.Version(ctx, "carrier", 1), durable.Wait(ctx, "wait", time.Hour)
		}),
		result: "2",
		says:   []string{"execution order-42: ", `recorded is version 2 of change "carrier"`, "asks for version 1 at most"},
	},
	"Rename the change of a Version": {
		old: guarded("truck wait", "bike wait"),
		new: guardedBy("another name", "truck wait", "bike wait"),
		ran: "bike", result: `"bike"`,
		says: []string{"operation 1:", `recorded is STEP (Step) "bike"`, `asks for STEP (Step) "truck"`},
	},
	"Remove a Version whose old arm somebody is on": {
		old:     does("truck", "wait", "ring"),
		new:     does("bike", "wait", "ring"),
		guarded: guarded("truck wait ring", "bike wait ring"),
		ran:     "truck", runs: "ring", result: `"truck ring"`, renewed: `"bike ring"`,
		says: []string{"operation 1:", `recorded is STEP (Step) "truck"`, `asks for STEP (Step) "bike"`},
	},
	"Turn a durable function into a plain one": {
		old: does("reserve", "wait"),
		new: func(n *notes) []durable.Definition {
			return []durable.Definition{durable.DefinePlain("order", func(context.Context, int) (int, error) { n.add("plain"); return 0, nil })}
		},
		ran: "reserve", result: `"reserve"`,
		says: []string{"operation 1:", `recorded is STEP (Step) "reserve"`, "asks for nothing: the function returned"},
	},
	"Remove what Select, Race, Any or Settled chose from": {
		old: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			long, short := durable.After(ctx, "long", 10*time.Hour), durable.After(ctx, "short", time.Minute)
			first, err := durable.Select(ctx, "first", long, short)
			if err != nil {
				return "", err
			}
			return first.Name(), long.Await(ctx)
		}),
		new: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			long, _ := durable.After(ctx, "long", 10*time.Hour), durable.After(ctx, "short", time.Minute)
			first, err := durable.Select(ctx, "first", long)
			if err != nil {
				return "", err
			}
			return first.Name(), long.Await(ctx)
		}),
		result: `"short"`,
		says:   []string{"operation 3:", `recorded is CONTEXT (Select) "first" that chose awaitable 2`, `asks for CONTEXT (Select) "first" of 1 awaitables`},
	},
	"Change the Sealer's key": {
		old: does("a", "wait", "b"), new: does("a", "wait", "b"),
		oldOpts: durable.Options{Sealer: oldKeys}, newOpts: durable.Options{Sealer: newKeys},
		ran: "a", runs: "b", result: `"a b"`,
		sealed: true, says: []string{"Options.Sealer: cipher: message authentication failed"},
	},
}

// timedOut is err, but no timeout.
func timedOut(err error) error {
	if errors.Is(err, durable.ErrTimeout) {
		return nil
	}
	return err
}

func invokes(function string) release {
	return code(func(ctx *durable.Context, n *notes, _ int) (int, error) {
		return durable.InvokeByName[int](ctx, "pay", function, 0)
	}).and(payV1, payV2)
}

var (
	payV1 = durable.Define("payV1", func(ctx *durable.Context, _ int) (int, error) { return 1, durable.Wait(ctx, "nap", time.Hour) })
	payV2 = durable.Define("payV2", func(ctx *durable.Context, _ int) (int, error) { return 2, durable.Wait(ctx, "nap", time.Hour) })
)

func stepWith(ctx *durable.Context, opts ...durable.StepOption) (string, error) {
	v, err := durable.Step(ctx, "a", body("v"), opts...)
	return v, errors.Join(err, durable.Wait(ctx, "wait", time.Hour))
}

func large(of string) release {
	return code(func(ctx *durable.Context, n *notes, _ int) (int, error) { return sizeOf(ctx, of) })
}

// sizeOf is the size of a large result of a child context, that had to be rebuilt.
func sizeOf(ctx *durable.Context, of string) (int, error) {
	v, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (string, error) { return strings.Repeat(of, 100), nil })
	return len(v), errors.Join(err, durable.Wait(ctx, "wait", time.Hour))
}
