package durable_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// looks notes what a handler sees at its standard context, run by run and place by place.
type looks struct {
	mu   sync.Mutex
	runs []map[string][]string
}

// run begins a run.
func (l *looks) run() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs = append(l.runs, map[string][]string{})
}

// at looks, notes what is seen, and reports whether it is a cancel.
func (l *looks) at(c context.Context, place string) bool {
	cause := context.Cause(c)
	l.mu.Lock()
	defer l.mu.Unlock()
	run := l.runs[len(l.runs)-1]
	run[place] = append(run[place], fmt.Sprint(cause))
	return cause != nil
}

// require checks that each run saw what the one before it had seen, as far as both came
// and wherever: functions that have ended do not run again.
func (l *looks) require(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.runs[1:] {
		for place, before := range l.runs[i] {
			run := l.runs[i+1][place]
			both := min(len(before), len(run))
			require.Equal(t, fmt.Sprint(before[:both]), fmt.Sprint(run[:both]), "%s, run %d: %v", place, i+1, l.runs)
		}
	}
}

// poll looks so many times, and each run once less.
func (l *looks) poll(ctx *durable.Context, times int) {
	l.mu.Lock()
	times -= len(l.runs) - 1
	l.mu.Unlock()
	for range times {
		_ = ctx.Context().Err()
		time.Sleep(time.Second)
	}
}

