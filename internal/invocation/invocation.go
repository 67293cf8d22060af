package invocation

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/journal"
)

// Invocation is an execution in memory: from its claim until it ends or is
// released. It holds the fold of the journal, numbers what happens, runs the
// handler and its branches, and knows when nothing of them can go on.
// Its phases, and what they let through, are in phase.go.
//
// Closed: no record is taken any more, and every goroutine of ours ends, the
// blocked ones at once, the others at their next operation. What their code
// still returns is discarded. When the last one has ended, the invocation is gone
// and the execution may be claimed again.
//
// Lock order: its mu before any lock of the host's.
type Invocation struct {
	Config
	host Host
	id   string

	given atomic.Pointer[context.Context] // the watcher's, for its values; nil: none

	mu             turn
	phase          phase
	ops            history.Operations
	root           *history.Operation
	keys           *history.Keys // of the execution it began as; nil: it has none
	journal        records
	answer         func(error) // answered
	inboxSeen      uint64
	inboxTail      uint64 // the last inbox entry that is known of
	lastInvocation uint64 // sequence of the last InvocationCompleted before this invocation
	cutOff         bool   // an earlier invocation was cut off
	held           error  // why it is held
	draining       bool   // a goroutine moves the inbox into the journal
	drainAgain     bool   // and something came since it looked
	cancelling     int    // cancels that are being recorded: nothing else is taken over
	newsPending    bool   // the inbox got something while the invocation was loading
	replayed       bool   // its last append was not made: what it did may be done again
	retiring       bool   // the host shuts down
	retireWake     bool   // it was not idle when the host shut down
	replay         *Replay
	ended          *Final // it is durable that the execution has ended like this

	routines map[*routine]struct{}
	running  int                             // routines that run code: not blocked, not abandoned
	alive    int                             // routines that have not ended and are not abandoned
	inBodies int                             // of these, those that run a body
	bodies   bodies                          // operations whose body runs
	strays   map[*history.Operation]struct{} // bodies that run on although their operation has timed out
	busy     int                             // outside events being taken over: it may not be suspended meanwhile
	outside  int                             // open callbacks and invokes
	cancels  int                             // scopes cancelled so far

	due       dueTimes
	firing    bool // something that is due is with the host; what is due later waits
	park      Timer
	idleSince time.Time
	progress  time.Time // when an operation last began or ended

	life lazyContext // ends when the invocation closes
	gone bool        // nothing of it runs any more
}

// routine is a goroutine of ours: the handler's, or a branch's.
type routine struct {
	blocked   bool
	abandoned bool
	quitting  bool
	inBody    bool
	woken     sync.Cond // told when what it waits for has come, or it is to end
	goroutine uint64    // its number; 0: not looked up yet
}

// waiter is a routine that waits for an operation, or for the first of several.
type waiter struct {
	r     *routine
	fired bool
}

var errSuspended = errors.New("durable: the execution was suspended")

// New makes an invocation, for Run.
func New(c *Config) *Invocation {
	x := &Invocation{
		Config: *c, host: c.Host, id: c.Execution.ID, cutOff: c.Lost, replay: c.Replay,
		ops:      history.New(c.Execution.Tail),
		routines: make(map[*routine]struct{}),
		progress: time.Now(),
	}
	x.mu.threads = c.Threads
	x.root = x.ops[""]
	x.answer = x.answered
	x.journal.Journal = journal.New(x.Execution.Tail, x.Execution.LastEvent)
	x.inboxSeen, x.inboxTail = x.Execution.InboxSeen, x.Execution.InboxTail
	if x.replay != nil {
		x.replay.x, x.replay.over = x, make(chan struct{})
	}
	return x
}

// context ends when the invocation closes.
func (x *Invocation) context() context.Context {
	return x.life.below(func() context.Context { return &invocationContext{x.host.Base(), x} })
}

// invocationContext is what all contexts of an invocation derive from.
type invocationContext struct {
	context.Context
	x *Invocation
}

func (c *invocationContext) Value(key any) any {
	// The host's own first: package context asks for its own keys where an execution is
	// locked, and the watcher's is the user's code.
	if v := c.Context.Value(key); v != nil {
		return v
	}
	if given := c.x.given.Load(); given != nil {
		return (*given).Value(key)
	}
	return nil
}

// spawn starts a goroutine of ours that runs code of f. x.mu is held.
func (x *Invocation) spawn(f *frame, run func()) {
	x.startRoutine(x.enlist(f), run)
}

// startRoutine runs run as a routine. What goroutine begins in routineMain is looked up by
// that name, so it is the first that it calls.
func (x *Invocation) startRoutine(r *routine, run func()) {
	if t := x.mu.threads; t != nil {
		t.Go(func() { routineMain(x, r, run) })
		return
	}
	go routineMain(x, r, run)
}

// enlist makes a routine for f, for routineMain. x.mu is held.
func (x *Invocation) enlist(f *frame) *routine {
	r := &routine{woken: sync.Cond{L: &x.mu}}
	f.r = r
	x.routines[r] = struct{}{}
	x.alive++
	x.running++
	x.unpark()
	return r
}

// routineMain is what every goroutine of ours that runs code of the user begins with:
// only one that does is ever ended by runtime.Goexit.
//
//go:noinline
func routineMain(x *Invocation, r *routine, run func()) {
	defer x.routineEnded(r)
	run()
}

func (x *Invocation) routineEnded(r *routine) {
	x.mu.Lock()
	delete(x.routines, r)
	x.leaveBody(r)
	if !r.abandoned {
		x.alive--
		if !r.blocked {
			x.running--
		}
	}
	x.weigh()
	x.mu.Unlock()
}

