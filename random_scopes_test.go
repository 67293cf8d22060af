package durable_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// act is one thing that the code of a random scope does.
type act struct {
	id      int
	kind    string
	d       time.Duration
	timeout time.Duration // of a child or a batch; 0: none
	flat    bool
	stop    bool // an error is returned, else the code goes on
	refs    []int
	kids    [][]*act
}

func (a *act) String() string {
	return fmt.Sprintf("%s %d d=%s timeout=%s flat=%v stop=%v refs=%v %v", a.kind, a.id, a.d, a.timeout, a.flat, a.stop, a.refs, a.kids)
}

type scopeGenerator struct {
	*rand.Rand
	ids int
}

func (g *scopeGenerator) some() time.Duration {
	return []time.Duration{time.Millisecond, time.Minute, 20 * time.Minute, time.Hour, 3 * time.Hour}[g.IntN(5)]
}

// acts makes what one function does, which sees so many awaitables.
func (g *scopeGenerator) acts(depth, visible int) (acts []*act) {
	for range 2 + g.IntN(5) {
		g.ids++
		a := &act{id: g.ids, d: g.some(), stop: g.IntN(4) == 0}
		kinds := []string{"step", "wait", "look", "look", "looks", "pause", "undo", "after", "callback", "kept", "polled"}
		if visible > 0 {
			kinds = append(kinds, "await", "await", "await", "select", "select", "settled", "all", "any", "race")
		}
		if depth > 0 {
			kinds = append(kinds, "go", "go", "go", "child", "child", "child", "map")
		}
		a.kind = kinds[g.IntN(len(kinds))]
		switch a.kind {
		case "go", "child":
			a.kids = [][]*act{g.acts(depth-1, visible)}
		case "map":
			for range 1 + g.IntN(3) {
				a.kids = append(a.kids, g.acts(depth-1, visible))
			}
		case "await":
			a.refs = []int{g.IntN(visible)}
		case "select", "settled", "all", "any", "race":
			for range 1 + g.IntN(3) {
				a.refs = append(a.refs, g.IntN(visible))
			}
		}
		switch a.kind {
		case "go", "after", "callback":
			visible++
		}
		if g.IntN(2) == 0 {
			a.timeout = g.some() + g.some()
		}
		a.flat = g.IntN(2) == 0
		acts = append(acts, a)
	}
	return acts
}

// sights are what the code of each function saw in one run.
type sights struct {
	mu   sync.Mutex
	seen map[string][]string // by the path of the function
}

func (s *sights) add(path, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[path] = append(s.seen[path], fmt.Sprintf(format, args...))
}

// scopeRun is a run of a random scope's code.
type scopeRun struct {
	*sights
	complete func(id string, after time.Duration)
}

func (r *scopeRun) do(ctx *durable.Context, path string, acts []*act, visible []durable.Awaitable) error {
	kept := ctx.Context()
	for _, a := range acts {
		name := fmt.Sprint(a.kind, " ", a.id)
		err := r.one(ctx, kept, path, name, a, &visible)
		if err != nil {
			r.add(path, "%s: %s", name, kindOf(err))
			if a.stop {
				return err
			}
		}
	}
	return nil
}

