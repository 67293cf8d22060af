package durable

import (
	"cmp"
	"context"
	"sync"
)

// openContext is a caller's context while the engine is open: who waits for a store that
// does not answer stops waiting when the engine closes. It costs nearly nothing unless
// somebody waits.
type openContext struct {
	context.Context // the caller's
	life            context.Context

	mu     sync.Mutex
	either context.Context // made when somebody asks when it ends
	leave  func()
}

// whileOpen is ctx until the engine closes. Call left behind it.
func (e *Engine) whileOpen(ctx context.Context) *openContext {
	return &openContext{Context: ctx, life: e.life}
}

// left gives back what it has taken.
func (c *openContext) left() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leave != nil {
		c.leave()
	}
}

func (c *openContext) Err() error {
	if err := cmp.Or(c.Context.Err(), c.life.Err()); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.either != nil { // it ends with left, too: what a store derives from it must see why
		return c.either.Err()
	}
	return nil
}

func (c *openContext) Done() <-chan struct{} {
	if c.Context.Done() == nil {
		return c.life.Done()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.either == nil {
		either, cancel := context.WithCancel(c.Context)
		stop := context.AfterFunc(c.life, cancel)
		c.either, c.leave = either, func() { stop(); cancel() }
	}
	return c.either.Done()
}
