package durable_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

func TestStats(t *testing.T) {
	bothWays(t, "CountsWhatBecameOfExecutions", func(t *testing.T, parkFor time.Duration) {
		f := durable.Define("f", func(ctx *durable.Context, in string) (string, error) {
			err := durable.Do(ctx, "try", func(ctx context.Context) error {
				if attempt(ctx) == 1 {
					return errors.New("no")
				}
				return nil
			}, durable.WithRetry(durable.RetryPolicy{Initial: time.Minute, Jitter: durable.NoJitter}))
			if err == nil && in == "fail" {
				err = errors.New("failed")
			}
			if in == "wait" {
				err = durable.Wait(ctx, "long", time.Hour)
			}
			return in, err
		})
		g := durable.Define("g", func(ctx *durable.Context, in string) (string, error) { return durable.Invoke(ctx, "f", f, in) })
		b := setupWith(t, durable.Options{ParkFor: parkFor}, f, g)
		for _, in := range []string{"", "fail"} {
			_, err := within(b, start(b, g, in), time.Hour)
			require.Equal(t, in == "fail", err != nil)
		}
		stopped := start(b, f, "wait")
		time.Sleep(2 * time.Minute) // its step is done
		synctest.Wait()
		s := b.engine.Stats()
		require.Equal(t, 1, s.Suspended+s.Resident, "for an hour")
		if parkFor < 0 {
			require.Equal(t, 1, s.Suspended)
		}
		require.Equal(t, 1, s.Timers)
		require.NoError(t, b.engine.Stop(b.ctx, stopped.ID(), ""))
		require.NoError(t, b.engine.Stop(b.ctx, stopped.ID(), ""), "counted once")
		late, err := f.Start(b.ctx, b.engine, "wait", durable.WithExecutionTimeout(time.Minute/2))
		require.NoError(t, err)
		_, err = within(b, late, time.Hour)
		require.ErrorIs(t, err, durable.ErrTimeout)
		time.Sleep(6 * time.Second) // what the store told is not asked for again before
		synctest.Wait()

		s = b.engine.Stats()
		require.Equal(t, map[string]durable.FunctionStats{
			"f": {Started: 4, Succeeded: 1, Failed: 1, Stopped: 1, TimedOut: 1, Steps: 3, Attempts: 7, FailedAttempts: 4},
			"g": {Started: 2, Succeeded: 1, Failed: 1},
		}, s.Functions)
		require.Zero(t, s.Suspended+s.Timers+s.Resident)
		require.Zero(t, s.WakeDelay.Sum, "virtual time: nothing is late")
		require.GreaterOrEqual(t, s.WakeDelay.Count, uint64(6+3+2), "starts, delays, and the ends of what was invoked")
		require.Positive(t, s.CommitDuration.Count)
		require.Equal(t, s.CommitDuration.Count, s.CommitChanges.Count)
		for _, h := range []durable.Histogram{s.WakeDelay, s.CommitDuration, s.CommitChanges, s.ReplayLength} {
			require.Len(t, h.Counts, len(h.Bounds)+1)
			total := uint64(0)
			for _, n := range h.Counts {
				total += n
			}
			require.Equal(t, h.Count, total)
		}
		if parkFor < 0 {
			require.Positive(t, s.ReplayLength.Count)
			require.GreaterOrEqual(t, s.ReplayLength.Sum, float64(2*s.ReplayLength.Count))
		}
	})

	t.Run("TellsTheSizeOfAFile", func(t *testing.T) {
		t.Parallel()
		e, err := durable.Open(filepath.Join(t.TempDir(), "stats.db"), &durable.Options{Functions: []durable.Definition{stepped}})
		require.NoError(t, err)
		defer e.Close()
		_, err = stepped.Run(t.Context(), e, 3)
		require.NoError(t, err)
		s := e.Stats()
		require.Greater(t, s.StoreBytes, int64(1<<15))
		require.Positive(t, s.CommitDuration.Sum)
		require.GreaterOrEqual(t, s.CommitChanges.Sum, float64(2), "a start, and an end")
	})
}

// told is what an observer was told, of what is told once.
type told struct {
	mu         sync.Mutex
	executions map[string][]durable.ExecutionStatus // by ID
	operations map[string]int                       // by execution and operation
	traces     map[string]string
	callers    map[string]string
}

