package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/examples/fullworkflow/workflow"
	"github.com/durable-go/durable/examples/helloworld/hello"
)

// shutdownGrace is how long steps that run may take to end after Ctrl-C.
const shutdownGrace = 10 * time.Second

// worker runs executions until ctx ends, and says what it does.
func worker(ctx context.Context, s settings) error {
	engine, err := s.open(ctx, durable.Options{
		Functions: []durable.Definition{workflow.Function, hello.Function},
		Observer:  &durable.Observer{Event: newSpeaker(s.name).event},
	})
	if err != nil {
		return err
	}
	defer engine.Close() // after Shutdown it does nothing
	fmt.Printf("%-8s  ready\n", s.name)
	<-ctx.Done()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	err = engine.Shutdown(grace)
	fmt.Printf("%-8s  ends; the others go on with its executions\n", s.name)
	return err
}

// speaker prints a line for each stage that a worker ends.
type speaker struct {
	name string
	mu   sync.Mutex
}

func newSpeaker(name string) *speaker { return &speaker{name: name} }

func (s *speaker) event(executionID string, ev durable.Event) {
	if ev.ParentID != "" && ev.Type != "ExecutionSucceeded" {
		return
	}
	stage := slices.Index(workflow.Stages[:], ev.Name) + 1
	text := ""
	switch {
	case ev.Type == "ExecutionSucceeded" && !strings.HasPrefix(executionID, "inv-"):
		text = "has its result"
	case stage > 0 && strings.HasSuffix(ev.Type, "Succeeded") && ev.NextAttemptDelay == 0:
		text = fmt.Sprintf("%d/%d %s", stage, len(workflow.Stages), ev.Name)
	case stage > 0 && strings.HasSuffix(ev.Type, "Failed"):
		text = fmt.Sprintf("%d/%d %s failed: %s", stage, len(workflow.Stages), ev.Name, ev.Failure.Message)
	default:
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Printf("%-8s  %-10s  %s\n", s.name, executionID, text)
}
