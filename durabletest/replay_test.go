package durabletest_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/durabletest"
)

const recordingFile = "testdata/orders.recording.json"

func TestReplay(t *testing.T) {
	config := durabletest.Config{
		Functions: []durable.Definition{orders, ship},
		Steps:     map[string]durabletest.Step{"charge": charge},
		Answers:   map[string]durabletest.Answer{"approval": approve},
	}
	if os.Getenv("DURABLETEST_UPDATE") != "" {
		durabletest.Test(t, config, func(t *testing.T, e *durabletest.Engine) {
			x, err := orders.Start(t.Context(), e.Engine, order{ID: "42"})
			require.NoError(t, err)
			_, err = x.Result(t.Context())
			require.NoError(t, err)
			recording, err := e.Recording(t.Context(), x.ID())
			require.NoError(t, err)
			data, err := json.MarshalIndent(recording, "", "  ")
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(recordingFile, data, 0o644))
		})
	}
	durabletest.Replay(t, config, recordingFile)
}

// What the handler logs goes to the test's log, or to the config's logger.
func TestReplayLogs(t *testing.T) {
	logging := durable.Define("orders", func(ctx *durable.Context, o order) (string, error) {
		ctx.Logger().Debug("looks at the order", "id", o.ID)
		return "", nil // not the recorded way
	})
	config := durabletest.Config{Functions: []durable.Definition{logging}}
	const line = `level=DEBUG msg="looks at the order" execution=`
	if inChild() {
		durabletest.Replay(t, config, recordingFile)
		return
	}
	output, err := child(t, "^"+t.Name()+"$")
	require.Error(t, err, output)
	require.Contains(t, output, line)

	var log strings.Builder
	config.Functions = []durable.Definition{orders}
	config.Options.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	durabletest.Replay(t, config, recordingFile)
	require.Contains(t, log.String(), `type=Step name=charge status=SUCCEEDED`)
	require.NotContains(t, log.String(), line)
}

// A handler that stands still fails the test after a minute, unless the test itself may
// take for ever, as under a debugger. What it logs when the test is over does no harm.
func TestReplayOfWhatStandsStill(t *testing.T) {
	if inChild() {
		var done chan struct{}
		synctest.Test(t, func(t *testing.T) {
			done = make(chan struct{})
			began := time.Now()
			standing := durable.Define("orders", func(ctx *durable.Context, _ order) (string, error) {
				log := ctx.Logger()
				time.Sleep(time.Hour)
				log.Info("late")
				close(done)
				return "", nil
			})
			durabletest.Replay(t, durabletest.Config{Functions: []durable.Definition{standing}}, recordingFile)
			t.Log("it took", time.Since(began))
			<-done
		})
		return
	}
	output, err := child(t, "^"+t.Name()+"$")
	require.Error(t, err, output)
	require.Contains(t, output, "the handler stands still")
	require.Contains(t, output, "it took 1m0s")
	require.NotContains(t, output, "late")

	output, err = child(t, "^"+t.Name()+"$", "-test.timeout=0")
	require.Error(t, err, output)
	require.Contains(t, output, "it took 1h0m0s")
	require.Contains(t, output, "late")
}

func TestReplayOfChangedCode(t *testing.T) {
	if !inChild() {
		output, err := child(t, "^"+t.Name()+"$")
		require.Error(t, err, output)
		require.Contains(t, output, `operation 1: recorded is STEP (Step) "charge", the code now asks for STEP (Step) "bill"`)
		return
	}
	changed := durable.Define("orders", func(ctx *durable.Context, o order) (string, error) {
		return durable.Step(ctx, "bill", func(context.Context) (string, error) { panic("called") })
	})
	durabletest.Replay(t, durabletest.Config{Functions: []durable.Definition{changed}}, recordingFile)
}
