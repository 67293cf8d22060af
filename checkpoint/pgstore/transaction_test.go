package pgstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// ware is a table of the user's.
type ware struct {
	t    testing.TB
	c    *cluster
	name string
}

func newWare(t testing.TB, c *cluster, schema string) *ware {
	w := &ware{t, c, pgx.Identifier{schema + " ware"}.Sanitize()}
	c.exec(t, `CREATE TABLE `+w.name+` (what text NOT NULL)`)
	return w
}

func (w *ware) put(tx checkpoint.Transaction, what string) {
	w.t.Helper()
	_, err := tx.Handle().(pgx.Tx).Exec(context.Background(), `INSERT INTO `+w.name+` VALUES ($1)`, what)
	require.NoError(w.t, err)
}

func (w *ware) has(what string) bool {
	w.t.Helper()
	return w.c.exec(w.t, `SELECT FROM `+w.name+` WHERE what = $1`, what) > 0
}

func begin(t testing.TB, s *pgstore.Store) checkpoint.Transaction {
	t.Helper()
	tx, err := s.Begin(t.Context(), nil)
	require.NoError(t, err)
	return tx
}

// TestTransaction appends to a journal in a transaction of the user's.
func TestTransaction(t *testing.T) {
	c := need(t)
	t.Run("CommitsBothOrNeither", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		s, w := open(t, schema, pgstore.Options{}), newWare(t, c, schema)
		sum := create(t, s, "x", true)
		for n := range uint64(40) { // its appends and the writer's take turns
			what := string(rune('a' + n))
			tx := begin(t, s)
			w.put(tx, what)
			switch n % 4 {
			case 3:
				tx.Rollback()
				require.ErrorContains(t, tx.Commit(step(sum, n+1)), "has been rolled back")
				require.False(t, w.has(what))
				require.NoError(t, appendTo(s, step(sum, n+1)))
			default:
				require.NoError(t, tx.Commit(step(sum, n+1)))
				require.True(t, w.has(what))
			}
		}
		// What the writer has kept of the execution is old by now.
		require.NoError(t, begin(t, s).Commit(step(sum, 41)))
		require.NoError(t, s.Deliver(t.Context(), checkpoint.Delivery{ID: "x", Record: checkpoint.Record{Type: checkpoint.CancelRequested}}))
		got, err := s.Get(t.Context(), "x")
		require.NoError(t, err)
		require.EqualValues(t, 42, got.Tail)
		require.EqualValues(t, 42, got.LastEvent)
		n := uint64(1)
		for r, err := range s.Records(t.Context(), "x", 1) {
			require.NoError(t, err)
			require.EqualValues(t, n, r.Number)
			n++
		}
	})

	// What others do before the commit. Nothing of it may then be there.
	for name, before := range map[string]func(t *testing.T, s *pgstore.Store, schema string){
		"TakenOver": func(t *testing.T, _ *pgstore.Store, schema string) {
			c.exec(t, `UPDATE "`+schema+`".process SET lease_until = 1`)
			claimed(t, open(t, schema, pgstore.Options{}), nil, "x")
		},
		"Recovered": func(t *testing.T, _ *pgstore.Store, schema string) { // and claimed by nobody yet
			c.exec(t, `UPDATE "`+schema+`".process SET lease_until = 1`)
			open(t, schema, pgstore.Options{})
		},
		"Ended": func(t *testing.T, s *pgstore.Store, _ string) {
			_, err := s.End(t.Context(), checkpoint.Ending{ID: "x", Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
			require.NoError(t, err)
		},
		"OwnedAgain": func(t *testing.T, s *pgstore.Store, _ string) {
			require.NoError(t, s.Disown(t.Context(), "x", 1))
			claimed(t, s, nil, "x")
		},
		"Deleted": func(t *testing.T, s *pgstore.Store, _ string) {
			_, err := s.End(t.Context(), checkpoint.Ending{ID: "x", Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
			require.NoError(t, err)
			require.NoError(t, s.Delete(t.Context(), "x"))
		},
	} {
		t.Run("IsFencedWhen/"+name, func(t *testing.T) {
			t.Parallel()
			schema := c.Schema()
			// It is not told that it is taken for gone, or it would roll back first.
			s, w := open(t, schema, pgstore.Options{Poll: time.Hour, NoListen: true}), newWare(t, c, schema)
			sum := create(t, s, "x", true)
			tx := begin(t, s)
			w.put(tx, "x")
			before(t, s, schema)
			require.ErrorIs(t, tx.Commit(step(sum, 1)), checkpoint.ErrFenced)
			require.False(t, w.has("x"), "a deposed owner has written")
		})
	}

	t.Run("ComparesTheTail", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		s, w := open(t, schema, pgstore.Options{}), newWare(t, c, schema)
		sum := create(t, s, "x", true)
		tx := begin(t, s)
		w.put(tx, "x")
		require.NoError(t, appendTo(s, step(sum, 1)))
		require.ErrorIs(t, tx.Commit(step(sum, 1)), checkpoint.ErrConflict)
		require.False(t, w.has("x"))
		require.NoError(t, appendTo(s, step(sum, 2)), "the connection of the writer is another one")
	})

	t.Run("WhatTheBodyMayNot", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		s, w := open(t, schema, pgstore.Options{}), newWare(t, c, schema)
		sum := create(t, s, "x", true)
		for _, sql := range []string{"COMMIT", "ROLLBACK", "COMMIT; BEGIN", "ROLLBACK; BEGIN"} {
			tx := begin(t, s)
			_, err := tx.Handle().(pgx.Tx).Exec(t.Context(), sql)
			require.NoError(t, err)
			w.put(tx, sql)
			require.ErrorIs(t, tx.Commit(step(sum, 1)), checkpoint.ErrMisused, sql)
		}
		tx := begin(t, s)
		h := tx.Handle().(pgx.Tx)
		require.ErrorContains(t, h.Commit(t.Context()), "return instead")
		require.ErrorContains(t, h.Rollback(t.Context()), "return instead")
		inner, err := h.Begin(t.Context())
		require.NoError(t, err)
		_, err = inner.Exec(t.Context(), "SELECT 1/0")
		require.Error(t, err)
		require.NoError(t, inner.Rollback(t.Context()), "a savepoint is the body's")
		w.put(tx, "y")
		require.NoError(t, tx.Commit(step(sum, 1)))
		require.True(t, w.has("y"))
		_, err = h.Exec(t.Context(), "SELECT 1")
		require.ErrorIs(t, err, pgx.ErrTxClosed, "a goroutine of the body's can't reach what comes after")

		tx = begin(t, s)
		w.put(tx, "z")
		_, err = tx.Handle().(pgx.Tx).Exec(t.Context(), "SELECT 1/0")
		require.Error(t, err)
		require.ErrorContains(t, tx.Commit(step(sum, 2)), "a statement in its transaction has failed")
		require.False(t, w.has("z"))
		_, err = s.Begin(t.Context(), pgx.TxOptions{AccessMode: pgx.ReadOnly})
		require.ErrorIs(t, err, checkpoint.ErrMisused)
		_, err = s.Begin(t.Context(), 1)
		require.ErrorIs(t, err, checkpoint.ErrMisused)
	})

	t.Run("AnswersOfCommitsThatAreDropped", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		w := newWare(t, c, schema)
		p := startProxy(t, c)
		s := openAt(t, p.url(), schema, pgstore.Options{Poll: time.Hour, NoListen: true, Lease: time.Minute, StepConns: 1})
		sum := create(t, s, "x", true)
		made, tail := 0, uint64(1)
		const tries = 60
		for n := range tries {
			require.NoError(t, begin(t, s).Commit(step(sum, tail))) // its connection has prepared the statements now
			tail++
			what := string(rune('A' + n))
			tx := begin(t, s)
			w.put(tx, what)
			if n%2 == 0 {
				p.dropAnswer() // the server has committed
			} else {
				p.reset() // nothing reaches it
			}
			err := tx.Commit(step(sum, tail))
			require.Equal(t, err == nil, w.has(what))
			if err == nil {
				tail++
				made++
			}
			got, err := s.Get(t.Context(), "x")
			require.NoError(t, err)
			require.Equal(t, tail, got.Tail)
		}
		require.Equal(t, tries/2, made)
		t.Logf("%d commits, of %d the answer was dropped, %d did not reach the server: each was told for what it was", tries, made, tries-made)
	})

	t.Run("ThatNobodyKnowsOf", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		p := startProxy(t, c)
		s := openAt(t, p.url(), schema, pgstore.Options{Lease: time.Second})
		sum := create(t, s, "x", true)
		tx := begin(t, s)
		p.cut()
		require.ErrorIs(t, tx.Commit(step(sum, 1)), checkpoint.ErrUnknown)
		p.mend()
	})

	// The body neither ends nor heeds its context.
	t.Run("IsFreedWithTheLease", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		s, w := open(t, schema, pgstore.Options{Lease: time.Second, StepConns: 1}), newWare(t, c, schema)
		create(t, s, "x", true)
		tx := begin(t, s)
		w.put(tx, "x")
		c.exec(t, `UPDATE "`+schema+`".process SET lease_until = 1`)
		again := begin(t, s) // the only connection
		c.exec(t, `BEGIN; LOCK `+w.name+` IN ACCESS EXCLUSIVE MODE; COMMIT`)
		require.False(t, w.has("x"))
		_, err := tx.Handle().(pgx.Tx).Exec(t.Context(), "SELECT 1")
		require.Error(t, err)
		require.Error(t, tx.Commit(checkpoint.Append{}))
		again.Rollback()
	})

	t.Run("IsFreedWhenItsProcessStops", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		s, w := open(t, schema, pgstore.Options{Lease: time.Second}), newWare(t, c, schema)
		w.put(begin(t, s), "x")
		c.exec(t, `BEGIN; LOCK `+w.name+` IN ACCESS EXCLUSIVE MODE; COMMIT`) // when the server has ended what was idle
	})

	t.Run("IsClosedWithTheStore", func(t *testing.T) {
		t.Parallel()
		s := open(t, c.Schema(), pgstore.Options{})
		tx := begin(t, s)
		require.NoError(t, s.Close())
		require.Error(t, tx.Commit(checkpoint.Append{}))
		_, err := s.Begin(t.Context(), nil)
		require.ErrorIs(t, err, checkpoint.ErrClosed)
	})

	t.Run("LeavesTheStoreItsConnections", func(t *testing.T) {
		t.Parallel()
		s := open(t, c.Schema(), pgstore.Options{StepConns: 2, Lease: 2 * time.Second})
		sum := create(t, s, "x", true)
		a, b := begin(t, s), begin(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := s.Begin(ctx, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, appendTo(s, step(sum, 1)))
		_, err = s.Get(t.Context(), "x")
		require.NoError(t, err)
		a.Rollback()
		b.Abandon()
		begin(t, s).Rollback()
		begin(t, s).Rollback()
	})
}
