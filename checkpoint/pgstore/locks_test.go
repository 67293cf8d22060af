package pgstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
)

// ring is two stores on a database of their own, where the server does not look for
// deadlocks: who waits in a ring waits for ever.
type ring struct {
	t      *testing.T
	conn   *pgx.Conn // of the test
	at     string
	schema string
	a, b   *pgstore.Store
}

func newRing(t *testing.T) *ring {
	c := need(t)
	if *throughBouncer {
		t.Skip("PgBouncer knows no other database")
	}
	t.Parallel()
	name := fmt.Sprintf("ring_%d", rings.Add(1))
	c.exec(t, "CREATE DATABASE "+name)
	at, err := url.Parse(c.database(t, name))
	require.NoError(t, err)
	q := at.Query()
	q.Set("options", "-c deadlock_timeout=1h")
	at.RawQuery = q.Encode()
	r := &ring{t: t, at: at.String(), schema: c.Schema()}
	opts := pgstore.Options{Lease: 2 * time.Minute, Poll: time.Hour, NoListen: true}
	r.a, r.b = openAt(t, r.at, r.schema, opts), openAt(t, r.at, r.schema, opts)
	r.conn, err = pgx.Connect(t.Context(), r.at)
	require.NoError(t, err)
	t.Cleanup(func() { r.conn.Close(context.Background()) })
	return r
}

var rings atomic.Int64

func (r *ring) exec(sql string, args ...any) {
	r.t.Helper()
	_, err := r.conn.Exec(r.t.Context(), strings.ReplaceAll(sql, "$S", pgx.Identifier{r.schema}.Sanitize()), args...)
	require.NoError(r.t, err)
}

// hold locks the rows of executions until release.
func (r *ring) hold(ids ...string) {
	r.exec("BEGIN")
	for _, id := range ids {
		r.exec("SELECT FROM $S.execution WHERE id = $1 FOR UPDATE", []byte(id))
	}
}

func (r *ring) release() { r.exec("COMMIT") }

// waiting waits until so many sessions wait for locks, or all of the answers are there.
func (r *ring) waiting(sessions int) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		var n int
		err := r.conn.QueryRow(r.t.Context(), `SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted AND (database IS NULL OR database = (SELECT oid FROM pg_database WHERE datname = current_database()))
			AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())`).Scan(&n)
		return err == nil && n >= sessions
	}, patience, time.Millisecond)
}

// all waits for answers.
func (r *ring) all(answers ...<-chan error) {
	r.t.Helper()
	timeout := time.After(30 * time.Second)
	for _, answer := range answers {
		select {
		case err := <-answer:
			require.NoError(r.t, err)
		case <-timeout:
			r.t.Fatal("they wait for each other")
		}
	}
}

