package durable_test

import (
	"context"
	"iter"
	"log/slog"
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/boltstore"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// machine is a store that outlives the engines on it, so that a test can end one
// as a crash would and open another, and can stand between engine and store.
type machine struct {
	*testing.T
	base checkpoint.Store

	// reopen opens the file at path again after a crash; nil: the store is in memory.
	reopen func() checkpoint.Store
	path   string

	mu  sync.Mutex
	tap *tap // of the engine that is open

	// Hooks are called before the store is. An error of theirs is returned, and
	// the store is not asked. Those of appends must not block.
	onAppend  func(a *checkpoint.Append) error
	onDeliver func(d *checkpoint.Delivery) error
	onEnd     func(e *checkpoint.Ending) error
	onCreate  func(c *checkpoint.Creation) error
	onClaim   func() error
	onBeat    func()
	// afterAppend gets what became of an append and says what is reported. It is
	// called on the store's goroutine.
	afterAppend func(a *checkpoint.Append, err error) error
	// afterNextDue is called with the answer on its way.
	afterNextDue func()
	// onRead may change a record of an execution that is read.
	onRead    func(id string, r *checkpoint.Record)
	lateHints func() []time.Duration                  // how late a hint comes, each time
	ahead     time.Duration                           // of the store's clock
	wrap      func(checkpoint.Store) checkpoint.Store // around what the engine gets
}

// tap is what one engine has of a machine's store.
type tap struct {
	checkpoint.Store
	m     *machine
	dead  atomic.Bool
	watch func(checkpoint.Hint)
}

// newMachine is a machine whose store is in memory.
func newMachine(t *testing.T) *machine {
	m := &machine{T: t, base: memstore.New()}
	m.base.Watch(m.hint)
	t.Cleanup(func() { m.base.Close() })
	return m
}

// newFileMachine is a machine whose store is a file. A crash closes and reopens
// it. If it is unsafe, changes reach the operating system, which outlives the
// process, but the disk only later.
func newFileMachine(t *testing.T, unsafe bool) *machine {
	m := &machine{T: t, path: filepath.Join(t.TempDir(), "machine.db")}
	m.reopen = func() checkpoint.Store {
		store, err := boltstore.Open(m.path, &boltstore.Options{Logger: slog.New(slog.DiscardHandler), UnsafeNoSync: unsafe})
		require.NoError(t, err)
		store.Watch(m.hint)
		return store
	}
	m.base = m.reopen()
	t.Cleanup(func() { m.base.Close() })
	return m
}

func (m *machine) hint(h checkpoint.Hint) {
	if late := hook(m, &m.lateHints); late != nil {
		for _, d := range late() {
			go func() {
				time.Sleep(d)
				m.giveHint(h)
			}()
		}
		return
	}
	m.giveHint(h)
}

func (m *machine) giveHint(h checkpoint.Hint) {
	if tap := hook(m, &m.tap); tap != nil && !tap.dead.Load() {
		tap.watch(h)
	}
}

// set changes the hooks.
func (m *machine) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// hook reads a hook.
func hook[F any](m *machine, field *F) F {
	m.mu.Lock()
	defer m.mu.Unlock()
	return *field
}

// open opens an engine on the machine's store.
func (m *machine) open(opts durable.Options, functions ...durable.Definition) *bundle {
	m.Helper()
	opts.Functions = append(opts.Functions, functions...)
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &tap{Store: m.base, m: m}
	var store checkpoint.Store = s
	if m.wrap != nil {
		store = m.wrap(s)
	}
	e, err := durable.New(store, &opts)
	require.NoError(m, err)
	m.Cleanup(func() { e.Close() })
	return &bundle{T: m.T, ctx: m.Context(), engine: e, store: s}
}

// kill is what a crash is to the store: nothing is written any more, and what
// the process owned is nobody's. The engine's code is ended too.
func (m *machine) kill(b *bundle) {
	m.Helper()
	hook(m, &m.tap).dead.Store(true)
	require.NoError(m, b.engine.Close())
	synctest.Wait() // its bodies end
	m.recover()
}

// recover is what opening the store after a crash is to it.
func (m *machine) recover() {
	m.Helper()
	if m.reopen != nil {
		require.NoError(m, m.base.Close())
		m.base = m.reopen()
		return
	}
	for s, err := range m.base.List(context.Background(), checkpoint.Query{Status: checkpoint.Running}) {
		require.NoError(m, err)
		if s.Owned {
			require.NoError(m, m.base.Disown(context.Background(), s.ID, s.Epoch))
		}
	}
}

// shutDown shuts an engine down and leaves the store open for the next one.
func (m *machine) shutDown(b *bundle) {
	m.Helper()
	require.NoError(m, b.engine.Shutdown(context.Background()))
	for s, err := range m.base.List(context.Background(), checkpoint.Query{Status: checkpoint.Running}) {
		require.NoError(m, err)
		require.False(m, s.Owned, "execution %s was not released", s.ID)
	}
}

func (s *tap) Watch(f func(checkpoint.Hint)) {
	s.watch = f
	s.m.set(func() { s.m.tap = s })
}

func (s *tap) Close() error {
	s.dead.Store(true)
	return nil
}

func (s *tap) alive() error {
	if s.dead.Load() {
		return checkpoint.ErrClosed
	}
	return nil
}

func (s *tap) Now() time.Time { return time.Now().Add(hook(s.m, &s.m.ahead)) }

func (s *tap) Append(a checkpoint.Append, done func(error)) {
	refuse := s.alive()
	if f := hook(s.m, &s.m.onAppend); refuse == nil && f != nil {
		refuse = f(&a)
	}
	if refuse != nil {
		// One that the store refuses keeps the order of the answers.
		s.Store.Append(checkpoint.Append{ID: a.ID, Epoch: math.MaxUint64}, func(error) { done(refuse) })
		return
	}
	s.Store.Append(a, func(err error) {
		if f := hook(s.m, &s.m.afterAppend); f != nil {
			err = f(&a, err)
		}
		done(err)
	})
}

func (s *tap) Deliver(ctx context.Context, d checkpoint.Delivery) error {
	err := s.alive()
	if f := hook(s.m, &s.m.onDeliver); err == nil && f != nil {
		err = f(&d)
	}
	if err != nil {
		return err
	}
	return s.Store.Deliver(ctx, d)
}

func (s *tap) End(ctx context.Context, e checkpoint.Ending) (bool, error) {
	err := s.alive()
	if f := hook(s.m, &s.m.onEnd); err == nil && f != nil {
		err = f(&e)
	}
	if err != nil {
		return false, err
	}
	return s.Store.End(ctx, e)
}

func (s *tap) Create(ctx context.Context, c checkpoint.Creation) (checkpoint.Summary, bool, error) {
	err := s.alive()
	if f := hook(s.m, &s.m.onCreate); err == nil && f != nil {
		err = f(&c)
	}
	if err != nil {
		return checkpoint.Summary{}, false, err
	}
	return s.Store.Create(ctx, c)
}

func (s *tap) Claim(ctx context.Context, r checkpoint.ClaimRequest) ([]checkpoint.Claim, error) {
	err := s.alive()
	if f := hook(s.m, &s.m.onClaim); err == nil && f != nil {
		err = f()
	}
	if err != nil {
		return nil, err
	}
	return s.Store.Claim(ctx, r)
}

func (s *tap) NextDue(ctx context.Context, r checkpoint.ClaimRequest) (time.Time, error) {
	if err := s.alive(); err != nil {
		return time.Time{}, err
	}
	at, err := s.Store.NextDue(ctx, r)
	if f := hook(s.m, &s.m.afterNextDue); f != nil {
		f()
	}
	return at, err
}

func (s *tap) Find(ctx context.Context, number uint64) (checkpoint.Summary, error) {
	if err := s.alive(); err != nil {
		return checkpoint.Summary{}, err
	}
	return s.Store.Find(ctx, number)
}

func (s *tap) Heartbeat(ctx context.Context, c checkpoint.CallbackRef) error {
	if err := s.alive(); err != nil {
		return err
	}
	if f := hook(s.m, &s.m.onBeat); f != nil {
		f()
	}
	return s.Store.Heartbeat(ctx, c)
}

func (s *tap) Disown(ctx context.Context, id string, epoch uint64) error {
	if err := s.alive(); err != nil {
		return err
	}
	return s.Store.Disown(ctx, id, epoch)
}

func (s *tap) Records(ctx context.Context, id string, after uint64) iter.Seq2[checkpoint.Record, error] {
	return func(yield func(checkpoint.Record, error) bool) {
		for rec, err := range s.Store.Records(ctx, id, after) {
			if f := hook(s.m, &s.m.onRead); f != nil {
				f(id, &rec)
			}
			if !yield(rec, err) {
				return
			}
		}
	}
}
