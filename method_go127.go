//go:build go1.27

package durable

import (
	"context"
	"iter"
	"time"

	"github.com/google/uuid"
)

// From Go 1.27 on every operation is also a method of Context. A method is the
// function of its name with the context in front; the functions stay the form
// that works with every version.

// Step is the function Step as a method.
func (c *Context) Step[O any](name string, fn func(context.Context) (O, error), opts ...StepOption) (O, error) {
	return Step(c, name, fn, opts...)
}

// Do is the function Do as a method.
func (c *Context) Do(name string, fn func(context.Context) error, opts ...StepOption) error {
	return Do(c, name, fn, opts...)
}

// TransactionalStep is the function TransactionalStep as a method.
func (c *Context) TransactionalStep[O any](name string, fn func(ctx context.Context, tx any) (O, error), opts ...StepOption) (O, error) {
	return TransactionalStep(c, name, fn, opts...)
}

// Call is the function Call as a method.
func (c *Context) Call[I, O any](name string, fn func(context.Context, I) (O, error), in I, opts ...StepOption) (O, error) {
	return Call(c, name, fn, in, opts...)
}

// Wait is the function Wait as a method.
func (c *Context) Wait(name string, d time.Duration) error { return Wait(c, name, d) }

// WaitUntil is the function WaitUntil as a method.
func (c *Context) WaitUntil(name string, t time.Time) error { return WaitUntil(c, name, t) }

// After is the function After as a method.
func (c *Context) After(name string, d time.Duration) *Timer { return After(c, name, d) }

// WaitForCondition is the function WaitForCondition as a method.
func (c *Context) WaitForCondition[S any](name string, initial S,
	check func(context.Context, S) (S, error), next func(state S, attempt int) Poll, opts ...ConditionOption) (S, error) {
	return WaitForCondition(c, name, initial, check, next, opts...)
}

// CreateCallback is the function CreateCallback as a method.
func (c *Context) CreateCallback[O any](name string, opts ...CallbackOption) (*Callback[O], error) {
	return CreateCallback[O](c, name, opts...)
}

// WaitForCallback is the function WaitForCallback as a method.
func (c *Context) WaitForCallback[O any](name string,
	submit func(ctx context.Context, callbackID string) error, opts ...CallbackOption) (O, error) {
	return WaitForCallback[O](c, name, submit, opts...)
}

// Parallel is the function Parallel as a method.
func (c *Context) Parallel[O any](name string, branches []Branch[O], opts ...BatchOption) (*Batch[O], error) {
	return Parallel(c, name, branches, opts...)
}

// Map is the function Map as a method.
func (c *Context) Map[I, O any](name string, items []I,
	fn func(ctx *Context, item I, index int) (O, error), opts ...BatchOption) (*Batch[O], error) {
	return Map(c, name, items, fn, opts...)
}

// RunInChildContext is the function RunInChildContext as a method.
func (c *Context) RunInChildContext[O any](name string, fn func(*Context) (O, error), opts ...ChildOption) (O, error) {
	return RunInChildContext(c, name, fn, opts...)
}

// Go is the function Go as a method.
func (c *Context) Go[O any](name string, fn func(*Context) (O, error), opts ...ChildOption) *Future[O] {
	return Go(c, name, fn, opts...)
}

// Settled is the function Settled as a method.
func (c *Context) Settled(name string, as ...Awaitable) iter.Seq[Awaitable] {
	return Settled(c, name, as...)
}

// Select is the function Select as a method.
func (c *Context) Select(name string, as ...Awaitable) (Awaitable, error) {
	return Select(c, name, as...)
}

// All is the function All as a method.
func (c *Context) All[O any](name string, fs ...*Future[O]) ([]O, error) {
	return All(c, name, fs...)
}

// Any is the function Any as a method.
func (c *Context) Any[O any](name string, fs ...*Future[O]) (O, error) {
	return Any(c, name, fs...)
}

// Race is the function Race as a method.
func (c *Context) Race[O any](name string, fs ...*Future[O]) (O, error) {
	return Race(c, name, fs...)
}

// Invoke is the function Invoke as a method.
func (c *Context) Invoke[I, O any](name string, f *Function[I, O], in I, opts ...InvokeOption) (O, error) {
	return Invoke(c, name, f, in, opts...)
}

// InvokeByName is the function InvokeByName as a method.
func (c *Context) InvokeByName[O any](name, function string, in any, opts ...InvokeOption) (O, error) {
	return InvokeByName[O](c, name, function, in, opts...)
}

// Now is the function Now as a method.
func (c *Context) Now() time.Time { return Now(c) }

// NewUUID is the function NewUUID as a method.
func (c *Context) NewUUID() uuid.UUID { return NewUUID(c) }

// Version is the function Version as a method.
func (c *Context) Version(change string, latest int) int { return Version(c, change, latest) }
