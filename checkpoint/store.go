package checkpoint

import (
	"context"
	"io"
	"iter"
	"time"
)

// Store keeps executions: a summary, a journal and an inbox for each.
//
// The journal of an execution has one writer, its owner, who got an epoch from
// Create or Claim and numbers the records itself. Everything that comes from
// outside goes into the inbox, which the owner moves into the journal. Each
// method is one atomic change; a method that returned nil, or called done with
// nil, has made it durable. Any number of changes of any number of executions
// may share one durable write.
//
// The records and byte slices that a store is given, and those that it returns, may be
// the ones that it keeps: nobody changes them any more.
//
// All methods may be called at any time from any goroutine. Times are Unix
// nanoseconds by the store's own clock, Now.
//
// An error matches context.Canceled or context.DeadlineExceeded only if the context that the
// method was given has ended: not because of a time that the store sets itself.
//
// The package storetest checks an implementation against this contract.
type Store interface {
	// Secret is random, at least 32 bytes, drawn when the store was created,
	// and the same for everyone who opens it.
	Secret() []byte

	// Now is the store's clock. Due times are compared with it.
	Now() time.Time

	// Watch sets the function that the store calls when something happened
	// that an engine may want to act on. It is a hint: it may come late or
	// twice, never before the change is durable, and fn must not block. It is
	// set once, before any other method is called.
	Watch(fn func(Hint))

	// Create makes an execution with c.Started and c.Records as its journal, all of it
	// in one atomic change, or returns the one that has the ID: created is false then. If that one has another
	// function or another Digest, the error is ErrExists. With c.Caller, the
	// caller must still be running in that incarnation; ErrEnded otherwise.
	Create(ctx context.Context, c Creation) (s Summary, created bool, err error)

	// Claim makes the caller the owner of up to r.Max executions that are
	// running, unowned and due: newly created, or released with a due time
	// that has passed or news that came after, or owned by a process that is
	// gone. Executions whose function is not in r.Functions are left alone, and
	// executions held by r.Build until their Deadline has passed. What r.Build has held,
	// and another build has gone on with since, is left to others: r.Build gets it when
	// nobody else has taken it for a minute since it was due.
	// No function starves another. Each claim raises the epoch.
	Claim(ctx context.Context, r ClaimRequest) ([]Claim, error)

	// Append adds records to a journal and changes the summary, as a says.
	// It returns at once. Appends of one execution are made in the order of
	// the calls; done is called once for each, in that order, from another
	// goroutine, after the change is durable or can't be made:
	//
	//   - ErrFenced: the epoch is not the owner's any more
	//   - ErrConflict: a.Tail is not the journal's last sequence number
	//   - ErrInboxNews: a.Release, and the inbox holds more than a.InboxSeen
	//   - ErrFailed: the store can't write any more until it is opened again
	//
	// After any other error nothing of a was written.
	Append(a Append, done func(error))

	// Disown gives up ownership without touching the journal, as if the owner
	// had died: the execution is claimable at once, and its Claim is Lost. An
	// owner calls it when the fate of an append is unknown, and claims again.
	// Nothing happens if the epoch is not the owner's.
	Disown(ctx context.Context, id string, epoch uint64) error

	// Deliver puts an event from outside into an execution's inbox and makes
	// the execution due. Exactly one outcome of a callback is ever taken:
	//
	//   - ErrNotFound: no such execution, or another incarnation, or an
	//     operation that was never a callback of it
	//   - ErrCallbackClosed: the callback has an outcome, or was closed, or
	//     its execution has ended, or it is due (its timeout or heartbeat
	//     timeout has passed, whether or not that was recorded)
	//   - *NotDueError: a CallbackTimedOut that comes too early. One with a
	//     HeartbeatTimeout is due by the heartbeat, any other by the timeout;
	//     when both have passed, the earlier one is the outcome.
	//
	// A CancelRequested to an execution that has ended, or has been asked
	// before, is nil and does nothing.
	Deliver(ctx context.Context, d Delivery) error

	// Heartbeat moves the heartbeat due time of an open callback to one
	// heartbeat timeout from now. It is no record and wakes nobody. Errors as
	// of Deliver.
	Heartbeat(ctx context.Context, c CallbackRef) error

	// End gives an execution a final status without its owner's help: Stop
	// and the deadline. The owner is fenced. The store numbers the record.
	// Nil if the execution has ended already; ended tells who ended it.
	End(ctx context.Context, e Ending) (ended bool, err error)

	// Resume lifts a hold and makes the execution due. Nil if there is none.
	Resume(ctx context.Context, id string) error

	// Get returns the summary of an execution, ErrNotFound if there is none. When
	// something of it can't be read, the error matches ErrCorrupt, and what can be read,
	// the Number at least, is beside it.
	Get(ctx context.Context, id string) (Summary, error)

	// Find is Get by the execution's number.
	Find(ctx context.Context, number uint64) (Summary, error)

	// List yields summaries, newest first. Everything durable when it was
	// called is seen; executions created later may be missing. No lock is
	// held while the caller handles a summary. One of which something can't be read
	// comes in its place, as from Get, whether or not q would select it if that is not
	// known; the list goes on behind it. Any other error ends the list. A store reads
	// a page at a time, and bounds it in bytes, too.
	List(ctx context.Context, q Query) iter.Seq2[Summary, error]

	// Records yields the journal of an execution in order, from the record
	// after the sequence number after.
	Records(ctx context.Context, id string, after uint64) iter.Seq2[Record, error]

	// Inbox returns what is in the inbox after the sequence number after.
	Inbox(ctx context.Context, id string, after uint64) ([]Record, error)

	// Delete removes an execution that has ended, ErrRunning otherwise. One that is
	// damaged is removed, too; if its status can't be read, as one that has ended.
	Delete(ctx context.Context, id string) error

	// Expire deletes up to limit executions that ended before t and whose
	// caller, if they have one, has ended too. It returns how many it deleted. It
	// does so in pieces: however many they are, nobody waits long for it.
	Expire(ctx context.Context, t time.Time, limit int) (int, error)

	// NextDue is the earliest due time, in the future or the past, of the
	// executions that Claim could return to r; zero if there is none.
	NextDue(ctx context.Context, r ClaimRequest) (time.Time, error)

	// Close ends all use. Appends that wait are made first or get ErrClosed.
	Close() error
}

