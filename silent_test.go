package durable_test

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// silentStore is one whose server has stopped to answer calls of a kind. They wait until
// their context ends or, if it is deaf, until the server speaks again.
type silentStore struct {
	checkpoint.Store
	kind   atomic.Value // string; "": it answers
	deaf   bool
	speaks chan struct{} // closed when it answers again
}

func (s *silentStore) ask(ctx context.Context, kind string) error {
	if s.kind.Load() != kind {
		return nil
	}
	heard := ctx.Done()
	if s.deaf {
		heard = nil
	}
	select {
	case <-heard:
		return ctx.Err()
	case <-s.speaks:
		return nil
	}
}

func (s *silentStore) Create(ctx context.Context, c checkpoint.Creation) (checkpoint.Summary, bool, error) {
	if err := s.ask(ctx, "Create"); err != nil {
		return checkpoint.Summary{}, false, err
	}
	return s.Store.Create(ctx, c)
}

func (s *silentStore) Claim(ctx context.Context, r checkpoint.ClaimRequest) ([]checkpoint.Claim, error) {
	if err := s.ask(ctx, "Claim"); err != nil {
		return nil, err
	}
	return s.Store.Claim(ctx, r)
}

func (s *silentStore) NextDue(ctx context.Context, r checkpoint.ClaimRequest) (time.Time, error) {
	if err := s.ask(ctx, "NextDue"); err != nil {
		return time.Time{}, err
	}
	return s.Store.NextDue(ctx, r)
}

func (s *silentStore) Expire(ctx context.Context, t time.Time, limit int) (int, error) {
	if err := s.ask(ctx, "Expire"); err != nil {
		return 0, err
	}
	return s.Store.Expire(ctx, t, limit)
}

func (s *silentStore) Append(a checkpoint.Append, done func(error)) {
	if s.kind.Load() != "Append" {
		s.Store.Append(a, done)
		return
	}
	go func() {
		<-s.speaks
		done(checkpoint.ErrClosed)
	}()
}

func (s *silentStore) Disown(ctx context.Context, id string, epoch uint64) error {
	if err := s.ask(ctx, "Disown"); err != nil {
		return err
	}
	return s.Store.Disown(ctx, id, epoch)
}

func (s *silentStore) Deliver(ctx context.Context, d checkpoint.Delivery) error {
	if err := s.ask(ctx, "Deliver"); err != nil {
		return err
	}
	return s.Store.Deliver(ctx, d)
}

func (s *silentStore) End(ctx context.Context, e checkpoint.Ending) (bool, error) {
	if err := s.ask(ctx, "End"); err != nil {
		return false, err
	}
	return s.Store.End(ctx, e)
}

func (s *silentStore) Get(ctx context.Context, id string) (checkpoint.Summary, error) {
	if err := s.ask(ctx, "Get"); err != nil {
		return checkpoint.Summary{}, err
	}
	return s.Store.Get(ctx, id)
}

func (s *silentStore) Inbox(ctx context.Context, id string, after uint64) ([]checkpoint.Record, error) {
	if err := s.ask(ctx, "Inbox"); err != nil {
		return nil, err
	}
	return s.Store.Inbox(ctx, id, after)
}

func (s *silentStore) Records(ctx context.Context, id string, after uint64) iter.Seq2[checkpoint.Record, error] {
	return func(yield func(checkpoint.Record, error) bool) {
		if err := s.ask(ctx, "Records"); err != nil {
			yield(checkpoint.Record{}, err)
			return
		}
		s.Store.Records(ctx, id, after)(yield)
	}
}

func (s *silentStore) Close() error {
	_ = s.ask(context.Background(), "Close")
	return s.Store.Close()
}

