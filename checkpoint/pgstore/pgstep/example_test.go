package pgstep_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/durable-go/durable/checkpoint/pgstore/pgstep"
	"github.com/jackc/pgx/v5"
)

type Transfer struct {
	From, To string
	Cents    int64
}

var errFunds = errors.New("not enough money")

// Money moves between accounts of the same database once, whatever is killed on the way;
// what is outside of it is told afterwards, in a step of its own, with a key that is the
// same each time.
var transfer = durable.Define("transfer", func(ctx *durable.Context, t Transfer) (balance int64, err error) {
	balance, err = pgstep.Step(ctx, "book", func(ctx context.Context, tx pgx.Tx) (balance int64, err error) {
		err = tx.QueryRow(ctx, `UPDATE account SET cents = cents - $2 WHERE name = $1 AND cents >= $2 RETURNING cents`, t.From, t.Cents).Scan(&balance)
		if errors.Is(err, pgx.ErrNoRows) {
			return 0, durable.Permanent(errFunds) // rolled back, and not tried again
		}
		if err != nil {
			return 0, err
		}
		_, err = tx.Exec(ctx, `UPDATE account SET cents = cents + $2 WHERE name = $1`, t.To, t.Cents)
		return balance, err
	}, durable.WithRetry(durable.RetryPolicy{MaxAttempts: 10, Initial: 50 * time.Millisecond, Max: 5 * time.Second})) // of deadlocks, too
	if err != nil {
		return 0, err
	}
	return balance, durable.Do(ctx, "tell", func(ctx context.Context) error {
		info, _ := durable.StepInfoFrom(ctx)
		return tell(ctx, t.To, info.IdempotencyKey)
	})
})

func tell(ctx context.Context, who, key string) error { return nil }

func Example() {
	ctx := context.Background()
	store, err := pgstore.Open(ctx, os.Getenv("DATABASE_URL"), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	engine, err := durable.New(store, &durable.Options{Functions: []durable.Definition{transfer}, Errors: []error{errFunds}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer engine.Shutdown(ctx)
	balance, err := transfer.Run(ctx, engine, Transfer{From: "ada", To: "bob", Cents: 1999}, durable.WithExecutionID("order-42"))
	fmt.Println(balance, err)
}

// A stricter isolation level: the seats that are left are counted and one is taken as if
// nobody else did so at the same time. A conflict (40001) is a failed attempt.
func ExampleWithTxOptions() {
	durable.Define("reserve", func(ctx *durable.Context, flight string) (seat int, err error) {
		return pgstep.Step(ctx, "seat", func(ctx context.Context, tx pgx.Tx) (seat int, err error) {
			if err := tx.QueryRow(ctx, `SELECT count(*) + 1 FROM seat WHERE flight = $1`, flight).Scan(&seat); err != nil {
				return 0, err
			}
			_, err = tx.Exec(ctx, `INSERT INTO seat (flight, number) VALUES ($1, $2)`, flight, seat)
			return seat, err
		},
			pgstep.WithTxOptions(pgx.TxOptions{IsoLevel: pgx.Serializable}),
			durable.WithRetry(durable.RetryPolicy{MaxAttempts: 20, Initial: 10 * time.Millisecond, Max: time.Second}))
	})
}