func inBackground(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

func told(to checkpoint.Summary) checkpoint.Delivery {
	return checkpoint.Delivery{ID: to.ID, Incarnation: to.Incarnation, Record: checkpoint.Record{Type: checkpoint.ChainedInvokeSucceeded, OperationID: "1", Time: time.Now().UnixNano()}}
}

// invoked makes an execution that another one has invoked.
func invoked(t testing.TB, s *pgstore.Store, caller checkpoint.Summary, id string) checkpoint.Summary {
	t.Helper()
	c := creation(id, "f", true)
	c.Caller = &checkpoint.Caller{ID: caller.ID, Incarnation: caller.Incarnation, OperationID: "1"}
	sum, created, err := s.Create(t.Context(), c)
	require.NoError(t, err)
	require.True(t, created)
	return sum
}

func ends(sum checkpoint.Summary, tail uint64, deliver ...checkpoint.Delivery) checkpoint.Append {
	a := step(sum, tail)
	a.Status, a.Records[0].Type, a.Deliver = checkpoint.Succeeded, checkpoint.ExecutionSucceeded, deliver
	return a
}

// TestRounds wait for each other in one order, and never in a ring.
func TestRoundsWaitInOrder(t *testing.T) {
	t.Run("OwnAndForeign", func(t *testing.T) {
		r := newRing(t)
		x, y := create(t, r.a, "x", true), create(t, r.b, "y", true)
		r.hold("x")
		there := inBackground(func() error { return appendTo(r.b, ends(y, 1, told(x))) })
		r.waiting(1)
		and := step(x, 1)
		and.Deliver = []checkpoint.Delivery{told(y)}
		back := inBackground(func() error { return appendTo(r.a, and) })
		r.waiting(2)
		r.release()
		r.all(there, back)
	})

	t.Run("ChildrenOfWhatEnds", func(t *testing.T) {
		r := newRing(t)
		p := create(t, r.a, "p", true)
		var children []checkpoint.Summary
		for i := range 3 {
			children = append(children, invoked(t, r.b, p, fmt.Sprint("c", i)))
		}
		// The parent's process knows of them, as it would if it had made them itself.
		require.NoError(t, appendTo(r.a, step(p, 1)))
		r.hold("p")
		var answers []<-chan error
		answers = append(answers, inBackground(func() error { return appendTo(r.b, ends(children[2], 1, told(p))) }))
		r.waiting(1)
		answers = append(answers, inBackground(func() error { return appendTo(r.a, ends(p, 2)) }))
		r.waiting(2)
		r.release()
		r.all(answers...)
		for i, c := range children {
			sum, err := r.a.Get(t.Context(), c.ID)
			require.NoError(t, err)
			require.Equal(t, i < 2, sum.Cancelled)
		}
	})

	t.Run("Creations", func(t *testing.T) {
		r := newRing(t)
		// Each of two rounds creates the same ones; behind its first one it waits for the test.
		r.exec(`CREATE FUNCTION $S.meet() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF current_setting('ring.met', true) = 'yes' THEN PERFORM pg_advisory_xact_lock_shared(7); END IF;
			PERFORM set_config('ring.met', 'yes', true);
			RETURN NEW; END $$`)
		r.exec(`CREATE TRIGGER meet BEFORE INSERT ON $S.execution FOR EACH ROW EXECUTE FUNCTION $S.meet()`)
		held := create(t, r.a, "held", false)
		r.hold("held")
		// A round of each store that waits, so that the next one has all that is asked for meanwhile.
		var answers []<-chan error
		for _, s := range []*pgstore.Store{r.a, r.b} {
			answers = append(answers, inBackground(func() error {
				return s.Deliver(context.Background(), checkpoint.Delivery{ID: held.ID, Record: checkpoint.Record{Type: checkpoint.CancelRequested}})
			}))
		}
		r.waiting(2)
		for i := range 10 { // whatever their order is, that of the two stores is another one
			for _, s := range []*pgstore.Store{r.a, r.b} {
				answers = append(answers, inBackground(func() error {
					_, _, err := s.Create(context.Background(), creation(fmt.Sprint(i), "f", false))
					return err
				}))
			}
		}
		r.exec("SELECT pg_advisory_lock(7)")
		r.release()
		r.waiting(2)
		r.exec("SELECT pg_advisory_unlock(7)")
		r.all(answers...)
	})
}

// What a process that is gone owned is locked in a round of its own: not behind what others
// had asked for.
func TestTakeoverWaitsInOrder(t *testing.T) {
	r := newRing(t)
	opts := pgstore.Options{Lease: 2 * time.Minute, Poll: time.Hour, NoListen: true}
	dead := openAt(t, r.at, r.schema, opts)
	x, y, held := create(t, dead, "x", true), create(t, r.a, "y", true), create(t, r.a, "held", false)
	opts.Poll = 50 * time.Millisecond
	b := openAt(t, r.at, r.schema, opts)
	news := func(s *pgstore.Store, sum checkpoint.Summary) <-chan error {
		return inBackground(func() error {
			return s.Deliver(context.Background(), checkpoint.Delivery{ID: sum.ID, Record: checkpoint.Record{Type: checkpoint.CancelRequested}})
		})
	}
	// b waits, and will make one round of what it is asked for meanwhile.
	r.hold(held.ID)
	busy := news(b, held)
	r.waiting(1)
	number, _ := dead.Lease()
	other, err := pgx.Connect(t.Context(), r.at)
	require.NoError(t, err)
	defer other.Close(context.Background())
	_, err = other.Exec(t.Context(), strings.ReplaceAll("UPDATE $S.process SET lease_until = 0 WHERE id = $1", "$S", pgx.Identifier{r.schema}.Sanitize()), number)
	require.NoError(t, err)
	mine := news(b, y)
	require.Eventually(t, func() bool {
		stacks := make([]byte, 4<<20)
		return bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("(*Store).sweep("))
	}, patience, time.Millisecond)
	tx, err := other.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), strings.ReplaceAll("SELECT FROM $S.execution WHERE number = $1 FOR UPDATE", "$S", pgx.Identifier{r.schema}.Sanitize()), int64(x.Number))
	require.NoError(t, err)
	and := step(y, 1)
	and.Deliver = []checkpoint.Delivery{told(x)}
	both := inBackground(func() error { return appendTo(r.a, and) }) // waits for x
	r.waiting(2)
	r.release()
	r.all(busy)
	r.waiting(2)
	require.NoError(t, tx.Rollback(t.Context()))
	r.all(mine, both)
}

