package durable_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// TestAnIDIsUsedAgain: an execution is stopped, deleted, and another one is started under
// its ID, whatever the old one still does. The new one has nothing to do with it.
func TestAnIDIsUsedAgain(t *testing.T) {
	order := durable.WithExecutionID("order-42")
	for _, c := range []struct {
		name string
		hang func(ctx *durable.Context, release chan struct{}) error
		fail bool // the append of what it does beside fails, so that it is replayed
	}{
		{name: "InABody", hang: func(ctx *durable.Context, release chan struct{}) error {
			return durable.Do(ctx, "hang", func(context.Context) error { <-release; return nil })
		}},
		{name: "InABodyWithATimeout", hang: func(ctx *durable.Context, release chan struct{}) error {
			return durable.Do(ctx, "hang", func(context.Context) error { <-release; return nil }, durable.WithTimeout(1000*time.Hour))
		}},
		{name: "InItsHandler", hang: func(_ *durable.Context, release chan struct{}) error { <-release; return nil }},
		{name: "InABranch", hang: func(ctx *durable.Context, release chan struct{}) error {
			_, err := durable.Go(ctx, "go", func(ctx *durable.Context) (int, error) { <-release; return 0, nil }).Await(ctx)
			return err
		}},
		{name: "InADeferredCall", hang: func(ctx *durable.Context, release chan struct{}) error {
			defer func() { <-release }()
			return durable.Wait(ctx, "nap", 1000*time.Hour)
		}},
		{name: "InABodyOfALostInvocation", fail: true, hang: func(ctx *durable.Context, release chan struct{}) error {
			durable.Go(ctx, "beside", func(ctx *durable.Context) (int, error) {
				return 0, durable.Do(ctx, "beside", func(ctx context.Context) error { return rest(ctx, time.Second) })
			})
			return durable.Do(ctx, "hang", func(context.Context) error { <-release; return nil })
		}},
	} {
		for _, places := range []int{1, 100} {
			name := c.name
			if places == 1 {
				name += "/WithOnePlace"
			}
			inBubble(t, name, func(t *testing.T) {
				release := make(chan struct{})
				var lives atomic.Int32
				f := durable.Define("f", func(ctx *durable.Context, old bool) (string, error) {
					if old {
						lives.Add(1)
						return "old", c.hang(ctx, release)
					}
					return durable.Step(ctx, "new", func(context.Context) (string, error) { return "new", nil })
				})
				m := newMachine(t)
				if c.fail {
					m.onAppend = func(a *checkpoint.Append) error {
						for i := range a.Records {
							if a.Records[i].OperationID == "1-1" && a.Records[i].Type == checkpoint.StepSucceeded {
								return errors.New("the connection was reset")
							}
						}
						return nil
					}
				}
				b := m.open(durable.Options{MaxResident: places}, f)
				start(b, f, true, order)
				time.Sleep(time.Minute)
				b.stop("order-42")
				require.NoError(t, b.engine.Delete(b.ctx, "order-42"))
				x := start(b, f, false, order)
				out, err := within(b, x, time.Minute)
				require.NoError(t, err)
				require.Equal(t, "new", out)
				synctest.Wait() // who waited for the result is woken before it is gone
				info := b.describe("order-42")
				require.False(t, info.Resident)
				require.Empty(t, info.Bodies)
				if places > 1 {
					require.NotZero(t, b.engine.Stats().Resident, "the old one is in memory, and counted")
				}
				close(release)
				synctest.Wait()
				require.Zero(t, b.engine.Stats().Resident)
				require.NotContains(t, b.history("order-42"), "StepSucceeded 1 hang")
				require.EqualValues(t, 1, lives.Load())
			})
		}
	}

	inBubble(t, "WhileTheOldOneIsWrittenOff", func(t *testing.T) {
		m := newMachine(t)
		var failing atomic.Bool
		failing.Store(true)
		m.onAppend = func(*checkpoint.Append) error {
			if failing.Load() {
				return errors.New("the connection was reset")
			}
			return nil
		}
		var n notes
		f := durable.Define("f", func(ctx *durable.Context, old bool) (string, error) {
			return durable.Step(ctx, "work", func(ctx context.Context) (string, error) {
				if old {
					return "old", nil
				}
				n.add("new")
				return "new", rest(ctx, 10*time.Minute)
			})
		})
		b := m.open(durable.Options{}, f)
		start(b, f, true, order)
		time.Sleep(time.Minute) // it is tried again each half minute
		failing.Store(false)
		b.stop("order-42")
		require.NoError(t, b.engine.Delete(b.ctx, "order-42"))
		out, err := within(b, start(b, f, false, order), time.Hour)
		require.NoError(t, err)
		require.Equal(t, "new", out)
		require.Equal(t, []string{"new"}, n.all(), "what was left to do for the old one is not done to it")
	})

	inBubble(t, "WhileTheOldOneTimesOut", func(t *testing.T) {
		m := newMachine(t)
		ending, end := make(chan struct{}), make(chan struct{})
		m.onEnd = func(e *checkpoint.Ending) error {
			if e.Status == checkpoint.TimedOut {
				close(ending)
				<-end
			}
			return nil
		}
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 1, durable.Wait(ctx, "sleep", time.Minute) })
		b := m.open(durable.Options{ParkFor: 1000 * time.Hour}, f)
		start(b, f, 0, order, durable.WithExecutionTimeout(30*time.Second))
		<-ending
		b.stop("order-42")
		require.NoError(t, b.engine.Delete(b.ctx, "order-42"))
		x := start(b, f, 0, order)
		synctest.Wait()
		close(end)
		out, err := within(b, x, time.Hour)
		require.NoError(t, err)
		require.Equal(t, 1, out)
	})

	inBubble(t, "AndTheNewOneHasNoPlaceYet", func(t *testing.T) {
		// What is asked for by the ID is not answered by the old one.
		release := make(chan struct{})
		f := durable.Define("f", func(ctx *durable.Context, old bool) (string, error) {
			if old {
				defer func() { <-release }()
				return "old", durable.Wait(ctx, "nap", 1000*time.Hour)
			}
			return "new", nil
		})
		b := setupWith(t, durable.Options{MaxResident: 1}, f)
		start(b, f, true, order)
		time.Sleep(5 * time.Second) // it has left memory, and does not hang for so long yet that it loses its place
		b.stop("order-42")
		require.NoError(t, b.engine.Delete(b.ctx, "order-42"))
		x := start(b, f, false, order)
		require.False(t, b.describe("order-42").Resident)
		b.cancel("order-42")
		b.stop("order-42")
		_, err := within(b, x, time.Minute)
		require.ErrorIs(t, err, durable.ErrStopped)
		require.Equal(t, "ExecutionStopped", b.history("order-42")[len(b.history("order-42"))-1])
		close(release)
	})
}