func (s *told) observer() *durable.Observer {
	s.executions, s.operations, s.traces, s.callers = map[string][]durable.ExecutionStatus{}, map[string]int{}, map[string]string{}, map[string]string{}
	type key struct{}
	return &durable.Observer{
		Inject: func(ctx context.Context) string { trace, _ := ctx.Value(traceKey{}).(string); return trace },
		ExecutionStarted: func(x durable.ObservedExecution) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.executions[x.ID] = append(s.executions[x.ID], "started")
		},
		BeginInvocation: func(ctx context.Context, x durable.ObservedExecution, inv durable.Invocation) context.Context {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.traces[x.ID] = x.Trace
			if x.Caller != nil {
				s.callers[x.ID] = x.Caller.ExecutionID + "/" + x.Caller.OperationID
			}
			return context.WithValue(ctx, key{}, x.ID)
		},
		OperationEnded: func(ctx context.Context, id string, op durable.Operation) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if ctx.Value(key{}) != id || op.StartedAt.IsZero() || op.EndedAt.Before(op.StartedAt) || op.Result != nil {
				panic("wrong")
			}
			s.operations[id+"/"+op.ID]++
		},
		ExecutionEnded: func(x durable.ObservedExecution, status durable.ExecutionStatus, _ time.Time, err *durable.Failure) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if (err == nil) != (status == durable.ExecutionSucceeded) || s.traces[x.ID] != x.Trace {
				panic("wrong")
			}
			s.executions[x.ID] = append(s.executions[x.ID], status)
		},
	}
}

type traceKey struct{}

func TestObserverTellsOnce(t *testing.T) {
	bothWays(t, "AllOutcomesOfAMixedExecution", func(t *testing.T, parkFor time.Duration) {
		var seen told
		defs := mixed()
		f := defs[0].(*durable.Function[int, int])
		b := setupWith(t, durable.Options{ParkFor: parkFor, Observer: seen.observer()}, defs...)
		ctx := context.WithValue(b.ctx, traceKey{}, "00-trace-01")
		x, err := f.Start(ctx, b.engine, 7, durable.WithExecutionID("x"))
		require.NoError(t, err)
		_, err = within(b, x, 10*time.Hour)
		require.NoError(t, err)
		synctest.Wait()
		want := map[string]int{}
		executions := 0
		for info, err := range b.engine.Executions(b.ctx, durable.Query{}) {
			require.NoError(t, err)
			executions++
			require.Equal(t, []durable.ExecutionStatus{"started", info.Status}, seen.executions[info.ID])
			ops, err := b.engine.Operations(b.ctx, info.ID)
			require.NoError(t, err)
			for _, op := range ops {
				want[info.ID+"/"+op.ID] = 1
				if op.InvokedID != "" {
					require.Equal(t, info.ID+"/"+op.ID, seen.callers[op.InvokedID])
				}
			}
		}
		require.Equal(t, 3, executions)
		require.Equal(t, want, seen.operations)
		require.Equal(t, "00-trace-01", seen.traces["x"])
	})

	inBubble(t, "WithoutATraceThatIsTooLong", func(t *testing.T) {
		var seen told
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return durable.Call(ctx, "step", itself, 1) })
		b := setupWith(t, durable.Options{Observer: seen.observer()}, f)
		ctx := context.WithValue(b.ctx, traceKey{}, strings.Repeat("x", 2000))
		x, err := f.Start(ctx, b.engine, 0)
		require.NoError(t, err)
		_, err = x.Result(b.ctx)
		require.NoError(t, err)
		require.Empty(t, seen.traces[x.ID()], "too long: left out")
		require.Equal(t, map[string]int{x.ID() + "/1": 1}, seen.operations)
	})
}

func TestStatsTimers(t *testing.T) {
	inBubble(t, "AreThoseThatMatter", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			for range 10 {
				if err := durable.Do(ctx, "quick", func(context.Context) error { return nil }, durable.WithTimeout(time.Hour)); err != nil {
					return 0, err
				}
			}
			return 0, durable.Wait(ctx, "w", time.Minute)
		})
		b := setupWith(t, durable.Options{ParkFor: time.Hour}, f)
		start(b, f, 0)
		synctest.Wait()
		require.Equal(t, 1, b.engine.Stats().Timers)
	})
}
