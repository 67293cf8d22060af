package invocation

import (
	"context"
	"sync"
)

// lazyContext is a cancellable context.Context that is made when somebody asks for
// it: most code never does, and making one is dearer than the rest of a step. Its
// lock is the innermost of all: user code may ask at any time, whatever it holds.
type lazyContext struct {
	mu     sync.Mutex
	ctx    context.Context // nil: nobody has asked
	cancel context.CancelCauseFunc
	cause  error // why it has ended; nil: it has not
}

// below returns the context, which derives from parent.
func (l *lazyContext) below(parent func() context.Context) context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx == nil {
		l.ctx, l.cancel = context.WithCancelCause(parent())
		if l.cause != nil {
			l.cancel(l.cause)
		}
	}
	return l.ctx
}

// end ends the context, unless it has ended already.
func (l *lazyContext) end(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil {
		return
	}
	l.cause = cause
	if l.cancel != nil {
		l.cancel(cause)
	}
}

// ended reports whether end was called.
func (l *lazyContext) ended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause != nil
}
