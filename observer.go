package durable

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

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

	// What follows is what metrics and traces are made of: each is told once, by the
	// process that wrote it, when it is durable, and never on a replay. A crash in
	// that moment may lose the last ones.

	// Inject is called by Start, Run and StartByName with their context. The text that
	// it returns, a W3C traceparent for example, is recorded in plain with the
	// execution and given back as ObservedExecution.Trace; longer than 1 KiB, it is
	// left out.
	Inject func(ctx context.Context) string
	// ExecutionStarted is called when an execution was created, started from outside
	// or invoked.
	ExecutionStarted func(x ObservedExecution)
	// ExecutionEnded is called when an execution has its final status, also by Stop
	// and by its deadline. err is nil if it succeeded.
	ExecutionEnded func(x ObservedExecution, status ExecutionStatus, endedAt time.Time, err *Failure)
	// BeginInvocation is called when an execution has come into memory and its journal
	// is read, before any of it goes on. All contexts of this invocation have the
	// values of the context that it returns, if that is not nil.
	BeginInvocation func(ctx context.Context, x ObservedExecution, inv Invocation) context.Context
	// OperationEnded is called with each outcome of an operation: Result and
	// CallbackID are left out. ctx has the values of BeginInvocation's.
	OperationEnded func(ctx context.Context, executionID string, op Operation)
	// Woken is called when something goes on that waited to be able to: the first
	// invocation of a function's execution, a wait or a delay that is over, an event
	// from outside. late is how long after it could.
	Woken func(function string, late time.Duration)
	// Committed is called after each durable write of a store that tells, see
	// checkpoint.CommitWatcher.
	Committed func(c checkpoint.Commit)
}

// ObservedExecution is what an Observer is told of an execution. StartedAt is in UTC.
type ObservedExecution struct {
	ID, Function string
	// Incarnation is random, drawn when the execution was created: another execution
	// under the same ID, after this one was deleted, has another.
	Incarnation [16]byte
	StartedAt   time.Time
	Trace       string          // what Inject returned
	Caller      *ObservedCaller // the operation that invoked it; nil: it was started from outside
}

// ObservedCaller is the operation that invoked an execution.
type ObservedCaller struct {
	ExecutionID string
	Incarnation [16]byte
	OperationID string
}

// Invocation is an execution's coming into memory.
type Invocation struct {
	Replay  bool // it was in memory before
	Lost    bool // and that invocation was cut off, by a crash for example
	Records int  // of the journal that was read
}

const maxTrace = 1 << 10

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
	if x.e.opts.Observer.Event == nil || rec.Events == 0 {
		return
	}
	defer x.e.observed()
	for _, ev := range x.e.eventsOf(rec, o, &x.sum) {
		x.e.opts.Observer.Event(x.id, ev)
	}
}

// observeStart tells of the start of an execution.
func (e *Engine) observeStart(s *checkpoint.Summary, input []byte) {
	e.tallyOf(s.Function).started.Add(1)
	defer e.observed()
	if f := e.opts.Observer.ExecutionStarted; f != nil {
		f(observedExecution(s))
	}
	if f := e.opts.Observer.Event; f != nil {
		rec := s.Started
		rec.Payload = input
		for _, ev := range e.eventsOf(&rec, nil, s) {
			f(s.ID, ev)
		}
	}
}

func observedExecution(s *checkpoint.Summary) ObservedExecution {
	x := ObservedExecution{ID: s.ID, Function: s.Function, Incarnation: s.Incarnation, StartedAt: timeOf(s.StartedAt), Trace: s.Started.Trace}
	if c := s.Caller; c != nil {
		x.Caller = &ObservedCaller{ExecutionID: c.ID, Incarnation: c.Incarnation, OperationID: c.OperationID}
	}
	return x
}

// inject asks the observer what to record with a start.
func (e *Engine) inject(ctx context.Context, id, function string) (trace string) {
	if e.opts.Observer.Inject == nil {
		return ""
	}
	defer e.observed()
	if trace = e.opts.Observer.Inject(ctx); len(trace) > maxTrace {
		e.log.Warn("durable: what Observer.Inject returned is too long and is left out", "execution", id, "function", function, "bytes", len(trace), "limit", maxTrace)
		return ""
	}
	return strings.ToValidUTF8(trace, "")
}