// SteadyClock is what a Store may be, too: one whose Now never jumps against the
// timers of the process, as in a bubble of testing/synctest. An engine on it sleeps
// until something is due, however far that is; on another one it looks at the clock
// every 30 s.
type SteadyClock interface {
	// SteadyClock reports whether that is so.
	SteadyClock() bool
}

// Identities is what a Store may be, too: one that says what executions are known by, where
// an engine on another one draws random bits. It is for tests that compare runs. What an
// engine derives from an incarnation is the same then: idempotency keys, the IDs of invoked
// executions, and the UUIDs that a handler draws.
type Identities interface {
	// ExecutionID is the ID of an execution that is started without one, by the body
	// with that idempotency key; "": by somebody else.
	ExecutionID(by string) string
	// Incarnation is that of an execution which may be created under the ID. No two
	// that were created have the same one.
	Incarnation(id string) Incarnation
}

// Shared is what a Store may be, too: one that other processes may have open at the
// same time. An engine on it starts executions of functions that it does not have,
// which wait for a process that has them; and it looks from time to time, for those who
// wait for executions or follow them, beside what it is told by hints (see Glancer). A store without it is taken to be
// this process's own.
type Shared interface {
	// Shared reports whether that is so.
	Shared() bool
}

// Glancer is what a Store that is Shared may be, too: one that tells of many executions at
// once how far they are. An engine asks it of those that somebody waits for, once a second
// at most, in case a hint of their end got lost, and because others' records are not hinted
// at. Of another store it asks for each of them, of 64 in a second.
type Glancer interface {
	// Glance tells of executions by their IDs, which are no more than 1,000 and different
	// ones. Those that there are not it passes over; the order is any.
	Glance(ctx context.Context, ids []string) ([]Glance, error)
}

