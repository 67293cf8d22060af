package main

import (
	"context"
	"fmt"
	"time"
)

// rows: what an execution that waits for a day takes on the server.
var rows = workload{
	name: "rows", title: "{n} executions parked for a day, on the server", size: 5_000, small: 100, tabular: true,
	metrics: []metric{
		{key: "rows", title: "rows of a parked execution, all tables", unit: rowCount, each: true},
		{key: "rows bytes", title: "bytes of a parked execution, indexes included", unit: inBytes, each: true},
	},
	measure: func(ctx context.Context, j *job) (figures, error) {
		e, err := j.system.open(ctx, j.folder, asConfigured)
		if err != nil {
			return nil, err
		}
		park := func(from, to int) (rows, bytes int64, err error) {
			err = together(to-from, 64, func(i int) error {
				return e.start(ctx, fmt.Sprintf("parked-%d", from+i), program{Sleep: 24 * time.Hour})
			})
			for err == nil && watch.reached[asleep].Load() < int64(to) {
				time.Sleep(time.Millisecond)
				err = context.Cause(ctx)
			}
			if err == nil {
				err = e.idle(ctx)
			}
			if err != nil {
				return 0, 0, err
			}
			return j.system.(tabular).occupies(ctx, j.folder)
		}
		few := j.size / 10
		rowsBefore, bytesBefore, err := park(0, few)
		if err != nil {
			return nil, err
		}
		rows, bytes, err := park(few, j.size)
		if err != nil {
			return nil, err
		}
		each := func(before, after int64) figure {
			return figure{P50: float64(after-before) / float64(j.size-few), Samples: 1}
		}
		return figures{"rows": each(rowsBefore, rows), "rows bytes": each(bytesBefore, bytes)}, j.close(ctx, e)
	},
}
