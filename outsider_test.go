package durable_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/durable-go/durable"
)

// What comes to a random program from outside: callbacks and a cancel. It comes
// once, whatever happens to the process meanwhile, and how late depends on the
// variant.

// outside runs f on a goroutine of its own, the first time it is asked for key.
func (p *program) outside(key string, f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.asked[key] {
		p.asked[key] = true
		go f()
	}
}

// insist calls the engine of the moment, again and again until it has an answer.
func (p *program) insist(call func(ctx context.Context, e *durable.Engine) error) {
	for {
		p.mu.Lock()
		e := p.engine
		p.mu.Unlock()
		err := call(p.ctx, e)
		if err == nil || errors.Is(err, durable.ErrCallbackCompleted) || errors.Is(err, durable.ErrCallbackNotFound) {
			return
		}
		if rest(p.ctx, time.Second) != nil {
			return
		}
	}
}

// answer completes a callback as its node says.
func (p *program) answer(n *node, id string) {
	p.insist(func(ctx context.Context, e *durable.Engine) error {
		if n.opts == 1 {
			return e.FailCallback(ctx, id, durable.Failure{Type: "Refused", Message: "no"})
		}
		return e.SucceedCallback(ctx, id, fmt.Sprint("answer ", n.id))
	})
}

// complete completes a callback, or lets it time out.
func (p *program) complete(n *node, id string) {
	if n.opts == 0 {
		return
	}
	p.outside(id, func() {
		if rest(p.ctx, n.delay+p.late(fmt.Sprint("callback ", n.id))) == nil {
			p.answer(n, id)
		}
	})
	if n.opts > 5 { // somebody says it twice
		p.outside("again "+id, func() {
			if rest(p.ctx, n.delay+p.late(fmt.Sprint("callback again ", n.id))) == nil {
				p.answer(n, id)
			}
		})
	}
}

// beat keeps a callback alive by heartbeats, for longer than it would live
// without, and then completes it or falls silent.
func (p *program) beat(n *node, id string) {
	p.outside(id, func() {
		for range n.attempts * 2 {
			if rest(p.ctx, 4*time.Minute) != nil {
				return
			}
			p.insist(func(ctx context.Context, e *durable.Engine) error { return e.HeartbeatCallback(ctx, id) })
		}
		if n.opts != 0 {
			p.answer(n, id)
		}
	})
}

// cancel cancels the execution when all branches of the node are at what does
// not end, and that is recorded.
func (p *program) cancel(id string, n *node) {
	p.outside("cancel "+id, func() {
		for p.open(n) < len(n.branches) {
			if rest(p.ctx, time.Minute) != nil {
				return
			}
		}
		p.insist(func(ctx context.Context, e *durable.Engine) error { return e.Cancel(ctx, id, "enough") })
	})
}

// open counts the branches of the node that are where the cancel finds them.
func (p *program) open(n *node) (count int) {
	p.mu.Lock()
	e := p.engine
	p.mu.Unlock()
	waiting := map[string]durable.OperationStatus{}
	for _, seq := range n.branches {
		status := durable.OperationStarted
		if seq[0].kind == "retry" {
			status = durable.OperationPending
		}
		waiting[fmt.Sprint("open ", seq[0].id)] = status
	}
	for info, err := range e.Executions(p.ctx, durable.Query{Status: durable.ExecutionRunning}) {
		if err != nil {
			return 0
		}
		ops, err := e.Operations(p.ctx, info.ID)
		if err != nil {
			return 0
		}
		for _, o := range ops {
			if o.Type != "CONTEXT" && waiting[o.Name] == o.Status {
				count++
			}
		}
	}
	return count
}