// Glance is what says whether to look at an execution again.
type Glance struct {
	ID          string
	Incarnation Incarnation
	Status      Status
	Tail        uint64 // of its journal
	Held        bool   // by builds, and nobody owns it
}

// Deliverer is what a Store may be, too: one that remembers what it has itself just put into
// the inboxes of executions that it owns. An engine asks it before it reads an inbox, which
// spares it the read.
type Deliverer interface {
	// Delivered returns entries of an execution's inbox, in order and without a gap, the
	// first behind after, as far as the store knows them without asking anybody; it does so
	// once, and none is always right. There may be more: what others have put there, of which
	// a HintInbox comes. They are durable.
	Delivered(id string, after uint64) []Record
}

// Backuper is what a Store may be, too: one that can copy itself while it is used.
type Backuper interface {
	// Backup writes a copy to w that has all that was durable at the call.
	Backup(ctx context.Context, w io.Writer) (written int64, err error)
}

// Counter is what a Store may be, too: one that counts executions without reading all
// that a list yields of them.
type Counter interface {
	// Count counts the executions that q selects, by status, without regard to
	// Before and Limit. Everything durable when it was called is counted. One whose
	// status can't be read is not; List reports it.
	Count(ctx context.Context, q Query) (map[Status]int, error)
}

// Leased is what a Store may be, too: one that owns for a time only, which it renews
// as long as it can. An engine on it stops what it runs before that time is over, and
// begins no body after it.
type Leased interface {
	// Lease is under which number executions are claimed now, and until when those
	// claimed under it are owned, if it isn't renewed before: by the clock of this
	// process, and earlier than anybody else may claim them. When the number is
	// another one, nothing that was claimed before is owned any more. It is asked
	// before each body, must be quick, and must not block.
	Lease() (number int64, until time.Time)
}

// Hint tells an engine where to look.
type Hint struct {
	Kind HintKind
	ID   string // of the execution; "" under HintDue and HintEnded: any
}

// HintKind is the kind of a hint.
type HintKind uint8

// The kinds of hints.
const (
	HintDue      HintKind = 1 + iota // Claim may return something, or NextDue has become earlier
	HintInbox                        // an owned execution has something in its inbox
	HintEnded                        // an execution has a final status
	HintCallback                     // an execution waits for a callback that was not open before
)

// Creation is what Create makes.
type Creation struct {
	ID          string
	Incarnation Incarnation
	Digest      []byte  // tells whether another Create has the same input
	Caller      *Caller // who invokes it; nil: started from outside
	Started     Record  // ExecutionStarted: Function, input; its TimeoutAt is the deadline, 0: none
	Claim       bool    // make the caller of Create its owner, as by Claim, if it is created

	// Records stand in the journal behind Started, numbered from 2: the execution goes
	// on where they end. CallbackStarted records open their callbacks.
	Records []Record
	// CloseCallbacks are operation IDs of callbacks among Records that take no outcome
	// although they have none.
	CloseCallbacks []string
	// Status, if not 0, is how the execution has ended: the last of Records is the final
	// one. To Expire it ended when it was created. It must not be Claimed.
	Status Status
}

// Caller is the operation that invoked an execution.
type Caller struct {
	ID          string
	Incarnation Incarnation
	OperationID string
}

// ClaimRequest says what a process can run.
type ClaimRequest struct {
	Functions []string
	Build     string
	Max       int
}

// Claim is an execution that the caller owns from now on.
type Claim struct {
	Summary
	// Lost: an earlier owner did not release it; its invocation was cut off.
	Lost bool

	// Records, if there are any, are the beginning of the journal, from its first record
	// on: a store that is asked over a network has read them along. What is behind them, up
	// to Tail, is read by Store.Records.
	Records []Record
	// Inbox, if there are any, are the entries of the inbox behind InboxSeen, up to InboxTail.
	Inbox []Record
}

