package growth_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/boltstore"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// bundle is an engine with what the growths need of it.
type bundle struct {
	*testing.T
	ctx    context.Context
	engine *durable.Engine
}

func open(t *testing.T, store checkpoint.Store, opts durable.Options, functions ...durable.Definition) *bundle {
	opts.Functions, opts.Logger = functions, slog.New(slog.DiscardHandler)
	e, err := durable.New(store, &opts)
	require.NoError(t, err)
	t.Cleanup(func() { e.Close() })
	return &bundle{t, t.Context(), e}
}

// setup opens an engine on a store in memory that suspends executions at once.
func setup(t *testing.T, functions ...durable.Definition) *bundle {
	return setupWith(t, durable.Options{ParkFor: -1}, functions...)
}

func setupWith(t *testing.T, opts durable.Options, functions ...durable.Definition) *bundle {
	return open(t, memstore.New(), opts, functions...)
}

// onFile opens an engine on a file, which is not synced.
func onFile(t *testing.T, path string, opts durable.Options, functions ...durable.Definition) *bundle {
	store, err := boltstore.Open(path, &boltstore.Options{Logger: slog.New(slog.DiscardHandler), UnsafeNoSync: true})
	require.NoError(t, err)
	return open(t, store, opts, functions...)
}

func file(t *testing.T) string { return filepath.Join(t.TempDir(), "growth.db") }

func start(b *bundle, f *durable.Function[int, int], n int, opts ...durable.StartOption) *durable.Execution[int] {
	x, err := f.Start(b.ctx, b.engine, n, opts...)
	require.NoError(b, err)
	return x
}

func run(b *bundle, f *durable.Function[int, int], n int) {
	_, err := start(b, f, n).Result(b.ctx)
	require.NoError(b, err)
}

func (b *bundle) cancel(id string) { require.NoError(b, b.engine.Cancel(b.ctx, id, "")) }

// cancelLater cancels an execution that has come to where it waits.
func (b *bundle) cancelLater(id string) {
	time.Sleep(time.Minute)
	b.cancel(id)
}

func (b *bundle) stop(id string) { require.NoError(b, b.engine.Stop(b.ctx, id, "")) }

func (b *bundle) describe(id string) durable.ExecutionInfo {
	info, err := b.engine.Describe(b.ctx, id)
	require.NoError(b, err)
	return info
}

func (b *bundle) history(id string) {
	for _, err := range b.engine.History(b.ctx, id) {
		require.NoError(b, err)
	}
}

// none checks that no execution is left.
func (b *bundle) none() {
	counts, err := b.engine.Count(b.ctx, durable.Query{})
	require.NoError(b, err)
	require.Empty(b, counts)
}

// many is a handler that does something n times.
func many(do func(ctx *durable.Context, n int) error) *durable.Function[int, int] {
	return durable.Define("many", func(ctx *durable.Context, n int) (int, error) { return n, do(ctx, n) })
}

// each is a handler whose items do something at the same time; their errors are theirs.
func each(do func(ctx *durable.Context, i int) error) *durable.Function[int, int] {
	return many(func(ctx *durable.Context, n int) error {
		_, err := durable.Map(ctx, "each", make([]int, n), func(c *durable.Context, _, i int) (int, error) {
			_ = do(c, i)
			return i, nil
		})
		return err
	})
}

// ends runs f and waits for its end, however it ends.
func ends(b *bundle, f *durable.Function[int, int], n int, meanwhile ...func(id string)) {
	b.Helper()
	x := start(b, f, n, durable.WithExecutionID("x"))
	for _, do := range meanwhile {
		synctest.Wait()
		do(x.ID())
	}
	_, err := x.Result(b.ctx)
	require.False(b, errors.Is(err, context.Canceled), err)
}

// opened lets a handler make callbacks, and those outside have their IDs.
type opened struct {
	mu  sync.Mutex
	ids []string
}

func (o *opened) open(ctx *durable.Context, opts ...durable.CallbackOption) (*durable.Callback[int], error) {
	cb, err := durable.CreateCallback[int](ctx, "cb", opts...)
	if err == nil {
		o.mu.Lock()
		o.ids = append(o.ids, cb.ID())
		o.mu.Unlock()
	}
	return cb, err
}

func (o *opened) completeAll(b *bundle) {
	o.mu.Lock()
	ids := o.ids
	o.mu.Unlock()
	for _, id := range ids {
		require.NoError(b, b.engine.SucceedCallback(b.ctx, id, 1))
	}
}

// awaitCallbackOf is a body of each that waits for a callback.
func (o *opened) await(ctx *durable.Context, opts ...durable.CallbackOption) error {
	cb, err := o.open(ctx, opts...)
	if err != nil {
		return err
	}
	_, err = cb.Await(ctx)
	return err
}

// hang is a body that heeds its context.
func hang(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// blocked is n bodies that run until release is called.
type blocked struct {
	running sync.WaitGroup
	end     chan struct{}
}

func newBlocked(n int) *blocked {
	b := &blocked{end: make(chan struct{})}
	b.running.Add(n)
	return b
}

func (b *blocked) body(context.Context) error {
	b.running.Done()
	<-b.end
	return nil
}

// later lets the bodies end in a second.
func (b *blocked) later() {
	go func() {
		time.Sleep(time.Second)
		close(b.end)
	}()
}

var parked = durable.Options{ParkFor: time.Hour}

// futures starts n branches.
func futures(ctx *durable.Context, n int, do func(c *durable.Context, i int) error) []*durable.Future[int] {
	fs := make([]*durable.Future[int], n)
	for i := range fs {
		fs[i] = durable.Go(ctx, "f", func(c *durable.Context) (int, error) { return i, do(c, i) })
	}
	return fs
}

func awaitAll(ctx *durable.Context, fs []*durable.Future[int]) error {
	var errs []error
	for _, f := range fs {
		_, err := f.Await(ctx)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