// lateStore gives what it has created or claimed a while after it did.
type lateStore struct{ checkpoint.Store }

const lateBy = 10 * time.Second

func (s lateStore) Create(ctx context.Context, c checkpoint.Creation) (checkpoint.Summary, bool, error) {
	sum, created, err := s.Store.Create(ctx, c)
	time.Sleep(lateBy)
	return sum, created, err
}

func (s lateStore) Claim(ctx context.Context, r checkpoint.ClaimRequest) ([]checkpoint.Claim, error) {
	claims, err := s.Store.Claim(ctx, r)
	if len(claims) > 0 {
		time.Sleep(lateBy)
	}
	return claims, err
}

// TestStopWhileItArrives: when Stop has returned nothing of an execution begins, also if it
// is on its way into memory.
func TestStopWhileItArrives(t *testing.T) {
	for name, d := range map[string]time.Duration{"Started": lateBy / 2, "Claimed": lateBy + time.Hour + lateBy/2} {
		inBubble(t, name, func(t *testing.T) {
			var n notes
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				if name == "Claimed" {
					if err := durable.Wait(ctx, "nap", time.Hour); err != nil {
						return "", err
					}
				}
				return durable.Step(ctx, "work", n.body("work"))
			})
			m := newMachine(t)
			m.wrap = func(s checkpoint.Store) checkpoint.Store { return lateStore{s} }
			b := m.open(durable.Options{ParkFor: -1}, f)
			go func() { _, _ = f.Start(b.ctx, b.engine, 0, durable.WithExecutionID("x")) }()
			time.Sleep(d)
			b.stop("x")
			history := b.history("x")
			time.Sleep(time.Hour)
			require.Empty(t, n.all())
			require.Equal(t, history, b.history("x"))
			require.Zero(t, b.engine.Stats().Resident)
			require.Zero(t, b.engine.Stats().Stalled)
		})
	}
}
