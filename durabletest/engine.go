package durabletest

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// Engine is an engine on memory, in virtual time. Its methods fail the test where
// they can't do what they are asked for.
type Engine struct {
	// Engine is the engine of this life: another one after Crash and Restart.
	*durable.Engine

	t     testing.TB
	c     *Config
	store *memstore.Store
	tap   *tap

	mu       sync.Mutex
	life     *life                // nil before the first one
	ended    bool                 // there will be no other life
	next     chan struct{}        // closed when another life has begun, or ended is set
	answered map[string]bool      // callbacks, by ID
	stubs    map[string]*stubCall // by execution
	foretold map[string]*stubCall // that began before the first life, by execution
	since    time.Time            // before that, what answers did has been done
	ids      *identities
	bodies   int
	answers  sync.WaitGroup              // answers, and calls of stubs
	again    func(info durable.StepInfo) // told of a body that begins although its outcome is durable
}

// life is an engine and what it has of the store.
type life struct {
	engine *durable.Engine
	tap    *tap
}

// testLimit is the default of Config.Limit in Test.
const testLimit = 36_500 * 24 * time.Hour

// Test calls f with an engine, in a bubble of virtual time that ends with f. See
// the package's documentation.
func Test(t *testing.T, c Config, f func(t *testing.T, e *Engine)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t, &c, memstore.New())
		e.open(newTap(e.store))
		defer e.close()
		limit := cmp.Or(c.Limit, testLimit)
		stuck := time.AfterFunc(limit, func() {
			t.Errorf("durabletest: %s of virtual time have passed: %s", limit, e.waitsFor())
			e.mu.Lock()
			engine := e.Engine
			e.mu.Unlock()
			engine.Close() // what the test waits for returns
		})
		defer stuck.Stop()
		f(t, e)
	})
}

func newEngine(t testing.TB, c *Config, store *memstore.Store) *Engine {
	return &Engine{t: t, c: c, store: store, next: make(chan struct{}), ids: newIdentities(store),
		answered: make(map[string]bool), stubs: make(map[string]*stubCall), foretold: make(map[string]*stubCall)}
}

// open begins a life.
func (e *Engine) open(tap *tap) {
	e.t.Helper()
	opts := e.c.options(e.stub)
	observer := durable.Observer{}
	if opts.Observer != nil {
		observer = *opts.Observer
	}
	started, ended := observer.AttemptStarted, observer.AttemptEnded
	observer.AttemptStarted = func(ctx context.Context, info durable.StepInfo) context.Context {
		e.began(tap, info)
		if started != nil {
			return started(ctx, info)
		}
		return nil
	}
	observer.AttemptEnded = func(ctx context.Context, info durable.StepInfo, err error) {
		e.mu.Lock()
		e.bodies--
		e.mu.Unlock()
		if ended != nil {
			ended(ctx, info, err)
		}
	}
	opts.Observer = &observer
	e.mu.Lock()
	e.tap = tap
	e.mu.Unlock()
	tap.ids, tap.opened = e.ids, e.answer
	engine, err := durable.New(tap, &opts)
	if err != nil {
		e.store.Close() // no life does: the bubble would not end
		e.t.Fatal(err)
	}
	e.mu.Lock()
	e.Engine, e.life = engine, &life{engine, tap}
	close(e.next)
	e.next = make(chan struct{})
	e.mu.Unlock()
	for _, id := range e.running() {
		go e.answer(id)
	}
}

func (e *Engine) began(tap *tap, info durable.StepInfo) {
	tap.mu.Lock()
	finished := info.OperationID != "" && tap.finished[info.ExecutionID+" "+info.OperationID]
	tap.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.bodies++
	if finished && e.again != nil {
		e.again(info)
	}
}

