package main

import "context"

// late: whether a step's price grows with the steps before it. Each figure is
// the median of a hundred steps.
var late = workload{
	name: "late", title: "step 100 and step {n} of one execution", size: 10_000, small: 60,
	metrics: []metric{
		{key: "late 100", title: "step 100 of one execution", unit: nanoseconds, flushes: true, each: true},
		{key: "late", title: "step {n} of one execution", unit: nanoseconds, flushes: true, each: true},
	},
	measure: func(ctx context.Context, j *job) (figures, error) {
		e, err := j.system.open(ctx, j.folder, asConfigured)
		if err != nil {
			return nil, err
		}
		if err := do(ctx, e, j.id(), program{Steps: 10}); err != nil { // warm-up
			return nil, err
		}
		around := min(50, j.size/4)
		from := min(100, j.size/2) // step 100, or the middle of fewer than 200
		before, n := watch.bodies.Load(), j.size+around+1
		watch.trace(n)
		if err := do(ctx, e, j.id(), program{Steps: n}); err != nil {
			return nil, err
		}
		all := gaps(watch.traced())
		if err := exactly(n, before); err != nil {
			return nil, err
		}
		return figures{"late 100": distribution(all[from-around : from+around]), "late": distribution(all[len(all)-2*around:])}, j.close(ctx, e)
	},
}
