package main

import (
	"context"
	"time"
)

// timer: how late a wait of half a second ends. The waits are staggered, so that
// none ends together with another.
var timer = workload{
	name: "timer", title: "a 500 ms wait ends late by", size: 20, small: 2,
	metrics: []metric{{key: "timer", title: "500 ms wait ends late by", unit: nanoseconds, each: true}},
	measure: func(ctx context.Context, j *job) (figures, error) {
		const wait = 500 * time.Millisecond
		e, err := j.system.open(ctx, j.folder, asConfigured)
		if err != nil {
			return nil, err
		}
		if err := do(ctx, e, j.id(), program{Steps: 10}); err != nil { // warm-up
			return nil, err
		}
		begins, ends := make([]*arrival, j.size), make([]*arrival, j.size)
		for i := range begins {
			id := j.id()
			begins[i], ends[i] = watch.expect(id, asleep), watch.expect(id, awake)
			if err := e.start(ctx, id, program{Sleep: wait}); err != nil {
				return nil, err
			}
			time.Sleep(37 * time.Millisecond)
		}
		var all []time.Duration
		for i := range begins {
			from, err := begins[i].wait(ctx)
			if err != nil {
				return nil, err
			}
			to, err := ends[i].wait(ctx)
			if err != nil {
				return nil, err
			}
			all = append(all, to.Sub(from)-wait)
		}
		f := distribution(all)
		f.P99 = 0 // too few
		return figures{"timer": f}, j.close(ctx, e)
	},
}
