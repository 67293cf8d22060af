package durable_test

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// fleet is a store that several engines share, each with a member of it.
type fleet struct {
	*testing.T
	base *memstore.Store
	mu   sync.Mutex
	all  []*member
}

// member is what one engine has of the store.
type member struct {
	checkpoint.Store
	f     *fleet
	watch func(checkpoint.Hint)
	deaf  atomic.Bool // it gets no hints but that something is due

	gets, reads, glances, glanced atomic.Int64
}

// glancing is a member that is a checkpoint.Glancer, too.
type glancing struct{ *member }

func newFleet(t *testing.T) *fleet {
	f := &fleet{T: t, base: memstore.New()}
	f.base.Watch(f.hint)
	t.Cleanup(func() { f.base.Close() })
	return f
}

func (f *fleet) hint(h checkpoint.Hint) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.all {
		if m.watch != nil && (h.Kind == checkpoint.HintDue || !m.deaf.Load()) {
			m.watch(h)
		}
	}
}

// open opens an engine on it.
func (f *fleet) open(glancer bool, opts durable.Options, functions ...durable.Definition) (*bundle, *member) {
	m := &member{Store: f.base, f: f}
	f.mu.Lock()
	f.all = append(f.all, m)
	f.mu.Unlock()
	var store checkpoint.Store = m
	if glancer {
		store = glancing{m}
	}
	opts.Functions = functions
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	e, err := durable.New(store, &opts)
	require.NoError(f, err)
	f.Cleanup(func() { e.Close() })
	return &bundle{T: f.T, ctx: f.Context(), engine: e, store: store}, m
}

func (m *member) Watch(fn func(checkpoint.Hint)) {
	m.f.mu.Lock()
	defer m.f.mu.Unlock()
	m.watch = fn
}

func (*member) Shared() bool { return true }
func (*member) Close() error { return nil }

func (m *member) Get(ctx context.Context, id string) (checkpoint.Summary, error) {
	m.gets.Add(1)
	return m.Store.Get(ctx, id)
}

func (m *member) Records(ctx context.Context, id string, after uint64) iter.Seq2[checkpoint.Record, error] {
	m.reads.Add(1)
	return m.Store.Records(ctx, id, after)
}

func (m glancing) Glance(ctx context.Context, ids []string) (found []checkpoint.Glance, err error) {
	m.glances.Add(1)
	m.glanced.Add(int64(len(ids)))
	require.LessOrEqual(m.f, len(ids), 1000)
	for _, id := range ids {
		if s, err := m.Store.Get(ctx, id); err == nil {
			found = append(found, checkpoint.Glance{ID: id, Incarnation: s.Incarnation, Status: s.Status, Tail: s.Tail, Held: len(s.HeldBuilds) > 0 && !s.Owned})
		}
	}
	return found, nil
}

// look has all engines look, as a store that polls does.
func (f *fleet) look() { f.hint(checkpoint.Hint{Kind: checkpoint.HintDue}) }

// bothStores is once with a checkpoint.Glancer, and once without.
func bothStores(t *testing.T, name string, f func(t *testing.T, glancer bool)) {
	for _, glancer := range []bool{true, false} {
		inBubble(t, fmt.Sprint(name, "/", map[bool]string{true: "Glancer", false: "Any"}[glancer]), func(t *testing.T) { f(t, glancer) })
	}
}