func (r *scopeRun) one(ctx *durable.Context, kept context.Context, path, name string, a *act, visible *[]durable.Awaitable) error {
	arm := func(saw any) error { // what was seen decides what is done
		err := durable.Do(ctx.WithoutCancel(), fmt.Sprint(name, " ", saw), func(context.Context) error { return nil })
		r.add(path, "%s: %v", name, saw) // code that is left behind may see anything: it does not get here
		return err
	}
	kid := func(i int) func(*durable.Context) (int, error) {
		return func(ctx *durable.Context) (int, error) {
			return a.id, r.do(ctx, fmt.Sprint(path, "/", a.id, ".", i), a.kids[i], *visible)
		}
	}
	var futures []*durable.Future[int]
	var some []durable.Awaitable
	for _, ref := range a.refs {
		if ref < len(*visible) && (*visible)[ref] != nil {
			some = append(some, (*visible)[ref])
			if f, ok := (*visible)[ref].(*durable.Future[int]); ok {
				futures = append(futures, f)
			}
		}
	}
	switch a.kind {
	case "step":
		return durable.Do(ctx, name, func(ctx context.Context) error { return rest(ctx, a.d) })
	case "wait":
		return durable.Wait(ctx, name, a.d)
	case "undo":
		return durable.Wait(ctx.WithoutCancel(), name, a.d)
	case "pause":
		time.Sleep(a.d) // plain code
	case "look":
		return arm(ctx.Context().Err() != nil)
	case "kept":
		return arm(context.Cause(kept))
	case "looks":
		for range 3 {
			if ctx.Context().Err() != nil {
				return arm("seen")
			}
			time.Sleep(a.d / 3)
		}
	case "polled":
		select {
		case <-kept.Done():
			return arm("closed")
		default:
			return arm("open")
		}
	case "after":
		*visible = append(*visible, durable.After(ctx, name, a.d))
	case "callback":
		cb, err := durable.CreateCallback[int](ctx, name, durable.WithTimeout(5*time.Hour))
		if err != nil {
			*visible = append(*visible, nil)
			return err
		}
		if a.flat {
			r.complete(cb.ID(), a.d)
		}
		*visible = append(*visible, cb)
	case "go":
		var opts []durable.ChildOption
		if a.timeout > 0 {
			opts = append(opts, durable.WithTimeout(a.timeout))
		}
		seen := *visible
		below := r
		*visible = append(*visible, durable.Go(ctx, name, func(ctx *durable.Context) (int, error) {
			return a.id, below.do(ctx, fmt.Sprint(path, "/", a.id), a.kids[0], seen[:len(seen):len(seen)])
		}, opts...))
	case "child":
		var opts []durable.ChildOption
		if a.timeout > 0 {
			opts = append(opts, durable.WithTimeout(a.timeout))
		}
		_, err := durable.RunInChildContext(ctx, name, kid(0), opts...)
		return err
	case "map":
		opts := []durable.BatchOption{durable.WithToleratedFailures(a.id % 3)}
		if a.timeout > 0 {
			opts = append(opts, durable.WithTimeout(a.timeout))
		}
		if a.flat {
			opts = append(opts, durable.Flat())
		}
		seen := (*visible)[:len(*visible):len(*visible)]
		b, err := durable.Map(ctx, name, a.kids, func(ctx *durable.Context, acts []*act, i int) (int, error) {
			return i, r.do(ctx, fmt.Sprint(path, "/", a.id, ".", i), acts, seen)
		}, opts...)
		r.add(path, "%s: %v of %d", name, b.Values(), b.Len())
		return err
	case "await":
		if len(some) > 0 {
			return awaitAny(ctx, some[0])
		}
	case "select":
		if len(some) > 0 {
			first, err := durable.Select(ctx, name, some...)
			if err != nil {
				return err
			}
			if timer, ok := first.(*durable.Timer); ok {
				if err := timer.Await(ctx.WithoutCancel()); err != nil {
					return arm("a timer that has not fired was chosen")
				}
			}
			return arm(first.Name())
		}
	case "settled":
		for first := range durable.Settled(ctx, name, some...) {
			r.add(path, "%s: %s", name, first.Name())
			if ctx.Context().Err() != nil {
				return arm("seen")
			}
		}
	case "all":
		_, err := durable.All(ctx, name, futures...)
		return err
	case "any":
		if len(futures) > 0 {
			_, err := durable.Any(ctx, name, futures...)
			return err
		}
	case "race":
		if len(futures) > 0 {
			_, err := durable.Race(ctx, name, futures...)
			return err
		}
	}
	return nil
}

func awaitAny(ctx *durable.Context, a durable.Awaitable) (err error) {
	switch a := a.(type) {
	case *durable.Future[int]:
		_, err = a.Await(ctx)
	case *durable.Callback[int]:
		_, err = a.Await(ctx)
	case *durable.Timer:
		err = a.Await(ctx)
	}
	return err
}

