package durable

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/durable-go/durable/checkpoint"
)

// Observer is told what happens; fields that are nil are off. The functions are
// called on the goroutines that do the work, some while an execution is locked:
// they must be quick, must not block, must not call the engine and must not end
// their goroutine (as t.FailNow does). A panic in one is logged.
type Observer struct {
	// Event is called for each event that an invocation adds to a history, as it is
	// numbered, just before it becomes durable; a crash may lose the last ones.
	// Payloads are included. What Stop and a deadline write from outside
	// (ExecutionStopped, ExecutionTimedOut) is not told here.
	Event func(executionID string, ev Event)
	// InvocationStarted is called when an execution comes into memory.
	InvocationStarted func(executionID, function string, replay bool)
	// InvocationEnded is called when it has left memory.
	InvocationEnded func(executionID, function string)
	// AttemptStarted is called before each call of a body (of a step, a check, a
	// submitter or a plain function). The context it returns, if not nil, is the
	// body's: a place for a span.
	AttemptStarted func(ctx context.Context, info StepInfo) context.Context
	// AttemptEnded is called when the body has returned.
	AttemptEnded func(ctx context.Context, info StepInfo, err error)
}

func (e *Engine) observed() {
	if p := recover(); p != nil {
		e.log.Error("durable: an observer panicked", "panic", fmt.Sprintf("%T", p))
	}
}

// logGuard is the user's log handler, whose panics go nowhere: the engine logs on
// goroutines of its own, and where an execution is locked.
type logGuard struct{ slog.Handler }

func guarded(l *slog.Logger) *slog.Logger { return slog.New(&logGuard{l.Handler()}) }

func (g *logGuard) Enabled(ctx context.Context, l slog.Level) bool {
	defer func() { _ = recover() }()
	return g.Handler.Enabled(ctx, l)
}

func (g *logGuard) Handle(ctx context.Context, r slog.Record) error {
	defer func() { _ = recover() }()
	return g.Handler.Handle(ctx, r)
}

func (g *logGuard) WithAttrs(attrs []slog.Attr) (h slog.Handler) {
	h = g
	defer func() { _ = recover() }()
	return &logGuard{g.Handler.WithAttrs(attrs)}
}

func (g *logGuard) WithGroup(name string) (h slog.Handler) {
	h = g
	defer func() { _ = recover() }()
	return &logGuard{g.Handler.WithGroup(name)}
}

func (x *residency) observe(rec *checkpoint.Record, o *operation) {
	if x.e.opts.Observer == nil || x.e.opts.Observer.Event == nil || rec.Events == 0 {
		return
	}
	defer x.e.observed()
	for _, ev := range x.e.eventsOf(rec, o, &x.sum) {
		x.e.opts.Observer.Event(x.id, ev)
	}
}

// observeStart tells of the first event of an execution.
func (e *Engine) observeStart(s *checkpoint.Summary, input []byte) {
	if e.opts.Observer == nil || e.opts.Observer.Event == nil {
		return
	}
	defer e.observed()
	rec := s.Started
	rec.Payload = input
	for _, ev := range e.eventsOf(&rec, nil, s) {
		e.opts.Observer.Event(s.ID, ev)
	}
}

func (e *Engine) attemptStarted(ctx context.Context, info *stepInfo) (started context.Context) {
	started = ctx
	if e.opts.Observer == nil || e.opts.Observer.AttemptStarted == nil {
		return ctx
	}
	defer e.observed()
	if c := e.opts.Observer.AttemptStarted(ctx, info.public()); c != nil {
		return c
	}
	return ctx
}

func (e *Engine) attemptEnded(ctx context.Context, info *stepInfo, err error) {
	if e.opts.Observer == nil || e.opts.Observer.AttemptEnded == nil {
		return
	}
	defer e.observed()
	e.opts.Observer.AttemptEnded(ctx, info.public(), err)
}

func (x *residency) observeInvocation(started bool) {
	o := x.e.opts.Observer
	if o == nil {
		return
	}
	defer x.e.observed()
	switch {
	case started && o.InvocationStarted != nil:
		o.InvocationStarted(x.id, x.sum.Function, x.lastInvocation > 0)
	case !started && o.InvocationEnded != nil:
		o.InvocationEnded(x.id, x.sum.Function)
	}
}
