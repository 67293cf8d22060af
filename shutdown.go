package durable

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/invocation"
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
	if r := e.hostOf(ctx); r != nil {
		r.x.TurnAway(ctx)
	}
	return ErrClosed
}

// refusesToWait reports whether ctx is that of code of an execution that must not wait for
// anything from the engine any more: what it waits for may leave memory by the same
// shutdown.
func (e *Engine) refusesToWait(ctx context.Context) bool {
	return e.hostOf(ctx) != nil && e.retired()
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
// (at-most-once ones count as interrupted).
//
// When ctx ends first it closes as Close does, and the error counts the bodies that were
// still running: those run again when the store is opened (at-most-once ones count as
// interrupted). It returns a second after ctx has ended at the latest, whatever the store
// does; one that is still closing then goes on with that, and the error says so. An error
// that matches ErrStoreFailed counts executions whose last records could not be written.
//
// What nobody waits for any more (a body of an execution that was stopped, a deferred call
// of one that has left) is given ten seconds.
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
	vacated := make(chan int, 1)
	go func() { vacated <- e.vacate() }()
	var lost int
	select {
	case lost = <-vacated:
	case <-ctx.Done():
		return e.closeWithin(ctx, func() error {
			cause := context.Cause(ctx)
			if n := e.toRunAgain(); n > 0 {
				return fmt.Errorf("durable: shut down with %d bodies still running, they run again when the store is opened: %w", n, cause)
			}
			return fmt.Errorf("durable: shut down before all executions had left memory, they go on when the store is opened: %w", cause)
		})
	}
	return e.closeWithin(ctx, func() error {
		switch err := e.closed(); {
		case err == ErrClosed:
			return fmt.Errorf("durable: closed while it was shutting down, bodies that were running then run again when the store is opened: %w", err)
		case err != nil || lost > 0:
			return fmt.Errorf("durable: shut down, but what %d executions did last could not be written, they do it again when the store is opened: %w", lost, cmp.Or(err, ErrStoreFailed))
		}
		return nil
	})
}

// vacate lets all executions leave memory, and returns of how many the last records could
// not be written. It ends when the engine closes at the latest.
func (e *Engine) vacate() (lost int) {
	e.mayHaveEnded("") // bodies that wait are turned away
	for _, x := range e.lockedResidents() {
		x.x.Retire()
	}
	<-e.loop
	e.starting.Wait()
	resident := e.lockedResidents() // those that came meanwhile retire by themselves
	for _, x := range resident {
		<-x.x.Done()
	}
	moment := time.NewTimer(invocation.SlowBody)
	defer moment.Stop()
	left := 0
	for _, x := range resident {
		select {
		case <-x.gone:
			continue
		default:
		}
		select {
		case <-x.gone:
		case <-e.life.Done():
		case <-moment.C:
			moment.Reset(0)
			left++
		}
	}
	if left > 0 {
		e.log.Warn("durable: shut down while code of executions that have ended, or left, goes on: make it heed its context", "executions", left)
	}
	return e.giveAllUp()
}

// toRunAgain counts the bodies that run and, when the engine closes now, have to run
// again.
func (e *Engine) toRunAgain() (n int) {
	for _, x := range e.lockedResidents() {
		n += x.x.State().ToRepeat
	}
	return n
}

// closeGrace is how long Shutdown gives the store to close when its context has ended.
const closeGrace = time.Second

// closeWithin closes the engine and returns what that, and report, which is called before,
// say. When ctx has ended it soon returns, though the store has not closed.
func (e *Engine) closeWithin(ctx context.Context, report func() error) error {
	defer e.lastWords(ctx)
	closed := make(chan error, 1)
	go func() {
		err := report()
		closed <- errors.Join(err, e.closeNow(ErrClosed))
	}()
	select {
	case err := <-closed:
		return err
	case <-ctx.Done():
	}
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	select {
	case err := <-closed:
		return err
	case <-grace.C:
	}
	e.leftAlone()
	return fmt.Errorf("durable: shut down with %d bodies still running, and the store has not closed yet: all that was acknowledged is there when it is opened again: %w", e.bodies.Load(), context.Cause(ctx))
}

// Close stops everything at once. It is safe like a crash is: what is durable
// goes on when the store is opened again. No body begins after it has returned.
func (e *Engine) Close() error {
	defer e.lastWords(context.Background())
	return e.closeNow(ErrClosed)
}

// closeNow closes the engine, or waits until it is closed if somebody else does that.
func (e *Engine) closeNow(cause error) error {
	e.mu.Lock()
	if e.shut {
		e.mu.Unlock()
		<-e.over
		return nil
	}
	e.shut, e.retiring = true, true
	e.mu.Unlock()
	defer e.leftAlone()
	// Invocations close before any context ends: what a body returns because of
	// that must not be recorded.
	for _, x := range e.lockedResidents() {
		x.stopNow(cause)
	}
	e.endLife(cause)
	e.alarm.Close()
	<-e.loop
	<-e.retained
	e.mayHaveEnded("")
	err := e.store.Close()
	e.telling.Wait() // whoever ended an execution has left it to the teller
	return err
}

// lastWords returns when the observer, and the log, have been told all that was to be. It
// waits for no call that takes longer than tellPatience, nor, but for a moment, longer than
// ctx.
func (e *Engine) lastWords(ctx context.Context) {
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.Background(), closeGrace/10)
		defer cancel()
	}
	e.teller.CatchUpWithAll(tellPatience, ctx.Done())
}

// leftAlone lets those go on who wait until the engine is closed.
func (e *Engine) leftAlone() { e.overOnce.Do(func() { close(e.over) }) }

// countUnwritten counts an execution whose last records went with the store.
func (e *Engine) countUnwritten() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unwritten++
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
