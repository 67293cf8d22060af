package main

import (
	"context"
	"time"
)

// single: what a caller waits who starts a small execution and wants its result.
var single = workload{
	name: "single", title: "one-step execution, start to result, one after the other", size: 1_000, small: 20,
	metrics: []metric{{key: "single", title: "one-step execution, start to result", unit: nanoseconds, flushes: true, each: true}},
	measure: func(ctx context.Context, j *job) (figures, error) {
		e, err := j.system.open(ctx, j.folder, asConfigured)
		if err != nil {
			return nil, err
		}
		p := program{Steps: 1}
		var all []time.Duration
		run := func() error {
			began, before := time.Now(), watch.bodies.Load()
			n, err := e.run(ctx, j.id(), p)
			all = append(all, time.Since(began))
			if err == nil {
				err = exactly(1, before)
			}
			return right(n, p, err)
		}
		for range min(10, j.size) { // warm-up
			if err := run(); err != nil {
				return nil, err
			}
		}
		all = all[:0]
		if err := j.repeat(j.size, run); err != nil {
			return nil, err
		}
		return figures{"single": distribution(all)}, j.close(ctx, e)
	},
}
