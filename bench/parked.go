package main

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

// parked: many executions wait for a day when their process dies. Measured in
// the next: until open returns, until the result of a new one-step execution is
// known, until all that enter their functions again have, and what memory each
// of them takes then.
func parked(name string, size, small int) workload {
	return workload{
		name: name, title: "{n} executions parked for a day, reopened", size: size, small: small,
		metrics: []metric{
			{key: name + " open", title: "{n} parked: open", unit: nanoseconds},
			{key: name + " work", title: "{n} parked: open to first new result", unit: nanoseconds},
			{key: name + " again", title: "{n} parked: until all are re-entered", unit: nanoseconds},
			{key: name + " memory", title: "{n} parked: memory of each", unit: inBytes, each: true},
		},
		prepare: func(ctx context.Context, j *job) error {
			e, err := j.system.open(ctx, j.folder, asConfigured)
			if err != nil {
				return err
			}
			err = together(j.size, 64, func(i int) error {
				return e.start(ctx, fmt.Sprintf("parked-%d", i), program{Sleep: 24 * time.Hour})
			})
			if err != nil {
				return err
			}
			for watch.reached[asleep].Load() < int64(j.size) {
				time.Sleep(time.Millisecond)
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
			}
			return e.idle(ctx)
		},
		measure: func(ctx context.Context, j *job) (figures, error) {
			empty, err := memoryOf(ctx, &job{system: j.system, folder: j.folder + "-empty", quiet: j.quiet}, nil)
			if err != nil {
				return nil, err
			}
			found := figures{}
			full, err := memoryOf(ctx, j, found)
			if err != nil {
				return nil, err
			}
			for _, key := range []string{"open", "work", "again", "memory"} {
				f := found[key]
				if key == "memory" {
					f.P50 = max(0, full-empty) / float64(j.size)
				}
				delete(found, key)
				found[name+" "+key] = f
			}
			return found, nil
		},
	}
}

// memoryOf opens a folder, does the first new work, waits until nothing is
// entered again any more, and returns how much more memory Go's heap and stacks
// take than before. It notes the times, unless found is nil.
func memoryOf(ctx context.Context, j *job, found figures) (float64, error) {
	before, entered := memory(), watch.reached[asleep].Load()
	began := time.Now()
	e, err := j.system.open(ctx, j.folder, asConfigured)
	if err != nil {
		return 0, err
	}
	opened := time.Since(began)
	if err := do(ctx, e, "first", program{Steps: 1}); err != nil {
		return 0, err
	}
	worked := time.Since(began)
	again, settled := time.Duration(0), time.Now()
	all := entered
	if _, ok := e.(reenterer); ok {
		all += int64(j.size)
	}
	for time.Since(settled) < j.quiet || entered < all {
		time.Sleep(time.Millisecond)
		if now := watch.reached[asleep].Load(); now != entered {
			entered, settled, again = now, time.Now(), time.Since(began)
		}
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
	}
	took := max(0, memory()-before)
	if found != nil {
		found["open"] = figure{P50: float64(opened), Samples: 1}
		found["work"] = figure{P50: float64(worked), Samples: 1}
		found["again"] = figure{P50: float64(again), Samples: 1}
	}
	return took, j.close(ctx, e)
}

// memory of Go's heap and stacks that is in use. What SQLite and bbolt map is
// not in it.
func memory() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse)
}
