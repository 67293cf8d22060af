package durabletest_test

import (
	"context"
	"encoding/json"
	"os"
	"testing"

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
