package pgstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// spy counts what a store asks of the server.
type spy struct {
	rounds atomic.Int64 // that were sent
	locked atomic.Int64 // executions that were to be locked
}

func (s *spy) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}
func (s *spy) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
func (s *spy) TraceBatchStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	for _, q := range data.Batch.QueuedQueries {
		switch {
		case strings.Contains(q.SQL, ".process SET round ="):
			s.rounds.Add(1)
		case strings.Contains(q.SQL, "FOR UPDATE") && strings.Contains(q.SQL, "sha256(x.id)"):
			s.locked.Add(int64(len(q.Arguments[0].([][]byte))))
		}
	}
	return ctx
}
func (s *spy) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (s *spy) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// spied opens a store whose questions are counted.
func spied(t *testing.T, url, schema string) (*pgstore.Store, *spy) {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	spy := &spy{}
	config.ConnConfig.Tracer = spy
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	s, err := pgstore.New(t.Context(), pool, &pgstore.Options{Schema: schema, NoListen: true, Lease: time.Hour, Poll: time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s, spy
}

// oneRound has f enter commands that the store makes one round of; f returns how many
// goroutines will wait for one.
func oneRound(t *testing.T, s *pgstore.Store, spy *spy, schema string, f func() (waiting int)) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), need(t).Cluster.URL())
	require.NoError(t, err)
	defer conn.Close(context.Background())
	tx, err := conn.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), fmt.Sprintf(`SELECT FROM %s.process FOR UPDATE`, pgx.Identifier{schema}.Sanitize()))
	require.NoError(t, err)
	sent := spy.rounds.Load()
	held := make(chan error, 1)
	go func() { held <- s.Disown(t.Context(), "the round before", 1) }()
	require.Eventually(t, func() bool { return spy.rounds.Load() > sent }, patience, time.Millisecond)
	waiting := f()
	require.Eventually(t, func() bool {
		stacks := make([]byte, 4<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		return bytes.Count(stacks, []byte("queue.(*Queue[...]).Do(")) > waiting
	}, patience, time.Millisecond)
	require.NoError(t, tx.Rollback(t.Context()))
	require.NoError(t, <-held)
}

