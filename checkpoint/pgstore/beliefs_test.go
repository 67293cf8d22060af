package pgstore_test

import (
	"context"
	"fmt"
	"strings"
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

// A round creates executions that must be new, because others are changed with them, and
// some that are left out if they are there. All have the answer that they would have alone.
func TestCreationsOfBothKindsInOneRound(t *testing.T) {
	c := need(t)
	for _, there := range []string{"", "child", "start", "child start"} {
		t.Run("There/"+there, func(t *testing.T) {
			schema := c.Schema()
			a, spy := spied(t, c.url, schema)
			b := open(t, schema, pgstore.Options{NoListen: true})
			p := create(t, a, "p", true)
			invoked := creation("child", "f", false)
			invoked.Caller = &checkpoint.Caller{ID: p.ID, Incarnation: p.Incarnation, OperationID: "1"}
			all := []checkpoint.Creation{invoked, creation("start", "f", false), creation("new", "f", false)}
			for _, id := range strings.Fields(there) {
				alone := creation(id, "f", false)
				_, created, err := b.Create(t.Context(), alone)
				require.NoError(t, err)
				require.True(t, created)
			}
			type answer struct {
				id      string
				created bool
				err     error
			}
			answers := make(chan answer, len(all))
			oneRound(t, a, spy, schema, func() int {
				for _, creation := range all {
					go func() {
						_, created, err := a.Create(context.Background(), creation)
						answers <- answer{creation.ID, created, err}
					}()
				}
				return len(all)
			})
			for range all {
				got := <-answers
				require.NoError(t, got.err, got.id)
				require.Equal(t, !strings.Contains(there, got.id), got.created, got.id)
			}
			for _, creation := range all {
				n := 0
				for _, err := range b.Records(t.Context(), creation.ID, 0) {
					require.NoError(t, err)
					n++
				}
				require.Equal(t, 1, n, creation.ID)
			}
			require.NoError(t, appendTo(a, step(p, 1)))
		})
	}
}
