package conformance

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/durable-go/durable"
)

// item is what a map does with its item "ok …", which succeeds, or another one,
// which fails.
func item(_ *durable.Context, in string, _ int) (string, error) {
	if !strings.HasPrefix(in, "ok") {
		return "", errors.New("the item fails")
	}
	return in, nil
}

func upper(_ *durable.Context, in string, _ int) (string, error) { return strings.ToUpper(in), nil }

// mapping maps items one by one and tells of the batch.
func mapping(name string, parts part, items []string, opts ...durable.BatchOption) handler {
	return handle(func(ctx *durable.Context, _ any) (summary, error) {
		b, err := durable.Map(ctx, name, items, item, append(opts, oneByOne)...)
		return summarize(b, err, parts)
	})
}

var mapCases = map[string]handler{
	"map/9-1": handle(func(ctx *durable.Context, names []string) ([]string, error) {
		return values(durable.Map(ctx, "map", names, func(c *durable.Context, name string, _ int) (string, error) {
			return durable.Step(c, "greet", greet(name))
		}, oneByOne))
	}),

	"map/9-2": handle(func(ctx *durable.Context, numbers []int) ([]int, error) {
		return values(durable.Map(ctx, "", numbers, func(_ *durable.Context, n, _ int) (int, error) { return 2 * n, nil }, oneByOne))
	}),

	"map/9-4": handle(func(ctx *durable.Context, items []string) ([]string, error) {
		return values(durable.Map(ctx, "empty", items, item))
	}),

	"map/9-5":  mapping("failfast", withStatus|withFailed, []string{"ok", "not", "ok"}, durable.WithToleratedFailures(0)),
	"map/9-7":  mapping("min-successful", 0, []string{"ok", "ok", "ok", "ok"}, durable.WithMinSuccessful(2)),
	"map/9-8":  mapping("tolerated", withStatus|withFailed, []string{"ok", "not", "ok"}, durable.WithToleratedFailures(1)),
	"map/9-10": mapping("tolerated-pct", withFailed, []string{"not", "not", "ok", "ok"}, durable.WithToleratedFailurePercent(25)),

	"map/9-11": handle(func(ctx *durable.Context, _ any) ([]string, error) {
		return values(durable.Map(ctx, "concurrent", []string{"r0", "r1", "r2"},
			func(_ *durable.Context, s string, _ int) (string, error) { return s, nil }, durable.WithMaxConcurrency(2)))
	}),

	"map/9-13": handle(func(ctx *durable.Context, numbers []int) ([]int, error) {
		return values(durable.Map(ctx, "named-items", numbers,
			func(_ *durable.Context, n, _ int) (int, error) { return 10 * n, nil }, oneByOne,
			durable.WithItemNames(func(i int) string { return fmt.Sprintf("item-%d", numbers[i]) })))
	}),

	"map/9-14": handle(func(ctx *durable.Context, _ any) ([]string, error) {
		return values(durable.Map(ctx, "serdes", []string{"x", "y"}, upper, oneByOne, durable.WithCodec(wrapped)))
	}),

	"map/9-16": handle(func(ctx *durable.Context, _ any) (summary, error) {
		b, err := durable.Map(ctx, "large", []string{"a", "b", "c", "d"}, func(_ *durable.Context, s string, _ int) (string, error) {
			return strings.Repeat(s, 70<<10), nil
		}, oneByOne)
		if err != nil {
			return summary{}, err
		}
		return summary{Succeeded: b.Succeeded(), Total: b.Len()}, nil
	}),

	"map/9-17": handle(func(ctx *durable.Context, _ any) ([]string, error) {
		out, err := values(durable.Map(ctx, "then-wait", []string{"a", "b"}, upper, oneByOne))
		if err != nil {
			return nil, err
		}
		return out, durable.Wait(ctx, "", time.Second)
	}),

	"map/9-19": handle(func(ctx *durable.Context, _ any) ([]string, error) {
		return values(durable.Map(ctx, "op-serde", []string{"x", "y"}, upper, oneByOne, durable.WithBatchCodec(joined{})))
	}),

	"map/9-20": handle(func(ctx *durable.Context, _ any) ([]string, error) {
		out, err := values(durable.Map(ctx, "op-serde-replay", []string{"x", "y"}, upper, oneByOne, durable.WithBatchCodec(joined{})))
		if err != nil {
			return nil, err
		}
		return out, durable.Wait(ctx, "", time.Second)
	}),
}

var wrapped = textCodec{
	name:   "wrapped",
	encode: func(s string) string { return "wrapped:" + s },
	decode: func(s string) (string, error) {
		text, ok := strings.CutPrefix(s, "wrapped:")
		if !ok {
			return "", fmt.Errorf("%q is not wrapped", s)
		}
		return text, nil
	},
}

// joined is a codec of a whole result, a []string.
type joined struct{}

func (joined) Name() string { return "joined" }

func (joined) Encode(v any) ([]byte, error) {
	return []byte("OPSERDE:" + strings.Join(v.([]string), ",")), nil
}

func (joined) Decode(data []byte, v any) error {
	text, ok := strings.CutPrefix(string(data), "OPSERDE:")
	if !ok {
		return fmt.Errorf("%q is not joined", data)
	}
	*v.(*[]string) = strings.Split(text, ",")
	return nil
}
