package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/examples/fullworkflow/workflow"
)

// board keeps what is to be shown of executions. It learns of what happens now
// from the engine's observer, and of what happened before from the history. The
// two may overlap and come in any order: an event that is known changes nothing.
type board struct {
	opened  time.Time     // what was recorded before is replayed
	changed chan struct{} // something is to be shown again

	mu         sync.Mutex
	executions map[string]*progress
}

func newBoard(opened time.Time) *board {
	return &board{opened: opened, changed: make(chan struct{}, 1), executions: make(map[string]*progress)}
}

// observer never blocks, as the engine asks of it.
func (b *board) observer() *durable.Observer {
	return &durable.Observer{
		Event: func(id string, ev durable.Event) {
			b.update(id, func(p *progress) { p.apply(ev) })
		},
		InvocationStarted: func(id, _ string, _ bool) {
			b.update(id, func(p *progress) { p.resident = true })
		},
		InvocationEnded: func(id, _ string) {
			b.update(id, func(p *progress) {
				p.resident = false
				notify(p.left)
			})
		},
	}
}

func (b *board) update(id string, change func(*progress)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(b.of(id))
	notify(b.changed)
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// of returns the progress of an execution. b.mu is held.
func (b *board) of(id string) *progress {
	p := b.executions[id]
	if p == nil {
		p = newProgress(b.opened)
		b.executions[id] = p
	}
	return p
}

// catchUp takes over what is recorded of an execution.
func (b *board) catchUp(ctx context.Context, e *durable.Engine, id string) error {
	for ev, err := range e.History(ctx, id) {
		if err != nil {
			return fmt.Errorf("read what is recorded: %w", err)
		}
		b.update(id, func(p *progress) { p.apply(ev) })
	}
	return nil
}

// leftMemory tells whenever an execution has left memory.
func (b *board) leftMemory(id string) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.of(id).left
}

// rows are the stages of an execution as they are now.
func (b *board) rows(id string, now time.Time) []row {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.of(id).rows(now)
}

// current is the number of the first stage that has not ended.
func (b *board) current(id string) int {
	for i, r := range b.rows(id, time.Time{}) {
		if r.state != stateDone {
			return i + 1
		}
	}
	return len(workflow.Stages)
}

// replayed counts the stages whose outcome was recorded before.
func (b *board) replayed(id string) (n int) {
	for _, r := range b.rows(id, time.Time{}) {
		if r.replayed {
			n++
		}
	}
	return n
}
