package conformance

import (
	"errors"
	"strings"
	"time"

	"github.com/durable-go/durable"
)

// stepInChild runs a step that returns v in a child context.
func stepInChild(ctx *durable.Context, name, v string, opts ...durable.ChildOption) (string, error) {
	return durable.RunInChildContext(ctx, name, func(c *durable.Context) (string, error) {
		return durable.Step(c, "step", value(v))
	}, opts...)
}

// failInChild runs a step that fails in a child context.
func failInChild(ctx *durable.Context, retry durable.RetryOption) (string, error) {
	return durable.RunInChildContext(ctx, "child", func(c *durable.Context) (string, error) {
		return durable.Step(c, "failing", fails, retry)
	})
}

var childCases = map[string]handler{
	"child/3-1": handle(func(ctx *durable.Context, in string) (string, error) { return stepInChild(ctx, "child", in) }),

	"child/3-2": handle(func(ctx *durable.Context, in struct{ Name, Value string }) (string, error) {
		return stepInChild(ctx, in.Name, in.Value)
	}),

	"child/3-4": handle(func(ctx *durable.Context, _ any) (string, error) { return failInChild(ctx, noRetry) }),

	"child/3-5": handle(func(ctx *durable.Context, in string) (string, error) {
		if _, err := failInChild(ctx, noRetry); err == nil {
			return "", errors.New("the child succeeded")
		}
		return durable.Step(ctx, "recover", value(in))
	}),

	"child/3-7": handle(func(ctx *durable.Context, in string) (string, error) {
		return durable.RunInChildContext(ctx, "child", func(c *durable.Context) (string, error) {
			return durable.Step(c, "unreliable", failingUntil(2, in), quick(3))
		})
	}),

	"child/3-8": handle(func(ctx *durable.Context, _ any) (string, error) { return failInChild(ctx, quick(2)) }),

	"child/3-10": handle(func(ctx *durable.Context, in string) (string, error) {
		return durable.RunInChildContext(ctx, "child", func(c *durable.Context) (string, error) {
			out, err := durable.Step(c, "step", value(in))
			if err != nil {
				return "", err
			}
			return out, durable.Wait(c, "wait", time.Second)
		})
	}),

	"child/3-11": handleIn(func(w *world, ctx *durable.Context, in string) (int, error) {
		large, err := durable.RunInChildContext(ctx, "large", func(c *durable.Context) (string, error) {
			w.slog.Info("building from " + in)
			small, err := durable.Step(c, "small", value(in))
			return strings.Repeat(small, 300<<10/len(small)), err
		})
		if err != nil {
			return 0, err
		}
		return len(large), durable.Wait(ctx, "wait", time.Second)
	}),

	"child/3-13": handle(func(ctx *durable.Context, in string) (string, error) {
		out, err := durable.RunInChildContext(ctx, "child", func(c *durable.Context) (string, error) {
			return in, durable.Wait(c, "wait", time.Second)
		})
		if err != nil {
			return "", err
		}
		return durable.Step(ctx, "outer", value(out))
	}),

	"child/3-14": handle(func(ctx *durable.Context, in string) (string, error) {
		return stepInChild(ctx, "child", in, durable.WithCodec(textCodec{"upper", strings.ToUpper, unchanged}))
	}),

	"child/3-16": handle(func(ctx *durable.Context, _ any) (any, error) {
		return durable.RunInChildContext(ctx, "child", func(*durable.Context) (any, error) { return nil, nil })
	}),

	"child/3-17": handleIn(func(w *world, ctx *durable.Context, in string) (string, error) {
		out, err := durable.RunInChildContext(ctx, "child", func(*durable.Context) (string, error) {
			w.slog.Info("in the child: " + in)
			return in, nil
		})
		if err != nil {
			return "", err
		}
		return out, durable.Wait(ctx, "wait", time.Second)
	}),
}
