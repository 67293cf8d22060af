// Package teller calls the user's code that is only told something: observers and log
// handlers. Who has something to tell may hold any lock and waits for nobody, so that
// code that hangs keeps nobody else from going on.
package teller

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Teller calls functions: those under one key one after another, in the order in which
// they were given, those under different keys side by side. A goroutine is there for
// each key that something is to be told under. The zero value is ready.
type Teller struct {
	untold  atomic.Int64
	leftOut atomic.Int64 // lines of a log

	mu    sync.Mutex
	lines map[string]*line
}

// line is what is to be told under one key.
type line struct {
	calls []func()
	told  uint64    // how many have been called
	begun time.Time // when the first of calls was called; zero: it wasn't
	waits []wait
}

// wait is somebody who waits until so many have been called.
type wait struct {
	told uint64
	over chan struct{}
}

// Tell has f called. f may hang, panic and end its goroutine; a panic goes nowhere.
func (t *Teller) Tell(key string, f func()) { t.TellAtMost(key, 0, f) }

// TellAtMost is Tell, unless most calls wait under the key already; 0: any number may.
func (t *Teller) TellAtMost(key string, most int, f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lines[key]
	if l != nil && most > 0 && len(l.calls) >= most {
		return false
	}
	t.untold.Add(1)
	if l != nil {
		l.calls = append(l.calls, f)
		return true
	}
	l = &line{calls: []func(){f}}
	if t.lines == nil {
		t.lines = make(map[string]*line)
	}
	t.lines[key] = l
	go t.call(key, l)
	return true
}

// Untold is how many calls have not returned, under all keys together.
func (t *Teller) Untold() int { return int(t.untold.Load()) }

// call calls what is to be told under a key until there is nothing left.
func (t *Teller) call(key string, l *line) {
	ended := true
	defer func() {
		if ended { // by what was called
			go t.call(key, l)
		}
	}()
	for f := t.next(key, l); f != nil; f = t.next(key, l) {
		func() {
			defer func() { _ = recover() }()
			defer t.called(l)
			f()
		}()
	}
	ended = false
}

// next returns what is to be called next; nil if there is nothing, and the line is over.
func (t *Teller) next(key string, l *line) func() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(l.calls) == 0 {
		delete(t.lines, key)
		return nil
	}
	l.begun = time.Now()
	return l.calls[0]
}

// called takes note that the first of the calls has returned.
func (t *Teller) called(l *line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l.calls[0] = nil
	l.calls = l.calls[1:]
	l.told++
	l.begun = time.Time{}
	t.untold.Add(-1)
	waits := l.waits[:0]
	for _, w := range l.waits {
		if w.told <= l.told {
			close(w.over)
		} else {
			waits = append(waits, w)
		}
	}
	clear(l.waits[len(waits):])
	l.waits = waits
}

// until returns what is closed when at most most of what waits now under the key is left;
// nil: that is so.
func (t *Teller) until(key string, most int) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lines[key]
	if l == nil || len(l.calls) <= most {
		return nil
	}
	w := wait{l.told + uint64(len(l.calls)-most), make(chan struct{})}
	l.waits = append(l.waits, w)
	return w.over
}

// underWay is for how long the call that is under way under the key has been.
func (t *Teller) underWay(key string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.lines[key]; l != nil && !l.begun.IsZero() {
		return time.Since(l.begun)
	}
	return 0
}

// Wait returns when at most most of what waits now under the key is left to be told, or
// stop is closed.
func (t *Teller) Wait(key string, most int, stop <-chan struct{}) {
	if over := t.until(key, most); over != nil {
		select {
		case <-over:
		case <-stop:
		}
	}
}

// CatchUp returns when all that waits now under the key has been told, or stop is closed,
// or one call has taken longer than patience: who wants to come behind what was told
// before does not wait for code that hangs.
func (t *Teller) CatchUp(key string, patience time.Duration, stop <-chan struct{}) {
	if t.Untold() == 0 {
		return
	}
	over := t.until(key, 0)
	if over == nil {
		return
	}
	timer := time.NewTimer(max(patience-t.underWay(key), 0))
	defer timer.Stop()
	for {
		select {
		case <-over:
			return
		case <-stop:
			return
		case <-timer.C:
			left := patience - t.underWay(key)
			if left <= 0 {
				return
			}
			timer.Reset(left)
		}
	}
}

// CatchUpWithAll is CatchUp for all keys.
func (t *Teller) CatchUpWithAll(patience time.Duration, stop <-chan struct{}) {
	t.mu.Lock()
	keys := slices.Collect(maps.Keys(t.lines))
	t.mu.Unlock()
	for _, key := range keys {
		t.CatchUp(key, patience, stop)
	}
}
