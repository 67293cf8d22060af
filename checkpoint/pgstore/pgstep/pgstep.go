// Package pgstep has steps that write to PostgreSQL exactly once: what the body of a step
// writes and the record that the step is done are one transaction.
//
//	id, err := pgstep.Step(ctx, "book", func(ctx context.Context, tx pgx.Tx) (id int64, err error) {
//		err = tx.QueryRow(ctx, `INSERT INTO booking (seat) VALUES ($1) RETURNING id`, seat).Scan(&id)
//		return id, err
//	})
//
// The engine must run on a [github.com/durable-go/durable/checkpoint/pgstore.Store], and
// the tables of the body are in the same database. On another store a step whose body is
// to be called fails at once, and is not retried. A test of a handler needs no PostgreSQL
// if it stubs such steps, by Config.Steps of
// [github.com/durable-go/durable/durabletest]; Replay of a recording needs none either.
//
// # Once
//
// A process that is killed before the commit leaves nothing, and the attempt is made
// again; killed after it, it has left both, and the body never runs again. When the answer
// to a COMMIT is lost, the journal tells whether it was made. A process that is not the
// execution's owner any more can't commit: what its body wrote is rolled back with it.
//
// Once is what happens to the tables. What the body does elsewhere (a request, a file)
// may happen again, as in any step: do that in a step of its own.
//
// # The body
//
// What keeps a transaction from beginning, as a server that is away or takes no writes, is
// waited for, as long as the lease and the step's AttemptTimeout last; no attempt is spent
// on it. An error, a panic, or a commit that fails is a failed attempt, retried by the step's
// policy; a deadlock (40P01) and a serialization failure (40001) are such errors. The
// default policy waits 5 s before the second attempt; [durable.WithRetry] sets another
// one. tx.Commit and tx.Rollback return an error and do nothing; tx.Begin makes a
// savepoint, which can be rolled back.
//
// When nobody can own the execution here any more (its lease is lost, it was stopped), or
// the step's WithTimeout has passed, the body's context ends and the transaction is rolled
// back, also under a body that does not return. The server ends a transaction in which
// nothing happens for as long as the lease (15 s, see pgstore.Options): with SET LOCAL
// idle_in_transaction_session_timeout a body can have longer pauses.
//
// # Connections
//
// Bodies have connections of their own, as many as pgstore.Options.StepConns says; one
// that finds none free waits, and its AttemptTimeout runs meanwhile. A body that waits for
// another execution which has such a step, too, keeps a connection from it: do not. It
// works through PgBouncer in transaction mode.
//
// # Cost
//
// BEGIN, what the body does, and one message that writes the record and commits: one
// flush of the database, the same as of a Step. It is not shared with other executions,
// though, and while it lasts, what other branches of the execution record waits.
package pgstep

import (
	"context"
	"fmt"

	"github.com/durable-go/durable"
	"github.com/jackc/pgx/v5"
)

// Step is [durable.Step] with a body that works in a transaction: its writes are made
// exactly once. Options: those of durable.Step, and WithTxOptions.
func Step[T any](ctx *durable.Context, name string, fn func(ctx context.Context, tx pgx.Tx) (T, error), opts ...durable.StepOption) (T, error) {
	return durable.TransactionalStep(ctx, name, func(c context.Context, handle any) (none T, err error) {
		tx, ok := handle.(pgx.Tx)
		if !ok {
			return none, durable.Permanent(fmt.Errorf("durable: the store's transactions are a %T, not a pgx.Tx: open the engine on a pgstore", handle))
		}
		return fn(c, tx)
	}, opts...)
}

// Do is Step for a body without a result.
func Do(ctx *durable.Context, name string, fn func(ctx context.Context, tx pgx.Tx) error, opts ...durable.StepOption) error {
	_, err := Step(ctx, name, func(c context.Context, tx pgx.Tx) (durable.None, error) { return durable.None{}, fn(c, tx) }, opts...)
	return err
}

// WithTxOptions sets the isolation level and the like. Without it they are the database's
// defaults; where those are stricter than READ COMMITTED, give them here, too.
//
// Under REPEATABLE READ and SERIALIZABLE the step's start is written before the body
// begins, which costs one more flush, and the commit fails (40001) when the execution
// itself has changed since: another branch of it has recorded something, or a callback
// came in. Give such a step a policy with short delays. A transaction can't be read-only.
func WithTxOptions(o pgx.TxOptions) durable.StepOption {
	return durable.WithTransaction(o, o.IsoLevel == pgx.RepeatableRead || o.IsoLevel == pgx.Serializable)
}
