package invocation

import (
	"context"
	"iter"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// Host is where an invocation happens: what it asks of the world around it. The engine is
// one, over a checkpoint.Store.
//
// Methods marked L are called while the invocation is locked: they are quick, do not block,
// call no code of the user's, and do not call the invocation. The others are called without
// any lock.
type Host interface {
	Journal
	Clock
	World
	Owner
	Watcher
}

// Journal keeps what is recorded and brings what comes from outside.
type Journal interface {
	// Records yields the journal behind a sequence number, up to the Tail that the
	// invocation was made with at least, as it is stored.
	Records(ctx context.Context, after uint64) iter.Seq2[checkpoint.Record, error]
	// Open opens a sealed record in place.
	Open(rec *checkpoint.Record) error
	// Seal seals a record in place, if records are sealed at all. An error has no methods
	// of the user's.
	Seal(rec *checkpoint.Record) error
	// Append makes a's records durable, with all else that a says, and tells the caller of
	// an end. The host seals. done is called once, in the order of the calls, from another
	// goroutine.  L
	Append(a checkpoint.Append, done func(error))
	// Inbox is what came from outside behind an entry, in order. What the host has kept will
	// do, if it goes up to the entry that is known to be there.
	Inbox(ctx context.Context, after, known uint64) ([]checkpoint.Record, error)
	// Offer offers an outcome of an own callback. The first one that is offered, here or
	// from outside, is the outcome; it comes by the inbox.
	Offer(ctx context.Context, rec *checkpoint.Record) error
	// Expire ends the execution, whose deadline has passed.
	Expire(ctx context.Context) error
}

// Clock says what time it is, and that a time has come.
type Clock interface {
	// Now stamps records.  L
	Now() int64
	// Alarm asks for a call of Due at a time; it takes the place of a later one that was
	// asked for before.  L
	Alarm(at int64)
}

// World is the other executions.
type World interface {
	// Knows reports whether there is, or may come to be, a function.  L
	Knows(function string) bool
	// Invoke starts the execution of an invoke whose start is durable, if it was not.
	// before is what it had started in the execution that this one began as; nil: nothing.
	Invoke(o *history.Operation, before *history.Known) error
	// CancelInvoked asks an execution that was invoked to end.  L
	CancelInvoked(target, reason string)
	// CallbackID is the ID of a callback whose start is durable.
	CallbackID(operationID string) string
}

// Owner has the invocation.
type Owner interface {
	// Base is what all its contexts derive from.
	Base() context.Context
	// MayBegin reports whether a body may begin: the execution is still ours.  L
	MayBegin() bool
	// Wanted reports whether the place is wanted: it leaves as soon as nothing can go on.  L
	Wanted() bool
	// Reason makes an error that may have methods of the user's one to hold for.
	Reason(err error) *Reason
	// Held is what becomes of an execution whose code does not fit its journal.  L
	Held(reason error) Held
	// Lost is told that an append failed, or that its fate is unknown.  L
	Lost(err error)
	// Unbegun is told that it leaves before it began, as it retires.  L
	Unbegun()
	// Parked is told that nothing of it can go on, though it stays in memory; or that this
	// is over.  L
	Parked(bool)
	// Closed is told that nothing is recorded any more. suspended: it will go on. lingers:
	// code of it goes on.  L
	Closed(suspended, lingers bool)
	// Gone is told that nothing of it runs any more.  L
	Gone()
}

// Held is what becomes of an execution that is to be held.
type Held struct {
	Fails *fault.Failure   // it fails with that instead; nil: it is held
	Note  *checkpoint.Hold // why
}

// Watcher is told what happens.
type Watcher interface {
	// Loaded is told when the journal is read; all contexts have the values of what it
	// returns, if that is not nil.
	Loaded(replay, lost bool) context.Context
	// Began is told when the handler is about to run.  L
	Began(replay bool)
	// Recorded is told of each event that is numbered, if Config.Watched says so.  L
	Recorded(rec *checkpoint.Record, o *history.Operation)
	// Settled is told of each outcome that is numbered.  L
	Settled(o *history.Operation)
	// Durable is told how far what is numbered is durable.  L
	Durable(seq uint64)
	// Opened is told that a callback may be durable.  L
	Opened()
	// Ended is told that the end of the execution is durable.  L
	Ended(status checkpoint.Status, at int64, f *fault.Failure)
	// Woken is told that something goes on that could since due.
	Woken(due, now int64)
	// Bodies is told that so many more bodies run.
	Bodies(n int)
	// Attempt is told that a body is called, or that one has failed.
	Attempt(failed bool)
	// KeepPace returns when not too much of what the execution did is still to be told, or
	// the invocation is done.
	KeepPace()
}

// Reason is an error of the user's code that an execution is held for. Its methods were
// called when it was made, so that none needs to be where the execution is locked.
type Reason struct {
	Err    error
	Record *fault.Failure
	Logged string // without any text of the user's
}

func (r *Reason) Error() string { return r.Record.Message }

// Unwrap returns the error.
func (r *Reason) Unwrap() error { return r.Err }

// Misuse is an operation that was called where it may not be, or with what it does not
// take. Nothing is recorded of it.
type Misuse struct {
	Type                           history.Type
	ExecutionID, OperationID, Name string
	Err                            error
	Hint                           string
}

func (e *Misuse) Error() string { return e.Err.Error() }

// Unwrap returns what was wrong.
func (e *Misuse) Unwrap() error { return e.Err }

// Failed is an operation that has failed.
type Failed struct {
	Type                           history.Type
	ExecutionID, OperationID, Name string
	Attempts                       int
	Failure                        *fault.Failure
}

func (e *Failed) Error() string { return e.Failure.Message }

// Mismatch is code that asks for something else than what is recorded.
type Mismatch struct {
	ExecutionID, OperationID, Recorded, Asked string
}

// Error says what is recorded and what the code asked for.
func (e *Mismatch) Error() string {
	where := "execution " + e.ExecutionID
	if e.OperationID != "" {
		where += ", operation " + e.OperationID
	}
	return "durable: " + where + ": recorded is " + e.Recorded + ", the code now asks for " + e.Asked +
		": deploy code that asks for what is recorded, or guard the change with durable.Version (see docs/changing-code.md)"
}

// Unread is an error of the store that the journal, or the inbox, is read from.
type Unread struct{ Err error }

func (e *Unread) Error() string { return e.Err.Error() }

// Unwrap returns the store's error.
func (e *Unread) Unwrap() error { return e.Err }
