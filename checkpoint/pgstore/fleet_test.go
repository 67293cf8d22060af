package pgstore_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

const patience = 2 * time.Minute

func creation(id, function string, claim bool) checkpoint.Creation {
	return checkpoint.Creation{ID: id, Incarnation: checkpoint.Incarnation{1}, Digest: []byte("digest"), Claim: claim,
		Started: checkpoint.Record{Type: checkpoint.ExecutionStarted, Function: function, Payload: []byte("1"), Flags: checkpoint.FlagPayload}}
}

func create(t testing.TB, s checkpoint.Store, id string, claim bool) checkpoint.Summary {
	t.Helper()
	sum, created, err := s.Create(t.Context(), creation(id, "f", claim))
	require.NoError(t, err)
	require.True(t, created)
	return sum
}

// step is the n-th step of an execution whose journal has n records.
func step(sum checkpoint.Summary, tail uint64) checkpoint.Append {
	return checkpoint.Append{ID: sum.ID, Epoch: sum.Epoch, Tail: tail, Records: []checkpoint.Record{
		{Seq: tail + 1, EventID: tail + 1, Events: 1, Type: checkpoint.StepSucceeded, OperationID: "1", Number: int64(tail)}}}
}

func appendTo(s checkpoint.Store, a checkpoint.Append) error {
	done := make(chan error, 1)
	s.Append(a, func(err error) { done <- err })
	return <-done
}

// claimed waits until a store can claim an execution, with its hints alone.
func claimed(t testing.TB, s checkpoint.Store, hints <-chan checkpoint.Hint, id string) checkpoint.Claim {
	t.Helper()
	timeout := time.After(patience)
	for {
		claims, err := s.Claim(t.Context(), checkpoint.ClaimRequest{Functions: []string{"f"}, Build: "b", Max: 10})
		require.NoError(t, err)
		for _, c := range claims {
			if c.ID == id {
				return c
			}
		}
		select {
		case <-hints:
		case <-timeout:
			t.Fatalf("%s was not taken over", id)
		}
	}
}

func watched(s checkpoint.Store) <-chan checkpoint.Hint {
	hints := make(chan checkpoint.Hint, 10_000)
	s.Watch(func(h checkpoint.Hint) {
		select {
		case hints <- h:
		default:
		}
	})
	return hints
}

func awaitHint(t testing.TB, hints <-chan checkpoint.Hint, want checkpoint.Hint) {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case h := <-hints:
			if h == want {
				return
			}
		case <-timeout:
			t.Fatalf("no hint %+v", want)
		}
	}
}

