package main

import (
	"context"
	"time"
)

// signal: from the call that sends a signal (a callback's completion) until the
// code of the execution that waits for it goes on.
func signal(name string, r residence) workload {
	what := map[residence]string{kept: "in memory", evicted: "suspended"}[r]
	return workload{
		name: name, title: "a signal arrives for an execution " + what, size: 100, small: 3,
		metrics: []metric{{key: name, title: "signal until it goes on, " + what, unit: nanoseconds, flushes: true, each: true}},
		measure: func(ctx context.Context, j *job) (figures, error) {
			e, err := j.system.open(ctx, j.folder, r)
			if err != nil {
				return nil, err
			}
			ids, tokens := make([]string, j.size), make([]string, j.size)
			for i := range ids {
				ids[i] = j.id()
				waits := watch.expect(ids[i], waiting)
				if err := e.start(ctx, ids[i], program{Signal: true}); err != nil {
					return nil, err
				}
				if _, err := waits.wait(ctx); err != nil {
					return nil, err
				}
				if tokens[i], err = e.token(ctx, ids[i]); err != nil {
					return nil, err
				}
			}
			if r == evicted {
				err = e.idle(ctx)
			} else {
				err = rest(ctx)
			}
			if err != nil {
				return nil, err
			}
			var all []time.Duration
			next := 0
			err = j.repeat(j.size, func() error {
				on := watch.expect(ids[next], signaled)
				began := time.Now()
				if err := e.signal(ctx, ids[next], tokens[next]); err != nil {
					return err
				}
				at, err := on.wait(ctx)
				all = append(all, at.Sub(began))
				next++
				return err
			})
			if err != nil {
				return nil, err
			}
			return figures{name: distribution(all)}, j.close(ctx, e)
		},
	}
}
