package durable_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/durable-go/durable"
)

// The nodes of a random program that do several things at once.

func (p *program) batch(ctx *durable.Context, name string, n *node) (string, error) {
	item := func(ctx *durable.Context, seq []*node, _ int) (string, error) {
		s, err := p.run(ctx, seq)
		if n.opts&4 != 0 {
			s += padding
		}
		return s, err
	}
	switch n.kind {
	case "batch timeout":
		_, err := durable.Map(ctx, name, []int{0, 1}, func(ctx *durable.Context, _, _ int) (string, error) {
			return "", durable.Wait(ctx, "sleep", never)
		}, durable.WithTimeout(time.Hour), durable.WithToleratedFailures(2))
		return "", err
	case "min":
		batch, err := durable.Parallel(ctx, name, []durable.Branch[string]{{Name: "loser", Run: lose}, {Name: "winner", Run: func(ctx *durable.Context) (string, error) {
			s, err := p.run(ctx, n.kids)
			if err != nil {
				s = "!" + kindOf(err)
			}
			return s, nil
		}}}, durable.WithMinSuccessful(1))
		if err != nil {
			return "", err
		}
		return fmt.Sprint(batch.Reason(), batch.Values()), nil
	case "fail fast":
		_, err := durable.Parallel(ctx, name, []durable.Branch[string]{{Name: "loser", Run: lose}, {Name: "winner", Run: func(ctx *durable.Context) (string, error) {
			_, err := p.run(ctx, n.kids)
			return "", errors.Join(errors.New("fails"), err)
		}}})
		return "", err
	}
	var opts []durable.BatchOption
	switch {
	case n.kind == "tolerance" && n.opts&1 != 0:
		// One after another, so that it depends on nothing else how far it comes.
		opts = append(opts, durable.WithMaxConcurrency(1), durable.WithToleratedFailurePercent(30))
	case n.kind == "tolerance":
		opts = append(opts, durable.WithMaxConcurrency(1), durable.WithToleratedFailures(n.attempts-1))
	case n.kind == "minimum":
		opts = append(opts, durable.WithMaxConcurrency(1), durable.WithMinSuccessful(min(n.attempts, len(n.branches))))
	default:
		opts = append(opts, durable.WithToleratedFailures(len(n.branches)))
		if n.opts&1 != 0 {
			opts = append(opts, durable.WithMaxConcurrency(1+n.opts/4))
		}
	}
	if n.opts&2 != 0 {
		opts = append(opts, durable.Flat())
	}
	var batch *durable.Batch[string]
	var err error
	if n.kind == "parallel" {
		var branches []durable.Branch[string]
		for i, seq := range n.branches {
			branches = append(branches, durable.Branch[string]{Name: fmt.Sprint("branch ", i), Run: func(ctx *durable.Context) (string, error) { return item(ctx, seq, i) }})
		}
		batch, err = durable.Parallel(ctx, name, branches, opts...)
	} else {
		batch, err = durable.Map(ctx, name, n.branches, item, opts...)
	}
	if batch == nil {
		return "", err
	}
	s := string(batch.Reason())
	if err != nil {
		s += " " + kindOf(err)
	}
	for item := range batch.All() {
		value := item.Value
		if len(value) >= len(padding) {
			value = value[:len(value)-len(padding)] + "…"
		}
		s += fmt.Sprintf(" [%d %s %s", item.Index, item.Status, value)
		if item.Err != nil {
			s += kindOf(item.Err)
		}
		s += "]"
	}
	return s, nil
}

func (p *program) futures(ctx *durable.Context, name string, n *node) (string, error) {
	switch n.kind {
	case "race":
		return durable.Race(ctx, name, durable.Go(ctx, "loser", lose), durable.Go(ctx, "winner", p.branch(n.kids)))
	case "select":
		timer, future := durable.After(ctx, "loser", never), durable.Go(ctx, "winner", p.branch(n.kids))
		first, err := durable.Select(ctx, name, timer, future)
		if err != nil {
			return "", err
		}
		if first != durable.Awaitable(future) {
			return "", errors.New("the wrong one came first")
		}
		return future.Await(ctx)
	case "any":
		// All but one fail, after that one has won or before.
		futures := []*durable.Future[string]{durable.Go(ctx, "loser", lose)}
		for i := range n.branches {
			futures = append(futures, durable.Go(ctx, fmt.Sprint("future ", i), func(ctx *durable.Context) (string, error) {
				return "", durable.Do(ctx, "fail", func(context.Context) error { return durable.Permanent(errors.New("fails")) })
			}))
		}
		futures = append(futures, durable.Go(ctx, "winner", func(ctx *durable.Context) (string, error) {
			// The others are through by then, whatever happened to the process.
			if err := durable.Wait(ctx, "later", 3*time.Hour); err != nil {
				return "", err
			}
			s, err := p.run(ctx, n.branches[0])
			if err != nil {
				s = "!" + kindOf(err)
			}
			return s, nil
		}))
		return durable.Any(ctx, name, futures...)
	}
	var futures []*durable.Future[string]
	for i, seq := range n.branches {
		futures = append(futures, durable.Go(ctx, fmt.Sprint("future ", i), func(ctx *durable.Context) (string, error) {
			s, err := p.run(ctx, seq)
			if n.kind == "all" && err != nil { // which error comes first is a matter of time
				return "!" + kindOf(err), nil
			}
			return s, err
		}))
	}
	switch {
	case n.kind == "all":
		values, err := durable.All(ctx, name, futures...)
		return fmt.Sprint(values), err
	case n.kind == "settled":
		count := 0
		for range durable.Settled(ctx, name, durable.Awaitables(futures)...) {
			count++
		}
		if count != len(futures) {
			return "", fmt.Errorf("%d settled of %d", count, len(futures))
		}
	case n.opts&1 != 0:
		slices.Reverse(futures)
	}
	var s string
	for _, future := range futures {
		v, err := future.Await(ctx)
		if err != nil {
			v = "!" + kindOf(err)
		}
		s += "(" + v + ")"
	}
	return s, nil
}
