// Package dispatch calls back on behalf of a store: in order, on one goroutine,
// without any lock of the store.
package dispatch

import (
	"sync"

	"github.com/durable-go/durable/checkpoint"
)

// Dispatcher calls back what it is given, in that order.
type Dispatcher struct {
	mu     sync.Mutex
	filled sync.Cond
	queue  []call
	watch  func(checkpoint.Hint)
	closed bool
	ended  chan struct{}
}

// call is done(err), or a hint when done is nil.
type call struct {
	done func(error)
	err  error
	hint checkpoint.Hint
}

// New starts a dispatcher, which Close ends.
func New() *Dispatcher {
	d := &Dispatcher{ended: make(chan struct{})}
	d.filled.L = &d.mu
	go d.run()
	return d
}

// Watch sets who gets the hints.
func (d *Dispatcher) Watch(fn func(checkpoint.Hint)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watch = fn
}

// Done has done(err) called.
func (d *Dispatcher) Done(done func(error), err error) { d.add(call{done: done, err: err}) }

// Hint has a hint given to the function set by Watch.
func (d *Dispatcher) Hint(h checkpoint.Hint) { d.add(call{hint: h}) }

// HintNow gives a hint before it returns, ahead of what was given before.
func (d *Dispatcher) HintNow(h checkpoint.Hint) {
	d.mu.Lock()
	watch := d.watch
	d.mu.Unlock()
	if watch != nil {
		watch(h)
	}
}

func (d *Dispatcher) add(c call) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		if c.done != nil {
			go c.done(c.err)
		}
		return
	}
	d.queue = append(d.queue, c)
	d.filled.Signal()
}

// Close returns when everything that was given before has been called. What
// comes later is called on a goroutine of its own, without an order; hints are
// dropped. It must not be called by what is called back.
func (d *Dispatcher) Close() {
	d.mu.Lock()
	d.closed = true
	d.filled.Signal()
	d.mu.Unlock()
	<-d.ended
}

func (d *Dispatcher) run() {
	defer close(d.ended)
	var batch []call
	for {
		d.mu.Lock()
		for len(d.queue) == 0 && !d.closed {
			d.filled.Wait()
		}
		if len(d.queue) == 0 {
			d.mu.Unlock()
			return
		}
		batch, d.queue = d.queue, batch[:0]
		watch := d.watch
		d.mu.Unlock()
		for i, c := range batch {
			switch {
			case c.done != nil:
				c.done(c.err)
			case watch != nil:
				watch(c.hint)
			}
			batch[i] = call{}
		}
	}
}
