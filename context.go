package durable

import (
	"context"
	"log/slog"
	"time"
)

// Context is what a handler performs its operations through. The package's
// functions (Step, Wait, Map …) take it first and write the journal; its own
// methods only read the run.
//
// A Context belongs to one goroutine: the one that its function was called on.
// It is on purpose not a context.Context: what takes one (a request, a query) is
// an effect, and effects belong into steps, which get one.
type Context struct {
	f        *frame
	shielded bool
}

// Context returns a standard context for pure calls that want one. It ends when
// the scope is cancelled (context.Cause is ErrCanceled or ErrTimeout), when its
// function has returned, and when the execution is suspended. What the code saw there
// between two operations, it sees again on replay: the first look that sees a cancel is
// recorded, with the next checkpoint, and costs no flush of its own. It tells no deadline.
func (c *Context) Context() context.Context {
	if c.shielded {
		return c.f.context(true)
	}
	return (*standardContext)(c.f)
}

// WithoutCancel returns c for compensation: its operations run although c's
// scope, or one around it, was cancelled or timed out. It counts the same
// positions as c. The execution's own deadline and Stop reach it all the same.
func (c *Context) WithoutCancel() *Context { return &Context{f: c.f, shielded: true} }

// ExecutionID is the ID of the execution.
func (c *Context) ExecutionID() string { return c.f.x.id }

// FunctionName is the name of the execution's function.
func (c *Context) FunctionName() string { return c.f.x.sum.Function }

// StartedAt is when the execution was started, in UTC, the same on every replay.
func (c *Context) StartedAt() time.Time { return timeOf(c.f.x.sum.StartedAt) }

// Deadline is when the execution times out, in UTC; zero if it does not.
func (c *Context) Deadline() time.Time { return timeOf(c.f.x.sum.Deadline) }

// Replaying reports whether the code that runs now has run before: in an earlier
// invocation that got further. It is for logging and metrics; code that does
// something else while replaying is not deterministic.
func (c *Context) Replaying() bool {
	c.f.x.mu.Lock()
	defer c.f.x.mu.Unlock()
	return c.f.replaying || c.f.rebuild
}

// Logger returns the engine's logger with the execution, its function and the
// context's operation. It is silent while replaying, so that each line appears
// once, except around a crash. Under Replay it is never silent.
func (c *Context) Logger() *slog.Logger {
	x := c.f.x
	l := slog.New(&replayHandler{x.e.opts.Logger.Handler(), c}).With("execution", x.id, "function", x.sum.Function)
	if c.f.op.ID != "" {
		l = l.With("operation", c.f.op.ID)
	}
	return l
}

// replayHandler drops records while c replays.
type replayHandler struct {
	slog.Handler
	c *Context
}

func (h *replayHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.Handler.Enabled(ctx, l) && (h.c.f.x.replay != nil || !h.c.Replaying())
}

func (h *replayHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &replayHandler{h.Handler.WithAttrs(attrs), h.c}
}

func (h *replayHandler) WithGroup(name string) slog.Handler {
	return &replayHandler{h.Handler.WithGroup(name), h.c}
}

// timeOf is a recorded time as users get it: in UTC wherever the process runs, so that
// code that looks at an hour or a date takes the same way on each replay.
func timeOf(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