// lookers are handlers that look at their standard context in a scope that is cancelled
// after an hour, and do something else when they see that.
var lookers = map[string]func(ctx *durable.Context, l *looks) error{
	"AfterAll": func(ctx *durable.Context, l *looks) error {
		_, err := durable.All(ctx, "all", hours(ctx, "a", 20), hours(ctx, "b", 30))
		return l.arms(ctx, err)
	},
	"AfterAny": func(ctx *durable.Context, l *looks) error {
		_, err := durable.Any(ctx, "any", hours(ctx, "a", 20), hours(ctx, "b", 30))
		return l.arms(ctx, err)
	},
	"AfterRace": func(ctx *durable.Context, l *looks) error {
		_, err := durable.Race(ctx, "race", hours(ctx, "a", 20), hours(ctx, "b", 30))
		return l.arms(ctx, err)
	},
	"AfterSelect": func(ctx *durable.Context, l *looks) error {
		cb, err := durable.CreateCallback[int](ctx, "cb")
		if err != nil {
			return err
		}
		_, err = durable.Select(ctx, "select", cb, durable.After(ctx, "timer", 20*time.Hour))
		return l.arms(ctx, err)
	},
	"InSettled": func(ctx *durable.Context, l *looks) error {
		for a := range durable.Settled(ctx, "settled", hours(ctx, "a", 20), hours(ctx, "b", 0), hours(ctx, "c", 30)) {
			if l.at(ctx.Context(), a.Name()) {
				break
			}
		}
		return l.arms(ctx, nil)
	},
	"AfterSettled": func(ctx *durable.Context, l *looks) error {
		for range durable.Settled(ctx, "settled", hours(ctx, "a", 20), hours(ctx, "b", 0), hours(ctx, "c", 30)) {
		}
		return l.arms(ctx, nil)
	},
	"AwaitedOneByOne": func(ctx *durable.Context, l *looks) (err error) {
		for _, f := range []*durable.Future[int]{hours(ctx, "a", 0), hours(ctx, "b", 20), hours(ctx, "c", 0)} {
			l.at(ctx.Context(), f.Name())
			_, err2 := f.Await(ctx)
			err = errors.Join(err, err2)
		}
		return l.arms(ctx, err)
	},
	"AwaitedInAChild": func(ctx *durable.Context, l *looks) error {
		a := hours(ctx, "a", 20)
		_, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (int, error) { return a.Await(ctx) })
		return l.arms(ctx, err)
	},
	"AwaitedInABranch": func(ctx *durable.Context, l *looks) error {
		a := hours(ctx, "a", 20)
		_, err := durable.Go(ctx, "branch", func(ctx *durable.Context) (int, error) { return a.Await(ctx) }).Await(ctx)
		return l.arms(ctx, err)
	},
	"AwaitedInAnItem": func(ctx *durable.Context, l *looks) error {
		a := hours(ctx, "a", 20)
		_, err := durable.Map(ctx, "map", []int{1}, func(ctx *durable.Context, _, _ int) (int, error) { return a.Await(ctx) }, durable.Flat())
		return l.arms(ctx, err)
	},
	"NeverAwaited": func(ctx *durable.Context, l *looks) error {
		hours(ctx, "a", 20)
		return l.arms(ctx, durable.Wait(ctx, "wait", 10*time.Hour))
	},
	"BeforeAnAwait": func(ctx *durable.Context, l *looks) error {
		a := hours(ctx, "a", 20)
		l.at(ctx.Context(), "before")
		l.at(ctx.Context(), "before")
		_, err := a.Await(ctx)
		return l.arms(ctx, err)
	},
	"BetweenTwoLooks": func(ctx *durable.Context, l *looks) error {
		for i := range 4 {
			if l.at(ctx.Context(), fmt.Sprint("look ", i)) {
				break
			}
			time.Sleep(20 * time.Minute)
		}
		return l.arms(ctx, nil)
	},
	"AfterALookAndARefusal": func(ctx *durable.Context, l *looks) error {
		err := durable.Wait(ctx, "wait", 30*time.Minute)
		l.at(ctx.Context(), "before")
		time.Sleep(time.Hour)
		return l.arms(ctx, errors.Join(err, durable.Wait(ctx, "refused", time.Hour)))
	},
	"AndNeverAgain": func(ctx *durable.Context, l *looks) error {
		err := durable.Wait(ctx, "wait", 30*time.Minute)
		if l.at(ctx.Context(), "before") {
			return errors.New("too early")
		}
		time.Sleep(time.Hour)
		err = errors.Join(err, durable.Wait(ctx, "refused", time.Hour))
		return errors.Join(err, durable.Wait(ctx.WithoutCancel(), "calm down", time.Hour))
	},
	"AllTheSame": func(ctx *durable.Context, l *looks) error { // sees it, and calls an operation in the scope
		err := durable.Wait(ctx, "wait", 20*time.Hour)
		name := "not seen"
		if l.at(ctx.Context(), "look") {
			name = "seen"
		}
		return l.arms(ctx, errors.Join(err, durable.Wait(ctx, name, time.Hour)))
	},
	"AContextThatIsKept": func(ctx *durable.Context, l *looks) error {
		kept := ctx.Context()
		l.at(kept, "at first")
		err := durable.Wait(ctx, "wait", 30*time.Minute)
		l.at(kept, "then")
		time.Sleep(time.Hour)
		if l.at(kept, "now") {
			err = durable.Do(ctx.WithoutCancel(), "undo", func(context.Context) error { return nil })
		}
		return l.arms(ctx, err)
	},
	"AContextBelow": func(ctx *durable.Context, l *looks) error {
		below, cancel := context.WithCancel(ctx.Context())
		defer cancel()
		err := durable.Wait(ctx, "wait", 20*time.Hour)
		l.at(below, "below")
		return l.arms(ctx, err)
	},
	"ByPolling": func(ctx *durable.Context, l *looks) error {
		poll := func() bool {
			select {
			case <-ctx.Context().Done():
				return true
			default:
				return false
			}
		}
		var seen []bool
		for range 4 {
			seen = append(seen, poll())
			time.Sleep(20 * time.Minute)
		}
		return l.arms(ctx, durable.Do(ctx.WithoutCancel(), fmt.Sprint(seen), func(context.Context) error { return nil }))
	},
	"ByWaitingForIt": func(ctx *durable.Context, l *looks) error {
		l.at(ctx.Context(), "before")
		<-ctx.Context().Done()
		return l.arms(ctx, nil)
	},
	"InAChild": func(ctx *durable.Context, l *looks) error {
		_, err := durable.RunInChildContext(ctx, "child", func(below *durable.Context) (int, error) {
			l.at(ctx.Context(), "outside, before")
			err := durable.Wait(below, "wait", 20*time.Hour)
			l.at(below.Context(), "inside")
			l.at(ctx.Context(), "outside")
			return 0, errors.Join(err, durable.Wait(below.WithoutCancel(), "pause", time.Hour))
		})
		return l.arms(ctx, err)
	},
	"BehindLooksInAFunctionThatDoesNotRunAgain": func(ctx *durable.Context, l *looks) error {
		_, err := durable.RunInChildContext(ctx, "child", func(*durable.Context) (int, error) {
			l.poll(ctx, 5)
			return 0, nil
		})
		time.Sleep(2 * time.Hour) // plain code: the cancel comes meanwhile
		return l.arms(ctx, err)
	},
	"NotAtAllAtFirst": func(ctx *durable.Context, l *looks) error {
		err := durable.Wait(ctx, "wait", 20*time.Hour)
		err = errors.Join(err, durable.Wait(ctx.WithoutCancel(), "pause", time.Hour))
		return l.arms(ctx, err)
	},
}

