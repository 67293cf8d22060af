package durable

import "time"

// Retention has a goroutine of its own: whatever the store has to look at to find what
// may go, whoever claims does not wait for it. It asks for small bites, so that no change
// of an execution waits long behind one either.

// expireBite is how many executions one call of the store deletes, at first. As long as more
// is left it gets larger: the store does it in pieces, and a large bite lets it keep up with
// many that end at the same time.
const (
	expireBite  = 100
	expireBites = 16 * expireBite
)

// retain deletes what is past its retention, from time to time, until the engine retires.
func (e *Engine) retain() {
	defer close(e.retained)
	if e.opts.Retention < 0 {
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	var store trouble
	bite := expireBite
	for {
		select {
		case <-e.life.Done():
			return
		case <-timer.C:
		}
		if e.retired() {
			return
		}
		more, err := e.expire(bite)
		switch {
		case err != nil:
			timer.Reset(store.troubled(e, "the store does not delete what is past its retention", err))
		case more:
			bite = min(2*bite, expireBites)
			timer.Reset(0)
		default:
			store, bite = trouble{}, expireBite
			e.warnOfStalled() // the claim loop does, too, but may sleep for long where clocks are steady
			timer.Reset(min(max(e.opts.Retention/10, time.Second), time.Minute))
		}
	}
}

// expire deletes a bite of what is past its retention.
func (e *Engine) expire(bite int) (more bool, err error) {
	n, err := e.store.Expire(e.life, e.store.Now().Add(-e.opts.Retention), bite)
	return n == bite, err
}
