package durable_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// The handlers of a random program: what its nodes do.

// define makes the functions of the program.
func (p *program) define() {
	p.main = durable.Define("main", func(ctx *durable.Context, _ int) (string, error) {
		out, err := p.run(ctx, p.root)
		if errors.Is(err, durable.ErrCanceled) {
			undone, err := durable.Step(ctx.WithoutCancel(), "undo", func(context.Context) (string, error) { return "undone", nil })
			return out + undone, err
		}
		return out, err
	})
	sub := durable.Define("sub", func(ctx *durable.Context, id int) (string, error) { return p.run(ctx, p.nodes[id].kids) })
	sleeper := durable.Define("sleeper", func(ctx *durable.Context, id int) (string, error) {
		err := durable.Wait(ctx, fmt.Sprint("open ", id), never)
		_, undone := durable.Step(ctx.WithoutCancel(), "undo", p.body(&node{id: id, delay: time.Second}))
		return "", errors.Join(err, undone)
	})
	plain := durable.DefinePlain("plain", func(_ context.Context, id int) (string, error) {
		if p.nodes[id].fails > 2 {
			return "", errors.New("plain fails")
		}
		return fmt.Sprint("plain ", id), nil
	})
	p.defs = []durable.Definition{p.main, sub, sleeper, plain}
}

// run runs a sequence and says what came of it.
func (p *program) run(ctx *durable.Context, seq []*node) (string, error) {
	var out strings.Builder
	for _, n := range seq {
		s, err := p.node(ctx, n)
		if err != nil {
			if !n.catch || n.kind == "cancel" {
				return out.String(), err
			}
			s = "!" + kindOf(err)
		}
		fmt.Fprintf(&out, "%d:%s ", n.id, s)
	}
	return out.String(), nil
}

// kindOf is the type of a failure.
func kindOf(err error) string {
	if f, ok := errors.AsType[*durable.Failure](err); ok {
		return f.Type
	}
	return fmt.Sprintf("%T", err)
}

// body is the body of a step, a check or a submitter: it notes that it runs,
// fails as often as it should, and takes its time.
func (p *program) body(n *node) func(ctx context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		info, ok := durable.StepInfoFrom(ctx)
		require.True(p, ok)
		defer p.enter(info, n)()
		if n.delay <= time.Minute || n.delay == never {
			if err := rest(ctx, n.delay); err != nil {
				return "", err
			}
		}
		if info.Attempt > n.fails {
			return fmt.Sprint("v", n.id), nil
		}
		err := fmt.Errorf("attempt %d fails", info.Attempt)
		switch n.how {
		case "panic":
			panic("panics")
		case "permanent":
			return "", durable.Permanent(err)
		case "retry after":
			return "", durable.RetryAfter(17*time.Second, err)
		}
		return "", err
	}
}

func (n *node) retry() durable.RetryOption {
	return durable.WithRetry(durable.RetryPolicy{MaxAttempts: n.attempts, Initial: max(n.delay, 1), Multiplier: 1, Max: max(n.delay, 1), Jitter: durable.NoJitter})
}

func (p *program) branch(seq []*node) func(ctx *durable.Context) (string, error) {
	return func(ctx *durable.Context) (string, error) { return p.run(ctx, seq) }
}

// lose never ends, and what it did is not compared.
func lose(ctx *durable.Context) (string, error) { return "lost", durable.Wait(ctx, "loser", never) }

func (p *program) node(ctx *durable.Context, n *node) (string, error) {
	name := n.name()
	switch n.kind {
	case "step":
		return durable.Step(ctx, name, p.body(n), n.retry())
	case "once":
		return durable.Step(ctx, name, p.body(&node{id: n.id, kind: n.kind, delay: n.delay, before: n.before}), durable.AtMostOnce(),
			durable.WithRetry(durable.RetryPolicy{MaxAttempts: 1000, Initial: time.Second, Max: time.Second}))
	case "step timeout":
		return durable.Step(ctx, name, p.body(&node{id: n.id, delay: never, before: n.before}), durable.WithTimeout(time.Hour))
	case "attempt timeout":
		return durable.Step(ctx, name, p.body(&node{id: n.id, delay: never, before: n.before}), durable.WithAttemptTimeout(time.Minute), n.retry())
	case "wait":
		return "waited", durable.Wait(ctx, name, n.delay)
	case "poll":
		return p.poll(ctx, name, n)
	case "callback", "early callback", "beaten callback":
		return p.callback(ctx, name, n)
	case "note":
		// What is made up once stays.
		now, id := durable.Now(ctx), durable.NewUUID(ctx)
		version := durable.Version(ctx, name, n.opts)
		said := fmt.Sprint(now.UnixNano(), id, version)
		first, err := durable.Step(ctx, name, func(context.Context) (string, error) { return said, nil })
		if err == nil && first != said {
			p.Errorf("%s: %s: it was %s, a replay says %s", p.what, name, first, said)
		}
		return "noted", err
	case "plain":
		return durable.InvokeByName[string](ctx, name, "plain", n.id)
	case "invoke":
		return durable.InvokeByName[string](ctx, name, "sub", n.id)
	case "sleeper":
		return durable.InvokeByName[string](ctx, name, "sleeper", n.id, durable.WithTimeout(time.Hour))
	case "child":
		return durable.RunInChildContext(ctx, name, p.branch(n.kids))
	case "deep":
		return p.deep(ctx, n, 12)
	case "large":
		s, err := durable.RunInChildContext(ctx, name, func(ctx *durable.Context) (string, error) {
			s, err := p.run(ctx, n.kids)
			return s + padding, err
		})
		return strings.TrimRight(s, "x"), err
	case "timeout":
		var seen string
		_, err := durable.RunInChildContext(ctx, name, func(ctx *durable.Context) (string, error) {
			err := durable.Wait(ctx, "sleep", never)
			undone, err2 := durable.Step(ctx.WithoutCancel(), "undo", p.body(&node{id: n.id, delay: time.Second}))
			seen = kindOf(err) + undone
			return "", err2
		}, durable.WithTimeout(time.Hour))
		return seen, err
	case "batch timeout", "map", "parallel", "tolerance", "minimum", "min", "fail fast":
		return p.batch(ctx, name, n)
	case "futures", "settled", "all", "any", "race", "select":
		return p.futures(ctx, name, n)
	case "cancel":
		return p.cancelled(ctx, name, n)
	}
	panic(n.kind)
}

