package durable_test

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// TestNilFromOutside calls everything that takes an engine, a context, a store or a
// recording with nil. The engine is not harmed.
func TestNilFromOutside(t *testing.T) {
	t.Parallel()
	f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 7, nil })
	b := setup(t, f)
	run(b, f, 0)
	x := start(b, f, 1)
	_, err := x.Result(b.ctx)
	require.NoError(t, err)
	id := x.ID()
	recording, err := b.engine.Recording(b.ctx, id)
	require.NoError(t, err)
	var none context.Context
	e := b.engine
	last := func(seq func(func(durable.Event, error) bool)) (err error) {
		for _, err = range seq {
		}
		return err
	}
	const (
		noContext  = "the context.Context is nil: give context.Background()"
		noEngine   = "the engine is nil: give the one that Open or New returned"
		noStore    = "the store is nil: give it one of"
		noFunction = "the *Function is nil: give it one that Define"
		noRecord   = "the recording is nil"
	)
	for name, c := range map[string]struct {
		says string
		call func() error
	}{
		"New":               {noStore, func() error { _, err := durable.New(nil, nil); return err }},
		"NewWithBadOptions": {noStore, func() error { _, err := durable.New(nil, &durable.Options{MaxPayload: -1}); return err }},
		"StartOnNil":        {noEngine, func() error { _, err := f.Start(b.ctx, nil, 1); return err }},
		"RunOnNil":          {noEngine, func() error { _, err := f.Run(b.ctx, nil, 1); return err }},
		"AttachToNil":       {noEngine, func() error { _, err := f.Attach(nil, id).Result(b.ctx); return err }},
		"NoExecution":       {noEngine, func() error { _, err := new(durable.Execution[int]).Result(b.ctx); return err }},
		"NoFunction":        {noFunction, func() error { _, err := (*durable.Function[int, int])(nil).Start(b.ctx, e, 1); return err }},
		"Start":             {noContext, func() error { _, err := f.Start(none, e, 1); return err }},
		"Run":               {noContext, func() error { _, err := f.Run(none, e, 1); return err }},
		"Result":            {noContext, func() error { _, err := x.Result(none); return err }},
		"StartByName":       {noContext, func() error { _, err := e.StartByName(none, "f", []byte("1")); return err }},
		"ResultJSON":        {noContext, func() error { _, err := e.ResultJSON(none, id); return err }},
		"Describe":          {noContext, func() error { _, err := e.Describe(none, id); return err }},
		"Executions": {noContext, func() (err error) {
			for _, err = range e.Executions(none, durable.Query{}) {
			}
			return err
		}},
		"Count":           {noContext, func() error { _, err := e.Count(none, durable.Query{}); return err }},
		"Operations":      {noContext, func() error { _, err := e.Operations(none, id); return err }},
		"History":         {noContext, func() error { return last(e.History(none, id)) }},
		"Follow":          {noContext, func() error { return last(e.Follow(none, id, 0)) }},
		"Recording":       {noContext, func() error { _, err := e.Recording(none, id); return err }},
		"Import":          {noContext, func() error { _, err := e.Import(none, recording, durable.WithExecutionID("i")); return err }},
		"Retry":           {noContext, func() error { _, err := e.Retry(none, id); return err }},
		"RestartFrom":     {noContext, func() error { _, err := e.RestartFrom(none, id, ""); return err }},
		"Cancel":          {noContext, func() error { return e.Cancel(none, id, "") }},
		"Stop":            {noContext, func() error { return e.Stop(none, id, "") }},
		"Resume":          {noContext, func() error { return e.Resume(none, id) }},
		"Delete":          {noContext, func() error { return e.Delete(none, id) }},
		"CallbackID":      {noContext, func() error { _, err := e.CallbackID(none, id, "x"); return err }},
		"SucceedCallback": {noContext, func() error { return e.SucceedCallback(none, "x", 1) }},
		"FailCallback":    {noContext, func() error { return e.FailCallback(none, "x", durable.Failure{}) }},
		"Heartbeat":       {noContext, func() error { return e.HeartbeatCallback(none, "x") }},
		"Backup":          {noContext, func() error { _, err := e.Backup(none, new(bytes.Buffer)); return err }},
		"Shutdown":        {noContext, func() error { return e.Shutdown(none) }},
		"Replay":          {noContext, func() error { return durable.Replay(none, recording, nil) }},
		"ReplayNothing":   {noRecord, func() error { return durable.Replay(b.ctx, nil, nil) }},
		"Changes": {noContext, func() (err error) {
			defer func() { err, _ = recover().(error) }()
			e.Changes(none)
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) { require.ErrorContains(t, c.call(), c.says) })
	}
	_, ok := durable.StepInfoFrom(none)
	require.False(t, ok)
	require.PanicsWithError(t, "durable: an option is nil: leave it out", func() { f.Start(b.ctx, e, 1, durable.WithExecutionID("o"), nil) })
	require.Equal(t, 7, run(b, f, 2))
	require.NoError(t, e.Shutdown(b.ctx), "it goes on until it is told to end")
}

func TestOpenWithAURL(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, path := range []string{"postgres://user:s3cret@localhost/x", "postgresql://localhost/x", "file://x.db"} {
		_, err := durable.Open(path, nil)
		require.ErrorContains(t, err, "pgstore.Open")
		require.NotContains(t, err.Error(), "s3cret")
	}
	require.NoDirExists(t, "postgres:")
}

