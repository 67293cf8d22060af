package teller

import (
	"context"
	"log/slog"
)

// maxLines is how many lines of a log may wait; what comes then is left out.
const maxLines = 1000

// Logger is a logger whose lines t hands to h, by all its loggers in one order. Of lines
// that h is too slow for some are left out, and it is told how many.
func (t *Teller) Logger(h slog.Handler) *slog.Logger { return slog.New(&handler{t: t, to: h}) }

// LogKey is what lines of a log are told under.
const LogKey = " log"

// handler makes a line on the goroutine that logs, and calls nothing of the handler
// that it is for until the line is told: all of it is the user's code.
type handler struct {
	t    *Teller
	to   slog.Handler
	with []func(slog.Handler) slog.Handler
}

func (h *handler) Enabled(context.Context, slog.Level) bool { return true }

func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	ctx = context.WithoutCancel(ctx)
	leftOut := h.t.leftOut.Swap(0)
	told := h.t.TellAtMost(LogKey, maxLines, func() {
		to := h.to
		for _, with := range h.with {
			to = with(to)
		}
		if !to.Enabled(ctx, r.Level) {
			h.t.leftOut.Add(leftOut)
			return
		}
		if leftOut > 0 {
			r.AddAttrs(slog.Int64("linesLeftOutBefore", leftOut))
		}
		_ = to.Handle(ctx, r)
	})
	if !told {
		h.t.leftOut.Add(leftOut + 1)
	}
	return nil
}

func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.wrapped(func(to slog.Handler) slog.Handler { return to.WithAttrs(attrs) })
}

func (h *handler) WithGroup(name string) slog.Handler {
	return h.wrapped(func(to slog.Handler) slog.Handler { return to.WithGroup(name) })
}

func (h *handler) wrapped(with func(slog.Handler) slog.Handler) slog.Handler {
	return &handler{t: h.t, to: h.to, with: append(h.with[:len(h.with):len(h.with)], with)}
}
