package main

import (
	"context"
	"time"
)

// fan: many steps in one execution at once, from its start to its result.
func fan(name string, size, small int) workload {
	return workload{
		name: name, title: "{n} steps fanned out in one execution", size: size, small: small,
		metrics: []metric{{key: name, title: "{n} steps fanned out", unit: nanoseconds}},
		measure: func(ctx context.Context, j *job) (figures, error) {
			e, err := j.system.open(ctx, j.folder, asConfigured)
			if err != nil {
				return nil, err
			}
			if err := do(ctx, e, j.id(), program{Fan: 10}); err != nil { // warm-up
				return nil, err
			}
			var all []float64
			err = j.repeat(10, func() error {
				began, before := time.Now(), watch.bodies.Load()
				if err := do(ctx, e, j.id(), program{Fan: j.size}); err != nil {
					return err
				}
				all = append(all, float64(time.Since(began)))
				return exactly(j.size, before)
			})
			if err != nil {
				return nil, err
			}
			return figures{name: {P50: median(all), Samples: len(all)}}, j.close(ctx, e)
		},
	}
}