// TestNilCode: a body that is nil fails its operation for good, and says so, once it is to
// run; nothing is tried again.
func TestNilCode(t *testing.T) {
	var absent func(context.Context) (int, error)
	for name, handler := range map[string]func(ctx *durable.Context) (any, error){
		"Step":              func(ctx *durable.Context) (any, error) { return durable.Step(ctx, "x", absent) },
		"Do":                func(ctx *durable.Context) (any, error) { return nil, durable.Do(ctx, "x", nil) },
		"Call":              func(ctx *durable.Context) (any, error) { return durable.Call[int, int](ctx, "x", nil, 1) },
		"RunInChildContext": func(ctx *durable.Context) (any, error) { return durable.RunInChildContext[int](ctx, "x", nil) },
		"Go":                func(ctx *durable.Context) (any, error) { return durable.Go[int](ctx, "x", nil).Await(ctx) },
		"Map":               func(ctx *durable.Context) (any, error) { return durable.Map[int, int](ctx, "x", []int{1}, nil) },
		"AsStep": func(ctx *durable.Context) (any, error) {
			return durable.Map(ctx, "x", []int{1}, durable.AsStep[int, int](nil))
		},
		"WaitForCallback": func(ctx *durable.Context) (any, error) { return durable.WaitForCallback[int](ctx, "x", nil) },
		"WaitForCondition": func(ctx *durable.Context) (any, error) {
			return durable.WaitForCondition(ctx, "x", 1, nil, func(int, int) durable.Poll { return durable.PollDone() })
		},
		"WaitForConditionNext": func(ctx *durable.Context) (any, error) {
			return durable.WaitForCondition(ctx, "x", 1, func(context.Context, int) (int, error) { return 1, nil }, nil)
		},
	} {
		inBubble(t, name, func(t *testing.T) {
			began := time.Now()
			f := durable.Define("f", func(ctx *durable.Context, _ int) (any, error) { return handler(ctx) })
			b := setup(t, f)
			_, err := within(b, start(b, f, 0), time.Hour)
			require.ErrorIs(t, err, durable.ErrPanic)
			require.ErrorContains(t, err, "its function is nil")
			require.Zero(t, time.Since(began), "it is not tried again")
		})
	}

	inBubble(t, "StubsStandIn", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return durable.Step(ctx, "x", absent) })
		b := setupWith(t, durable.Options{Interceptor: func(context.Context, durable.StepInfo, func(context.Context) (any, error)) (any, error) {
			return 3, nil
		}}, f)
		require.Equal(t, 3, run(b, f, 0))
	})
	inBubble(t, "Invoke", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			return durable.Invoke[int, int](ctx, "x", nil, 1)
		})
		b := setup(t, f)
		_, err := within(b, start(b, f, 0), time.Hour)
		require.ErrorContains(t, err, "the *Function is nil")
	})
	inBubble(t, "Option", func(t *testing.T) {
		f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) {
			return durable.Step(ctx, "x", func(context.Context) (int, error) { return 4, nil }, nil)
		})
		b := setup(t, f)
		_, err := within(b, start(b, f, 0), time.Hour)
		require.ErrorContains(t, err, "an option is nil")
	})
}

// TestNilAwaited: what is given nil to wait for says so.
func TestNilAwaited(t *testing.T) {
	var future *durable.Future[int]
	var callback *durable.Callback[int]
	for name, handler := range map[string]func(ctx *durable.Context) error{
		"Select":      func(ctx *durable.Context) error { _, err := durable.Select(ctx, "x", nil); return err },
		"SelectTyped": func(ctx *durable.Context) error { _, err := durable.Select(ctx, "x", future, callback); return err },
		"All":         func(ctx *durable.Context) error { _, err := durable.All(ctx, "x", future); return err },
		"Any":         func(ctx *durable.Context) error { _, err := durable.Any(ctx, "x", future); return err },
		"Settled":     func(ctx *durable.Context) error { durable.Settled(ctx, "x", nil); return nil },
		"Race":        func(ctx *durable.Context) error { _, err := durable.Race(ctx, "x", future); return err },
	} {
		inBubble(t, name, func(t *testing.T) {
			f := durable.Define("f", func(ctx *durable.Context, _ int) (int, error) { return 0, handler(ctx) })
			b := setup(t, f)
			_, err := within(b, start(b, f, 0), time.Hour)
			require.ErrorIs(t, err, durable.ErrPanic)
			require.ErrorContains(t, err, "one of what is waited for is nil")
		})
	}
}

// TestFunctionsThatAreNil: everything wrong with the functions is said at once.
func TestFunctionsThatAreNil(t *testing.T) {
	t.Parallel()
	_, err := durable.New(memstore.New(), &durable.Options{
		Logger:    slog.New(slog.DiscardHandler),
		Functions: []durable.Definition{nil, (*durable.Function[int, int])(nil), new(durable.Function[int, int]), durable.Define[int, int]("f", nil)},
	})
	require.Error(t, err)
	for _, says := range []string{"Functions[0] is nil", "Functions[1] is nil", "Functions[2] is nil", `"f" has no code`} {
		require.ErrorContains(t, err, says)
	}
}
