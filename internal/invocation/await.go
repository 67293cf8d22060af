package invocation

import (
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// Pending is an operation that may be awaited. The zero value is none.
type Pending struct{ o *history.Operation }

// Name is the operation's name.
func (p Pending) Name() string { return p.o.Name }

// IsNone reports whether it is none.
func (p Pending) IsNone() bool { return p.o == nil }

// Go runs code in a child context on a goroutine of its own.
func (c Context) Go(name string, s *Settings, fn Code) Pending {
	f, x := c.f, c.f.x
	o, err := c.enter(history.Context, checkpoint.RunInChildContext, name)
	if err != nil {
		return Refused(history.Context, name, err)
	}
	defer c.Leave()
	f.futures = append(f.futures, o)
	if !o.Settled() && !f.rebuild {
		if err := c.startContext(o, s); err != nil {
			return Refused(history.Context, name, err)
		}
		below := x.newFrame(o, f)
		f.r.identify()
		x.spawn(below, func() {
			x.mu.Lock()
			below.r.identify()
			x.mu.Unlock()
			x.runContext(below, s, fn)
		})
	}
	x.mu.Unlock()
	return Pending{o}
}

// Refused stands for an operation that could not be entered.
func Refused(typ history.Type, name string, err error) Pending {
	return Pending{&history.Operation{Name: name, Type: typ, Status: history.Failed, EndSeq: 1, Failure: &fault.Failure{Type: "error"},
		Live: history.Live{Refused: err, Noted: true}}}
}

// Await waits for an operation that is not at a position of its own. c is left by Leave
// if there is no error. With fn, its value may have to be made again.
func (c Context) Await(p Pending, s *Settings, fn Code) (out Outcome, err error) {
	if err := c.awaitSettled(p.o); err != nil {
		return out, err
	}
	stays := false
	defer c.leaveUnless(&stays)
	if fn != nil {
		out, err = c.contextOutcome(p.o, s, fn)
	} else {
		out, err = c.outcome(p.o)
	}
	stays = err == nil
	return out, err
}

// awaitSettled waits until o is settled. If it returns no error, the
// invocation's mu is held, and c.leave must be deferred.
func (c Context) awaitSettled(o *history.Operation) error {
	f, x := c.f, c.f.x
	if !f.inUse.CompareAndSwap(false, true) {
		return x.misused(f, o.Type, o.Name, fault.ErrConcurrentUse, "another operation of this context is in progress: await with the context of the function that runs")
	}
	left := false
	defer func() {
		if !left {
			f.inUse.Store(false)
		}
	}()
	x.mu.Lock()
	if !x.mayGoOn(f) {
		return x.exit(f)
	}
	if err := x.foreign(f, o); err != nil {
		x.mu.Unlock()
		return err
	}
	if err := c.awaitOne(o); err != nil {
		return err
	}
	left = true
	return nil
}

// anyAbandoned returns an error if one of the operations was abandoned: it will have no
// outcome. While a value is rebuilt, what was left behind by then is as open as it was
// when that was made. x.mu is held.
func (x *Invocation) anyAbandoned(f *frame, ops ...*history.Operation) error {
	for _, o := range ops {
		if !f.rebuild && o.Dead() && !o.Settled() {
			return x.abandonedError(o)
		}
	}
	return nil
}

func (x *Invocation) abandonedError(o *history.Operation) error {
	return x.opError(o, fault.Own("Canceled", "the function that started it has returned"))
}

// foreign returns an error if one of the operations is not of this invocation.
// x.mu is held.
func (x *Invocation) foreign(f *frame, ops ...*history.Operation) error {
	for _, o := range ops {
		if x.ops[o.ID] != o && o.Refused == nil {
			return &Misuse{Type: history.Context, ExecutionID: x.id, OperationID: f.op.ID, Name: f.op.Name, Err: fault.ErrConcurrentUse,
				Hint: "what is awaited belongs to another execution, or to an earlier invocation of this one: keep futures, callbacks and timers in variables of the handler"}
		}
	}
	return nil
}
