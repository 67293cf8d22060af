package durable_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// leasing is a store whose lease the test renews, or doesn't.
type leasing struct {
	checkpoint.Store
	mu     sync.Mutex
	number int64
	until  time.Time

	claimed func() // called behind each claim, and each creation that is one; may be nil
	hint    func(checkpoint.Hint)
}

func (l *leasing) Watch(fn func(checkpoint.Hint)) {
	l.hint = fn
	l.Store.Watch(fn)
}

func (l *leasing) Lease() (int64, time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.number, l.until
}

// Claim gives nothing without a lease.
func (l *leasing) Claim(ctx context.Context, r checkpoint.ClaimRequest) ([]checkpoint.Claim, error) {
	if _, until := l.Lease(); time.Until(until) <= 0 {
		return nil, nil
	}
	claims, err := l.Store.Claim(ctx, r)
	if l.claimed != nil && len(claims) > 0 {
		l.claimed()
	}
	return claims, err
}

func (l *leasing) Create(ctx context.Context, c checkpoint.Creation) (checkpoint.Summary, bool, error) {
	s, created, err := l.Store.Create(ctx, c)
	if l.claimed != nil && c.Claim {
		l.claimed()
	}
	return s, created, err
}

func (l *leasing) SteadyClock() bool { return true }

func (l *leasing) renew(number int64, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.number, l.until = number, time.Now().Add(d)
}

// TestLease is about an engine whose store owns for a time.
func TestLease(t *testing.T) {
	t.Parallel()
	// busy has a body that works until its context ends; then it begins another.
	busy := func(bodies chan<- context.Context) *durable.Function[int, int] {
		return durable.Define("busy", func(ctx *durable.Context, _ int) (int, error) {
			time.Sleep(time.Second)
			return durable.Step(ctx, "work", func(ctx context.Context) (int, error) {
				bodies <- ctx
				<-ctx.Done()
				return 0, ctx.Err()
			})
		})
	}
	run := func(t *testing.T) (*leasing, <-chan context.Context) {
		s := &leasing{Store: memstore.New()}
		s.renew(1, time.Minute)
		bodies := make(chan context.Context, 100)
		f := busy(bodies)
		e, err := durable.New(s, &durable.Options{Functions: []durable.Definition{f}})
		require.NoError(t, err)
		t.Cleanup(func() { e.Close() })
		_, err = f.Start(t.Context(), e, 0, durable.WithExecutionID("x"))
		require.NoError(t, err)
		return s, bodies
	}

	t.Run("ThatIsRenewedChangesNothing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, bodies := run(t)
			body := <-bodies
			for range 100 {
				time.Sleep(50 * time.Second)
				s.renew(1, time.Minute)
			}
			require.NoError(t, body.Err())
			require.Empty(t, bodies)
		})
	})

	t.Run("ThatIsOverLetsNoBodyBegin", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, bodies := run(t)
			time.Sleep(time.Second / 2)
			s.renew(1, -time.Second) // the process was stopped: no timer has rung yet
			time.Sleep(10 * time.Second)
			require.Empty(t, bodies)
			s.renew(2, time.Minute)
			require.NoError(t, (<-bodies).Err())
		})
	})

	t.Run("ThatRunsOutEndsBodies", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, bodies := run(t)
			body := <-bodies
			<-body.Done()
			_, until := s.Lease()
			require.Equal(t, until, time.Now())
			time.Sleep(time.Hour)
			require.Empty(t, bodies)
			s.renew(2, time.Minute)
			require.NoError(t, (<-bodies).Err())
			sum, err := s.Get(t.Context(), "x")
			require.NoError(t, err)
			require.Equal(t, checkpoint.Running, sum.Status)
			for r, err := range s.Records(t.Context(), "x", 1) {
				require.NoError(t, err)
				require.NotEqual(t, checkpoint.StepFailed, r.Type, "the end of the lease is recorded as the body's failure")
			}
		})
	})

	t.Run("UnderAnotherNumberOwnsNothingOfBefore", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, bodies := run(t)
			body := <-bodies
			_, until := s.Lease()
			time.Sleep(30 * time.Second)
			s.renew(2, 10*time.Minute)
			<-body.Done()
			require.Equal(t, until, time.Now(), "seen when the lease would have run out")
			require.NoError(t, (<-bodies).Err())
		})
	})

	t.Run("UnderAnotherNumberIsSeenByTheNextClaim", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, bodies := run(t)
			body := <-bodies
			since := time.Now()
			s.renew(2, 10*time.Minute)
			s.hint(checkpoint.Hint{Kind: checkpoint.HintDue})
			<-body.Done()
			require.Equal(t, since, time.Now())
			require.NoError(t, (<-bodies).Err())
		})
	})

	// The process was stopped between the store's answer and the engine's look at it,
	// and has a new lease since.
	t.Run("ThatRanOutBehindTheClaimDoesNotOwnUnderTheNext", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &leasing{Store: memstore.New()}
			s.renew(1, time.Minute)
			claims, began := 0, 0
			s.claimed = func() {
				if claims++; claims <= 2 { // the creation, and the claim after it
					s.renew(int64(1+claims), time.Minute)
				}
			}
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				return durable.Step(ctx, "work", func(context.Context) (int, error) {
					began = claims
					return 0, nil
				})
			})
			e, err := durable.New(s, &durable.Options{Functions: []durable.Definition{f}})
			require.NoError(t, err)
			defer e.Close()
			_, err = f.Run(t.Context(), e, 0)
			require.NoError(t, err)
			require.Equal(t, 3, began, "the body began under a claim that is not its own any more")
		})
	})
}