// running are the executions that have not ended.
func (e *Engine) running() (ids []string) {
	for s, err := range e.store.List(context.Background(), checkpoint.Query{Status: checkpoint.Running}) {
		if err == nil {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// answer calls the answers of the callbacks that an execution has open.
func (e *Engine) answer(id string) {
	if len(e.c.Answers) == 0 {
		return
	}
	e.mu.Lock()
	life := e.life
	e.mu.Unlock()
	if life == nil {
		return
	}
	open, err := e.openCallbacks(context.Background(), life, id)
	if err != nil {
		return // it is gone, or the engine is
	}
	for _, cb := range open {
		e.answerOne(cb, time.Time{})
	}
}

// answerOne calls the answer of a callback, if there is one and it was not called: at a
// time, or now.
func (e *Engine) answerOne(cb *Callback, at time.Time) {
	e.mu.Lock()
	known := e.answered[cb.ID]
	e.answered[cb.ID] = true
	e.mu.Unlock()
	if answer := e.c.Answers[cb.Name]; answer != nil && !known {
		cb.lasts = true
		e.answers.Go(func() {
			time.Sleep(time.Until(at))
			answer(cb)
		})
	}
}

// after is the life behind one that is over; nil if there is none. It waits for it.
func (e *Engine) after(l *life) *life {
	e.mu.Lock()
	defer e.mu.Unlock()
	for {
		switch {
		case e.life != nil && e.life != l:
			return e.life
		case e.ended:
			return nil
		}
		next := e.next
		e.mu.Unlock()
		<-next
		e.mu.Lock()
	}
}

// foretell lets the answers and stubs begin that the process which died at a time had
// called before: each when it began there.
func (e *Engine) foretell(died time.Time) {
	e.since = died
	opts := durable.Options{Codec: e.c.Options.Codec, Sealer: e.c.Options.Sealer, Logger: slog.New(slog.DiscardHandler), Retention: -1}
	tap := newTap(e.store)
	tap.idle, tap.ids = true, e.ids
	reader, err := durable.New(tap, &opts)
	if err != nil {
		e.t.Fatal(err)
	}
	defer reader.Close()
	ctx := context.Background()
	for info, err := range reader.Executions(ctx, durable.Query{}) {
		if err != nil {
			e.t.Fatal(err)
		}
		if stub := e.c.Stubs[info.Function]; stub != nil && info.Status == durable.ExecutionRunning {
			e.foretold[info.ID] = e.callStub(func(ctx context.Context, in json.RawMessage) (any, error) {
				time.Sleep(time.Until(info.StartedAt))
				return stub(ctx, in)
			}, info.Input)
		}
		here := &life{reader, tap}
		open, err := e.openCallbacks(ctx, here, info.ID)
		if err != nil {
			e.t.Fatal(err)
		}
		for ev, err := range reader.History(ctx, info.ID) { // also what was answered: the answer may go on
			if err != nil {
				e.t.Fatal(err)
			}
			if ev.Type == "CallbackStarted" {
				told := !slices.ContainsFunc(open, func(cb *Callback) bool { return cb.ID == ev.CallbackID })
				e.answerOne(&Callback{Name: ev.Name, ExecutionID: info.ID, ID: ev.CallbackID, operationID: ev.OperationID, e: e, life: here, told: told}, ev.Time)
			}
		}
	}
}

// Crash kills the engine as a crash of its process would, and opens another one on
// what was durable. What the test's own code holds in memory survives; a fresh
// process is what CrashEverywhere also has. A handle on an execution belongs to its
// engine: get another one with Function.Attach.
func (e *Engine) Crash() {
	e.t.Helper()
	e.tap.mu.Lock()
	e.tap.crash = true
	e.tap.mu.Unlock()
	e.kill()
	e.open(newTap(e.store))
}

// Restart shuts the engine down, which lets running bodies end, and opens another
// one.
func (e *Engine) Restart() {
	e.t.Helper()
	if err := e.Shutdown(context.Background()); err != nil {
		e.t.Fatalf("durabletest: shutdown: %v", err)
	}
	e.open(newTap(e.store))
}

// kill ends a life. When it returns nothing of it runs any more; it returns how much
// time that took, because of bodies that ignore their contexts.
func (e *Engine) kill() time.Duration {
	e.tap.kill()
	e.Close()
	began := time.Now()
	synctest.Wait()
	for wait := time.Millisecond; e.busy() && wait < time.Hour; wait *= 2 {
		time.Sleep(wait)
	}
	took := time.Since(began)
	for s, err := range e.store.List(context.Background(), checkpoint.Query{Status: checkpoint.Running}) {
		if err == nil && s.Owned {
			err = e.store.Disown(context.Background(), s.ID, s.Epoch)
		}
		if err != nil {
			e.t.Fatal(err)
		}
	}
	return took
}

func (e *Engine) busy() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.bodies > 0
}

// close ends the last life, and waits for what the test's code still does: a bubble
// ends with its last goroutine.
func (e *Engine) close() {
	e.mu.Lock()
	e.ended = true
	close(e.next)
	e.mu.Unlock()
	e.kill()
	e.mu.Lock()
	for _, calls := range []map[string]*stubCall{e.stubs, e.foretold} {
		for _, call := range calls {
			call.end(durable.ErrClosed)
		}
	}
	e.mu.Unlock()
	e.answers.Wait()
	e.store.Close()
}

// Callback waits until an execution has a callback open under the name, and
// returns it. Virtual time passes meanwhile.
func (e *Engine) Callback(executionID, name string) *Callback {
	e.t.Helper()
	if _, err := e.CallbackID(context.Background(), executionID, name); err != nil {
		e.t.Fatalf("durabletest: callback %q: %v", name, err)
	}
	e.mu.Lock()
	life := e.life
	e.mu.Unlock()
	open, err := e.openCallbacks(context.Background(), life, executionID)
	if err != nil {
		e.t.Fatalf("durabletest: callback %q: %v", name, err)
	}
	i := slices.IndexFunc(open, func(cb *Callback) bool { return cb.Name == name || cb.operationID == name })
	if i < 0 {
		e.t.Fatalf("durabletest: callback %q of execution %s has got its outcome meanwhile", name, executionID)
	}
	return open[i]
}

// Events is the history of an execution.
func (e *Engine) Events(executionID string) []durable.Event {
	e.t.Helper()
	var events []durable.Event
	for ev, err := range e.History(context.Background(), executionID) {
		if err != nil {
			e.t.Fatal(err)
		}
		events = append(events, ev)
	}
	return events
}
