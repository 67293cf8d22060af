package durable_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// damagedFile is a store in which an execution that has ended, and one that waits, can't
// be read in whole.
func damagedFile(t *testing.T, opts *durable.Options) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "store")
	e, err := durable.Open(path, opts)
	require.NoError(t, err)
	for i := range 5 {
		_, err := e.StartByName(t.Context(), "f", json.RawMessage(fmt.Sprintf(`{"Name":"ended-%d-of-five"}`, i)), durable.WithExecutionID(fmt.Sprint("ended-", i)))
		require.NoError(t, err)
		_, err = e.StartByName(t.Context(), "f", json.RawMessage(fmt.Sprintf(`{"Name":"waits-%d-of-five","Wait":true}`, i)), durable.WithExecutionID(fmt.Sprint("waits-", i)))
		require.NoError(t, err)
	}
	for running := 10; running != 5; {
		counts, err := e.Count(t.Context(), durable.Query{})
		require.NoError(t, err)
		running = counts[durable.ExecutionRunning]
	}
	require.NoError(t, e.Shutdown(t.Context()))
	file, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, name := range []string{"ended-3-of-five", "waits-3-of-five"} {
		require.Contains(t, string(file), name)
		file = bytes.ReplaceAll(file, []byte(name), []byte("DAMAGED-of-five"))
	}
	require.NoError(t, os.WriteFile(path, file, 0o600))
	return path
}

// TestDamaged lists, shows, stops and deletes what can't be read in whole. It is in the way
// of nobody.
func TestDamaged(t *testing.T) {
	type input struct {
		Name string
		Wait bool
	}
	f := durable.Define("f", func(ctx *durable.Context, in input) (string, error) {
		if in.Wait {
			return "", durable.Wait(ctx, "w", time.Hour)
		}
		return in.Name, nil
	})
	opts := &durable.Options{Functions: []durable.Definition{f}, ParkFor: -1, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	e, err := durable.Open(damagedFile(t, opts), opts)
	require.NoError(t, err)
	defer e.Close()
	list := func() (ids []string) {
		for info, err := range e.Executions(t.Context(), durable.Query{}) {
			ids = append(ids, info.ID)
			if info.ID != "ended-3" && info.ID != "waits-3" {
				require.NoError(t, err)
				continue
			}
			require.ErrorIs(t, err, durable.ErrCorrupt)
			require.NotZero(t, info.Number)
			require.Equal(t, "f", info.Function)
			require.False(t, info.StartedAt.IsZero())
			require.Empty(t, info.Input)
			one, err := e.Describe(t.Context(), info.ID)
			require.ErrorIs(t, err, durable.ErrCorrupt)
			require.Equal(t, info, one)
		}
		return ids
	}
	require.Equal(t, []string{"waits-4", "ended-4", "waits-3", "ended-3", "waits-2", "ended-2", "waits-1", "ended-1", "waits-0", "ended-0"}, list())
	counts, err := e.Count(t.Context(), durable.Query{})
	require.NoError(t, err)
	require.Equal(t, map[durable.ExecutionStatus]int{durable.ExecutionRunning: 5, durable.ExecutionSucceeded: 5}, counts)

	require.NoError(t, e.Delete(t.Context(), "ended-3"))
	require.ErrorIs(t, e.Delete(t.Context(), "waits-3"), durable.ErrExecutionRunning)
	require.NoError(t, e.Stop(t.Context(), "waits-3", "it is damaged"))
	info, err := e.Describe(t.Context(), "waits-3")
	require.ErrorIs(t, err, durable.ErrCorrupt)
	require.Equal(t, durable.ExecutionStopped, info.Status)
	require.NoError(t, e.Delete(t.Context(), "waits-3"))
	require.Equal(t, []string{"waits-4", "ended-4", "waits-2", "ended-2", "waits-1", "ended-1", "waits-0", "ended-0"}, list())
	_, err = f.Run(t.Context(), e, input{Name: "again"}, durable.WithExecutionID("waits-3"))
	require.NoError(t, err)
}