// padding makes a result larger than InlineResult.
var padding = strings.Repeat("x", 2000)

func (p *program) deep(ctx *durable.Context, n *node, depth int) (string, error) {
	if depth == 0 {
		return p.run(ctx, n.kids)
	}
	return durable.RunInChildContext(ctx, fmt.Sprint("deep ", depth), func(ctx *durable.Context) (string, error) { return p.deep(ctx, n, depth-1) })
}

func (p *program) poll(ctx *durable.Context, name string, n *node) (string, error) {
	opts := []durable.ConditionOption{}
	failing := n.opts&1 != 0
	if failing {
		opts = append(opts, durable.WithRetry(durable.RetryPolicy{MaxAttempts: 5, Initial: time.Second, Jitter: durable.NoJitter}))
	}
	if n.opts&2 != 0 {
		opts = append(opts, durable.WithTimeout(never))
	}
	s, err := durable.WaitForCondition(ctx, name, 0, func(ctx context.Context, s int) (int, error) {
		info, _ := durable.StepInfoFrom(ctx)
		defer p.enter(info, n)()
		if failing && info.Attempt <= n.attempts {
			return 0, errors.New("the check fails")
		}
		return s + 1, nil
	}, func(s, _ int) durable.Poll {
		if s > n.fails {
			return durable.PollDone()
		}
		return durable.PollAfter(n.delay)
	}, opts...)
	return fmt.Sprint("polled ", s), err
}

func (p *program) callback(ctx *durable.Context, name string, n *node) (string, error) {
	if n.kind == "callback" {
		return durable.WaitForCallback[string](ctx, name, func(ctx context.Context, id string) error {
			_, err := p.body(&node{id: n.id, fails: n.fails, how: n.how, before: n.before})(ctx)
			if err == nil {
				p.complete(n, id)
			}
			return err
		}, n.retry(), durable.WithTimeout(2*time.Hour))
	}
	opts := []durable.CallbackOption{durable.WithTimeout(2 * time.Hour)}
	if n.kind == "beaten callback" {
		opts = append(opts, durable.WithHeartbeatTimeout(10*time.Minute))
	}
	cb, err := durable.CreateCallback[string](ctx, name, opts...)
	if err != nil {
		return "", err
	}
	if n.kind == "beaten callback" {
		p.beat(n, cb.ID())
	} else {
		p.complete(n, cb.ID())
	}
	if err := durable.Wait(ctx, "meanwhile", n.delay); err != nil {
		return "", err
	}
	return cb.Await(ctx)
}

// cancelled is where the program is cancelled: each branch is at something that
// does not end, and compensates for it.
func (p *program) cancelled(ctx *durable.Context, name string, n *node) (string, error) {
	p.cancel(ctx.ExecutionID(), n)
	_, err := durable.Map(ctx, name, n.branches, func(ctx *durable.Context, seq []*node, _ int) (string, error) {
		n := seq[0]
		open := fmt.Sprint("open ", n.id)
		var err error
		switch n.kind {
		case "wait":
			err = durable.Wait(ctx, open, never)
		case "callback":
			var cb *durable.Callback[string]
			if cb, err = durable.CreateCallback[string](ctx, open); err == nil {
				_, err = cb.Await(ctx)
			}
		case "invoke":
			_, err = durable.InvokeByName[string](ctx, "sleeper", "sleeper", n.id)
		case "retry":
			err = durable.Do(ctx, open, func(context.Context) error { return durable.RetryAfter(never, errors.New("later")) })
		case "body":
			_, err = durable.Step(ctx, open, p.body(&node{id: n.id, delay: never}))
		}
		_, undone := durable.Step(ctx.WithoutCancel(), "undo "+kindOf(err), p.body(&node{id: n.id, delay: time.Second}))
		return "", errors.Join(err, undone)
	}, durable.WithToleratedFailures(len(n.branches)))
	return "", err
}
