package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/examples/fullworkflow/workflow"
)

// client is a process that runs nothing itself: it starts executions, answers
// their callbacks and waits for their results, whoever runs them.
func client(ctx context.Context, s settings) error {
	engine, err := s.open(ctx, durable.Options{})
	if err != nil {
		return err
	}
	defer engine.Close()
	began := time.Now()
	batch := began.UTC().Format("150405")
	event, err := workflow.ReadEvent("", nil)
	if err != nil {
		return err
	}
	var ended atomic.Int64
	var all errgroup.Group
	for i := range s.count {
		all.Go(func() error {
			id := fmt.Sprintf("%s-%d", batch, i+1)
			x, err := workflow.Function.Start(ctx, engine, event, durable.WithExecutionID(id))
			if err != nil {
				return err
			}
			if err := workflow.PlayExternalSystem(ctx, engine, id); err != nil {
				return err
			}
			result, err := x.Result(ctx)
			if err != nil {
				return err
			}
			if result.SuccessfulItems != len(event.InputData.Items) {
				return fmt.Errorf("execution %s: %d of %d items", id, result.SuccessfulItems, len(event.InputData.Items))
			}
			ended.Add(1)
			return nil
		})
	}
	err = all.Wait()
	fmt.Printf("%-8s  %d of %d executions have their result after %.1f s\n", "run", ended.Load(), s.count, time.Since(began).Seconds())
	return err
}
