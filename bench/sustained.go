package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// sustained: 512 executions of ten steps are always under way, for some time.
func sustained(d time.Duration) workload {
	return workload{
		name: "sustained", title: "{n} executions of 10 steps always under way, for " + d.String(), size: 512, small: 32,
		metrics: []metric{{key: "sustained", title: "steps/s, sustained for " + d.String(), unit: perSecond, flushes: true}},
		measure: func(ctx context.Context, j *job) (figures, error) {
			e, err := j.system.open(ctx, j.folder, asConfigured)
			if err != nil {
				return nil, err
			}
			var ids, finished atomic.Int64
			began := time.Now()
			err = together(j.size, j.size, func(int) error {
				for time.Since(began) < d {
					if err := do(ctx, e, fmt.Sprintf("bench-%d", ids.Add(1)), program{Steps: burstSteps}); err != nil {
						return err
					}
					finished.Add(1)
				}
				return nil
			})
			took := time.Since(began)
			if err != nil {
				return nil, err
			}
			n := int(finished.Load())
			return figures{"sustained": {P50: float64(n*burstSteps) / took.Seconds(), Samples: n}}, j.close(ctx, e)
		},
	}
}