// hours starts a future that takes so many hours, and one more if it is cancelled.
func hours(ctx *durable.Context, name string, n int) *durable.Future[int] {
	return durable.Go(ctx, name, func(ctx *durable.Context) (int, error) {
		err := durable.Wait(ctx, "wait", time.Duration(n)*time.Hour)
		if err != nil {
			err = errors.Join(err, durable.Wait(ctx.WithoutCancel(), "undo", time.Hour))
		}
		return n, err
	})
}

// arms takes the arm that fits what it sees.
func (l *looks) arms(ctx *durable.Context, err error) error {
	if l.at(ctx.Context(), "after") {
		for i := range 3 {
			if err := durable.Do(ctx.WithoutCancel(), fmt.Sprint("undo ", i), func(context.Context) error { return nil }); err != nil {
				return err
			}
			if err := durable.Wait(ctx.WithoutCancel(), "calm down", time.Hour); err != nil {
				return err
			}
			l.at(ctx.Context(), "undoing")
		}
		return err
	}
	return durable.Do(ctx, "next", func(context.Context) error { return nil })
}

// TestStandardContext: what a handler sees at its standard context it sees again on each
// replay, whatever it did before and wherever the cancel comes.
func TestStandardContext(t *testing.T) {
	var names []string
	for name := range lookers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, how := range []string{"FromOutside", "ItsTimeout", "BothTogether"} {
			bothWays(t, name+"/"+how, func(t *testing.T, parkFor time.Duration) {
				var l looks
				var log bytes.Buffer
				f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
					l.run()
					if how == "FromOutside" {
						err := lookers[name](ctx, &l)
						return fmt.Sprint(err), durable.Wait(ctx.WithoutCancel(), "end", time.Hour)
					}
					_, err := durable.RunInChildContext(ctx, "scope", func(ctx *durable.Context) (int, error) {
						return 0, lookers[name](ctx, &l)
					}, durable.WithTimeout(time.Hour))
					return fmt.Sprint(err), durable.Wait(ctx.WithoutCancel(), "end", time.Hour)
				})
				b := setupWith(t, durable.Options{ParkFor: parkFor, Logger: slog.New(slog.NewTextHandler(&log, nil))}, f)
				x := start(b, f, 0)
				if how != "ItsTimeout" {
					time.Sleep(time.Hour)
					b.cancel(x.ID())
				}
				time.Sleep(100 * time.Hour)
				synctest.Wait()
				info := b.describe(x.ID())
				require.Nil(t, info.Held, "%+v %v", info.Held, l.runs)
				require.Equal(t, durable.ExecutionSucceeded, info.Status, "%v", info.Failure)
				l.require(t)
				require.NotContains(t, log.String(), "never awaited")
				checkHistory(b, name, x.ID())

				rec, err := b.engine.Recording(b.ctx, x.ID())
				require.NoError(t, err)
				require.NoError(t, durable.Replay(b.ctx, rec, &durable.Options{Functions: []durable.Definition{f}}))
				l.require(t)
			})
		}
	}
}

// TestLooksCountWhereTheyAre: code looks while it waits for something else, which is there
// when it runs again. So it looks less often then, and that is no business of a look in an
// operation behind it.
func TestLooksCountWhereTheyAre(t *testing.T) {
	inBubble(t, "InAnOperation", func(t *testing.T) {
		var l looks
		f := durable.Define("f", func(ctx *durable.Context, _ int) (bool, error) {
			l.run()
			l.poll(ctx, 5)
			return durable.RunInChildContext(ctx.WithoutCancel(), "child", func(below *durable.Context) (bool, error) {
				if err := durable.Wait(below, "wait", 20*time.Hour); err != nil {
					return false, err
				}
				seen := l.at(ctx.Context(), "inside")
				return seen, durable.Wait(below, "pause", time.Hour)
			})
		})
		b := setup(t, f)
		x := start(b, f, 0)
		time.Sleep(time.Hour)
		b.cancel(x.ID())
		seen, err := within(b, x, 100*time.Hour)
		require.NoError(t, err)
		require.True(t, seen, "the scope was cancelled 19 hours before: %v", l.runs)
		l.require(t)
	})
}
