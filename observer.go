package durable

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/invocation"
	"github.com/durable-go/durable/internal/teller"
)

// Observer is told what happens; fields that are nil are off.
//
// Inject, BeginInvocation, AttemptStarted and AttemptEnded are called where the work is
// done, which waits for them. All others are told behind it: about one execution one
// after another, in the order in which it happened, about several side by side. No
// function is called under a lock, and one that hangs keeps no other execution
// waiting. Start, Run, Result, ResultJSON, Stop and RestartFrom return, and an attempt
// starts, when what happened before has been told, or a call has taken a second; an
// execution of which a thousand things are still to be told waits; Close waits for all, but
// for no call longer than a second.
//
// What they are told is theirs to keep and to change. They should be quick, must not
// call the engine and must not end their goroutine (as t.FailNow does). A panic in one
// is logged.
type Observer struct {
	// Event is called for each event that an invocation adds to a history, when it is
	// numbered, which is just before it becomes durable; a crash may lose the last ones.
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
	// checkpoint.CommitWatcher. What it is too slow for, by ten thousand calls, is
	// left out.
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
		e.v.observerPanicked(p)
	}
}

func (v *values) observed() {
	if p := recover(); p != nil {
		v.observerPanicked(p)
	}
}

func (v *values) observerPanicked(p any) {
	v.log.Error("durable: an observer panicked", "panic", fmt.Sprintf("%T", p))
}

// What an observer is only told it is told by the engine's teller, without any lock, and
// nobody waits for it but who is to come behind it, for a moment.
const (
	// tellPatience is how long one call of the user's may keep others from coming behind
	// what is told before.
	tellPatience = time.Second
	// maxUntold is how much of one execution may wait to be told before the execution
	// waits for it.
	maxUntold = 1000
	// maxCommits is how many commits may wait to be told; what is more is left out.
	maxCommits = 10_000
)

// commitKey is what commits are told under; no execution has it for an ID.
const commitKey = " commit"

// tell has f, which calls the observer about an execution, called behind what was told
// about it before.
func (e *Engine) tell(id string, f func()) {
	e.teller.Tell(id, func() {
		defer e.observed()
		f()
	})
}

// caughtUp returns when all about the execution has been told that was to be, or a call
// takes too long, or stop is closed.
func (e *Engine) caughtUp(id string, stop <-chan struct{}) { e.teller.CatchUp(id, tellPatience, stop) }

// answering is caughtUp for an answer to somebody outside, who finds in the log, too, what
// came before it.
func (e *Engine) answering(id string, stop <-chan struct{}) {
	e.caughtUp(id, stop)
	e.teller.CatchUp(teller.LogKey, tellPatience, stop)
}

// logGuard is the user's log handler, whose panics go nowhere: the engine logs on
// goroutines of its own.
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

// observe tells of an event that is numbered. x.mu is held.
func (x *resident) observe(rec *checkpoint.Record, o *history.Operation) {
	f := x.e.opts.Observer.Event
	told, of := *rec, o
	if o != nil {
		of = &history.Operation{ID: o.ID, Parent: o.Parent, Name: o.Name, Duration: o.Duration}
	}
	x.e.tell(x.id, func() {
		for _, ev := range x.e.eventsOf(&told, of, x.x.Summary()) {
			f(x.id, ev)
		}
	})
}

