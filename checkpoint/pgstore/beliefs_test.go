package pgstore_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
)

// What another process changes of one execution costs its owner nothing for all others, and
// nothing twice if it was told.
func TestBeliefsAreGivenUpOneByOne(t *testing.T) {
	c := need(t)
	t.Parallel()
	const busy = 50
	given := func(t *testing.T, s *pgstore.Store) (sums []checkpoint.Summary) {
		for i := range busy {
			sums = append(sums, create(t, s, fmt.Sprint("x", i), true))
		}
		return sums
	}
	news := func(t *testing.T, s *pgstore.Store, id string) {
		require.NoError(t, s.Deliver(t.Context(), checkpoint.Delivery{ID: id, Record: checkpoint.Record{Type: checkpoint.CancelRequested}}))
	}
	t.Run("NotTold", func(t *testing.T) {
		schema := c.Schema()
		a, spy := spied(t, c.url, schema)
		sums := given(t, a)
		news(t, open(t, schema, pgstore.Options{NoListen: true}), "x0")
		sent := spy.rounds.Load()
		require.NoError(t, appendTo(a, step(sums[0], 1)))
		require.EqualValues(t, 2, spy.rounds.Load()-sent, "what was believed was wrong")
		sent, locked := spy.rounds.Load(), spy.locked.Load()
		for _, sum := range sums[1:] {
			require.NoError(t, appendTo(a, step(sum, 1)))
		}
		require.NoError(t, appendTo(a, step(sums[0], 2)))
		require.EqualValues(t, busy, spy.rounds.Load()-sent)
		require.Equal(t, locked, spy.locked.Load())
	})
	t.Run("Told", func(t *testing.T) {
		if *throughBouncer {
			t.Skip("PgBouncer lets nobody listen")
		}
		schema := c.Schema()
		config, err := pgxpool.ParseConfig(c.url)
		require.NoError(t, err)
		spy := &spy{}
		config.ConnConfig.Tracer = spy
		pool, err := pgxpool.NewWithConfig(t.Context(), config)
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		a, err := pgstore.New(t.Context(), pool, &pgstore.Options{Schema: schema, Lease: time.Hour, Poll: time.Hour})
		require.NoError(t, err)
		t.Cleanup(func() { a.Close() })
		hints := watched(a)
		sums := given(t, a)
		news(t, open(t, schema, pgstore.Options{}), "x0")
		awaitHint(t, hints, checkpoint.Hint{Kind: checkpoint.HintInbox, ID: "x0"})
		sent := spy.rounds.Load()
		require.NoError(t, appendTo(a, step(sums[0], 1)))
		require.EqualValues(t, 1, spy.rounds.Load()-sent)
	})
}
