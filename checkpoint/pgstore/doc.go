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
// A process that can't renew its lease stops being the owner of its executions
// before the lease runs out: appends get [checkpoint.ErrFenced]. Others take over
// what is left, at most a lease and two looks (Options.Poll) later. When the
// database is there again, the process goes on under a new lease.
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
