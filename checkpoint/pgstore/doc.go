// Package pgstore keeps durable executions in PostgreSQL, 14 or newer, for any
// number of processes that share the work.
//
// Each process that opens a store has a row with a lease, by the database's clock.
// Everything that a process wants to write goes through one goroutine, which puts
// all that is waiting into one transaction: a round. The first statement of a round
// renews the lease and fails when it has run out; the statement that appends to a
// journal compares a revision of the execution, which changes with its owner, its
// epoch and all else. So a process that was stopped, or cut off, can't write what
// is not its own any more, whatever it believes.
//
// Most rounds are one message, and one statement in it, however many executions they
// are of: it renews the lease, inserts the new executions and the records, and updates
// the executions that have changed, from arrays of their columns. The server runs it as
// a transaction of its own, so a round waits for the network and for the disk once.
// What makes that possible is that nothing has to be read first: what this process owns
// it keeps as its last round left it, and the statement compares the revision; a new
// execution has a number that an earlier round drew, and hopes that nobody has its ID,
// which the unique index checks. When a guess was wrong the database refuses the round,
// and it is made again with everything read and locked. Changes of what others own begin
// a transaction that reads first. A claim is one message, too: its statement takes what is
// due and reads short journals and inboxes along; one that finds nothing writes nothing.
//
// Numbers of executions are in the order of their creation in one process. Among
// processes two that were created within 50 ms may have them the other way round.
//
// A process that can't renew its lease stops being the owner of its executions
// before the lease runs out: appends get [checkpoint.ErrFenced]. Others take over
// what is left as soon as the lease has run out, at most half a lease later if the
// database answers at all. When it is there again, the process goes on under a new lease.
//
// When the answer to a COMMIT is lost, the round's number, which the same
// transaction has written, tells whether it was made. Nothing is acknowledged that
// is not known to be durable.
//
// Package [github.com/durable-go/durable/checkpoint/pgstore/pgstep] has steps whose record
// is committed with what their body writes to the same database.
//
// Notifications (LISTEN, NOTIFY) are hints that spare time. What they fail to tell
// is found by looking, each Options.Poll.
package pgstore
