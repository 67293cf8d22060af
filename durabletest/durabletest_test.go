package durabletest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/durabletest"
)

type order struct {
	ID    string
	Cents int
}

// orders is what most tests run: each kind of thing that a config stands for.
var ship = durable.Define("ship", func(ctx *durable.Context, id string) (string, error) {
	if err := durable.Wait(ctx, "truck", 48*time.Hour); err != nil {
		return "", err
	}
	return "shipped " + id, nil
})

var orders = durable.Define("orders", func(ctx *durable.Context, o order) (string, error) {
	receipt, err := durable.Step(ctx, "charge", func(ctx context.Context) (string, error) {
		return "", errors.New("there is no card reader here")
	}, durable.WithRetry(durable.NoRetry()))
	if err != nil {
		return "", err
	}
	answer, err := durable.WaitForCallback[string](ctx, "approval", func(ctx context.Context, id string) error {
		return nil
	}, durable.WithTimeout(30*24*time.Hour))
	if err != nil {
		return "", err
	}
	shipped, err := durable.Invoke(ctx, "ship", ship, o.ID)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, %s, %s", receipt, answer, shipped), nil
})

func charge(context.Context, durable.StepInfo) (any, error) { return "receipt 7", nil }

func approve(cb *durabletest.Callback) {
	time.Sleep(24 * time.Hour)
	cb.Succeed("yes")
}

func TestTest(t *testing.T) {
	t.Parallel()
	config := durabletest.Config{
		Functions: []durable.Definition{orders, ship},
		Steps:     map[string]durabletest.Step{"charge": charge},
		Answers:   map[string]durabletest.Answer{"approval": approve},
	}
	run := func(name string, c durabletest.Config, f func(t *testing.T, e *durabletest.Engine)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			durabletest.Test(t, c, f)
		})
	}
	run("DaysPass", config, func(t *testing.T, e *durabletest.Engine) {
		began := time.Now()
		out, err := orders.Run(t.Context(), e.Engine, order{ID: "42"})
		require.NoError(t, err)
		require.Equal(t, "receipt 7, yes, shipped 42", out)
		require.GreaterOrEqual(t, time.Since(began), 72*time.Hour)
	})
	stubbed := config
	stubbed.Stubs = map[string]durabletest.Stub{"ship": func(_ context.Context, in json.RawMessage) (any, error) { return "stub " + string(in), nil }}
	run("AStubStandsForAFunction", stubbed, func(t *testing.T, e *durabletest.Engine) {
		out, err := orders.Run(t.Context(), e.Engine, order{ID: "42"})
		require.NoError(t, err)
		require.Equal(t, `receipt 7, yes, stub "42"`, out)
	})
	missing := stubbed
	missing.Functions = []durable.Definition{orders}
	run("AlsoForOneThatIsNotThere", missing, func(t *testing.T, e *durabletest.Engine) {
		_, err := orders.Run(t.Context(), e.Engine, order{ID: "42"})
		require.NoError(t, err)
	})
	wrong := config
	wrong.Steps = map[string]durabletest.Step{"charge": func(context.Context, durable.StepInfo) (any, error) { return 7, nil }}
	run("AStubOfAnotherTypeFailsTheStep", wrong, func(t *testing.T, e *durabletest.Engine) {
		_, err := orders.Run(t.Context(), e.Engine, order{})
		require.ErrorIs(t, err, durable.ErrCodec)
	})
	failing := config
	failing.Steps = map[string]durabletest.Step{"charge": func(_ context.Context, info durable.StepInfo) (any, error) {
		return nil, durable.Permanent(fmt.Errorf("declined at attempt %d", info.Attempt))
	}}
	run("AStubMayFail", failing, func(t *testing.T, e *durabletest.Engine) {
		_, err := orders.Run(t.Context(), e.Engine, order{})
		require.ErrorContains(t, err, "declined at attempt 1")
	})
	submitted := config
	submitted.Steps = map[string]durabletest.Step{"charge": charge, "approval": func(context.Context, durable.StepInfo) (any, error) {
		return nil, durable.Permanent(errors.New("no mail today"))
	}}
	run("AStubOfASubmitter", submitted, func(t *testing.T, e *durabletest.Engine) {
		_, err := orders.Run(t.Context(), e.Engine, order{})
		require.ErrorContains(t, err, "no mail today")
	})
	silent := config
	silent.Answers = nil
	run("CallbacksByHand", silent, func(t *testing.T, e *durabletest.Engine) {
		x, err := orders.Start(t.Context(), e.Engine, order{ID: "1"})
		require.NoError(t, err)
		require.NoError(t, e.Callback(x.ID(), "approval").Succeed("by hand"))
		out, err := x.Result(t.Context())
		require.NoError(t, err)
		require.Contains(t, out, "by hand")

		x, err = orders.Start(t.Context(), e.Engine, order{ID: "2"})
		require.NoError(t, err)
		require.NoError(t, e.Callback(x.ID(), "approval").Fail(durable.Failure{Type: "Declined", Message: "too much"}))
		_, err = x.Result(t.Context())
		require.ErrorIs(t, err, durable.ErrCallbackFailed)

		x, err = orders.Start(t.Context(), e.Engine, order{ID: "3"})
		require.NoError(t, err)
		began := time.Now()
		require.NoError(t, e.Callback(x.ID(), "approval").TimeOut())
		require.Equal(t, 30*24*time.Hour, time.Since(began).Round(time.Hour))
		_, err = x.Result(t.Context())
		require.ErrorIs(t, err, durable.ErrTimeout)
	})
	run("CrashesAndRestarts", silent, func(t *testing.T, e *durabletest.Engine) {
		x, err := orders.Start(t.Context(), e.Engine, order{ID: "1"})
		require.NoError(t, err)
		e.Callback(x.ID(), "approval")
		e.Crash()
		cb := e.Callback(x.ID(), "approval")
		e.Restart()
		require.ErrorIs(t, cb.Succeed("too late"), durable.ErrClosed)
		require.NoError(t, e.Callback(x.ID(), "approval").Succeed("yes"))
		e.Crash()
		out, err := orders.Attach(e.Engine, x.ID()).Result(t.Context())
		require.NoError(t, err)
		require.Contains(t, out, "yes")
	})
}

