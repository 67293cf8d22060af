package conformance

import (
	"errors"
	"time"

	"github.com/durable-go/durable"
)

// summary is what handlers tell of a batch; fields that a case does not ask for
// are left empty.
type summary struct {
	Reason    durable.BatchReason `json:"completionReason,omitempty"`
	Status    durable.ItemStatus  `json:"status,omitempty"`
	Succeeded int                 `json:"successCount"`
	Failed    *int                `json:"failureCount,omitempty"`
	Total     int                 `json:"totalCount"`
}

// part says which fields of a summary a case asks for.
type part uint8

const (
	withStatus part = 1 << iota
	withFailed
)

// summarize tells of a batch. On AWS an exceeded tolerance, or a minimum that
// was not reached, is no error of the operation; here the error comes beside
// the batch, and these handlers look at the batch.
func summarize[O any](b *durable.Batch[O], err error, parts part) (summary, error) {
	if b == nil {
		return summary{}, err
	}
	s := summary{Reason: b.Reason(), Succeeded: b.Succeeded(), Total: b.Len()}
	if parts&withStatus != 0 {
		s.Status = b.Status()
	}
	if parts&withFailed != 0 {
		failed := b.Failed()
		s.Failed = &failed
	}
	return s, nil
}

// values returns the results of a batch.
func values[O any](b *durable.Batch[O], err error) ([]O, error) {
	if err != nil {
		return nil, err
	}
	return b.Values(), nil
}

// returning is a branch that returns v.
func returning[O any](v O) durable.Branch[O] {
	return durable.Branch[O]{Run: func(*durable.Context) (O, error) { return v, nil }}
}

// broken is a branch that fails.
func broken() durable.Branch[string] {
	return durable.Branch[string]{Run: func(*durable.Context) (string, error) { return "", errors.New("the branch fails") }}
}

// stepping is a branch with one step that returns v.
func stepping(v string) durable.Branch[string] {
	return durable.Branch[string]{Run: func(c *durable.Context) (string, error) { return durable.Step(c, "step", value(v)) }}
}

var oneByOne = durable.WithMaxConcurrency(1)

// summarizing runs branches one by one and tells of the batch.
func summarizing(name string, parts part, branches []durable.Branch[string], opts ...durable.BatchOption) handler {
	return handle(func(ctx *durable.Context, _ any) (summary, error) {
		b, err := durable.Parallel(ctx, name, branches, append(opts, oneByOne)...)
		return summarize(b, err, parts)
	})
}

var parallelCases = map[string]handler{
	"parallel/8-1": handle(func(ctx *durable.Context, _ any) ([]string, error) {
		return values(durable.Parallel(ctx, "parallel", []durable.Branch[string]{stepping("task-1"), stepping("task-2")}, oneByOne))
	}),

	"parallel/8-2": handle(func(ctx *durable.Context, _ any) ([]string, error) {
		return values(durable.Parallel(ctx, "", []durable.Branch[string]{returning("alpha"), returning("beta")}, oneByOne))
	}),

	"parallel/8-4": handle(func(ctx *durable.Context, _ any) ([]any, error) {
		return values(durable.Parallel(ctx, "hetero",
			[]durable.Branch[any]{returning[any]("hello"), returning[any](42), returning[any](map[string]string{"k": "v"})}, oneByOne))
	}),

	"parallel/8-5": handle(func(ctx *durable.Context, _ any) ([]string, error) {
		return values(durable.Parallel[string](ctx, "empty", nil))
	}),

	"parallel/8-7": handle(func(ctx *durable.Context, _ any) ([]string, error) {
		b, _ := durable.Parallel(ctx, "throwing", []durable.Branch[string]{broken(), returning("unreached")}, oneByOne, durable.WithToleratedFailures(0))
		return b.Values(), b.Err()
	}),

	"parallel/8-8": summarizing("min-successful", 0,
		[]durable.Branch[string]{returning("a"), returning("b"), returning("c"), returning("d")}, durable.WithMinSuccessful(2)),

	"parallel/8-10": summarizing("tolerated-exceeded", withFailed,
		[]durable.Branch[string]{broken(), broken(), returning("unreached")}, durable.WithToleratedFailures(1)),

	"parallel/8-11": handle(func(ctx *durable.Context, _ any) ([]string, error) {
		return values(durable.Parallel(ctx, "concurrent",
			[]durable.Branch[string]{returning("r0"), returning("r1"), returning("r2")}, durable.WithMaxConcurrency(2)))
	}),

	"parallel/8-13": summarizing("tolerated-pct", withFailed,
		[]durable.Branch[string]{broken(), broken(), returning("unreached"), returning("unreached")}, durable.WithToleratedFailurePercent(25)),

	"parallel/8-14": handle(func(ctx *durable.Context, _ any) ([]string, error) {
		waits := durable.Branch[string]{Run: func(c *durable.Context) (string, error) { return "b1", durable.Wait(c, "wait", 2*time.Second) }}
		return values(durable.Parallel(ctx, "replay", []durable.Branch[string]{stepping("b0"), waits}, oneByOne))
	}),

	"parallel/8-16": summarizing("all-fail", withStatus|withFailed,
		[]durable.Branch[string]{broken(), broken(), broken()}, durable.WithToleratedFailures(3)),

	"parallel/8-17": summarizing("min-not-reached", withStatus|withFailed,
		[]durable.Branch[string]{returning("a"), broken(), returning("c")}, durable.WithMinSuccessful(3)),

	"parallel/8-19": handle(func(ctx *durable.Context, _ any) ([]string, error) {
		return values(durable.Parallel(ctx, "bad-concurrency", []durable.Branch[string]{returning("a"), returning("b")}, durable.WithMaxConcurrency(0)))
	}),

	"parallel/8-20": handle(func(ctx *durable.Context, _ any) (map[string]any, error) {
		b, err := durable.Parallel(ctx, "accessors",
			[]durable.Branch[string]{returning("a"), broken(), returning("c")}, oneByOne, durable.WithToleratedFailures(1))
		if err != nil {
			return nil, err
		}
		return map[string]any{"hasFailure": b.Err() != nil, "successCount": b.Succeeded(), "failureCount": b.Failed(), "errorCount": len(b.Errors())}, nil
	}),

	"parallel/8-22": summarizing("pct-boundary", withStatus|withFailed,
		[]durable.Branch[string]{broken(), returning("b"), returning("c"), returning("d")}, durable.WithToleratedFailurePercent(25)),
}
