package durable

import (
	"context"
	"fmt"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
)

// Poll is what follows a check: PollAfter goes on, PollDone ends it.
type Poll struct {
	delay time.Duration
	done  bool
	err   error
}

// PollAfter makes the next check d later.
func PollAfter(d time.Duration) Poll { return Poll{delay: d} }

// PollDone ends the operation with the state as its result.
func PollDone() Poll { return Poll{done: true} }

// PollEvery checks every d until done.
func PollEvery[S any](d time.Duration, done func(S) bool) func(S, int) Poll {
	return func(state S, _ int) Poll {
		if done(state) {
			return PollDone()
		}
		return PollAfter(d)
	}
}

// defaultPollAttempts is how many checks PollBackoff makes when the policy does not say.
const defaultPollAttempts = 60

// PollBackoff checks until done, with the delays of p. When its attempts (60 if
// p does not say) are exhausted, the operation fails.
func PollBackoff[S any](p RetryPolicy, done func(S) bool) func(S, int) Poll {
	return func(state S, attempt int) Poll {
		if done(state) {
			return PollDone()
		}
		if limit := p.attempts(defaultPollAttempts); attempt >= limit {
			return Poll{err: fmt.Errorf("the condition was not met in %d checks", limit)}
		}
		return PollAfter(p.Delay(attempt))
	}
}

// WaitForCondition calls check with a state, and again with the state it
// returned, until next says that it is done; the result is the last state. The
// state is recorded after each check and lives nowhere else, so it survives
// restarts; between checks the execution may leave memory.
//
// check is a body like a step's: it runs at least once for each attempt. Its
// error fails the operation at once, unless WithRetry is given. next is called
// right after it, with the state as decoded from the record and the number of
// checks made; what it says is recorded with the state.
//
// Options: WithTimeout, WithAttemptTimeout, WithRetry, WithCodec.
func WaitForCondition[S any](ctx *Context, name string, initial S,
	check func(context.Context, S) (S, error), next func(state S, attempt int) Poll, opts ...ConditionOption) (S, error) {
	x := ctx.f.x
	var out S
	s := conditionSettings(opts)
	if err := s.check(); err != nil {
		return out, x.misused(ctx.f, history.Step, name, err, "")
	}
	o, err := ctx.enter(history.Step, checkpoint.WaitForCondition, name)
	if err != nil {
		return out, err
	}
	defer ctx.leave()
	retry := NoRetry()
	if s.retry != nil {
		retry = *s.retry
	}
	_, err = ctx.runSteps(o, &s, retry, defaultMaxAttempts, func(c context.Context, recorded []byte, number int) (a attempt) {
		if check == nil || next == nil {
			panic(errNoBody)
		}
		// Each check gets a state of its own, the initial one too: what a failed
		// check did to it is forgotten.
		name := o.Codec
		if recorded == nil {
			var err error
			if recorded, err = x.e.encode(s.codec, initial); err != nil {
				return attempt{err: fmt.Errorf("initial state: %w", err)}
			}
			name = x.e.codecName(s.codec)
		}
		codec, err := x.e.codecFor(s.codec, name)
		if err != nil {
			return attempt{err: err}
		}
		var state S
		if err := decodeWith(codec, recorded, &state); err != nil {
			return attempt{err: err}
		}
		state, err = check(c, state)
		if err != nil {
			return attempt{err: err}
		}
		if a.payload, a.err = x.e.encode(s.codec, state); a.err != nil {
			return a
		}
		var decoded S
		if codec, err = x.e.codecFor(s.codec, ""); err == nil {
			err = decodeWith(codec, a.payload, &decoded)
		}
		if err != nil {
			return attempt{err: err}
		}
		poll := next(decoded, number)
		switch {
		case poll.err != nil:
			a.err = Permanent(poll.err)
		case !poll.done:
			a.goesOn, a.delay = true, max(poll.delay, 0)
		}
		return a
	})
	if err != nil {
		return out, err
	}
	return out, ctx.outcome(o, s.codec, &out)
}
