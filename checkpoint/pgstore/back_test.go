package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
)

// past is what the tables of a schema held at a time.
type past struct {
	t      *testing.T
	c      *cluster
	schema string
	name   string // of the schema, quoted
	then   string
}

var tables = strings.Fields("process execution journal inbox callback")

func remember(t *testing.T, c *cluster, schema string) *past {
	p := &past{t, c, schema, pgx.Identifier{schema}.Sanitize(), pgx.Identifier{schema + " past"}.Sanitize()}
	sql := "CREATE SCHEMA " + p.then
	for _, table := range tables {
		sql += fmt.Sprintf("; CREATE TABLE %s.%s AS SELECT * FROM %s.%[2]s", p.then, table, p.name)
	}
	c.exec(t, sql)
	return p
}

// comesBack makes it what they hold, as a server does that lacks what was committed since.
// It returns how many rounds of its one process that were.
func (p *past) comesBack() (lost int64) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, p.c.Cluster.URL())
	require.NoError(p.t, err)
	defer conn.Close(ctx)
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		// Its rounds wait for it, and find nothing then.
		err := tx.QueryRow(ctx, fmt.Sprintf("SELECT round - (SELECT max(round) FROM %s.process) FROM %s.process ORDER BY id FOR UPDATE", p.then, p.name)).Scan(&lost)
		for i := 0; i < len(tables) && err == nil; i++ {
			_, err = tx.Exec(ctx, fmt.Sprintf("DELETE FROM %s.%s; INSERT INTO %[1]s.%[2]s OVERRIDING SYSTEM VALUE SELECT * FROM %s.%[2]s", p.name, tables[i], p.then), pgx.QueryExecModeSimpleProtocol)
		}
		return err
	})
	require.NoError(p.t, err)
	return lost
}

