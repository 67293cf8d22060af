package durable

import (
	"iter"
)

// Settled yields the awaitables in the order in which they settled; the order is
// recorded. It claims its position when it is called, not when it is ranged
// over; ranging again yields the recorded order and then goes on.
//
// When its scope is cancelled, it goes on with what that cancel reaches, too, as it
// settles, whose Await returns the error, and then it ends: it does not wait for what is
// outside of the scope. So a loop that looks at each error, or at
// ctx.Context().Err() behind it, knows. Called in a cancelled scope it yields nothing.
//
// Like its context, what it returns belongs to the function that called it, and to
// that one's goroutine: ranged over in a child, a branch, a step's body or behind the
// function's return, it holds the execution (ErrConcurrentUse).
func Settled(ctx *Context, name string, as ...Awaitable) iter.Seq[Awaitable] {
	q := ctx.in.Settled(name, pendings(as))
	return func(yield func(Awaitable) bool) {
		if q == nil || !q.Begin() {
			return
		}
		for k := range as {
			i, ok := q.Choice(k)
			if !ok || !yield(as[i]) {
				return
			}
		}
	}
}
