package durabletest

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"time"

	"github.com/durable-go/durable"
)

// Config says what a test runs and what stands for the world outside.
type Config struct {
	// Functions are those that the engine has.
	Functions []durable.Definition

	// Steps are called instead of the bodies of the steps, and of the submitters of
	// callbacks, with these names.
	Steps map[string]Step

	// Stubs are called instead of the functions with these names, whether they are
	// among Functions or not. A stub stands for an execution that is somewhere else: it
	// is called once for each, on a goroutine of its own, and goes on through crashes.
	Stubs map[string]Stub

	// Answers are told of each callback with these names that is open, once, on a
	// goroutine of their own, which goes on through crashes and restarts as the world
	// outside does. A callback that nobody answers ends by its timeout.
	Answers map[string]Answer

	// Options are the engine's otherwise. Their Functions are taken too. The default
	// differs in that nothing is logged, that executions leave memory whenever they
	// wait (ParkFor: -1), so that each wait is a replay, and that they are kept for
	// ever (Retention: -1).
	Options durable.Options

	// Limit is how long, in virtual time, Test and each run of CrashEverywhere may
	// take; by default as good as for ever. When all that runs waits for what does not
	// come, time jumps there, and the test fails and says what it waits for.
	Limit time.Duration

	// MaxCheckpoints is how many checkpoints a run of CrashEverywhere may make, so that
	// a loop without an end is noticed; default: 10,000.
	MaxCheckpoints int

	// Fails says that the execution that CrashEverywhere runs has to fail, and what of:
	// a part of its failure's type or message. Without it the execution has to succeed.
	Fails string

	// Before is called before each run of CrashEverywhere: the place to make fakes
	// of the world outside anew.
	Before func()

	// Outside is called after each run of CrashEverywhere and returns the state of
	// the world outside, such as what fakes were asked for. It must be the same, as
	// JSON, wherever the run crashed. Set Before too. Mind that a step's body runs
	// again when the crash came before its outcome was durable: what it does must
	// be idempotent (see durable.StepInfo.IdempotencyKey).
	Outside func() any

	// Normalize is called with each result that CrashEverywhere compares, as JSON, or
	// with the failure, and returns what is the same for all runs: without random
	// numbers, for example. (What the engine draws is the same in all runs: IDs of
	// executions and callbacks, idempotency keys, NewUUID.) A handler with an AtMostOnce step may end in ErrInterrupted when it
	// crashes there: this is where a test says that it may.
	Normalize func(result json.RawMessage, failure *durable.Failure) any

	// MaxCrashes bounds how many crashes CrashEverywhere makes of each kind;
	// default: 200. If there are more places, they are spread evenly, and the test's
	// log says so.
	MaxCrashes int
}

// Step stands for the body of a step. What it returns is encoded as the step's
// result; it must decode into the step's type.
type Step func(ctx context.Context, info durable.StepInfo) (any, error)

// Stub stands for a function. It gets the input as JSON.
type Stub func(ctx context.Context, input json.RawMessage) (any, error)

// Answer answers a callback, now or later (time.Sleep), or doesn't.
type Answer func(cb *Callback)

// options are those of the engine. called makes of a stub what is called for it.
func (c *Config) options(called func(Stub) func(context.Context, json.RawMessage) (any, error)) durable.Options {
	opts := c.Options
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.ParkFor == 0 {
		opts.ParkFor = -1
	}
	if opts.Retention == 0 {
		opts.Retention = -1
	}
	opts.Functions = slices.DeleteFunc(slices.Concat(c.Functions, opts.Functions), func(d durable.Definition) bool {
		named, ok := d.(interface{ Name() string })
		return ok && c.Stubs[named.Name()] != nil
	})
	for name, stub := range c.Stubs {
		opts.Functions = append(opts.Functions, durable.DefinePlain(name, called(stub)))
	}
	opts.Interceptor = c.intercept
	return opts
}

// intercept puts the stubs of steps in the place of bodies.
func (c *Config) intercept(ctx context.Context, info durable.StepInfo, next func(context.Context) (any, error)) (any, error) {
	if stub := c.Steps[info.Name]; stub != nil {
		next = func(ctx context.Context) (any, error) { return stub(ctx, info) }
	}
	if c.Options.Interceptor != nil {
		return c.Options.Interceptor(ctx, info, next)
	}
	return next(ctx)
}
