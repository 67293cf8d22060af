package durable

import (
	"context"
	"log/slog"
	"time"

	"github.com/durable-go/durable/internal/invocation"
)

// Context is what a handler performs its operations through. The package's
// functions (Step, Wait, Map …) take it first and write the journal; its own
// methods only read the run.
//
// A Context belongs to one goroutine: the one that its function was called on.
// It is on purpose not a context.Context: what takes one (a request, a query) is
// an effect, and effects belong into steps, which get one.
type Context struct {
	in invocation.Context
	v  *values
}

// Context returns a standard context for pure calls that want one. It ends when
// the scope is cancelled (context.Cause is ErrCanceled or ErrTimeout), when its
// function has returned, and when the execution is suspended. What the code saw there
// between two operations, it sees again on replay: the first look that sees a cancel is
// recorded, with the next checkpoint, and costs no flush of its own. It tells no deadline.
func (c *Context) Context() context.Context { return c.in.Standard() }

// WithoutCancel returns c for compensation: its operations run although c's
// scope, or one around it, was cancelled or timed out. It counts the same
// positions as c. The execution's own deadline and Stop reach it all the same.
func (c *Context) WithoutCancel() *Context { return &Context{c.in.WithoutCancel(), c.v} }

// ExecutionID is the ID of the execution.
func (c *Context) ExecutionID() string { return c.in.Invocation().Summary().ID }

// FunctionName is the name of the execution's function.
func (c *Context) FunctionName() string { return c.in.Invocation().Summary().Function }

// StartedAt is when the execution was started, in UTC, the same on every replay.
func (c *Context) StartedAt() time.Time { return timeOf(c.in.Invocation().Summary().StartedAt) }

// Deadline is when the execution times out, in UTC; zero if it does not.
func (c *Context) Deadline() time.Time { return timeOf(c.in.Invocation().Summary().Deadline) }

// Replaying reports whether the code that runs now has run before: in an earlier
// invocation that got further. It is for logging and metrics; code that does
// something else while replaying is not deterministic.
func (c *Context) Replaying() bool { return c.in.Replaying() }

// Logger returns the engine's logger with the execution, its function and the
// context's operation. It is silent while replaying, so that each line appears
// once, except around a crash. Under Replay it is never silent.
func (c *Context) Logger() *slog.Logger {
	l := slog.New(&replayHandler{c.v.logger.Handler(), c}).With("execution", c.ExecutionID(), "function", c.FunctionName())
	if id, _ := c.in.Operation(); id != "" {
		l = l.With("operation", id)
	}
	return l
}

// replayHandler drops records while c replays.
type replayHandler struct {
	slog.Handler
	c *Context
}

func (h *replayHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.Handler.Enabled(ctx, l) && (h.c.in.Invocation().Replays() || !h.c.Replaying())
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
