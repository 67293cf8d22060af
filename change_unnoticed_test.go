package durable_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// unnoticedChanges are the rows of the guide's third table: nothing that is
// compared differs, so the execution goes on, and not as one would wish.
var unnoticedChanges = map[string]codeChange{
	"Swap two operations of one type and name": {
		old: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			credit, err := durable.Step(ctx, "call", n.body("credit"))
			debit, err2 := durable.Step(ctx, "call", n.body("debit"))
			return "credit: " + credit + ", debit: " + debit, errors.Join(err, err2, durable.Wait(ctx, "wait", time.Hour))
		}),
		new: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			debit, err := durable.Step(ctx, "call", n.body("debit"))
			credit, err2 := durable.Step(ctx, "call", n.body("credit"))
			return "credit: " + credit + ", debit: " + debit, errors.Join(err, err2, durable.Wait(ctx, "wait", time.Hour))
		}),
		ran: "credit debit", result: `"credit: debit, debit: credit"`,
	},
	"Reorder the items of a Map": {
		old: mapOf("pen", "ink"), new: mapOf("ink", "pen"),
		ran: "pen ink", result: `"ink: pen, pen: ink, "`,
	},
	"Reorder what Select, Race, Any or Settled chose from": {
		old:    selects(func(short, long *durable.Timer) []durable.Awaitable { return []durable.Awaitable{short, long} }),
		new:    selects(func(short, long *durable.Timer) []durable.Awaitable { return []durable.Awaitable{long, short} }),
		result: `"long"`,
	},
	"Rename a field of a recorded type": {
		old: code(func(ctx *durable.Context, n *notes, _ int) (int, error) {
			v, err := durable.Step(ctx, "a", body(struct{ Total int }{7}))
			return v.Total, errors.Join(err, durable.Wait(ctx, "wait", time.Hour))
		}),
		new: code(func(ctx *durable.Context, n *notes, _ int) (int, error) {
			v, err := durable.Step(ctx, "a", body(struct{ Amount int }{7}))
			return v.Amount, errors.Join(err, durable.Wait(ctx, "wait", time.Hour))
		}),
		result: "0",
	},
	"Change the type that an invoke or a callback returns": {
		old: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			_, err := durable.InvokeByName[string](ctx, "invoke", "name", 0)
			return fmt.Sprint(errors.Is(err, durable.ErrCodec)), durable.Wait(ctx, "wait", time.Hour)
		}).and(nameOf),
		new: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			_, err := durable.InvokeByName[int](ctx, "invoke", "name", 0)
			return fmt.Sprint(errors.Is(err, durable.ErrCodec)), durable.Wait(ctx, "wait", time.Hour)
		}).and(nameOf),
		result: `"true"`,
	},
	"Change Options.Errors": {
		old: declines, new: declines,
		oldOpts: durable.Options{Errors: []error{errSaidNo}},
		result:  "false",
	},
	"Replace a step that was cut off within 50 ms of its start": {
		old: code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
			return durable.Step(ctx, "a", endless(n, "a"))
		}),
		new:    does("b"),
		cutOff: true, after: 10 * time.Millisecond,
		ran: "a", runs: "b", result: `"b"`,
	},
	"Change the input type while an execution waits for a place": {
		input:   `"seven"`,
		oldOpts: durable.Options{MaxResident: 1},
		first: func(b *bundle) {
			_, err := b.engine.StartByName(b.ctx, "busy", json.RawMessage("0"))
			require.NoError(b, err)
		},
		old: func(n *notes) []durable.Definition {
			return []durable.Definition{
				durable.Define("order", func(ctx *durable.Context, in string) (string, error) { return in, nil }),
				durable.DefinePlain("busy", func(ctx context.Context, _ int) (int, error) { return 0, rest(ctx, 1000*time.Hour) }),
			}
		},
		new:    code(func(ctx *durable.Context, n *notes, in int) (int, error) { return in, nil }),
		cutOff: true, fails: "Codec", tells: "decode into *int",
	},
}

// mapOf maps items to themselves.
func mapOf(items ...string) release {
	return code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
		b, err := durable.Map(ctx, "map", items, func(ctx *durable.Context, item string, _ int) (string, error) {
			return durable.Step(ctx, "item", n.body(item))
		}, durable.WithMaxConcurrency(1))
		if err != nil {
			return "", err
		}
		out := ""
		for i, v := range b.Values() {
			out += items[i] + ": " + v + ", "
		}
		return out, durable.Wait(ctx, "wait", time.Hour)
	})
}

// selects is a release that selects one of two timers in an order.
func selects(order func(short, long *durable.Timer) []durable.Awaitable) release {
	return code(func(ctx *durable.Context, n *notes, _ int) (string, error) {
		short, long := durable.After(ctx, "short", time.Minute), durable.After(ctx, "long", 10*time.Hour)
		first, err := durable.Select(ctx, "first", order(short, long)...)
		if err != nil {
			return "", err
		}
		return first.Name(), durable.Wait(ctx, "wait", time.Hour)
	})
}

var (
	nameOf    = durable.DefinePlain("name", func(context.Context, int) (string, error) { return "seven", nil })
	errSaidNo = errors.New("no")
)

var declines = code(func(ctx *durable.Context, n *notes, _ int) (bool, error) {
	err := durable.Do(ctx, "charge", func(context.Context) error { return durable.Permanent(errSaidNo) })
	return errors.Is(err, errSaidNo), durable.Wait(ctx, "wait", time.Hour)
})

// minimum is a release with a batch of three items, one after the other, of which
// some must succeed.
func minimum(n int) release {
	return code(func(ctx *durable.Context, _ *notes, _ int) (string, error) {
		_, err := durable.Map(ctx, "map", []int{1, 2, 3}, func(*durable.Context, int, int) (int, error) { return 0, nil },
			durable.WithMaxConcurrency(1), durable.WithMinSuccessful(n))
		return fmt.Sprintf("not reached: %v", errors.Is(err, durable.ErrMinSuccessfulNotReached)), durable.Wait(ctx, "wait", time.Hour)
	})
}