func TestHeartbeat(t *testing.T) {
	t.Parallel()
	f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
		return durable.WaitForCallback[string](ctx, "cb", func(context.Context, string) error { return nil }, durable.WithHeartbeatTimeout(time.Hour))
	})
	durabletest.Test(t, durabletest.Config{Functions: []durable.Definition{f}}, func(t *testing.T, e *durabletest.Engine) {
		x, err := f.Start(t.Context(), e.Engine, 0)
		require.NoError(t, err)
		cb := e.Callback(x.ID(), "cb")
		began := time.Now()
		time.Sleep(50 * time.Minute)
		require.NoError(t, cb.Heartbeat())
		require.NoError(t, cb.TimeOut())
		require.GreaterOrEqual(t, time.Since(began), 110*time.Minute)
		_, err = x.Result(t.Context())
		require.ErrorIs(t, err, durable.ErrHeartbeatTimeout)

		g, err := f.Start(t.Context(), e.Engine, 0)
		require.NoError(t, err)
		require.NoError(t, e.Callback(g.ID(), "cb").Succeed("ok"))
		require.NoError(t, cb.TimeOut(), "it has an outcome")
	})
}

func TestGolden(t *testing.T) {
	config := durabletest.Config{
		Functions: []durable.Definition{orders, ship},
		Steps:     map[string]durabletest.Step{"charge": charge},
		Answers:   map[string]durabletest.Answer{"approval": approve},
	}
	durabletest.Test(t, config, func(t *testing.T, e *durabletest.Engine) {
		x, err := orders.Start(t.Context(), e.Engine, order{ID: "42"})
		require.NoError(t, err)
		_, err = x.Result(t.Context())
		require.NoError(t, err)
		e.Golden(x.ID(), "testdata/orders.golden")

		file := filepath.Join(t.TempDir(), "new", "orders.golden")
		t.Setenv("DURABLETEST_UPDATE", "1")
		e.Golden(x.ID(), file)
		want, err := os.ReadFile("testdata/orders.golden")
		require.NoError(t, err)
		got, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	})
}
