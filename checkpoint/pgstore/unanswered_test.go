package pgstore_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
)

// TestOwnTimeIsNotTheCallers: that a server, or a pool, has not answered in time does not
// pass for the end of a context that goes on.
func TestOwnTimeIsNotTheCallers(t *testing.T) {
	c := need(t)
	given := func(t *testing.T) (pool *pgxpool.Pool, s *pgstore.Store) {
		config, err := pgxpool.ParseConfig(c.url)
		require.NoError(t, err)
		config.MaxConns = 1
		pool, err = pgxpool.NewWithConfig(t.Context(), config)
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		s, err = pgstore.New(t.Context(), pool, &pgstore.Options{Schema: c.Schema(), Lease: 300 * time.Millisecond, Poll: time.Hour, NoListen: *throughBouncer, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		t.Cleanup(func() { s.Close() })
		return pool, s
	}
	silent := func(t *testing.T, err error) {
		require.ErrorContains(t, err, "no answer within 300ms")
		require.NotErrorIs(t, err, context.DeadlineExceeded)
		require.NotErrorIs(t, err, context.Canceled)
	}
	for name, read := range map[string]func(ctx context.Context, s *pgstore.Store) error{
		"Get":  func(ctx context.Context, s *pgstore.Store) error { _, err := s.Get(ctx, "x"); return err },
		"Find": func(ctx context.Context, s *pgstore.Store) error { _, err := s.Find(ctx, 1); return err },
		"Records": func(ctx context.Context, s *pgstore.Store) (err error) {
			for _, err = range s.Records(ctx, "x", 0) {
			}
			return err
		},
		"Inbox":  func(ctx context.Context, s *pgstore.Store) error { _, err := s.Inbox(ctx, "x", 0); return err },
		"Glance": func(ctx context.Context, s *pgstore.Store) error { _, err := s.Glance(ctx, []string{"x"}); return err },
		"NextDue": func(ctx context.Context, s *pgstore.Store) error {
			_, err := s.NextDue(ctx, checkpoint.ClaimRequest{Functions: []string{"f"}})
			return err
		},
		"Expire": func(ctx context.Context, s *pgstore.Store) error { _, err := s.Expire(ctx, s.Now(), 1); return err },
		"Result": func(ctx context.Context, s *pgstore.Store) error {
			e, err := durable.New(s, &durable.Options{Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				return err
			}
			defer e.Close()
			_, err = e.ResultJSON(ctx, "x")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool, s := given(t)
			conn, err := pool.Acquire(t.Context())
			require.NoError(t, err)
			defer conn.Release()
			silent(t, read(t.Context(), s))
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			if name != "Result" { // its engine has closed the store
				require.ErrorIs(t, read(ctx, s), context.DeadlineExceeded, "that is the caller's own")
			}
		})
	}
	t.Run("Writer", func(t *testing.T) {
		t.Parallel()
		var s silence
		store, err := pgstore.New(t.Context(), s.pool(t, c.url, nil), &pgstore.Options{Schema: c.Schema(), Lease: 300 * time.Millisecond, Poll: time.Hour, NoListen: true, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		t.Cleanup(func() { store.Close() })
		sum := create(t, store, "x", true)
		s.all.Store(true)
		defer s.all.Store(false)
		err = appendTo(store, step(sum, 1))
		require.ErrorIs(t, err, checkpoint.ErrFenced)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
		_, _, err = store.Create(t.Context(), creation("y", "f", false))
		require.Error(t, err)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
	})
}
