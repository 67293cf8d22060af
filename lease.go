package durable

import (
	"time"

	"github.com/durable-go/durable/internal/invocation"
)

// What an engine runs is its own only as long as its store says so: on one that leases
// (checkpoint.Leased) everything stops before the lease runs out, and no body begins
// after that. What is in memory is written off; who owns it then begins from the store.

// holdsLease reports whether a resident that began under a lease still owns its execution.
func (e *Engine) holdsLease(number int64) bool {
	if e.leased == nil {
		return true
	}
	now, until := e.leased.Lease()
	return now == number && time.Until(until) > 0
}

// watchLease sees to it that a resident does not outlive the lease that was there
// before it was claimed: a process that was stopped in between may have another one by
// now. e.mu is held.
func (e *Engine) watchLease(x *resident, lease int64) {
	if e.leased == nil {
		return
	}
	x.lease = lease
	if !e.leaseWatched {
		e.leaseWatched = true
		_, until := e.leased.Lease()
		time.AfterFunc(time.Until(until), e.checkLease)
	}
}

// checkLease ends what has no lease any more, and looks again when the lease runs out
// unless it is renewed.
func (e *Engine) checkLease() {
	number, until := e.leased.Lease()
	left := time.Until(until)
	e.mu.Lock()
	over := e.beyond(number, left)
	if e.leaseWatched = left > 0 && len(e.residents) > len(over) && !e.shut; e.leaseWatched {
		time.AfterFunc(left, e.checkLease)
	}
	e.mu.Unlock()
	writeOff(over)
}

// sawLease ends at once what began under another lease than the one that there is now: a
// server that has gone back in time may give its executions to others before its time is
// over. e.mu is held.
func (e *Engine) sawLease(number int64) {
	if e.leaseNumber == number {
		return
	}
	e.leaseNumber = number
	if over := e.beyond(number, 1); len(over) > 0 {
		go writeOff(over)
	}
}

// beyond are the residents that have no lease: that of the number is good for so long.
// e.mu is held.
func (e *Engine) beyond(number int64, left time.Duration) (over []*resident) {
	for _, x := range e.residents {
		if x.lease != number || left <= 0 {
			over = append(over, x)
		}
	}
	return over
}

func writeOff(over []*resident) {
	for _, x := range over {
		x.x.Lost(invocation.ErrLeaseOver)
	}
}
