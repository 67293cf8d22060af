package durable

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/durable-go/durable/checkpoint"
)

// closed is why the engine takes no calls any more, nil while it does.
func (e *Engine) closed() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.failed != nil:
		return e.failed
	case e.shut:
		return ErrClosed
	}
	return nil
}

// refuse is the error of a call that the engine does not take because it shuts down. If
// the code of an execution has made it, as its context tells, what that makes of the
// refusal is no result of its: neither what the body returns is recorded, nor, if it was
// made outside of one, how the handler ends. No lock of the engine's is held.
func (e *Engine) refuse(ctx context.Context) error {
	if err := e.closed(); err != nil {
		return err
	}
	if x, ok := ctx.Value(residencyKey{}).(*residency); ok && x.e == e {
		o := x.root
		if info, ok := ctx.Value(stepInfoKey{}).(*stepInfo); ok && info.x == x {
			o = info.o
		}
		x.mu.Lock()
		defer x.mu.Unlock()
		o.turnedAway = true
		x.retireNow()
	}
	return ErrClosed
}

// refusesToWait reports whether ctx is that of code of an execution that must not wait for
// anything from the engine any more: what it waits for may leave memory by the same
// shutdown.
func (e *Engine) refusesToWait(ctx context.Context) bool {
	x, ok := ctx.Value(residencyKey{}).(*residency)
	return ok && x.e == e && e.retired()
}

// retired reports whether the engine takes no new work any more.
func (e *Engine) retired() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.retiring || e.failed != nil || e.shut
}

// Shutdown stops claiming work, lets running bodies end and records them,
// suspends the rest and closes the store. When it returns nil, no body has to
// run again, but those that asked this engine, with their context, for what it does not do
// any more: that were waiting for another execution's result, or its callback, or started
// one. They get ErrClosed, and whatever they make of that and return is not recorded
// (at-most-once ones count as interrupted). When ctx ends first it
// closes as Close does, and the error counts the bodies that were still running: those
// run again when the store is opened (at-most-once ones count as interrupted).
func (e *Engine) Shutdown(ctx context.Context) error {
	if err := e.given(ctx); err != nil {
		return err
	}
	e.mu.Lock()
	if e.retiring || e.shut {
		e.mu.Unlock()
		return ErrClosed
	}
	e.retiring = true
	e.mu.Unlock()
	e.wake()
	<-e.loop
	e.starting.Wait()
	e.mayHaveEnded("") // bodies that wait for results would wait for ever
	resident := e.lockedResidents()
	for _, x := range resident {
		x.retire()
	}
	for _, x := range resident {
		select {
		case <-x.gone:
		case <-ctx.Done():
			running := e.bodies.Load()
			err := e.closeNow(ErrClosed)
			return errors.Join(fmt.Errorf("durable: shut down with %d bodies still running, they run again when the store is opened: %w", running, context.Cause(ctx)), err)
		}
	}
	lost := 0
	for _, x := range resident {
		x.mu.Lock()
		if x.unwritten {
			lost++
		}
		x.mu.Unlock()
	}
	if err := e.closed(); err != nil || lost > 0 {
		err = fmt.Errorf("durable: shut down, but what %d executions did last could not be written, they do it again when the store is opened: %w", lost, cmp.Or(err, ErrStoreFailed))
		return errors.Join(err, e.closeNow(ErrClosed))
	}
	return e.closeNow(ErrClosed)
}

// Close stops everything at once. It is safe like a crash is: what is durable
// goes on when the store is opened again. No body begins after it has returned.
func (e *Engine) Close() error {
	return e.closeNow(ErrClosed)
}

func (e *Engine) closeNow(cause error) error {
	e.mu.Lock()
	if e.shut {
		e.mu.Unlock()
		return nil
	}
	e.shut, e.retiring = true, true
	e.mu.Unlock()
	// Residencies close before any context ends: what a body returns because of
	// that must not be recorded.
	for _, x := range e.lockedResidents() {
		x.stopNow(cause)
	}
	e.endLife(cause)
	e.alarm.Close()
	<-e.loop
	e.mayHaveEnded("")
	err := e.store.Close()
	e.telling.Lock() // whoever ended an execution has told the observer
	defer e.telling.Unlock()
	return err
}

// storeFailed is called when the store can't write any more.
func (e *Engine) storeFailed(err error) {
	if errors.Is(err, checkpoint.ErrClosed) {
		return
	}
	e.mu.Lock()
	first := e.failed == nil
	if first {
		e.failed = fmt.Errorf("%w: %w", ErrStoreFailed, err)
	}
	e.mu.Unlock()
	if !first {
		return
	}
	e.log.Error("durable: the store failed: nothing more is written, close the engine and open it again", "error", err.Error())
	go func() {
		for _, x := range e.lockedResidents() {
			x.stopNow(ErrStoreFailed)
		}
		e.mayHaveEnded("")
	}()
}
