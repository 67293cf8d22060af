package durable

import "context"

// watchers are those who wait for something about an execution, by its ID: lists.
type watchers map[string]*watcher

type watcher struct {
	woken      chan struct{}
	next, prev *watcher
}

func (w watchers) add(id string) *watcher {
	one := &watcher{woken: make(chan struct{}, 1), next: w[id]}
	if one.next != nil {
		one.next.prev = one
	}
	w[id] = one
	return one
}

func (w watchers) remove(id string, one *watcher) {
	if one.next != nil {
		one.next.prev = one.prev
	}
	switch {
	case one.prev != nil:
		one.prev.next = one.next
	case one.next != nil:
		w[id] = one.next
	default:
		delete(w, id)
	}
}

// wake wakes those of an execution; "" is all.
func (w watchers) wake(id string) {
	if id == "" {
		for id := range w {
			w.wake(id)
		}
		return
	}
	for one := w[id]; one != nil; one = one.next {
		select {
		case one.woken <- struct{}{}:
		default:
		}
	}
}

// until calls check now and whenever those are woken who are among the watchers of the
// execution, until it says that it is done.
func (e *Engine) until(ctx context.Context, among watchers, id string, check func() (done bool, err error)) error {
	e.mu.Lock()
	w := among.add(id)
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		among.remove(id, w)
	}()
	for {
		done, err := check()
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil || done {
			return err
		}
		if err := e.closed(); err != nil {
			return err
		}
		if e.refusesToWait(ctx) {
			return e.refuse(ctx)
		}
		select {
		case <-w.woken:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-e.life.Done():
		}
	}
}
