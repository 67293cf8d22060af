package durable

import (
	"errors"
	"math"
	"math/rand/v2"
	"time"
)

// RetryPolicy says whether and when a failed attempt is made again. Zero fields
// take defaults: 5 s initial, 5 min cap, ×2, full jitter, and as many attempts
// as the place says where the policy is used. An operation without WithRetry
// uses the default of AWS durable functions: 6 attempts, 5 s initial, 60 s cap,
// ×2, full jitter. Delays keep their precision and are recorded.
type RetryPolicy struct {
	MaxAttempts  int           // attempts in all, the first included; 0: the default of its place
	Initial, Max time.Duration // delay after the first attempt, and the cap
	Multiplier   float64       // of the delay, each time
	Jitter       Jitter
	// Retryable decides about an error as the body returned it; nil: all but Permanent.
	Retryable func(error) bool
}

// Jitter spreads delays so that many executions do not retry together.
type Jitter int

// The kinds of jitter.
const (
	FullJitter Jitter = iota // between 0 and the delay
	HalfJitter               // between half the delay and the delay
	NoJitter                 // the delay
)

// NoRetry is a policy of one attempt.
func NoRetry() RetryPolicy { return RetryPolicy{MaxAttempts: 1} }

const defaultMaxAttempts = 6

// defaultRetry is the policy of steps and submitters without WithRetry.
var defaultRetry = RetryPolicy{MaxAttempts: defaultMaxAttempts, Initial: 5 * time.Second, Max: 60 * time.Second, Multiplier: 2}

// Delay is the time between the failure of an attempt (from 1) and the next
// attempt. With jitter it is drawn at random at each call.
func (p RetryPolicy) Delay(attempt int) time.Duration {
	initial, limit, multiplier := p.Initial, p.Max, p.Multiplier
	if initial <= 0 {
		initial = 5 * time.Second
	}
	if limit <= 0 {
		limit = 5 * time.Minute
	}
	if multiplier <= 0 {
		multiplier = 2
	}
	d := float64(limit)
	if grown := float64(initial) * math.Pow(multiplier, float64(max(attempt, 1)-1)); grown < d {
		d = grown
	}
	switch p.Jitter {
	case NoJitter:
	case HalfJitter:
		d = d/2 + rand.Float64()*d/2
	default:
		d = rand.Float64() * d
	}
	if d >= math.MaxInt64 { // what a float can't tell from it is beyond it
		return math.MaxInt64
	}
	return time.Duration(d)
}

// attempts is MaxAttempts with the default of the place where p is used.
func (p RetryPolicy) attempts(byDefault int) int {
	if p.MaxAttempts > 0 {
		return p.MaxAttempts
	}
	return byDefault
}

// decide returns the delay before the attempt after the failed one, or false.
func (p RetryPolicy) decide(err error, attempt, byDefault int) (time.Duration, bool) {
	if attempt >= p.attempts(byDefault) || isPermanent(err) {
		return 0, false
	}
	if p.Retryable != nil && !p.Retryable(unmarked(err)) {
		return 0, false
	}
	if after, ok := errors.AsType[*retryAfterError](err); ok {
		return max(after.delay, 0), true
	}
	return p.Delay(attempt), true
}

// Permanent marks an error of a body: it is not tried again. What is recorded,
// and what Retryable gets, is err itself. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

// RetryAfter marks an error of a body: if the policy tries it again, it does so
// d later. What is recorded is err itself. RetryAfter(d, nil) is nil.
func RetryAfter(d time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return &retryAfterError{d, err}
}

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

type retryAfterError struct {
	delay time.Duration
	err   error
}

func (e *retryAfterError) Error() string { return e.err.Error() }
func (e *retryAfterError) Unwrap() error { return e.err }

// unmarked is err without the marks of Permanent and RetryAfter around it.
func unmarked(err error) error {
	for {
		switch e := err.(type) {
		case *permanentError:
			err = e.err
		case *retryAfterError:
			err = e.err
		default:
			return err
		}
	}
}

// isPermanent reports whether trying again can't help.
func isPermanent(err error) bool {
	if _, ok := errors.AsType[*permanentError](err); ok {
		return true
	}
	return errors.Is(err, ErrCodec) || errors.Is(err, ErrPayloadTooLarge) || errors.Is(err, ErrConcurrentUse)
}
