package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/durable-go/durable"
)

// targets are the functions that handlers invoke.
var targets = []durable.Definition{echo, reject, measure, patient, refuse, forever, impatient, relay}

var (
	echo = durable.DefinePlain("echo", func(ctx context.Context, in json.RawMessage) (json.RawMessage, error) { return in, aMoment(ctx) })

	reject = durable.DefinePlain("reject", func(ctx context.Context, _ json.RawMessage) (any, error) {
		return nil, errors.Join(aMoment(ctx), errors.New("the target rejects this"))
	})

	measure = durable.DefinePlain("measure", func(ctx context.Context, in string) (int, error) { return len(in), aMoment(ctx) })
)

// aMoment passes in every target, as in a Lambda function: its caller has left
// memory by then.
func aMoment(ctx context.Context) error {
	select {
	case <-time.After(100 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// invoking invokes target with the handler's input.
func invoking(target string) handler {
	return handle(func(ctx *durable.Context, in json.RawMessage) (json.RawMessage, error) {
		return durable.InvokeByName[json.RawMessage](ctx, "", target, in)
	})
}

var invokeCases = map[string]handler{
	"invoke/5-1": invoking("echo"),

	"invoke/5-2": handle(func(ctx *durable.Context, in struct{ Name, Payload string }) (json.RawMessage, error) {
		return durable.InvokeByName[json.RawMessage](ctx, in.Name, "echo", in.Payload)
	}),

	"invoke/5-4": invoking("echo"),
	"invoke/5-5": invoking("reject"),

	"invoke/5-7": handle(func(ctx *durable.Context, _ any) (int, error) {
		return durable.Invoke(ctx, "", measure, strings.Repeat("x", 900<<10))
	}),

	"invoke/5-10": handle(func(ctx *durable.Context, _ any) (string, error) {
		_, err := durable.InvokeByName[any](ctx, "", "reject", nil)
		if err == nil {
			return "", errors.New("the target succeeded")
		}
		return "caught: " + err.Error(), durable.Wait(ctx, "", time.Second)
	}),

	"invoke/5-11": handle(func(ctx *durable.Context, _ any) (string, error) {
		result, err := durable.Step(ctx, "prepare", value("prepared"))
		if err != nil {
			return "", err
		}
		return durable.InvokeByName[string](ctx, "", "echo", result)
	}),

	"invoke/5-13": handle(func(ctx *durable.Context, in any) (string, error) {
		return durable.RunInChildContext(ctx, "child", func(c *durable.Context) (string, error) {
			return durable.InvokeByName[string](c, "", "echo", "from the child")
		})
	}),

	"invoke/5-14": handle(func(ctx *durable.Context, in any) ([]string, error) {
		first, err := durable.InvokeByName[string](ctx, "", "echo", "first")
		if err != nil {
			return nil, err
		}
		second, err := durable.InvokeByName[string](ctx, "", "echo", "second")
		return []string{first, second}, err
	}),

	"invoke/5-16": handle(func(ctx *durable.Context, in string) (string, error) {
		return durable.InvokeByName[string](ctx, "", "echo", in, durable.WithCodec(decoding{"shouting", func(v any) error {
			text := v.(*string)
			*text = strings.ToUpper(*text)
			return nil
		}}))
	}),
}