// observeStart tells of the start of an execution.
func (e *Engine) observeStart(s *checkpoint.Summary, input []byte) {
	e.tallyOf(s.Function).started.Add(1)
	started, event := e.opts.Observer.ExecutionStarted, e.opts.Observer.Event
	if started == nil && event == nil {
		return
	}
	sum := *s
	e.tell(s.ID, func() {
		if started != nil {
			started(observedExecution(&sum))
		}
		if event != nil {
			rec := sum.Started
			rec.Payload = input
			for _, ev := range e.eventsOf(&rec, nil, &sum) {
				event(sum.ID, ev)
			}
		}
	})
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
func (e *Engine) executionEnded(s *checkpoint.Summary, status checkpoint.Status, at int64, failure *fault.Failure) {
	e.tallyOf(s.Function).ended[status].Add(1)
	f := e.opts.Observer.ExecutionEnded
	if f == nil {
		return
	}
	x := observedExecution(s)
	if s.Started.Seq == 0 { // its journal was not read
		if whole, err := e.store.Get(e.life, s.ID); err == nil && whole.Incarnation == s.Incarnation {
			x.Trace = whole.Started.Trace
		}
	}
	e.tell(x.ID, func() {
		var err *Failure
		if failure != nil {
			err = e.errs.rebuild(failure)
		}
		f(x, ExecutionStatus(status.String()), timeOf(at), err)
	})
}

// beginObserved tells that the journal is read.
func (x *resident) beginObserved(replay, lost bool) context.Context {
	inv := Invocation{Replay: replay, Lost: lost, Records: int(x.x.Summary().Tail)}
	if inv.Replay {
		x.e.replayLength.observe(int64(inv.Records))
	}
	f := x.e.opts.Observer.BeginInvocation
	if f == nil {
		return nil
	}
	x.e.caughtUp(x.id, x.x.Done())
	defer x.e.observed()
	ctx := f(context.Background(), observedExecution(x.x.Summary()), inv)
	if ctx != nil {
		x.values.Store(&ctx)
	}
	return ctx
}

// toldLater is an outcome that the observer is told when seq is durable.
type toldLater struct {
	seq     uint64
	op      Operation
	failure *fault.Failure
}

// observeOutcome takes note of an outcome. x.mu is held.
func (x *resident) observeOutcome(o *history.Operation) {
	if o.Type == history.Step && !o.Refusal {
		x.tally.steps.Add(1)
	}
	if x.e.opts.Observer.OperationEnded == nil || o.Silent() {
		return
	}
	op := Operation{ID: o.ID, ParentID: o.Parent, Type: o.Type.String(), SubType: o.SubType.String(), Name: o.Name, Status: OperationStatus(o.Status), Attempt: int(o.Attempt),
		StartedAt: timeOf(o.StartedAt), EndedAt: timeOf(o.EndedAt), InvokedID: o.Target}
	x.told.Add(toldLater{o.EndSeq, op, o.Failure})
}

// tellOutcomes tells of the outcomes that are durable. x.mu is held.
func (x *resident) tellOutcomes(durable uint64) {
	ctx := context.Background()
	if given := x.values.Load(); given != nil {
		ctx = *given
	}
	for !x.told.Empty() && x.told.First().seq <= durable {
		t := x.told.Take()
		x.e.tell(x.id, func() {
			if t.failure != nil {
				t.op.Failure = x.e.errs.rebuild(t.failure)
			}
			x.e.opts.Observer.OperationEnded(ctx, x.id, t.op)
		})
	}
}

// woken counts and tells that something goes on that was due at.
func (e *Engine) woken(r *resident, at, now int64) {
	late := max(now-at, 0)
	e.wakeDelay.observe(late)
	if f := e.opts.Observer.Woken; f != nil {
		e.tell(r.id, func() { f(r.tally.name, time.Duration(late)) })
	}
}

// committed is called by the store.
func (e *Engine) committed(c checkpoint.Commit) {
	e.commitTime.observe(int64(c.Took))
	e.commitChanges.observe(int64(c.Changes))
	if f := e.opts.Observer.Committed; f != nil {
		e.teller.TellAtMost(commitKey, maxCommits, func() {
			defer e.observed()
			f(c)
		})
	}
}

func (v *values) attemptStarted(ctx context.Context, info *invocation.Info) (started context.Context) {
	started = ctx
	if v.observer.AttemptStarted == nil {
		return ctx
	}
	if v.engine != nil {
		v.engine.caughtUp(info.Invocation().Summary().ID, ctx.Done())
	}
	defer v.observed()
	public := stepInfo(info)
	info.Told = &public
	if c := v.observer.AttemptStarted(ctx, public); c != nil {
		return c
	}
	return ctx
}

func (v *values) attemptEnded(ctx context.Context, info *invocation.Info, err error) {
	if v.observer.AttemptEnded == nil {
		return
	}
	defer v.observed()
	public, ok := info.Told.(*StepInfo)
	if !ok {
		made := stepInfo(info)
		public = &made
	}
	v.observer.AttemptEnded(ctx, *public, err)
}

// observeInvocation tells of its begin, by who has loaded the journal, or of its end.
func (x *resident) observeInvocation(started, replay bool) {
	o := x.e.opts.Observer
	switch {
	case started && o.InvocationStarted != nil:
		x.e.tell(x.id, func() { o.InvocationStarted(x.id, x.x.Summary().Function, replay) })
	case !started && o.InvocationEnded != nil:
		x.e.tell(x.id, func() { o.InvocationEnded(x.id, x.x.Summary().Function) })
	}
}