// enterBody takes note that a routine runs a body. x.mu is held.
func (x *Invocation) enterBody(r *routine) {
	if !r.inBody && !r.abandoned {
		r.inBody = true
		x.inBodies++
	}
}

// leaveBody takes note that a routine runs no body any more, or that it does not matter.
// x.mu is held.
func (x *Invocation) leaveBody(r *routine) {
	if r.inBody {
		r.inBody = false
		x.inBodies--
	}
}

// dismiss tells a routine to end. x.mu is held.
func (x *Invocation) dismiss(r *routine) {
	r.quitting = true
	x.rouse(r)
}

// abandon dismisses a routine whose context has ended: it counts no more, and
// the invocation waits for it no more. x.mu is held.
func (x *Invocation) abandon(r *routine) {
	if r.abandoned {
		return
	}
	x.leaveBody(r)
	r.abandoned = true
	x.alive--
	if !r.blocked {
		x.running--
	}
	x.dismiss(r)
}

// mayGoOn reports whether code of f may begin an effect or see an outcome.
// x.mu is held.
func (x *Invocation) mayGoOn(f *frame) bool {
	return x.phase.lets(letEffects) && !f.r.abandoned && !f.abandoned
}

// exit ends the goroutine that runs code of f, if it is one of ours; otherwise
// it returns an error. x.mu is held, and given up in both cases.
func (x *Invocation) exit(f *frame) error {
	x.mu.Unlock()
	if !onOwnGoroutine() {
		return &Misuse{Type: history.Context, ExecutionID: x.id, OperationID: f.op.ID, Name: f.op.Name, Err: fault.ErrConcurrentUse,
			Hint: "the execution has ended or was suspended, and this goroutine is not one that the library started: use durable.Go for concurrent operations"}
	}
	goexit()
	return nil
}

// block waits until w is woken, or a cancel reaches f: the caller looks again whether it
// has to wait. x.mu is held on entry and on return; while waiting, the routine does not
// count as running. It ends the goroutine if the invocation closes or the context is
// abandoned.
func (x *Invocation) block(f *frame, w *waiter) error {
	if w.fired {
		return nil
	}
	r := f.r
	if !x.mayGoOn(f) { // since its body began
		x.weigh()
		return x.exit(f)
	}
	if !r.onItsGoroutine() {
		err := &Misuse{Type: history.Context, ExecutionID: x.id, OperationID: f.op.ID, Name: f.op.Name, Err: fault.ErrConcurrentUse,
			Hint: "an operation that has to wait was called from a goroutine that does not own its context: use durable.Go for concurrent operations"}
		x.holdNow(err)
		x.mu.Unlock()
		return err
	}
	f.replaying = false
	f.showCancel()
	r.blocked = true
	f.waits = w
	x.running--
	x.send()
	x.weigh()
	for !w.fired && !r.quitting {
		x.wait(r)
	}
	f.waits = nil
	if !x.mayGoOn(f) {
		return x.exit(f)
	}
	return nil
}

// wake lets a waiter go on. x.mu is held.
func (x *Invocation) wake(w *waiter) {
	if w.fired {
		return
	}
	w.fired = true
	if w.r.blocked {
		w.r.blocked = false
		if !w.r.abandoned {
			x.running++
			x.unpark()
		}
	}
	x.rouse(w.r)
}

// wakeAll wakes who waits for o. x.mu is held.
func (x *Invocation) wakeAll(o *history.Operation) {
	for _, w := range o.Waiters {
		x.wake(w.(*waiter))
	}
	o.Waiters = nil
	if o.Settled() || o.Gone {
		for _, f := range o.OnSettled {
			f()
		}
		o.OnSettled = nil
	}
}

// waitFor blocks until one of the operations is settled or, if it is pending,
// ready. x.mu is held.
func (x *Invocation) waitFor(f *frame, ops ...*history.Operation) error {
	w := &waiter{r: f.r}
	for _, o := range ops {
		o.Waiters = append(o.Waiters, w)
	}
	return x.block(f, w)
}

// waitsOutside takes note of an open callback or invoke. x.mu is held.
func (x *Invocation) waitsOutside(o *history.Operation) {
	o.Outside = true
	x.outside++
}

// waitsNoMore takes note that nobody outside is waited for any more, if one was.
// x.mu is held.
func (x *Invocation) waitsNoMore(o *history.Operation) {
	if o.Outside {
		o.Outside = false
		x.outside--
	}
}

// settle records the outcome of o and wakes who waits for it. x.mu is held.
func (x *Invocation) settle(o *history.Operation, rec *checkpoint.Record, failure *fault.Failure) {
	rec.OperationID = o.ID
	rec.SubType = o.SubType
	if rec.Attempt == 0 {
		rec.Attempt = o.Attempt
	}
	x.record(o, rec, failure)
	x.settled(o)
}

// settled takes note that the outcome of o is recorded. x.mu is held.
func (x *Invocation) settled(o *history.Operation) {
	x.progress = time.Now()
	x.waitsNoMore(o)
	x.wakeAll(o)
}

// Ending reports whether the invocation has ended its execution itself, or is closed.
func (x *Invocation) Ending() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.phase == phaseEnding || x.phase == phaseClosed
}

// Logger is for the host's own lines about the execution.
func (x *Invocation) Logger() *slog.Logger {
	return x.Log.With("execution", x.id, "function", x.Execution.Function)
}
