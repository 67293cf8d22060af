package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/durable-go/durable/checkpoint/pgstore/pgstep"
)

// app is a role whose sessions can be made read-only, as those of a server are that was
// told to take no writes for a while.
type app struct {
	c    *cluster
	t    *testing.T
	name string
	url  string
}

func newApp(t *testing.T, schema string) *app {
	c := need(t)
	if *throughBouncer {
		t.Skip("PgBouncer does not know the role")
	}
	at, err := url.Parse(c.url)
	require.NoError(t, err)
	at.User = url.User(schema + "_app")
	a := &app{c: c, t: t, name: pgx.Identifier{schema + "_app"}.Sanitize(), url: at.String()}
	granting.Lock() // the server does not do it for two at once
	defer granting.Unlock()
	c.exec(t, `CREATE ROLE `+a.name+` LOGIN; GRANT ALL ON DATABASE postgres TO `+a.name)
	return a
}

var granting sync.Mutex

// readOnly makes its new sessions so, and ends those that there are, if end.
func (a *app) readOnly(end bool) {
	a.c.exec(a.t, `ALTER ROLE `+a.name+` SET default_transaction_read_only = on`)
	if end {
		a.c.exec(a.t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE '"' || usename || '"' = $1`, a.name)
	}
}

func (a *app) writable() { a.c.exec(a.t, `ALTER ROLE `+a.name+` RESET default_transaction_read_only`) }

// fill has the pool make as many connections as it may have.
func fillPool(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	var all []*pgxpool.Conn
	for range pool.Config().MaxConns {
		conn, err := pool.Acquire(t.Context())
		require.NoError(t, err)
		all = append(all, conn)
	}
	for _, conn := range all {
		conn.Release()
	}
}

// Sessions that take no writes are dropped, by whichever pool they were made: nothing is
// lost but time once others would be good.
func TestReadOnlySessions(t *testing.T) {
	// given opens a store whose pool reads has been filled while sessions were read-only.
	given := func(t *testing.T, opts pgstore.Options) (*app, *pgxpool.Pool, *pgstore.Store) {
		schema := need(t).Schema()
		a := newApp(t, schema)
		config, err := pgxpool.ParseConfig(a.url)
		require.NoError(t, err)
		config.MaxConns = 8
		pool, err := pgxpool.NewWithConfig(t.Context(), config)
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		opts.Schema, opts.NoListen = schema, true
		s, err := pgstore.New(t.Context(), pool, &opts)
		require.NoError(t, err)
		t.Cleanup(func() { s.Close() })
		return a, pool, s
	}
	t.Run("Retention", func(t *testing.T) {
		t.Parallel()
		a, pool, s := given(t, pgstore.Options{Poll: time.Hour, Lease: time.Minute})
		create(t, s, "x", true)
		_, err := s.End(t.Context(), checkpoint.Ending{ID: "x", Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
		require.NoError(t, err)
		a.readOnly(false)
		pool.Reset()
		fillPool(t, pool)
		_, err = s.Expire(t.Context(), s.Now().Add(time.Hour), 10)
		require.ErrorContains(t, err, "takes no writes")
		fillPool(t, pool)
		a.writable()
		n, err := s.Expire(t.Context(), s.Now().Add(time.Hour), 10)
		require.NoError(t, err)
		require.Equal(t, 1, n)
	})
	t.Run("Reads", func(t *testing.T) { // on the server that has all of it they are as good as others
		t.Parallel()
		a, pool, s := given(t, pgstore.Options{Poll: time.Hour, Lease: time.Minute})
		create(t, s, "x", true)
		a.readOnly(false)
		pool.Reset()
		_, err := s.Get(t.Context(), "x")
		require.NoError(t, err)
		a.writable()
	})
	t.Run("Writer", func(t *testing.T) {
		t.Parallel()
		a, _, s := given(t, pgstore.Options{Poll: time.Hour, Lease: time.Minute})
		sum := create(t, s, "x", true)
		number, _ := s.Lease()
		a.readOnly(true)
		done := make(chan error, 1)
		s.Append(step(sum, 1), func(err error) { done <- err })
		require.Eventually(t, func() bool { // it has met them
			return a.c.exec(t, `SELECT FROM pg_stat_activity WHERE '"' || usename || '"' = $1`, a.name) > 0
		}, patience, time.Millisecond)
		a.writable()
		require.NoError(t, <-done)
		now, _ := s.Lease()
		require.Equal(t, number, now, "the lease is the same")
	})
	t.Run("Steps", func(t *testing.T) {
		t.Parallel()
		a, _, s := given(t, pgstore.Options{Poll: time.Hour, Lease: time.Minute, StepConns: 4})
		sum := create(t, s, "x", true)
		fill := func() {
			var all []checkpoint.Transaction
			for range 4 {
				all = append(all, begin(t, s))
			}
			for _, tx := range all {
				tx.Rollback()
			}
		}
		fill()
		a.readOnly(true)
		require.Eventually(t, func() bool { // at first it meets sessions that were ended
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			_, err := s.Begin(ctx, nil)
			return errors.Is(err, context.DeadlineExceeded) && strings.Contains(err.Error(), "takes no writes")
		}, patience, time.Millisecond)
		begun := make(chan checkpoint.Transaction, 1)
		go func() {
			tx, err := s.Begin(context.Background(), pgx.TxOptions{IsoLevel: pgx.Serializable})
			require.NoError(t, err)
			begun <- tx
		}()
		a.writable()
		(<-begun).Rollback()
		fill()
		tx := begin(t, s)
		require.NoError(t, tx.Commit(step(sum, 1)))
	})
}

// The attempts of a step are for its body: none is spent while no transaction can begin.
func TestAttemptsAreNotSpentOnSessions(t *testing.T) {
	schema := need(t).Schema()
	a := newApp(t, schema)
	t.Parallel()
	s := openAt(t, a.url, schema, pgstore.Options{Lease: time.Minute, Poll: 50 * time.Millisecond})
	var bodies atomic.Int64
	pay := durable.Define("pay", func(ctx *durable.Context, _ int) (int, error) {
		return pgstep.Step(ctx, "pay", func(ctx context.Context, tx pgx.Tx) (int, error) {
			info, _ := durable.StepInfoFrom(ctx)
			bodies.Add(1)
			return int(info.Attempt), nil
		}, durable.WithRetry(durable.RetryPolicy{MaxAttempts: 1}))
	})
	e, err := durable.New(s, &durable.Options{Functions: []durable.Definition{pay}})
	require.NoError(t, err)
	defer e.Close()
	for i := range 3 {
		n, err := pay.Run(t.Context(), e, i) // makes connections
		require.NoError(t, err)
		require.Equal(t, 1, n)
	}
	a.readOnly(true)
	results := make(chan error, 8)
	for i := range cap(results) {
		go func() {
			n, err := pay.Run(context.Background(), e, 10+i)
			if err == nil && n != 1 {
				err = fmt.Errorf("it took %d attempts", n)
			}
			results <- err
		}()
	}
	refused := func() bool {
		tx, err := s.Begin(shortly(t, 100*time.Millisecond), nil)
		if err == nil {
			tx.Rollback()
		}
		return err != nil
	}
	require.Eventually(t, refused, patience, time.Millisecond)
	a.writable()
	for range cap(results) {
		require.NoError(t, <-results)
	}
	require.EqualValues(t, 3+cap(results), bodies.Load())
}

func shortly(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// TestReplica leads connections to a replica that is behind: nothing is read of it, and
// nothing is lost when it becomes the primary.
func TestReplica(t *testing.T) {
	need(t)
	if testing.Short() || *throughBouncer {
		t.Skip("it starts servers of its own")
	}
	t.Parallel()
	primary, standby := startPair(t)
	conn, err := pgx.Connect(t.Context(), standby.URL())
	require.NoError(t, err)
	defer conn.Close(t.Context())

	// Of several hosts the primary is taken, wherever it stands.
	both := fmt.Sprintf("postgres://tests@127.0.0.1:%d,127.0.0.1:%d/postgres?sslmode=disable", standby.Port(), primary.Port())
	s := openAt(t, both, "hosts", pgstore.Options{})
	sum := create(t, s, "x", true)
	require.NoError(t, begin(t, s).Commit(step(sum, 1)))

	// A pool that somebody gives may have taken the other one.
	p := startProxy(t, primary)
	pool, err := pgxpool.New(t.Context(), p.url())
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	s, err = pgstore.New(t.Context(), pool, &pgstore.Options{Schema: "given", NoListen: true, Lease: 5 * time.Second})
	require.NoError(t, err)
	defer s.Close()
	require.Eventually(t, func() bool {
		var there bool
		err := conn.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM given.meta)`).Scan(&there)
		return err == nil && there
	}, patience, 10*time.Millisecond)
	_, err = conn.Exec(t.Context(), `SELECT pg_wal_replay_pause()`)
	require.NoError(t, err)
	sum = create(t, s, "x", true)
	p.leadTo(standby.Port())
	pool.Reset()
	fillPool(t, pool)
	_, err = s.Get(t.Context(), "x")
	require.ErrorContains(t, err, "a replica after a failover", "it does not know of x")
	fillPool(t, pool)
	p.leadTo(primary.Port())
	got, err := s.Get(t.Context(), "x")
	require.NoError(t, err)
	require.Equal(t, sum.Number, got.Number)
	require.NoError(t, begin(t, s).Commit(step(sum, 1)))

	// The failover itself: all goes over to the replica.
	_, err = conn.Exec(t.Context(), `SELECT pg_wal_replay_resume()`)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		var behind bool
		err := conn.QueryRow(t.Context(), `SELECT (SELECT tail FROM given.execution WHERE id = 'x') < 2`).Scan(&behind)
		return err == nil && !behind
	}, patience, 10*time.Millisecond)
	p.leadTo(standby.Port())
	require.NoError(t, primary.Stop("immediate"))
	done := make(chan error, 1)
	s.Append(step(sum, 2), func(err error) { done <- err })
	require.NoError(t, standby.Promote())
	require.NoError(t, <-done)
	got, err = s.Get(t.Context(), "x")
	require.NoError(t, err)
	require.EqualValues(t, 3, got.Tail)
	require.NoError(t, begin(t, s).Commit(step(sum, 3)))
}