// Two processes' worth of stores on one database.
func TestTwoStores(t *testing.T) {
	c := need(t)
	t.Run("OneOwnsWhatTheOtherSees", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		a, b := open(t, schema, pgstore.Options{}), open(t, schema, pgstore.Options{})
		hints := watched(a)
		require.Equal(t, a.Secret(), b.Secret())
		sum := create(t, a, "x", true)
		_, created, err := b.Create(t.Context(), creation("x", "f", true))
		require.NoError(t, err)
		require.False(t, created)
		claims, err := b.Claim(t.Context(), checkpoint.ClaimRequest{Functions: []string{"f"}, Max: 10})
		require.NoError(t, err)
		require.Empty(t, claims)
		require.NoError(t, appendTo(a, step(sum, 1)))

		// What b delivers is news to a, whatever a has kept of the execution.
		require.NoError(t, b.Deliver(t.Context(), checkpoint.Delivery{ID: "x", Record: checkpoint.Record{Type: checkpoint.CancelRequested}}))
		awaitHint(t, hints, checkpoint.Hint{Kind: checkpoint.HintInbox, ID: "x"})
		release := step(sum, 2)
		release.Release = &checkpoint.Release{}
		require.ErrorIs(t, appendTo(a, release), checkpoint.ErrInboxNews)
		ended, err := b.End(t.Context(), checkpoint.Ending{ID: "x", Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
		require.NoError(t, err)
		require.True(t, ended)
		awaitHint(t, hints, checkpoint.Hint{Kind: checkpoint.HintEnded, ID: "x"})
		require.ErrorIs(t, appendTo(a, step(sum, 2)), checkpoint.ErrFenced)
	})

	t.Run("WhatAnOwnerHasKeptIsCompared", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		a, b := open(t, schema, pgstore.Options{}), open(t, schema, pgstore.Options{})
		news, gone := create(t, a, "news", true), create(t, a, "gone", true)
		require.NoError(t, b.Deliver(t.Context(), checkpoint.Delivery{ID: "news", Record: checkpoint.Record{Type: checkpoint.CancelRequested}}))
		_, err := b.End(t.Context(), checkpoint.Ending{ID: "gone", Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
		require.NoError(t, err)
		require.NoError(t, appendTo(a, step(news, 1)))
		require.ErrorIs(t, appendTo(a, step(gone, 1)), checkpoint.ErrFenced)
		sum, err := a.Get(t.Context(), "news")
		require.NoError(t, err)
		require.EqualValues(t, 1, sum.InboxTail, "the news are forgotten")
		require.EqualValues(t, 2, sum.Tail)
		require.True(t, sum.Cancelled)
		sum, err = a.Get(t.Context(), "gone")
		require.NoError(t, err)
		require.EqualValues(t, 3, sum.Tail)
		require.Equal(t, checkpoint.ExecutionStopped, sum.Ended.Type)
	})

	t.Run("HintsComeWithoutNotifications", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		opts := pgstore.Options{NoListen: true, Poll: 50 * time.Millisecond}
		a, b := open(t, schema, opts), open(t, schema, opts)
		hints := watched(a)
		sum := create(t, a, "x", true)
		require.NoError(t, b.Deliver(t.Context(), checkpoint.Delivery{ID: "x", Record: checkpoint.Record{Type: checkpoint.CancelRequested}}))
		awaitHint(t, hints, checkpoint.Hint{Kind: checkpoint.HintInbox, ID: "x"})
		_, err := b.End(t.Context(), checkpoint.Ending{ID: "x", Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
		require.NoError(t, err)
		awaitHint(t, hints, checkpoint.Hint{Kind: checkpoint.HintEnded, ID: "x"})
		create(t, b, "y", false)
		claimed(t, a, hints, "y")
		require.ErrorIs(t, appendTo(a, step(sum, 1)), checkpoint.ErrFenced)
	})

	t.Run("ClaimsGiveEachOnce", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		const executions, stores = 300, 4
		var all []*pgstore.Store
		for range stores {
			all = append(all, open(t, schema, pgstore.Options{}))
		}
		for i := range executions {
			create(t, all[i%stores], fmt.Sprint(i), false)
		}
		var mu sync.Mutex
		owners := make(map[string]int)
		var wg sync.WaitGroup
		for _, s := range all {
			wg.Go(func() {
				for {
					mu.Lock()
					n := len(owners)
					mu.Unlock()
					if n == executions || t.Failed() {
						return
					}
					claims, err := s.Claim(t.Context(), checkpoint.ClaimRequest{Functions: []string{"f"}, Max: 7})
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					for _, c := range claims {
						if owners[c.ID]++; owners[c.ID] > 1 {
							t.Errorf("%s was claimed twice", c.ID)
						}
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		t.Logf("%d executions claimed by %d stores, each once", len(owners), stores)
	})

	t.Run("InvokedOnesAreCancelledWithTheirCaller", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		a, b := open(t, schema, pgstore.Options{}), open(t, schema, pgstore.Options{})
		const rounds = 60
		refused := 0
		for i := range rounds {
			caller := create(t, a, fmt.Sprint("caller", i), true)
			child := func(n int) checkpoint.Creation {
				c := creation(fmt.Sprint("child", i, "-", n), "g", false)
				c.Caller = &checkpoint.Caller{ID: caller.ID, Incarnation: caller.Incarnation, OperationID: "1"}
				return c
			}
			_, _, err := a.Create(t.Context(), child(0)) // the caller has invoked before
			require.NoError(t, err)
			var wg sync.WaitGroup
			wg.Go(func() { _, _, err = b.Create(t.Context(), child(1)) })
			final := step(caller, 1)
			final.Records[0].Type, final.Status = checkpoint.ExecutionSucceeded, checkpoint.Succeeded
			require.NoError(t, appendTo(a, final))
			wg.Wait()
			if err != nil {
				require.ErrorIs(t, err, checkpoint.ErrEnded)
				refused++
				continue
			}
			s, err := a.Get(t.Context(), fmt.Sprint("child", i, "-", 1))
			require.NoError(t, err)
			require.True(t, s.Cancelled, "the caller has ended and its child goes on")
		}
		t.Logf("%d races of an invocation with the end of its caller, %d came too late", rounds, refused)
	})
}

// A process is stopped past its lease, as by SIGSTOP, and goes on.
func TestLease(t *testing.T) {
	c := need(t)
	t.Run("IsTakenOverWhenItHasRunOut", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		const lease = 4 * time.Second
		opts := pgstore.Options{Lease: lease, Poll: time.Hour} // what is lost is looked for all the same
		b := open(t, schema, opts)
		hints := watched(b)
		for _, signal := range []string{"SIGKILL", "SIGSTOP"} {
			var p *process
			var claim checkpoint.Claim
			var id string
			var took time.Duration
			for range 3 { // a busy machine may be late; late each time is the store's fault
				p = startProcess(t, schema, lease)
				id = p.own(t)
				require.Greater(t, p.steps(t), 0)
				p.signal(t, signal)
				since := time.Now()
				claim = claimed(t, b, hints, id)
				took = time.Since(since)
				require.True(t, claim.Lost)
				if took <= lease*3/2 {
					break
				}
			}
			require.LessOrEqual(t, took, lease*3/2)
			tail := claim.Tail
			for range 5 {
				require.NoError(t, appendTo(b, step(claim.Summary, tail)))
				tail++
			}
			if signal == "SIGSTOP" {
				p.signal(t, "SIGCONT")
				require.Equal(t, "fenced", p.end(t))
			}
			require.NoError(t, appendTo(b, step(claim.Summary, tail)))
			acknowledged := p.acknowledged.Load()
			n := 0
			for r, err := range b.Records(t.Context(), id, 1) {
				require.NoError(t, err)
				require.EqualValues(t, n+1, r.Number, "each step once")
				n++
			}
			require.EqualValues(t, tail, n)
			require.LessOrEqual(t, acknowledged, int64(claim.Tail-1), "an acknowledged step is lost")
			t.Logf("%s: taken over after %s, lease %s; %d steps acknowledged by the first owner", signal, took.Round(time.Millisecond), lease, acknowledged)
		}
	})

	t.Run("ThatCannotBeRenewedEndsOwnership", func(t *testing.T) {
		t.Parallel()
		const lease = 10 * time.Second // a tenth of it is what a busy machine may be late
		schema := c.Schema()
		proxy := startProxy(t, c)
		a := openAt(t, proxy.url(), schema, pgstore.Options{Lease: lease, Poll: 50 * time.Millisecond})
		hints := watched(a)
		sum := create(t, a, "x", true)
		require.NoError(t, appendTo(a, step(sum, 1)))
		proxy.cut()
		since := time.Now()
		require.ErrorIs(t, appendTo(a, step(sum, 2)), checkpoint.ErrFenced)
		took := time.Since(since)
		require.Less(t, took, lease, "the lease has run out before")
		proxy.mend()
		claim := claimed(t, a, hints, "x") // under a new lease
		require.True(t, claim.Lost)
		require.ErrorIs(t, appendTo(a, step(sum, 2)), checkpoint.ErrFenced)
		require.NoError(t, appendTo(a, step(claim.Summary, claim.Tail)))
		t.Logf("cut off, an append was refused after %s of a lease of %s", took.Round(time.Millisecond), lease)
	})

	t.Run("IsNotWaitedForByClose", func(t *testing.T) {
		t.Parallel()
		proxy := startProxy(t, c)
		a, err := pgstore.Open(t.Context(), proxy.url(), &pgstore.Options{Schema: c.Schema(), Lease: time.Minute, Poll: time.Hour, NoListen: true})
		require.NoError(t, err)
		sum := create(t, a, "x", true)
		proxy.cut()
		done := make(chan error, 1)
		a.Append(step(sum, 1), func(err error) { done <- err })
		since := time.Now()
		require.NoError(t, a.Close())
		require.ErrorIs(t, <-done, checkpoint.ErrFenced)
		require.Less(t, time.Since(since), 15*time.Second)
	})

	t.Run("ThatTheDatabaseFindsRunOut", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		a := open(t, schema, pgstore.Options{Poll: time.Hour})
		sum := create(t, a, "x", true)
		c.exec(t, `UPDATE "`+schema+`".process SET lease_until = 1`) // its own clock knows nothing of it
		require.ErrorIs(t, appendTo(a, step(sum, 1)), checkpoint.ErrFenced)
		require.ErrorIs(t, appendTo(a, step(sum, 1)), checkpoint.ErrFenced, "under the new lease")
		create(t, a, "y", true) // what asks for no ownership of before goes on
		b := open(t, schema, pgstore.Options{})
		require.True(t, claimed(t, b, nil, "x").Lost)
	})

	t.Run("GoesOnWhenBackendsAreTerminated", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		proxy := startProxy(t, c)
		a := openAt(t, proxy.url(), schema, pgstore.Options{})
		sum := create(t, a, "x", true)
		tail := uint64(1)
		const terminations = 20
		for i := range terminations {
			var wg sync.WaitGroup
			wg.Go(func() {
				for range 20 {
					require.NoError(t, appendTo(a, step(sum, tail)))
					tail++
				}
			})
			if i%2 == 0 {
				c.exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1`, proxy.name)
			} else {
				proxy.reset()
			}
			wg.Wait()
		}
		n := uint64(1)
		for r, err := range a.Records(t.Context(), "x", 1) {
			require.NoError(t, err)
			require.EqualValues(t, n, r.Number)
			n++
		}
		require.Equal(t, tail, n)
		t.Logf("%d steps under %d terminations and resets: each acknowledged, each there once", tail-1, terminations)
	})

	t.Run("AnswersOfCommitsThatAreDropped", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		proxy := startProxy(t, c)
		a := openAt(t, proxy.url(), schema, pgstore.Options{Poll: time.Hour, NoListen: true})
		sum := create(t, a, "x", true)
		require.NoError(t, appendTo(a, step(sum, 1)))
		const drops = 30
		for i := range uint64(drops) {
			proxy.dropAnswer()
			require.NoError(t, appendTo(a, step(sum, 2+2*i)))
			require.NoError(t, appendTo(a, step(sum, 3+2*i)))
			proxy.dropAnswer()
			create(t, a, fmt.Sprint("y", i), true)
		}
		require.EqualValues(t, 2*drops, proxy.dropped.Load())
		n := uint64(1)
		for r, err := range a.Records(t.Context(), "x", 1) {
			require.NoError(t, err)
			require.EqualValues(t, n, r.Number)
			n++
		}
		require.EqualValues(t, 2+2*drops, n)
		t.Logf("%d answers dropped: nothing lost, nothing made twice", proxy.dropped.Load())
	})
}

func TestOpen(t *testing.T) {
	c := need(t)
	t.Run("TenAtOnce", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		secrets := make([][]byte, 10)
		var wg sync.WaitGroup
		for i := range secrets {
			wg.Go(func() {
				s, err := pgstore.Open(t.Context(), c.url, &pgstore.Options{Schema: schema, NoListen: *throughBouncer})
				if err != nil {
					t.Error(err)
					return
				}
				secrets[i] = s.Secret()
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, secret := range secrets {
			require.Equal(t, secrets[0], secret)
		}
	})
	t.Run("ByHand", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		pool, err := pgxpool.New(t.Context(), c.url)
		require.NoError(t, err)
		defer pool.Close()
		_, err = pgstore.New(t.Context(), pool, &pgstore.Options{Schema: schema, NoMigrate: true, NoListen: *throughBouncer})
		require.ErrorContains(t, err, "there are no tables")
		c.exec(t, pgstore.SQL(schema))
		require.Equal(t, pgstore.SQL("durable"), pgstore.SQL(""), "as Options.Schema")
		s, err := pgstore.New(t.Context(), pool, &pgstore.Options{Schema: schema, NoMigrate: true, NoListen: *throughBouncer})
		require.NoError(t, err)
		create(t, s, "x", false)
		require.NoError(t, s.Close())
		require.NoError(t, pool.Ping(context.Background()), "the pool is the caller's")

		c.exec(t, `UPDATE "`+schema+`".meta SET version = 99`)
		_, err = pgstore.New(t.Context(), pool, &pgstore.Options{Schema: schema, NoListen: *throughBouncer})
		require.ErrorContains(t, err, "version 99")
	})
	t.Run("ForPeople", func(t *testing.T) {
		t.Parallel()
		schema := c.Schema()
		s := open(t, schema, pgstore.Options{})
		create(t, s, "order-42", false)
		require.EqualValues(t, 1, c.exec(t, `SELECT * FROM "`+schema+`".executions WHERE id = 'order-42' AND function = 'f' AND status = 'RUNNING'`))
	})
}
