package durable

import (
	"context"
	"fmt"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/invocation"
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
	var out S
	s := conditionSettings(opts)
	if err := s.check(); err != nil {
		return out, ctx.misused(history.Step, name, err, "")
	}
	body := &conditionBody[S]{attempts: attempts{c: ctx, retry: &noRetry, byDefault: defaultMaxAttempts}, codec: s.codec, initial: initial, check: check, next: next}
	if s.retry != nil {
		body.retry = s.retry
	}
	result, err := ctx.in.Steps(checkpoint.WaitForCondition, name, s.named(ctx.v), body)
	if err != nil {
		return out, ctx.v.public(err)
	}
	defer ctx.in.Leave()
	return out, ctx.decode(&result, s.codec, &out)
}

// conditionBody is the body of a condition: one check.
type conditionBody[S any] struct {
	attempts
	codec   Codec
	initial S
	check   func(context.Context, S) (S, error)
	next    func(state S, attempt int) Poll
}

func (b *conditionBody[S]) Call(ctx context.Context, i *invocation.Info) (a invocation.Attempt) {
	defer called(&a)
	if b.check == nil || b.next == nil {
		panic(errNoBody)
	}
	state, err := b.state(i)
	if err == nil {
		state, err = b.check(ctx, state)
	}
	if err != nil {
		return invocation.Attempt{Err: err}
	}
	v := b.c.v
	if a.Payload, a.Err = v.encode(b.codec, state); a.Err != nil {
		return a
	}
	var recorded S
	codec, err := v.codecFor(b.codec, "")
	if err == nil {
		err = decodeWith(codec, a.Payload, &recorded)
	}
	if err != nil {
		return invocation.Attempt{Err: err}
	}
	poll := b.next(recorded, int(i.Number))
	switch {
	case poll.err != nil:
		a.Err = Permanent(poll.err)
	case !poll.done:
		a.GoesOn, a.Delay = true, max(poll.delay, 0)
	}
	return a
}

// state is the state for a check. Each gets one of its own, the initial one too: what a failed
// check did to it is forgotten.
func (b *conditionBody[S]) state(i *invocation.Info) (state S, err error) {
	v := b.c.v
	recorded, name := i.State, i.Operation().Codec
	if recorded == nil {
		if recorded, err = v.encode(b.codec, b.initial); err != nil {
			return state, fmt.Errorf("initial state: %w", err)
		}
		name = v.codecName(b.codec)
	}
	codec, err := v.codecFor(b.codec, name)
	if err == nil {
		err = decodeWith(codec, recorded, &state)
	}
	return state, err
}
