package checkpoint

import (
	"errors"
	"fmt"
	"time"
)

// Errors of stores, by stage of life.
var (
	// ErrLocked: another process has the store open.
	ErrLocked = errors.New("durable: the store is open already, in this process or in another process")
	// ErrCorrupt is matched by every *CorruptError.
	ErrCorrupt = errors.New("durable: the store is corrupt")
	// ErrClosed: the store has been closed.
	ErrClosed = errors.New("durable: closed")
	// ErrFailed: a write to stable storage failed, so nothing more is written
	// until the store is opened again.
	ErrFailed = errors.New("durable: the store failed and must be opened again")

	// ErrExists: another execution has the ID.
	ErrExists = errors.New("durable: another execution has the ID")
	// ErrNotFound: no such execution, or operation of it.
	ErrNotFound = errors.New("durable: not found")
	// ErrRunning: the execution has not ended.
	ErrRunning = errors.New("durable: the execution is running")
	// ErrEnded: the execution has ended.
	ErrEnded = errors.New("durable: the execution has ended")

	// ErrFenced: the epoch is not the owner's any more.
	ErrFenced = errors.New("durable: the execution has another owner")
	// ErrConflict: the journal does not end where the append expects.
	ErrConflict = errors.New("durable: the journal has another tail")
	// ErrUnknown: nobody knows whether the change was made.
	ErrUnknown = errors.New("durable: it is not known whether the change was made")
	// ErrMisused: the user's code does what it may not, and would do it again.
	ErrMisused = errors.New("durable: misused")
	// ErrInboxNews: a release was refused because the inbox holds news.
	ErrInboxNews = errors.New("durable: the inbox holds news")
	// ErrCallbackClosed: the callback takes no outcome any more.
	ErrCallbackClosed = errors.New("durable: the callback has been completed")
)

// NotDueError says that a timeout came too early and when it is due.
type NotDueError struct{ Due time.Time }

func (e *NotDueError) Error() string {
	return fmt.Sprintf("durable: not due before %s", e.Due.Format(time.RFC3339Nano))
}

// CorruptError says where data can't be read. It matches ErrCorrupt.
type CorruptError struct {
	Where string // file, and place in it
	What  string
	Err   error // may be nil
}

func (e *CorruptError) Error() string {
	s := fmt.Sprintf("durable: %s: %s", e.Where, e.What)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Is reports whether target is ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

func (e *CorruptError) Unwrap() error { return e.Err }