// executionEnded counts and tells the end of an execution, which is durable.
func (e *Engine) executionEnded(s *checkpoint.Summary, status checkpoint.Status, at int64, failure *failureRecord) {
	e.tallyOf(s.Function).ended[status].Add(1)
	if e.opts.Observer.ExecutionEnded == nil {
		return
	}
	defer e.observed()
	x := observedExecution(s)
	if s.Started.Seq == 0 { // its journal was not read
		if whole, err := e.store.Get(e.life, s.ID); err == nil && whole.Incarnation == s.Incarnation {
			x.Trace = whole.Started.Trace
		}
	}
	var err *Failure
	if failure != nil {
		err = e.errs.rebuild(failure)
	}
	e.opts.Observer.ExecutionEnded(x, ExecutionStatus(status.String()), timeOf(at), err)
}

// beginObserved tells that the journal is read.
func (x *residency) beginObserved() {
	inv := Invocation{Replay: x.lastInvocation > 0 || x.cutOff, Lost: x.cutOff, Records: int(x.sum.Tail)}
	if inv.Replay {
		x.e.replayLength.observe(int64(inv.Records))
	}
	f := x.e.opts.Observer.BeginInvocation
	if f == nil {
		return
	}
	defer x.e.observed()
	if ctx := f(context.Background(), observedExecution(&x.sum), inv); ctx != nil {
		x.observed.Store(&ctx)
	}
}

// toldLater is an outcome that the observer is told when seq is durable.
type toldLater struct {
	seq uint64
	op  Operation
}

// observeOutcome takes note of an outcome. x.mu is held.
func (x *residency) observeOutcome(o *operation) {
	if o.typ == typeStep && !o.refusal {
		x.tally.steps.Add(1)
	}
	if x.e.opts.Observer.OperationEnded == nil || o.silent() {
		return
	}
	op := Operation{ID: o.id, ParentID: o.parent, Type: o.typ.String(), SubType: o.sub.String(), Name: o.name, Status: o.status, Attempt: int(o.attempt),
		StartedAt: timeOf(o.started), EndedAt: timeOf(o.ended), InvokedID: o.target}
	if o.failure != nil {
		op.Failure = x.e.errs.rebuild(o.failure)
	}
	x.journal.told.add(toldLater{o.endSeq, op})
}

// tellOutcomes tells of the outcomes that are durable. x.mu is held.
func (x *residency) tellOutcomes() {
	j := &x.journal
	ctx := context.Background()
	if given := x.observed.Load(); given != nil {
		ctx = *given
	}
	for !j.told.empty() && j.told.first().seq <= j.durable {
		op := j.told.take().op
		x.tellOutcome(ctx, &op)
	}
}

func (x *residency) tellOutcome(ctx context.Context, op *Operation) {
	defer x.e.observed()
	x.e.opts.Observer.OperationEnded(ctx, x.id, *op)
}

// woken counts and tells that something goes on that was due at.
func (e *Engine) woken(t *functionTally, at, now int64) {
	late := max(now-at, 0)
	e.wakeDelay.observe(late)
	if e.opts.Observer.Woken != nil {
		defer e.observed()
		e.opts.Observer.Woken(t.name, time.Duration(late))
	}
}

// committed is called by the store.
func (e *Engine) committed(c checkpoint.Commit) {
	e.commitTime.observe(int64(c.Took))
	e.commitChanges.observe(int64(c.Changes))
	if e.opts.Observer.Committed != nil {
		defer e.observed()
		e.opts.Observer.Committed(c)
	}
}

func (e *Engine) attemptStarted(ctx context.Context, info *stepInfo) (started context.Context) {
	started = ctx
	if e.opts.Observer.AttemptStarted == nil {
		return ctx
	}
	defer e.observed()
	public := info.public()
	info.told = &public
	if c := e.opts.Observer.AttemptStarted(ctx, public); c != nil {
		return c
	}
	return ctx
}

func (e *Engine) attemptEnded(ctx context.Context, info *stepInfo, err error) {
	if e.opts.Observer.AttemptEnded == nil {
		return
	}
	defer e.observed()
	public := info.told
	if public == nil {
		made := info.public()
		public = &made
	}
	e.opts.Observer.AttemptEnded(ctx, *public, err)
}

func (x *residency) observeInvocation(started bool) {
	o := x.e.opts.Observer
	defer x.e.observed()
	switch {
	case started && o.InvocationStarted != nil:
		o.InvocationStarted(x.id, x.sum.Function, x.lastInvocation > 0)
	case !started && o.InvocationEnded != nil:
		o.InvocationEnded(x.id, x.sum.Function)
	}
}