// A server that goes back in time lacks what it has acknowledged: the process starts over
// under a new lease, and nothing that it owned is left behind.
func TestServerGoesBack(t *testing.T) {
	c := need(t)
	const lease = 2 * time.Second
	const long = time.Minute // nothing is renewed, and nothing read, but by the test
	// given is a store that owns x, with a past of its schema, and lost rounds since.
	given := func(t *testing.T, lease time.Duration, lost int) (*proxy, *pgstore.Store, <-chan checkpoint.Hint, *past, checkpoint.Append, *lines) {
		var log lines
		schema, p := c.Schema(), startProxy(t, c)
		s := openAt(t, p.url(), schema, pgstore.Options{Lease: lease, Poll: time.Hour, NoListen: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		hints := watched(s)
		sum := create(t, s, "x", true)
		then := remember(t, c, schema)
		tail := uint64(1)
		for range lost {
			require.NoError(t, appendTo(s, step(sum, tail)))
			tail++
		}
		end := step(sum, tail)
		end.Status, end.Records[0].Type = checkpoint.Succeeded, checkpoint.ExecutionSucceeded
		return p, s, hints, then, end, &log
	}
	ends := func(t *testing.T, s *pgstore.Store, hints <-chan checkpoint.Hint) {
		t.Helper()
		claim := claimed(t, s, hints, "x")
		require.True(t, claim.Lost)
		end := step(claim.Summary, claim.Tail)
		end.Status, end.Records[0].Type = checkpoint.Succeeded, checkpoint.ExecutionSucceeded
		require.NoError(t, appendTo(s, end))
	}
	// leaseEnds ends a lease that the process does not have any more.
	leaseEnds := func(t *testing.T, then *past, number int64) {
		c.exec(t, "UPDATE "+then.name+".process SET lease_until = 0 WHERE id = $1", number)
		open(t, then.schema, pgstore.Options{Lease: long}) // looks for what is lost
	}
	for lost := range 4 { // acknowledged, and not there
		t.Run(fmt.Sprint("AnAnswerIsMissing/", lost), func(t *testing.T) {
			t.Parallel()
			p, s, hints, then, end, log := given(t, long, lost)
			number, _ := s.Lease()
			gone := false
			p.onAnswer(func([]byte) bool {
				drop := !gone
				if drop {
					gone = true
					then.comesBack()
				}
				return drop
			})
			err := appendTo(s, end)
			now, _ := s.Lease()
			if lost == 0 {
				require.NoError(t, err, "it was not made, and nothing else is missing")
				require.Equal(t, number, now)
				return
			}
			require.ErrorIs(t, err, checkpoint.ErrFenced)
			require.NotEqual(t, number, now)
			tells(t, log, fmt.Sprintf("transactions_lost=%d\n", lost), 1)
			leaseEnds(t, then, number)
			ends(t, s, hints)
			require.Equal(t, 1, log.count("transactions_lost="))
		})
	}
	t.Run("ItEndedInWhatIsMissing", func(t *testing.T) {
		t.Parallel()
		p, s, hints, then, end, _ := given(t, long, 1)
		number, _ := s.Lease()
		require.NoError(t, appendTo(s, end))
		other := create(t, s, "y", true)
		gone := false
		p.onAnswer(func([]byte) bool {
			drop := !gone
			if drop {
				gone = true
				then.comesBack()
			}
			return drop
		})
		require.ErrorIs(t, appendTo(s, step(other, 1)), checkpoint.ErrFenced)
		now, _ := s.Lease()
		require.NotEqual(t, number, now)
		leaseEnds(t, then, number)
		ends(t, s, hints)
		_, err := s.Get(t.Context(), "y")
		require.ErrorIs(t, err, checkpoint.ErrNotFound)
	})
	t.Run("NothingIsOnItsWay", func(t *testing.T) {
		t.Parallel()
		_, s, hints, then, end, log := given(t, lease, 2)
		number, _ := s.Lease()
		require.NoError(t, appendTo(s, end))
		lost := then.comesBack()
		require.Eventually(t, func() bool { now, _ := s.Lease(); return now != number }, patience, 10*time.Millisecond, "by itself")
		tells(t, log, fmt.Sprintf("transactions_lost=%d\n", lost), 1)
		awaitHint(t, hints, checkpoint.Hint{Kind: checkpoint.HintEnded})
		ends(t, s, hints)
	})
	t.Run("SomebodyReads", func(t *testing.T) { // many at once, which all find it
		t.Parallel()
		_, s, hints, then, end, log := given(t, long, 2)
		number, _ := s.Lease()
		require.NoError(t, appendTo(s, end))
		then.comesBack()
		require.NoError(t, eightTimes(func() error {
			sum, err := s.Get(t.Context(), "x")
			if err == nil && sum.Tail != 1 {
				err = fmt.Errorf("its tail is %d", sum.Tail)
			}
			return err
		}))
		now, _ := s.Lease()
		require.NotEqual(t, number, now)
		tells(t, log, "transactions_lost=3\n", 1)
		leaseEnds(t, then, number)
		ends(t, s, hints)
		require.Equal(t, 1, log.count("transactions_lost="))
	})
	t.Run("ItsBeginningIsMissing", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		first := open(t, schema, pgstore.Options{Lease: lease, Poll: time.Hour})
		then := remember(t, c, schema)
		s := open(t, schema, pgstore.Options{Lease: lease, Poll: time.Hour})
		sum := create(t, s, "x", true)
		then.comesBack()
		require.ErrorIs(t, appendTo(s, step(sum, 1)), checkpoint.ErrFenced)
		create(t, s, "x", true)
		create(t, first, "y", true)
	})
}

// eightTimes calls f eight times at once.
func eightTimes(f func() error) error {
	all := make(chan error)
	for range 8 {
		go func() { all <- f() }()
	}
	var errs []error
	for range 8 {
		errs = append(errs, <-all)
	}
	return errors.Join(errs...)
}

// tells waits for lines of a log.
func tells(t *testing.T, log *lines, message string, times int) {
	t.Helper()
	require.Eventually(t, func() bool { return log.count(message) == times }, patience, time.Millisecond, "%q is there %d times", message, times)
}

// Sequences go back with the server. A process whose beginning is lost must not be taken
// for the one that begins next.
func TestProcessesAreNotMistaken(t *testing.T) {
	c := need(t)
	t.Parallel()
	schema := c.Schema()
	opts := pgstore.Options{Lease: time.Minute, Poll: time.Hour, NoListen: true}
	a := open(t, schema, opts)
	x := create(t, a, "x", true)
	name := pgx.Identifier{schema}.Sanitize()
	for _, table := range tables {
		c.exec(t, "DELETE FROM "+name+"."+table)
	}
	c.exec(t, "ALTER SEQUENCE "+name+".process_id_seq RESTART")
	c.exec(t, "ALTER SEQUENCE "+name+".execution_number RESTART")
	b := open(t, schema, opts)
	y := create(t, b, "x", true)
	require.Equal(t, x.Epoch, y.Epoch)
	require.Equal(t, x.Number, y.Number)
	require.Error(t, begin(t, a).Commit(step(x, 1)), "it owns nothing")
	require.ErrorIs(t, appendTo(a, step(x, 1)), checkpoint.ErrFenced)
	require.NoError(t, appendTo(b, step(y, 1)))
	require.NoError(t, begin(t, b).Commit(step(y, 2)))
}

// TestAsynchronousFailover promotes a standby that lacks the last commits. What was
// acknowledged in them is lost, and everything else ends, with one outcome each.
func TestAsynchronousFailover(t *testing.T) {
	need(t)
	if testing.Short() || *throughBouncer {
		t.Skip("it starts servers of its own")
	}
	t.Parallel()
	primary, standby := startPair(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	// Bodies wait here, behind two steps.
	gates := map[string]chan struct{}{"kept": make(chan struct{}), "tail": make(chan struct{})}
	work := durable.Define("work", func(ctx *durable.Context, kind string) (int, error) {
		for i := range 4 {
			err := durable.Do(ctx, "step", func(ctx context.Context) error {
				if i != 2 {
					return nil
				}
				select {
				case <-gates[kind]:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
			if err == nil {
				err = durable.Wait(ctx, "pause", time.Millisecond)
			}
			if err != nil {
				return 0, err
			}
		}
		return 7, nil
	})
	var log lines
	proxy := startProxy(t, primary)
	var engines []*durable.Engine
	var stores []*pgstore.Store
	var numbers []int64
	for range 2 {
		s := openAt(t, proxy.url(), "back", pgstore.Options{Lease: 3 * time.Second, Poll: 100 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		e, err := durable.New(s, &durable.Options{Functions: []durable.Definition{work}, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		t.Cleanup(func() { e.Close() })
		number, _ := s.Lease()
		engines, stores, numbers = append(engines, e), append(stores, s), append(numbers, number)
	}
	const each = 10
	start := func(kind string) (all []*durable.Execution[int]) {
		for i := range each {
			x, err := work.Start(ctx, engines[i%2], kind, durable.WithExecutionID(fmt.Sprint(kind, i)))
			require.NoError(t, err)
			all = append(all, work.Attach(engines[(i/2)%2], x.ID()))
		}
		return all
	}
	kept := start("kept")
	conn, err := pgx.Connect(ctx, standby.URL())
	require.NoError(t, err)
	defer conn.Close(ctx)
	comes := func(sql string) {
		t.Helper()
		require.Eventually(t, func() bool {
			var yes bool
			err := conn.QueryRow(ctx, sql).Scan(&yes)
			return err == nil && yes
		}, patience, 10*time.Millisecond)
	}
	comes(fmt.Sprintf(`SELECT count(*) = %d FROM back.execution WHERE tail >= 5`, each)) // its beginning, two steps, two waits
	_, err = conn.Exec(ctx, `ALTER SYSTEM SET primary_conninfo = ''`)
	require.NoError(t, err)
	_, err = conn.Exec(ctx, `SELECT pg_reload_conf()`)
	require.NoError(t, err)
	comes(`SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)`)

	// What the standby will lack.
	close(gates["kept"])
	for _, x := range kept {
		_, err := x.Result(ctx)
		require.NoError(t, err)
	}
	gone := make(chan error, each)
	for _, x := range start("tail") {
		go func() {
			_, err := x.Result(ctx)
			gone <- err
		}()
	}
	proxy.leadTo(standby.Port())
	require.NoError(t, primary.Stop("immediate"))
	require.NoError(t, standby.Promote())

	for range each {
		require.ErrorIs(t, <-gone, durable.ErrExecutionNotFound)
	}
	close(gates["tail"])
	for _, x := range append(kept, start("tail")...) {
		out, err := x.Result(ctx)
		require.NoError(t, err)
		require.Equal(t, 7, out)
		seen := make(map[string]int)
		for ev, err := range engines[0].History(ctx, x.ID()) {
			require.NoError(t, err)
			if ev.Type == "StepSucceeded" || ev.Type == "WaitSucceeded" {
				seen[ev.OperationID]++
			}
		}
		require.Len(t, seen, 8)
		for operation, outcomes := range seen {
			require.Equal(t, 1, outcomes, "%s of %s", operation, x.ID())
		}
	}
	for i, s := range stores {
		now, _ := s.Lease()
		require.NotEqual(t, numbers[i], now, "it goes on as if nothing were missing")
	}
	tells(t, &log, "gone back in time", 2)
}
