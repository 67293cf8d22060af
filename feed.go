package durable

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// feed tells those who look on that something has become durable. Nobody waits for
// them: a listener that is slow finds what it missed in one.
type feed struct {
	listening atomic.Int32 // how many there are: without them nothing is done
	mu        sync.Mutex
	of        map[string]map[*listener]struct{} // by execution; "" is any
}

// listener is one who looks on.
type listener struct {
	woken chan struct{}
	ids   map[string]struct{} // of Changes: executions since it last looked
}

// join makes a listener for an execution, or, with "", for all.
func (f *feed) join(id string) *listener {
	l := &listener{woken: make(chan struct{}, 1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of == nil {
		f.of = make(map[string]map[*listener]struct{})
	}
	if f.of[id] == nil {
		f.of[id] = make(map[*listener]struct{})
	}
	f.of[id][l] = struct{}{}
	f.listening.Add(1)
	return l
}

func (f *feed) leave(id string, l *listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listening.Add(-1)
	if delete(f.of[id], l); len(f.of[id]) == 0 {
		delete(f.of, id)
	}
}

// tell says that something happened to an execution; "" is to all and says nothing of
// any: the engine closes.
func (f *feed) tell(id string) {
	if f.listening.Load() == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for l := range f.of[""] {
		l.wake(id)
	}
	if id != "" {
		for l := range f.of[id] {
			l.wake("")
		}
		return
	}
	for _, all := range f.of {
		for l := range all {
			l.wake("")
		}
	}
}

// followed are the executions that somebody follows.
func (f *feed) followed() map[string]struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	ids := make(map[string]struct{}, len(f.of))
	for id := range f.of {
		if id != "" {
			ids[id] = struct{}{}
		}
	}
	return ids
}

// follows reports whether there are any.
func (f *feed) follows() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.of) > 1 || len(f.of) == 1 && f.of[""] == nil
}

func (l *listener) wake(id string) {
	if id != "" {
		if l.ids == nil {
			l.ids = make(map[string]struct{})
		}
		l.ids[id] = struct{}{}
	}
	select {
	case l.woken <- struct{}{}:
	default:
	}
}

// taken returns the executions since it was last called.
func (f *feed) taken(l *listener) (ids map[string]struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ids, l.ids = l.ids, nil
	return ids
}

// ticks is when to look without being told; nil where everything is told.
func (e *Engine) ticks() (ticks <-chan time.Time, stop func()) {
	if !e.shared {
		return nil, func() {}
	}
	t := time.NewTicker(lookAgain)
	return t.C, t.Stop
}

// await returns when l was woken, or it is time to look; an error when ctx, or the
// engine, has ended.
func (e *Engine) await(ctx context.Context, l *listener, ticks <-chan time.Time) (tick bool, err error) {
	if !e.refusesToWait(ctx) {
		select {
		case <-l.woken:
		case <-ticks:
			tick = true
		case <-ctx.Done():
		case <-e.life.Done():
		}
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if e.refusesToWait(ctx) {
		return false, e.refuse(ctx)
	}
	return tick, e.closed()
}
