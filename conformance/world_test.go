package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// stores are what everything runs on, in virtual time: a history tells what came
// first, and in real time a busy machine decides that.
var stores = []struct {
	name string
	run  func(t *testing.T, f func(*testing.T, *world))
}{
	{"memstore", func(t *testing.T, f func(*testing.T, *world)) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			store := memstore.New()
			t.Cleanup(func() { store.Close() })
			hub := &watchHub{}
			store.Watch(hub.call)
			f(t, newWorld(t, 10*time.Minute, func(opts *durable.Options) (*durable.Engine, error) {
				return durable.New(newProcess(store, hub), opts)
			}))
		})
	}},
	{"boltstore", func(t *testing.T, f func(*testing.T, *world)) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "executions.db")
			f(t, newWorld(t, 10*time.Minute, func(opts *durable.Options) (*durable.Engine, error) { return durable.Open(path, opts) }))
		})
	}},
}

// world is where one execution runs: an engine on a store, which can die and be
// opened again.
type world struct {
	*testing.T
	ctx      context.Context
	engine   *durable.Engine
	id       string // of the execution
	log      *logbook
	slog     *slog.Logger // not silent on replay, unlike that of a context
	patience time.Duration

	open    func(*durable.Options) (*durable.Engine, error)
	opts    durable.Options
	crashes chan struct{}

	mu     sync.Mutex
	counts map[string]int
}

// handler is a function that a case or a scenario runs.
type handler func(*world) durable.Definition

// functionName is the name of every handler's function.
const functionName = "handler"

// handle makes a handler of a function.
func handle[I, O any](h func(*durable.Context, I) (O, error)) handler {
	return func(*world) durable.Definition { return durable.Define(functionName, h) }
}

// handleIn makes a handler of a function that does something to its world: it
// counts in it, logs on replay, or kills it.
func handleIn[I, O any](h func(*world, *durable.Context, I) (O, error)) handler {
	return func(w *world) durable.Definition {
		return durable.Define(functionName, func(ctx *durable.Context, in I) (O, error) { return h(w, ctx, in) })
	}
}

func newWorld(t *testing.T, patience time.Duration, open func(*durable.Options) (*durable.Engine, error)) *world {
	w := &world{T: t, ctx: context.Background(), open: open, patience: patience, log: &logbook{}, crashes: make(chan struct{}), counts: make(map[string]int)}
	w.slog = slog.New(w.log)
	w.opts = durable.Options{ParkFor: -1, Logger: w.slog, Build: "conformance"}
	t.Cleanup(func() {
		if w.engine != nil {
			w.engine.Close()
		}
		require.Empty(t, w.log.errors, "the engine logged errors")
	})
	return w
}

// start opens the engine with a handler, and the functions that handlers invoke.
func (w *world) start(h handler) {
	w.Helper()
	w.opts.Functions = append([]durable.Definition{h(w)}, targets...)
	w.reopen()
}

func (w *world) reopen() {
	w.Helper()
	e, err := w.open(&w.opts)
	require.NoError(w, err)
	w.engine = e
}

// begin starts the execution.
func (w *world) begin(input json.RawMessage) {
	w.Helper()
	id, err := w.engine.StartByName(w.ctx, functionName, input)
	require.NoError(w, err)
	w.id = id
}

// crash ends the process, from inside of a body or a handler: the engine is
// gone, what was not durable is lost, and whoever called this does not go on.
// The world is opened again, as by a supervisor.
func (w *world) crash(ctx context.Context) {
	w.crashes <- struct{}{}
	<-ctx.Done()
	runtime.Goexit()
}

// down ends the process from outside and opens the world again d later.
func (w *world) down(d time.Duration) {
	w.Helper()
	require.NoError(w, w.engine.Close())
	time.Sleep(d)
	w.reopen()
}

// count returns how often it was called with a key, like a database outside.
func (w *world) count(key string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[key]++
	return w.counts[key]
}

// counted is what count has come to.
func (w *world) counted(key string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts[key]
}

// tick is how often the world looks whether something happened.
const tick = 20 * time.Millisecond

// until looks again and again whether done, and brings the process back to life
// when it died.
func (w *world) until(done func() bool) {
	w.Helper()
	began := time.Now()
	for !done() {
		if info := w.describe(); info.Held != nil {
			require.FailNow(w, "the execution is held", "%s\n%s", info.Held.Message, show(shapes(w.history())))
		}
		if time.Since(began) > w.patience {
			require.FailNow(w, "it does not come to its end", "after %s\n%s", w.patience, show(shapes(w.history())))
		}
		select {
		case <-w.crashes:
			require.NoError(w, w.engine.Close())
			w.reopen()
		case <-time.After(tick):
		}
	}
}

