package durable

import (
	"context"
	"errors"
	"strings"
)

// What is nil and must not be: a call from outside returns an error before it has done
// anything; in a handler it is a panic of the handler's, or of the body that is to run,
// which is not tried again. A recorded outcome, or a stub that stands in, needs no body.
var (
	errNoStore     = errors.New("durable: New: the store is nil: give it one of memstore.New, boltstore.Open or pgstore.Open, or use Open")
	errURL         = errors.New("durable: Open takes the path of a file, and this is a URL: open a database with pgstore.Open, and give that store to New")
	errNoEngine    = errors.New("durable: the engine is nil: give the one that Open or New returned, and look at the error that they return")
	errNoContext   = errors.New("durable: the context.Context is nil: give context.Background() if there is no other")
	errNoRecording = errors.New("durable: the recording is nil: give one of Engine.Recording, or one decoded from JSON")
	errNoFunction  = errors.New("the *Function is nil: give it one that Define or DefinePlain returned, or use InvokeByName")
	errNoBody      = Permanent(errors.New("its function is nil: give the operation one"))
	errNilAwaited  = errors.New("durable: one of what is waited for is nil: leave it out")
	errNilOption   = errors.New("durable: an option is nil: leave it out")
)

// given is an error if a call from outside lacks its engine or its context.
func (e *Engine) given(ctx context.Context) error {
	switch {
	case e == nil || e.store == nil:
		return errNoEngine
	case ctx == nil:
		return errNoContext
	}
	return nil
}

// isURL reports whether a path is that of a database by mistake; it may hold a password.
func isURL(path string) bool {
	scheme, _, ok := strings.Cut(path, "://")
	return ok && !strings.ContainsAny(scheme, `/\.`)
}

// takes is why the engine does not take a call with ctx; nil if it does.
func (e *Engine) takes(ctx context.Context) error {
	if err := e.given(ctx); err != nil {
		return err
	}
	return e.closed()
}
