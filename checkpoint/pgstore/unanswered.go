package pgstore

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// unanswered is that there was no answer in the time that the store gives the server. It
// does not pass for the end of the caller's context, which goes on: who waits for a result
// could not tell them apart, and what a handler returns would be recorded as a timeout.
type unanswered struct {
	within time.Duration
	err    error
}

func (e *unanswered) Error() string {
	return fmt.Sprintf("no answer within %s: the server is overloaded or can't be reached, or all connections of the pool are in use all the time: %s", e.within, e.err)
}

// inOwnTime is err, which may come from a context of the store's own that ended by then.
func inOwnTime(err error, within time.Duration) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return &unanswered{within, err}
	}
	return err
}
