package main

import (
	"context"
	"time"
)

// sequence: a step's price is the time from its body's beginning to that of the
// next, which can't begin before the step is durable.
var sequence = workload{
	name: "sequence", title: "one execution, steps one after the other", size: 100, small: 20,
	metrics: []metric{{key: "sequence", title: "a step in sequence", unit: nanoseconds, flushes: true, each: true}},
	measure: func(ctx context.Context, j *job) (figures, error) {
		e, err := j.system.open(ctx, j.folder, asConfigured)
		if err != nil {
			return nil, err
		}
		if err := do(ctx, e, j.id(), program{Steps: 10}); err != nil { // warm-up
			return nil, err
		}
		var all []time.Duration
		err = j.repeat(50, func() error {
			before := watch.bodies.Load()
			watch.trace(j.size)
			if err := do(ctx, e, j.id(), program{Steps: j.size}); err != nil {
				return err
			}
			all = append(all, gaps(watch.traced())...)
			return exactly(j.size, before)
		})
		if err != nil {
			return nil, err
		}
		return figures{"sequence": distribution(all)}, j.close(ctx, e)
	},
}
