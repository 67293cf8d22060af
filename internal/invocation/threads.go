package invocation

import (
	"sync"
	"time"
)

// Threads is how the goroutines of an invocation take turns. It is a port for tests: whoever
// owns it decides which goroutine goes on at each point where more than one could, and can
// so try every order. Without one, the runtime decides.
//
// All locking, waiting and starting of goroutines in this package goes through it, but the
// lock of a lazyContext, which code may take at any time and which is never waited under.
type Threads interface {
	Lock()
	Unlock()
	Wait(on any) // until Wake; the lock is given up meanwhile
	Wake(on any)
	Go(f func())
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is what a *time.Timer can do.
type Timer interface {
	Reset(d time.Duration) bool
	Stop() bool
}

// turn is the lock of an invocation.
type turn struct {
	mu      sync.Mutex
	threads Threads // nil: the runtime's
}

func (t *turn) Lock() {
	if t.threads != nil {
		t.threads.Lock()
		return
	}
	t.mu.Lock()
}

func (t *turn) Unlock() {
	if t.threads != nil {
		t.threads.Unlock()
		return
	}
	t.mu.Unlock()
}

// wait gives the lock up until r is roused. x.mu is held.
func (x *Invocation) wait(r *routine) {
	if t := x.mu.threads; t != nil {
		t.Wait(r)
		return
	}
	r.woken.Wait()
}

// rouse lets r look again whether what it waits for has come. x.mu is held.
func (x *Invocation) rouse(r *routine) {
	if t := x.mu.threads; t != nil {
		t.Wake(r)
		return
	}
	r.woken.Broadcast()
}

// start runs f on a goroutine of its own.
func (x *Invocation) start(f func()) {
	if t := x.mu.threads; t != nil {
		t.Go(f)
		return
	}
	go f()
}

func (x *Invocation) afterFunc(d time.Duration, f func()) Timer {
	if t := x.mu.threads; t != nil {
		return t.AfterFunc(d, f)
	}
	return time.AfterFunc(d, f)
}
