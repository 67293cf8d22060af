package invocation

import (
	"context"

	"github.com/durable-go/durable/checkpoint"
)

// Run loads the invocation and runs its handler, on its goroutine.
func (x *Invocation) Run() {
	if r, run := x.begin(); r != nil {
		routineMain(x, r, run)
	}
}

// runHandler runs the execution's function on its goroutine.
func (x *Invocation) runHandler(f *frame, codec string, input []byte) {
	returned := false
	defer func() {
		if !returned {
			x.endHandler(f, exited())
		}
	}()
	r := x.Handler(Context{f: f}, input, codec)
	returned = true
	x.endHandler(f, r)
}

func (x *Invocation) endHandler(f *frame, r Return) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if r.CutOff || x.root.TurnedAway { // it runs again when the store is opened
		x.retireWake = true
		x.retireNow()
		return
	}
	failure := x.contextFailure(x.root, r.Ended, r.Failure)
	if f.r.abandoned || !x.phase.lets(letEnd) || x.phase == phaseRetiring && r.exited {
		return
	}
	problem := x.leftover(f)
	if r.Unreadable != nil && x.lastInvocation > 0 && !x.replay.failed() { // it could be decoded before
		problem = r.Unreadable
	}
	if problem != nil {
		x.holdNow(problem)
		return
	}
	status := checkpoint.Succeeded
	if failure != nil {
		status = checkpoint.Failed
	}
	f.end()
	x.finish(status, r.Payload, failure)
}

// Plain calls an ordinary function as the only body of its execution.
func (c Context) Plain(body Body) {
	f, x := c.f, c.f.x
	x.mu.Lock()
	if !x.mayGoOn(f) {
		x.exit(f)
		return
	}
	if problem := x.leftover(f); problem != nil { // it was a durable one
		x.holdNow(problem)
		x.exit(f)
		return
	}
	if x.replay != nil {
		x.replay.ended = true // there is nothing to replay
		x.beyond(f, "", "the call of a plain function")
		return
	}
	if !x.host.MayBegin() {
		x.lost(ErrLeaseOver)
		x.exit(f)
		return
	}
	f.showCancel()
	bodyCtx := c.bodyContext(x.root, 1)
	info := &bodyCtx.info
	x.enterBody(f.r)
	x.bodies.add(x.root)
	x.mu.Unlock()
	x.host.Bodies(1)
	x.host.Attempt(false)
	ctx := context.Context(bodyCtx)
	a := Attempt{Err: ErrGoexit} // or it panics
	defer func() {
		if a.Err != nil {
			x.host.Attempt(true)
		}
		body.End(ctx, info, a)
		x.host.Bodies(-1)
		x.mu.Lock()
		x.bodies.remove(x.root)
		x.mu.Unlock()
		// The routine counts as in its body until what it returned is recorded.
	}()
	ctx = body.Begin(ctx, info)
	a = body.Call(ctx, info)
}
