package checkpoint

import "context"

// Transactor is what a Store may be, too: one that keeps its data in a database where
// the user's code has tables of its own, and can append to a journal in the user's
// transaction.
type Transactor interface {
	// Begin begins a transaction for the body of a step. ctx is the body's, options
	// are the store's own affair; nil: its defaults. An error of Begin is a failed
	// attempt of the step; ErrMisused is not retried. What may pass by itself is waited
	// for until ctx ends, since the body has not run.
	Begin(ctx context.Context, options any) (Transaction, error)
}

// Transaction is one that a Transactor has begun. Commit and Rollback are called by one
// goroutine, when the user's code has returned.
type Transaction interface {
	// Handle is what the user's code gets. It must not let it commit nor roll back.
	Handle() any

	// Commit makes the append, of which ID, Epoch, Tail and Records are set, in the
	// transaction, and commits it: both are durable then, or neither is. The
	// transaction has ended in any case. Errors:
	//
	//   - ErrFenced and ErrConflict as of Append: nothing was committed
	//   - ErrUnknown: the store could not find out whether it was committed
	//   - ErrMisused: what the user's code did may be committed, Records are not. It is
	//     a failed attempt that is not retried.
	//
	// Any other error is a failed attempt: nothing was committed, as far as the store can tell: it
	// may still be, until another append to the journal takes the place of Records.
	Commit(a Append) error

	// Rollback undoes what was done, unless it has ended.
	Rollback()

	// Abandon is Rollback at any time, by any goroutine, while the user's code uses
	// the transaction: that one's calls fail from then on. It does nothing once Commit
	// has been called.
	Abandon()
}
