package durabletest

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"sync"

	"github.com/durable-go/durable"
)

// stubCall is the call of a stub, which stands for an execution somewhere else: a crash
// here does not touch it, and the next life goes on waiting for it.
type stubCall struct {
	ctx  *stubContext
	end  context.CancelCauseFunc
	done chan struct{}

	result   any
	err      error
	panicked any
	returned bool
}

// stubContext ends when the execution is cancelled, and not with a life; its values are
// those of the life that goes on.
type stubContext struct {
	context.Context
	mu  sync.Mutex
	now context.Context
}

func (c *stubContext) Value(key any) any {
	c.mu.Lock()
	now := c.now
	c.mu.Unlock()
	if now == nil {
		return nil
	}
	return now.Value(key)
}

// callStub begins a call.
func (e *Engine) callStub(stub Stub, input json.RawMessage) *stubCall {
	base, end := context.WithCancelCause(context.Background())
	call := &stubCall{ctx: &stubContext{Context: base}, end: end, done: make(chan struct{})}
	e.answers.Go(func() {
		defer close(call.done)
		defer func() {
			if !call.returned {
				call.panicked = recover() // nil: it has called runtime.Goexit
			}
		}()
		call.result, call.err = stub(call.ctx, input)
		call.returned = true
	})
	return call
}

// stub is the body of the function that a stub stands for.
func (e *Engine) stub(stub Stub) func(context.Context, json.RawMessage) (any, error) {
	return func(ctx context.Context, input json.RawMessage) (any, error) {
		info, _ := durable.StepInfoFrom(ctx)
		id := info.ExecutionID + " " + info.IdempotencyKey // not again after a retry, nor after it was deleted
		e.mu.Lock()
		call := e.stubs[id]
		if call == nil {
			if call = e.foretold[info.ExecutionID]; call == nil {
				call = e.callStub(stub, input)
			}
			delete(e.foretold, info.ExecutionID)
			e.stubs[id] = call
		}
		e.mu.Unlock()
		call.ctx.mu.Lock()
		call.ctx.now = ctx
		call.ctx.mu.Unlock()
		select {
		case <-call.done:
		case <-ctx.Done():
			if e.dying(ctx) {
				return nil, ctx.Err()
			}
			call.end(context.Cause(ctx))
			<-call.done
		}
		switch {
		case call.panicked != nil:
			panic(call.panicked)
		case !call.returned:
			runtime.Goexit()
		}
		return call.result, call.err
	}
}

// dying reports whether a body's context has ended because this life has.
func (e *Engine) dying(ctx context.Context) bool {
	e.mu.Lock()
	tap := e.tap
	e.mu.Unlock()
	return tap.alive() != nil || errors.Is(context.Cause(ctx), durable.ErrClosed)
}