// TestRandomScopes runs random code in scopes within scopes, with timeouts, futures that
// are awaited elsewhere, and looks at the standard context everywhere, and cancels it at a
// random time: each run sees what the one before had seen, as far as that came, and does
// what is recorded.
func TestRandomScopes(t *testing.T) {
	t.Parallel()
	seeds := max(300, *randomPrograms)
	if testing.Short() {
		seeds = 100
	}
	for seed := *randomFrom; seed < *randomFrom+uint64(seeds); seed++ {
		if *randomSeed != 0 && seed != *randomSeed {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 11))
			g := &scopeGenerator{Rand: rng}
			acts := g.acts(3, 0)
			faults := rng.IntN(3) == 0
			opts := durable.Options{ParkFor: []time.Duration{-1, -1, 0, 1000 * time.Hour}[rng.IntN(4)]}
			var log bytes.Buffer
			opts.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
			cancelled := time.Duration(rng.Int64N(int64(8 * time.Hour)))
			if rng.IntN(3) == 0 {
				cancelled = cancelled.Round(time.Hour) + time.Millisecond // together with what is due
			}

			m := newMachine(t)
			var b *bundle
			var runs []*sights
			over := false
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
				r := &scopeRun{&sights{seen: map[string][]string{}}, func(id string, after time.Duration) {
					if over {
						return
					}
					go func() {
						time.Sleep(after)
						_ = b.engine.SucceedCallback(context.Background(), id, 1)
					}()
				}}
				runs = append(runs, r.sights)
				err := r.do(ctx, "", acts, nil)
				if err2 := durable.Wait(ctx.WithoutCancel(), "end", time.Hour); err2 != nil {
					return 0, err2
				}
				if ctx.Context().Err() != nil {
					return 1, err
				}
				return 0, err
			})
			b = m.open(opts, f)
			if faults {
				m.set(func() {
					m.onAppend = func(*checkpoint.Append) error { return lottery(rng, 20) }
					m.afterAppend = func(_ *checkpoint.Append, err error) error { return errors.Join(err, lottery(rng, 20)) }
				})
			}
			x := start(b, f, 0)
			time.Sleep(cancelled)
			b.cancel(x.ID())
			time.Sleep(100 * time.Hour)
			synctest.Wait()
			told := func() string {
				var lines []string
				for _, a := range acts {
					lines = append(lines, fmt.Sprint(a))
				}
				for _, run := range runs {
					lines = append(lines, fmt.Sprint(run.seen))
				}
				return fmt.Sprintf("seed %d, cancelled after %s, faults %v, %v\n%s\n%s", seed, cancelled, faults, opts.ParkFor, strings.Join(lines, "\n"), strings.Join(b.history(x.ID()), "\n"))
			}
			info := b.describe(x.ID())
			require.Nil(t, info.Held, "%s\n%v", told(), info.Held)
			require.NotEqual(t, durable.ExecutionRunning, info.Status, told())
			if !faults { // what was lost may have been seen otherwise
				require.NotContains(t, log.String(), "type=Canceled", told())
				for i := range runs[1:] {
					for path, before := range runs[i].seen {
						after := runs[i+1].seen[path]
						both := min(len(before), len(after))
						require.Equal(t, fmt.Sprint(before[:both]), fmt.Sprint(after[:both]), "run %d of %q, %s", i+1, path, told())
					}
				}
			}
			checkHistory(b, fmt.Sprint("seed ", seed), x.ID())
			over = true
			rec, err := b.engine.Recording(b.ctx, x.ID())
			require.NoError(t, err)
			require.NoError(t, durable.Replay(b.ctx, rec, &durable.Options{Functions: []durable.Definition{f}}), told())
			require.NotContains(t, told(), "a timer that has not fired")
			time.Sleep(20 * time.Hour) // plain code that was left behind
		})
		if t.Failed() {
			return
		}
	}
}
