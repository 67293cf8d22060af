package durable

import "time"

// Retention has a goroutine of its own: whatever the store has to look at to find what
// may go, whoever claims does not wait for it. It asks for small bites, so that no change
// of an execution waits long behind one either.

// expireBite is how many executions one call of the store deletes.
const expireBite = 100

// retain deletes what is past its retention, from time to time, until the engine retires.
func (e *Engine) retain() {
	defer close(e.retained)
	if e.opts.Retention < 0 {
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	var store trouble
	for {
		select {
		case <-e.life.Done():
			return
		case <-timer.C:
		}
		if e.retired() {
			return
		}
		more, err := e.expire()
		switch {
		case err != nil:
			timer.Reset(store.troubled(e, "the store does not delete what is past its retention", err))
		case more:
			timer.Reset(0)
		default:
			store = trouble{}
			e.wake() // it also looks after those that stall, however long nothing is due
			timer.Reset(min(max(e.opts.Retention/10, time.Second), time.Minute))
		}
	}
}

// expire deletes a bite of what is past its retention.
func (e *Engine) expire() (more bool, err error) {
	n, err := e.store.Expire(e.life, e.store.Now().Add(-e.opts.Retention), expireBite)
	return n == expireBite, err
}