// untilEnd waits for the end of the execution.
func (w *world) untilEnd() durable.ExecutionInfo {
	w.Helper()
	w.until(func() bool { return w.describe().Status != durable.ExecutionRunning })
	return w.describe()
}

// untilEvents waits until the history has so many events.
func (w *world) untilEvents(n int) {
	w.Helper()
	w.until(func() bool { return len(w.history()) >= n })
}

func (w *world) describe() durable.ExecutionInfo {
	w.Helper()
	info, err := w.engine.Describe(w.ctx, w.id)
	require.NoError(w, err)
	return info
}

func (w *world) history() []durable.Event { return w.historyOf(w.id) }

func (w *world) historyOf(id string) (events []durable.Event) {
	w.Helper()
	for ev, err := range w.engine.History(w.ctx, id) {
		require.NoError(w, err)
		events = append(events, ev)
	}
	return events
}

// logbook is a slog handler that keeps what handlers and bodies log. The
// engine's own lines begin with "durable: ": those are left out, except that
// no test is meant to bring it to log an error.
type logbook struct {
	mu     sync.Mutex
	kept   []string
	errors []string // of the engine
}

// lines are "[LEVEL] message".
func (b *logbook) lines() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.kept)
}

func (b *logbook) Enabled(context.Context, slog.Level) bool { return true }
func (b *logbook) WithAttrs([]slog.Attr) slog.Handler       { return b }
func (b *logbook) WithGroup(string) slog.Handler            { return b }
func (b *logbook) Handle(_ context.Context, r slog.Record) error {
	line := fmt.Sprintf("[%s] %s", r.Level, r.Message)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !strings.HasPrefix(r.Message, "durable: "):
		b.kept = append(b.kept, line)
	case r.Level >= slog.LevelError:
		r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
		b.errors = append(b.errors, line)
	}
	return nil
}

// watchHub passes a store's hints on to the process that lives.
type watchHub struct {
	mu sync.Mutex
	fn func(checkpoint.Hint)
}

func (h *watchHub) set(fn func(checkpoint.Hint)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fn = fn
}

func (h *watchHub) call(hint checkpoint.Hint) {
	h.mu.Lock()
	fn := h.fn
	h.mu.Unlock()
	if fn != nil {
		fn(hint)
	}
}

// process is a memory store as one process sees it. Close ends the process, not
// the store: from then on it reaches the store no more, and what it owned is
// without an owner.
type process struct {
	checkpoint.Store
	hub *watchHub

	mu   sync.RWMutex
	dead bool
}

func newProcess(store checkpoint.Store, hub *watchHub) *process {
	return &process{Store: store, hub: hub}
}

func (p *process) Watch(fn func(checkpoint.Hint)) { p.hub.set(fn) }

func (p *process) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return nil
	}
	p.dead = true
	p.hub.set(nil)
	for s, err := range p.Store.List(context.Background(), checkpoint.Query{Status: checkpoint.Running}) {
		if err != nil {
			return err
		}
		if s.Owned {
			if err := p.Store.Disown(context.Background(), s.ID, s.Epoch); err != nil {
				return err
			}
		}
	}
	return nil
}

// alive runs f, unless the process is dead.
func (p *process) alive(f func() error) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.dead {
		return checkpoint.ErrClosed
	}
	return f()
}

func (p *process) Create(ctx context.Context, c checkpoint.Creation) (s checkpoint.Summary, created bool, err error) {
	err = p.alive(func() (err error) {
		s, created, err = p.Store.Create(ctx, c)
		return err
	})
	return s, created, err
}

func (p *process) Claim(ctx context.Context, r checkpoint.ClaimRequest) (claims []checkpoint.Claim, err error) {
	err = p.alive(func() (err error) {
		claims, err = p.Store.Claim(ctx, r)
		return err
	})
	return claims, err
}

func (p *process) Append(a checkpoint.Append, done func(error)) {
	err := p.alive(func() error {
		p.Store.Append(a, done)
		return nil
	})
	if err != nil {
		go done(err)
	}
}

func (p *process) Disown(ctx context.Context, id string, epoch uint64) error {
	return p.alive(func() error { return p.Store.Disown(ctx, id, epoch) })
}

func (p *process) Deliver(ctx context.Context, d checkpoint.Delivery) error {
	return p.alive(func() error { return p.Store.Deliver(ctx, d) })
}

func (p *process) Heartbeat(ctx context.Context, c checkpoint.CallbackRef) error {
	return p.alive(func() error { return p.Store.Heartbeat(ctx, c) })
}

func (p *process) End(ctx context.Context, e checkpoint.Ending) (ended bool, err error) {
	err = p.alive(func() (err error) {
		ended, err = p.Store.End(ctx, e)
		return err
	})
	return ended, err
}
