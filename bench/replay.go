package main

import (
	"context"
	"fmt"
	"time"
)

// replay: an execution has finished many steps and waits for a signal when its
// process dies. The clock runs while the next process opens the store and sends
// the signal, until the execution's code is past those steps.
var replay = workload{
	name: "replay", title: "replay of {n} finished steps: open, signal, until past them", size: 10_000, small: 30,
	metrics: []metric{{key: "replay", title: "reopen and replay {n} steps", unit: nanoseconds}},
	prepare: func(ctx context.Context, j *job) (err error) {
		e, err := j.system.open(ctx, j.folder, evicted)
		if err != nil {
			return err
		}
		waits := watch.expect("replay", waiting)
		if err := e.start(ctx, "replay", program{Steps: j.size, Signal: true, More: 1}); err != nil {
			return err
		}
		if _, err := waits.wait(ctx); err != nil {
			return err
		}
		if j.token, err = e.token(ctx, "replay"); err != nil {
			return err
		}
		return e.idle(ctx)
	},
	measure: func(ctx context.Context, j *job) (figures, error) {
		past, end := watch.expect("replay", replayed), watch.expect("replay", ended)
		began := time.Now()
		e, err := j.system.open(ctx, j.folder, asConfigured)
		if err != nil {
			return nil, err
		}
		if err := e.signal(ctx, "replay", j.token); err != nil {
			return nil, err
		}
		at, err := past.wait(ctx)
		if err != nil {
			return nil, err
		}
		if _, err := end.wait(ctx); err != nil {
			return nil, err
		}
		if n := watch.bodies.Load(); n != 1 {
			return nil, fmt.Errorf("%d step bodies ran after the replay, not 1", n)
		}
		return figures{"replay": {P50: float64(at.Sub(began)), Samples: 1}}, j.close(ctx, e)
	},
}