// Append is one atomic change that an owner makes to its execution.
type Append struct {
	ID      string
	Epoch   uint64
	Tail    uint64   // sequence number of the journal's last record before Records
	Records []Record // may be empty; CallbackStarted records open their callbacks

	// InboxSeen is the sequence number of the last inbox entry that these and
	// earlier Records took over. Entries up to it are removed.
	InboxSeen uint64

	// CloseCallbacks are operation IDs of callbacks that take no outcome any
	// more. Those whose outcome is in the inbox are closed already.
	CloseCallbacks []string

	// Deliver goes to other executions' inboxes in the same atomic change.
	// A target that has ended or is gone is passed over.
	Deliver []Delivery

	// Status, if not 0, ends the execution: the last of Records is the final
	// one. Executions that it invoked and that are still running get a
	// CancelRequested in the same atomic change. What is left in the inbox is
	// dropped.
	Status Status

	// Release, if set, gives up ownership.
	Release *Release
}

// Release gives up the ownership of an execution. It is refused with
// ErrInboxNews when the inbox holds more than the Append's InboxSeen, unless it
// has a Hold: what is in the inbox then waits there.
type Release struct {
	// WakeAt is when the execution is due again; 0: only by an event. Due
	// times of heartbeats are not part of it, the store knows them itself.
	WakeAt int64
	// Hold, if set, keeps the execution from being claimed, see Hold.
	Hold *Hold
}

// Hold is a note on an execution that its code can't go on with. The build that
// set it does not claim it again until its Deadline or Resume; another build may
// try once, and when that one holds it too, both are in Summary.HeldBuilds. A release
// without a hold, by a build that could go on, ends it; that those others could not stays
// known, until Resume or the end of the execution, see Store.Claim.
type Hold struct {
	Build   string // who sets it
	Failure []byte // why, encoded by the engine
}

// Delivery is an event from outside for an execution's inbox: the outcome of a
// callback (CallbackSucceeded, CallbackFailed, CallbackTimedOut), the end of an
// invoked execution (ChainedInvoke…), or CancelRequested. The store sets the
// record's Seq, and its Time where it is zero.
type Delivery struct {
	ID          string
	Number      uint64      // of the execution, where ID is ""
	Incarnation Incarnation // zero: any
	Record      Record
}

// CallbackRef names a callback.
type CallbackRef struct {
	ID          string
	Number      uint64 // of the execution, where ID is ""
	Incarnation Incarnation
	OperationID string
}

// Ending is what End makes. A zero Time of Record is set by the store. When the
// execution is owned, the store writes an InvocationCompleted before Record.
// Running executions that it invoked get a CancelRequested.
type Ending struct {
	ID          string
	Incarnation Incarnation // zero: any; ErrNotFound if the execution has another one
	Status      Status      // Stopped or TimedOut
	Record      Record
	Deliver     []Delivery // to the caller's inbox
}

// Summary is the row of an execution.
type Summary struct {
	Number      uint64 // given by the store in the order of creation, never again
	ID          string
	Incarnation Incarnation
	Function    string
	Status      Status
	StartedAt   int64
	EndedAt     int64 // 0 while running
	Deadline    int64 // 0: none
	WakeAt      int64 // while running and unowned: when it is due, heartbeats included; 0: by an event only
	Caller      *Caller

	Epoch     uint64
	Owned     bool
	Tail      uint64 // last sequence number of the journal
	LastEvent uint64 // last event number of the history
	InboxSeen uint64 // last inbox entry that the journal took over
	InboxTail uint64 // last inbox entry
	Cancelled bool   // a CancelRequested was taken

	HeldBuilds []string // builds that hold it; empty: not held
	Held       []byte   // the failure of the newest hold

	Started Record // the first record: the input
	Ended   Record // the final record; zero while running
}

// Query selects executions.
type Query struct {
	Function      string // "": any
	IDPrefix      string
	Status        Status // 0: any
	StartedAfter  int64  // exclusive; 0: no bound
	StartedBefore int64  // exclusive; 0: no bound
	Before        uint64 // only numbers below it: the next page; 0: from the newest
	Limit         int    // 0: no limit
}