// TestWaitersAreToldOfTheirOwn: who waits for one execution, or follows it, asks nothing
// of the store because others go on.
func TestWaitersAreToldOfTheirOwn(t *testing.T) {
	sleep := durable.Define("sleep", func(ctx *durable.Context, _ int) (int, error) { return 1, durable.Wait(ctx, "w", 1000*time.Hour) })
	quick := durable.Define("quick", func(ctx *durable.Context, n int) (int, error) {
		return durable.Step(ctx, "s", func(context.Context) (int, error) { return n, nil })
	})
	bothStores(t, "Results", func(t *testing.T, glancer bool) {
		f := newFleet(t)
		f.open(glancer, durable.Options{ParkFor: -1}, sleep, quick)
		client, asked := f.open(glancer, durable.Options{})
		const waiters, executions = 990, 200
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range waiters {
			x := start(client, sleep, 0)
			all.Go(func() { x.Result(ctx) })
		}
		time.Sleep(time.Minute)
		asked.gets.Store(0)
		asked.glances.Store(0)
		since := time.Now()
		for i := range executions {
			require.Equal(t, i, run(client, quick, i))
			time.Sleep(50 * time.Millisecond)
		}
		seconds := int64(time.Since(since)/time.Second) + 1
		gets := asked.gets.Load()
		if glancer {
			require.LessOrEqual(t, asked.glances.Load(), seconds, "one question for all")
		} else {
			gets -= 64 * seconds
		}
		require.LessOrEqual(t, gets, int64(3*executions), "%d wait, %d were run", waiters, executions)
		cancel()
		all.Wait()
	})
	bothStores(t, "Followers", func(t *testing.T, glancer bool) {
		f := newFleet(t)
		runner, _ := f.open(glancer, durable.Options{ParkFor: -1}, sleep, quick)
		client, asked := f.open(glancer, durable.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		const followers = 100
		var events atomic.Int64
		for i := range followers {
			x := start(client, sleep, 0, durable.WithExecutionID(fmt.Sprint(i)))
			all.Go(func() {
				for _, err := range client.engine.Follow(ctx, x.ID(), 0) {
					if err == nil {
						events.Add(1)
					}
				}
			})
		}
		time.Sleep(time.Minute)
		asked.reads.Store(0)
		asked.gets.Store(0)
		before := events.Load()
		asked.deaf.Store(true)
		time.Sleep(time.Minute)
		if glancer {
			require.Zero(t, asked.gets.Load())
		} else {
			require.LessOrEqual(t, asked.gets.Load(), int64(64*60))
		}
		require.Zero(t, asked.reads.Load())
		require.NoError(t, runner.engine.Stop(t.Context(), "7", ""))
		time.Sleep(4 * time.Second)
		require.LessOrEqual(t, asked.reads.Load(), int64(2))
		require.Greater(t, events.Load(), before)
		cancel()
		all.Wait()
	})
}

// TestNoWaiterIsLost: what the hints of one engine have not told is found when the store
// has it look.
func TestNoWaiterIsLost(t *testing.T) {
	gate := durable.Define("gate", func(ctx *durable.Context, _ int) (string, error) {
		if err := durable.Wait(ctx, "w", time.Hour); err != nil {
			return "", err
		}
		cb, err := durable.CreateCallback[string](ctx, "cb")
		if err != nil {
			return "", err
		}
		return cb.Await(ctx)
	})
	bothStores(t, "HintsAreLost", func(t *testing.T, glancer bool) {
		f := newFleet(t)
		f.open(glancer, durable.Options{ParkFor: -1}, gate)
		client, asked := f.open(glancer, durable.Options{})
		asked.deaf.Store(true)
		const n = 300
		var all sync.WaitGroup
		var ended, found atomic.Int64
		for i := range n {
			x := start(client, gate, 0, durable.WithExecutionID(fmt.Sprint(i)))
			all.Go(func() {
				id, err := client.engine.CallbackID(t.Context(), x.ID(), "cb")
				require.NoError(t, err)
				found.Add(1)
				if i%3 == 0 {
					err = client.engine.Stop(t.Context(), x.ID(), "")
				} else {
					err = client.engine.SucceedCallback(t.Context(), id, "yes")
				}
				require.NoError(t, err)
			})
			all.Go(func() {
				out, err := x.Result(t.Context())
				if i%3 == 0 {
					require.ErrorIs(t, err, durable.ErrStopped)
				} else {
					require.NoError(t, err)
					require.Equal(t, "yes", out)
				}
				ended.Add(1)
			})
		}
		time.Sleep(time.Hour + time.Second)
		for range 12 { // 64 a second are asked for at least
			f.look()
			time.Sleep(time.Second)
		}
		synctest.Wait()
		require.EqualValues(t, n, found.Load())
		require.EqualValues(t, n, ended.Load())
		all.Wait()
	})
	bothStores(t, "ItIsDeletedOrReplaced", func(t *testing.T, glancer bool) {
		f := newFleet(t)
		runner, _ := f.open(glancer, durable.Options{ParkFor: -1}, gate)
		client, asked := f.open(glancer, durable.Options{})
		asked.deaf.Store(true)
		x := start(client, gate, 0, durable.WithExecutionID("x"))
		result := make(chan error, 1)
		follow := make(chan error, 1)
		go func() { _, err := x.Result(t.Context()); result <- err }()
		go func() {
			for _, err := range client.engine.Follow(t.Context(), "x", 0) {
				if err != nil {
					follow <- err
				}
			}
		}()
		time.Sleep(10 * time.Second)
		require.NoError(t, runner.engine.Stop(t.Context(), "x", ""))
		require.NoError(t, runner.engine.Delete(t.Context(), "x"))
		f.look()
		time.Sleep(2 * time.Second)
		require.ErrorIs(t, <-result, durable.ErrExecutionNotFound)
		require.ErrorIs(t, <-follow, durable.ErrExecutionNotFound)
	})
	bothStores(t, "ItIsHeld", func(t *testing.T, glancer bool) {
		f := newFleet(t)
		other := durable.Define("gate", func(ctx *durable.Context, _ int) (string, error) {
			_, err := durable.Step(ctx, "another", func(context.Context) (int, error) { return 0, nil })
			return "", err
		})
		runner, _ := f.open(glancer, durable.Options{ParkFor: -1, Build: "old"}, gate)
		var log lockedBuffer
		client, asked := f.open(glancer, durable.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		asked.deaf.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		x := start(client, gate, 0, durable.WithExecutionID("x"))
		go func() { x.Result(ctx); close(done) }()
		time.Sleep(time.Second)
		require.NoError(t, runner.engine.Close())
		f.open(glancer, durable.Options{ParkFor: -1, Build: "new"}, other)
		time.Sleep(2 * time.Hour)
		f.look()
		time.Sleep(2 * time.Second)
		require.Equal(t, 1, strings.Count(log.String(), "waiting for the result of an execution that is held"))
		for range 5 {
			f.look()
			time.Sleep(2 * time.Second)
		}
		require.Equal(t, 1, strings.Count(log.String(), "waiting for the result of an execution that is held"))
		cancel()
		<-done
	})
}
