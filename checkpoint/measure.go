package checkpoint

import (
	"context"
	"time"
)

// What a Store may tell about itself. An engine finds these by type assertion, for
// its Stats and its Observer.

// CommitWatcher is what a Store may be, too: one that tells of its durable writes.
type CommitWatcher interface {
	// WatchCommits sets the function that is called after each durable write that
	// was made, on the goroutine that makes them: it must be quick and must not
	// block. The next engine on the store sets its own.
	WatchCommits(fn func(Commit))
}

// Commit is one durable write.
type Commit struct {
	Took    time.Duration // from when it was begun until it was durable
	Changes int           // calls of the Store that it answers: appends, creations, deliveries …
}

// Sizer is what a Store may be, too: one that knows how much room it takes.
type Sizer interface {
	// Size is in bytes, on disk where the store is there. It costs no more than a
	// few calls of the file system, or a query.
	Size(ctx context.Context) (int64, error)
}

// Backlogger is what a Store may be, too: one that can count what nobody owns.
type Backlogger interface {
	// Backlog counts the running executions without an owner. It may look at each
	// in an index, and keeps nobody waiting meanwhile.
	Backlog(ctx context.Context) (Backlog, error)
}

// Notifier is what a Store may be, too: one that tells other processes its hints by way of a
// queue, which fills up when one of them does not take them.
type Notifier interface {
	// NotificationQueue is how full that queue was when it was last looked at, from 0 to 1.
	// It asks nobody.
	NotificationQueue() float64
}

// Backlog is how many running executions nobody owns.
type Backlog struct {
	Waiting int // all of them, those that are due or held included
	Timed   int // of these, with a time when they are due
}