// TestRefusedCommandsLeaveTheRoundAlone has one of each command that finds its condition
// unmet in a round with what many executions do: that is made once, and nothing is read for
// it, while the refusals are those of what the database holds.
func TestRefusedCommandsLeaveTheRoundAlone(t *testing.T) {
	schema := need(t).Schema()
	s, spy := spied(t, need(t).url, schema)
	ctx := t.Context()
	const busy = 100
	sums := make([]checkpoint.Summary, busy)
	for i := range sums {
		sums[i] = create(t, s, fmt.Sprint("busy-", i), true)
	}
	create(t, s, "ended", false)
	_, err := s.End(ctx, checkpoint.Ending{ID: "ended", Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
	require.NoError(t, err)
	waits := create(t, s, "waits", true)
	callback := step(waits, 1)
	callback.Records[0].Type = checkpoint.CallbackStarted
	require.NoError(t, appendTo(s, callback))
	outcome := checkpoint.Delivery{ID: "waits", Record: checkpoint.Record{Type: checkpoint.CallbackSucceeded, OperationID: "1"}}
	require.NoError(t, s.Deliver(ctx, outcome))

	other := creation("ended", "f", false)
	other.Digest = []byte("another input")
	refused := map[string]struct {
		call func() error
		with error
	}{
		"a start of what there is, with another input": {func() error { _, _, err := s.Create(ctx, other); return err }, checkpoint.ErrExists},
		"a start of what there is": {func() error {
			got, created, err := s.Create(ctx, creation("ended", "f", false))
			if err == nil && (created || got.Status != checkpoint.Stopped) {
				err = fmt.Errorf("created %v, %v", created, got)
			}
			return err
		}, nil},
		"a start of what is owned here": {func() error {
			_, created, err := s.Create(ctx, creation("busy-0", "f", true))
			if err == nil && created {
				err = errors.New("it was made twice")
			}
			return err
		}, nil},
		"a callback that has its outcome":       {func() error { return s.Deliver(ctx, outcome) }, checkpoint.ErrCallbackClosed},
		"a heartbeat of it":                     {func() error { return s.Heartbeat(ctx, checkpoint.CallbackRef{ID: "waits", OperationID: "1"}) }, checkpoint.ErrCallbackClosed},
		"a callback that there is not":          {func() error { d := outcome; d.Record.OperationID = "7"; return s.Deliver(ctx, d) }, checkpoint.ErrNotFound},
		"an execution that there is not":        {func() error { return s.Resume(ctx, "nobody") }, checkpoint.ErrNotFound},
		"a delete of what runs here":            {func() error { return s.Delete(ctx, "busy-1") }, checkpoint.ErrRunning},
		"an append under an epoch that is over": {func() error { a := step(sums[2], 1); a.Epoch = 9; return appendTo(s, a) }, checkpoint.ErrFenced},
		"an append behind another record":       {func() error { a := step(waits, 7); return appendTo(s, a) }, checkpoint.ErrConflict},
	}
	var all sync.WaitGroup
	var rounds, locked int64
	oneRound(t, s, spy, schema, func() int {
		rounds, locked = spy.rounds.Load(), spy.locked.Load()
		answers := make(chan error, busy)
		for i := 10; i < busy; i++ {
			s.Append(step(sums[i], 1), func(err error) { answers <- err })
		}
		for name, r := range refused {
			all.Go(func() {
				if err := r.call(); !errors.Is(err, r.with) {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		for i := range 5 { // new ones among them
			all.Go(func() {
				if _, created, err := s.Create(ctx, creation(fmt.Sprint("new-", i), "f", true)); err != nil || !created {
					t.Errorf("created %v: %v", created, err)
				}
			})
		}
		all.Go(func() {
			for range busy - 10 {
				if err := <-answers; err != nil {
					t.Error(err)
				}
			}
		})
		return len(refused) - 2 + 5 // the appends wait otherwise
	})
	all.Wait()
	require.LessOrEqual(t, spy.rounds.Load()-rounds, int64(2), "the round, and the doubtful ones alone")
	require.LessOrEqual(t, spy.locked.Load()-locked, int64(2*len(refused)))
}

// The answer of a round that made some executions, and left others out, is lost: those that
// were made are made, and nothing twice.
func TestLostAnswerOfWhatWasLeftOut(t *testing.T) {
	if *throughBouncer {
		t.Skip("its answers are not the server's")
	}
	c := need(t)
	for lost := range int64(4) {
		t.Run(fmt.Sprint("answer ", lost), func(t *testing.T) {
			schema := c.Schema()
			create(t, open(t, schema, pgstore.Options{}), "there", false)
			proxy := startProxy(t, c)
			s, spy := spied(t, proxy.url(), schema)
			create(t, s, "first", true)
			var all sync.WaitGroup
			oneRound(t, s, spy, schema, func() int {
				for i := range 3 {
					all.Go(func() {
						sum, created, err := s.Create(t.Context(), creation(fmt.Sprint("new-", i), "f", true))
						if err == nil && created {
							err = appendTo(s, step(sum, 1))
						}
						if err != nil || !created {
							t.Errorf("created %v: %v", created, err)
						}
					})
				}
				all.Go(func() {
					if _, created, err := s.Create(t.Context(), creation("there", "f", false)); err != nil || created {
						t.Errorf("created %v: %v", created, err)
					}
				})
				var answers atomic.Int64
				proxy.onAnswer(func([]byte) bool { return answers.Add(1) == lost+1 })
				return 4
			})
			all.Wait()
			require.NotZero(t, proxy.dropped.Load())
		})
	}
}
