package main

import (
	"context"
	"time"
)

const burstSteps = 10

// burst: as many executions of ten steps at once, each started by a goroutine of
// its own; the clock stops when all results are known.
func burst(name string, size, small int) workload {
	return workload{
		name: name, title: "{n} executions of 10 steps at once", size: size, small: small,
		metrics: []metric{{key: name, title: "steps/s, {n} executions at once", unit: perSecond, flushes: true}},
		measure: func(ctx context.Context, j *job) (figures, error) {
			e, err := j.system.open(ctx, j.folder, asConfigured)
			if err != nil {
				return nil, err
			}
			p := program{Steps: burstSteps}
			run := func(n int) error {
				before, ids := watch.bodies.Load(), make([]string, n)
				for i := range ids {
					ids[i] = j.id()
				}
				if err := together(n, n, func(i int) error { return do(ctx, e, ids[i], p) }); err != nil {
					return err
				}
				return exactly(n*p.Steps, before)
			}
			if err := run(min(16, j.size)); err != nil { // warm-up
				return nil, err
			}
			var rates []float64
			err = j.repeat(50, func() error {
				began := time.Now()
				if err := run(j.size); err != nil {
					return err
				}
				rates = append(rates, float64(j.size*p.Steps)/time.Since(began).Seconds())
				return nil
			})
			if err != nil {
				return nil, err
			}
			return figures{name: {P50: median(rates), Samples: len(rates)}}, j.close(ctx, e)
		},
	}
}
