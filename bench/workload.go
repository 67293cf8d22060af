package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A workload is a piece of work that each system does, and what is measured of it.
type workload struct {
	name    string
	title   string // {n} stands for the size
	size    int    // of the full run
	small   int    // of -short
	metrics []metric
	// prepare fills a folder in a process of its own, which then ends like a
	// crash: nothing is closed. Nil: the folder is empty.
	prepare func(context.Context, *job) error
	measure func(context.Context, *job) (figures, error)
	tabular bool // it is only for such systems
}

// A metric is a line of the table. Its key is unique over all workloads; {n} in
// its title stands for the size.
type metric struct {
	key, title string
	unit       unit
	// flushes: what the floor does as many times, so that a ratio to it says
	// something.
	flushes bool
	// each: comparable although the sizes differ.
	each bool
}

type figures map[string]figure

// A figure is what one round found. P99 is 0 where there is no distribution.
type figure struct {
	P50     float64 `json:"p50"`
	P99     float64 `json:"p99,omitempty"`
	Samples int     `json:"samples,omitempty"`
}

// workloads in the order of the table.
func workloads(sustain time.Duration) []workload {
	list := []workload{sequence, burst("burst 64", 64, 8), burst("burst 512", 512, 32)}
	if sustain > 0 {
		list = append(list, sustained(sustain))
	}
	return append(list, single, fan("fan", 1_000, 100), fan("fan more", 10_000, 200), replay, late,
		parked("parked", 10_000, 100), parked("parked more", 100_000, 300), space, rows,
		signal("signal, resident", kept), signal("signal, suspended", evicted), timer)
}

// A job is one workload for one system in one process.
type job struct {
	system  system
	folder  string
	size    int
	budget  time.Duration // for samples that can be repeated
	quiet   time.Duration // without news, after which nothing more is expected
	token   string        // from prepare to measure
	flushed string        // how the engine's durability was checked
	counter int
}

func (j *job) id() string {
	j.counter++
	return fmt.Sprintf("bench-%d", j.counter)
}

// close checks that the engine was durable all along, and closes it.
func (j *job) close(ctx context.Context, e engine) (err error) {
	j.flushed, err = e.durability(ctx)
	return errors.Join(err, e.close())
}

// repeat calls f until the budget is spent: once at least, max times at most.
func (j *job) repeat(max int, f func() error) error {
	began := time.Now()
	for n := 0; n < max && (n == 0 || time.Since(began) < j.budget); n++ {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// do starts an execution, waits until its function returns and gets the result.
func do(ctx context.Context, e engine, id string, p program) error {
	end := watch.expect(id, ended)
	if err := e.start(ctx, id, p); err != nil {
		return err
	}
	if _, err := end.wait(ctx); err != nil {
		return err
	}
	n, err := e.result(ctx, id)
	return right(n, p, err)
}

// right is whether a result is what it must be.
func right(n int, p program, err error) error {
	if err == nil && n != p.total() {
		err = fmt.Errorf("the result is %d, not %d", n, p.total())
	}
	return err
}

// together calls f with 0 to n-1 from as many goroutines as width, and returns
// the first error.
func together(n, width int, f func(int) error) error {
	var (
		wg    sync.WaitGroup
		once  sync.Once
		first error
		next  = make(chan int)
	)
	for range min(n, width) {
		wg.Go(func() {
			for i := range next {
				if err := f(i); err != nil {
					once.Do(func() { first = err })
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return first
}

// exactly fails if other than n bodies ran since before: no work was skipped,
// none done twice.
func exactly(n int, before int64) error {
	if ran := watch.bodies.Load() - before; ran != int64(n) {
		return fmt.Errorf("%d step bodies ran, not %d", ran, n)
	}
	return nil
}