// TestShutdownOnASilentStore: Shutdown heeds its context, whatever the store does not
// answer, and whoever waits for the store stops waiting.
func TestShutdownOnASilentStore(t *testing.T) {
	ctx := context.Background() // callers have patience
	for kind, before := range map[string]func(b *bundle){
		"Claim":   nil,
		"NextDue": nil,
		"Create":  func(b *bundle) { _, err := nap.Start(ctx, b.engine, 0); require.Error(b, err) },
		"Append":  nil,
		"Deliver": func(b *bundle) { require.Error(b, b.engine.Cancel(ctx, "nap", "")) },
		"End":     func(b *bundle) { require.Error(b, b.engine.Stop(ctx, "nap", "")) },
		"Get":     func(b *bundle) { _, err := nap.Attach(b.engine, "nap").Result(ctx); require.Error(b, err) },
		"Inbox":   func(b *bundle) { require.NoError(b, b.engine.Cancel(ctx, "slow", "")) },
		"Records": nil,
		"Expire":  nil,
		"Close":   nil,
	} {
		for _, deaf := range []bool{false, true} {
			name := kind
			if deaf {
				name += "/ThatDoesNotHeedContexts"
			}
			inBubble(t, name, func(t *testing.T) {
				m := newMachine(t)
				s := &silentStore{deaf: deaf, speaks: make(chan struct{})}
				s.kind.Store("")
				m.wrap = func(store checkpoint.Store) checkpoint.Store { s.Store = store; return s }
				slow := durable.Define("slow", func(ctx *durable.Context, _ int) (int, error) {
					if err := durable.Do(ctx, "a", func(context.Context) error { return nil }); err != nil {
						return 0, err
					}
					return 0, durable.Do(ctx, "slow", func(ctx context.Context) error { return rest(ctx, time.Minute+time.Second) })
				})
				b := m.open(durable.Options{ParkFor: -1}, nap, doze, slow)
				start(b, nap, 0, durable.WithExecutionID("nap"))
				start(b, slow, 0, durable.WithExecutionID("slow"))
				start(b, doze, 0, durable.WithExecutionID("doze"))
				time.Sleep(time.Minute)
				s.kind.Store(kind)
				var callers sync.WaitGroup
				if before != nil {
					callers.Go(func() { before(b) })
					synctest.Wait()
				}
				if kind == "Claim" || kind == "NextDue" || kind == "Records" || kind == "Expire" {
					time.Sleep(2 * time.Hour) // nap is due
				}
				ctx, done := context.WithTimeout(context.Background(), 30*time.Second)
				defer done()
				began := time.Now()
				err := b.engine.Shutdown(ctx)
				took := time.Since(began)
				require.LessOrEqual(t, took, 31*time.Second)
				if err != nil {
					require.ErrorIs(t, err, context.DeadlineExceeded)
					require.GreaterOrEqual(t, took, 30*time.Second)
				}
				_ = b.engine.Close() // does not wait for ever either
				require.LessOrEqual(t, time.Since(began), 31*time.Second)
				if kind == "Append" || kind == "Close" || kind == "Claim" || kind == "Create" {
					require.Error(t, err)
				}
				if !deaf {
					callers.Wait()
				}
				close(s.speaks)
				callers.Wait()
			})
		}
	}
}

// TestCloseTwice: no body begins after a Close has returned, also if it was not the first.
func TestCloseTwice(t *testing.T) {
	inBubble(t, "TheSecondOneWaitsForTheFirst", func(t *testing.T) {
		m := newMachine(t)
		s := &silentStore{speaks: make(chan struct{})}
		s.kind.Store("Close")
		m.wrap = func(store checkpoint.Store) checkpoint.Store { s.Store = store; return s }
		b := m.open(durable.Options{}, nap)
		var closed atomic.Int32
		for range 2 {
			go func() {
				_ = b.engine.Close()
				closed.Add(1)
			}()
		}
		synctest.Wait()
		require.Zero(t, closed.Load())
		close(s.speaks)
		synctest.Wait()
		require.EqualValues(t, 2, closed.Load())
	})
}