// TestNoRingAmongEngines has eight processes work on each other's executions: parents that
// end, and are stopped, with children that run elsewhere. The server looks for rings
// whenever somebody waits, and finds none.
func TestNoRingAmongEngines(t *testing.T) {
	c := need(t)
	if testing.Short() || *throughBouncer {
		t.Skip("PgBouncer knows no other database")
	}
	const processes, parents = 8, 400
	name := fmt.Sprintf("ring_%d", rings.Add(1))
	c.exec(t, "CREATE DATABASE "+name)
	at, err := url.Parse(c.database(t, name))
	require.NoError(t, err)
	q := at.Query()
	q.Set("options", "-c deadlock_timeout=1ms")
	at.RawQuery = q.Encode()
	parent, child := ringFunctions()
	quiet := slog.New(slog.DiscardHandler)
	schema := c.Schema()
	var engines []*durable.Engine
	for i := range processes {
		opts := pgstore.Options{Logger: quiet}
		if i%4 == 3 { // its statements are planned for the tables as they are
			opts.NoListen, opts.Poll = true, 50*time.Millisecond
		}
		s := openAt(t, at.String(), schema, opts)
		e, err := durable.New(s, &durable.Options{Functions: []durable.Definition{parent, child}, Logger: quiet, MaxResident: 64, ParkFor: -1})
		require.NoError(t, err)
		t.Cleanup(func() { e.Close() })
		engines = append(engines, e)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var left, stopped atomic.Int64
	left.Store(parents)
	var wg sync.WaitGroup
	for i := range 4 * processes {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			for left.Add(-1) >= 0 {
				x, err := parent.Start(ctx, engines[i%processes], i)
				if err != nil {
					t.Error(err)
					return
				}
				if rng.IntN(4) == 0 { // somebody else stops it
					if err := engines[rng.IntN(processes)].Stop(ctx, x.ID(), "enough"); err != nil {
						t.Error(err)
					}
					stopped.Add(1)
				}
				if _, err := x.Result(ctx); err != nil && !errors.Is(err, durable.ErrStopped) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, e := range engines {
		require.NoError(t, e.Close())
	}
	conn, err := pgx.Connect(t.Context(), c.Cluster.URL())
	require.NoError(t, err)
	defer conn.Close(t.Context())
	var deadlocks, commits, rollbacks int64
	require.Eventually(t, func() bool { // what a session has counted is there when it has ended
		var sessions int
		err := conn.QueryRow(t.Context(), `SELECT deadlocks, xact_commit, xact_rollback, (SELECT count(*) FROM pg_stat_activity WHERE datname = $1) FROM pg_stat_database WHERE datname = $1`, name).Scan(&deadlocks, &commits, &rollbacks, &sessions)
		return err == nil && sessions == 0
	}, patience, 10*time.Millisecond)
	require.Zero(t, deadlocks)
	t.Logf("%d parents of 4 children on %d processes, %d of them stopped: %d transactions, %d taken back, no deadlock", parents, processes, stopped.Load(), commits, rollbacks)
}

// ringFunctions are functions whose executions reach into those of other processes: parents that invoke
// children side by side, and end with all but one of them abandoned.
func ringFunctions() (parent, child *durable.Function[int, int]) {
	child = durable.Define("child", func(ctx *durable.Context, n int) (int, error) {
		for i := range n {
			if err := durable.Do(ctx, "s", func(context.Context) error { return nil }); err != nil {
				return 0, err
			}
			if i%2 == 1 {
				if err := durable.Wait(ctx, "w", 5*time.Millisecond); err != nil {
					return 0, err
				}
			}
		}
		return n, nil
	})
	parent = durable.Define("parent", func(ctx *durable.Context, n int) (int, error) {
		var all []*durable.Future[int]
		for i := range 4 {
			all = append(all, durable.Go(ctx, fmt.Sprint("go", i), func(ctx *durable.Context) (int, error) {
				return durable.Invoke(ctx, "i", child, 1+3*i)
			}))
		}
		return all[0].Await(ctx) // the others are abandoned: their children are cancelled
	})
	return parent, child
}
