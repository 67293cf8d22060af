package durable_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/boltstore"
)

// Stores with executions that began with another one's journal, as a process left them
// that was killed, so that they are in the log alone, and that closed them. They are
// made with -update, and never made anew, like those of TestFormats.

const (
	begunFolder  = "testdata/formats-begun"
	begunMakeEnv = "DURABLE_TEST_MAKE_BEGUN"
)

var formatBegun = durable.Define("format.begun", func(ctx *durable.Context, in string) (string, error) {
	a, err := durable.Step(ctx, "a", func(context.Context) (string, error) { return "a", nil })
	if err != nil {
		return "", err
	}
	c, err := durable.CreateCallback[string](ctx, "c", durable.WithHeartbeatTimeout(100*365*24*time.Hour))
	if err != nil {
		return "", err
	}
	b, err := durable.RunInChildContext(ctx, "child", func(ctx *durable.Context) (string, error) {
		return durable.Step(ctx, "b", func(context.Context) (string, error) { return "b", nil })
	}, durable.WithTimeout(100*365*24*time.Hour))
	if err != nil {
		return "", err
	}
	said, err := c.Await(ctx)
	return in + a + b + said, err
})

func TestFormatsBegun(t *testing.T) {
	if path := os.Getenv(begunMakeEnv); path != "" {
		makeBegun(t, path)
		return
	}
	for _, name := range []string{"2-killed", "3-closed", "2-killed-keys", "3-closed-keys"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			packed := filepath.Join(begunFolder, name+".tar.gz")
			if _, err := os.Stat(packed); err != nil && *updateFormats {
				dir := t.TempDir()
				cmd := exec.Command(os.Args[0], "-test.run=^TestFormatsBegun$")
				cmd.Env = append(os.Environ(), begunMakeEnv+"="+filepath.Join(dir, "store"), begunMakeEnv+"_KILL="+name)
				out, err := cmd.CombinedOutput()
				if strings.HasPrefix(name, "3-closed") {
					require.NoError(t, err, string(out))
				}
				require.NoError(t, os.MkdirAll(begunFolder, 0o755))
				require.NoError(t, os.WriteFile(packed, archive(t, dir), 0o644))
			}
			path := filepath.Join(unpack(t, packed), "store")
			done, err := boltstore.Verify(t.Context(), path, &boltstore.VerifyOptions{Problem: func(p boltstore.Problem) { t.Error(p) }})
			require.NoError(t, err)
			requireAsWritten(t, path, filepath.Join(begunFolder, name+".json.gz"))
			e, err := durable.Open(path, &durable.Options{Functions: []durable.Definition{formatBegun}, Retention: -1, Sealer: newGCM(t, 7)})
			require.NoError(t, err)
			defer e.Close()
			b := &bundle{T: t, ctx: t.Context(), engine: e}
			for _, id := range []string{"restarted", "retried", "goes-on"} {
				require.NoError(t, answer(b.ctx, e, id, "c"))
				require.JSONEq(t, `"in ab`+`answer"`, string(ended(b, id).Result), id)
			}
			require.Equal(t, "old", b.describe("restarted").RestartOf)
			if strings.HasSuffix(name, "keys") {
				require.NotNil(t, keysOf(t, recording(b, "restarted")))
				require.Equal(t, keysOf(t, recording(b, "retried")), keysOf(t, recording(b, "goes-on")), "nothing but the base")
			}
			require.Equal(t, durable.ExecutionStopped, b.describe("ended").Status)
			require.Equal(t, b.history("old"), b.history("ended"))
			t.Logf("%d executions with %d records, %d batches only in the log: read as they were written, and run to their end", done.Executions, done.Records, done.Batches)
		})
	}
}

// makeBegun makes a store whose executions nobody runs on.
func makeBegun(t *testing.T, path string) {
	ctx := t.Context()
	e, err := durable.Open(path, &durable.Options{Functions: []durable.Definition{formatBegun}, Retention: -1, Sealer: newGCM(t, 7)})
	require.NoError(t, err)
	b := &bundle{T: t, ctx: ctx, engine: e}
	start(b, formatBegun, "in ", durable.WithExecutionID("old"))
	_, err = e.CallbackID(ctx, "old", "c")
	require.NoError(t, err)
	for b.operations("old") < 4 {
		time.Sleep(time.Millisecond)
	}
	running := recording(b, "old")
	require.NoError(t, e.Stop(ctx, "old", ""))
	require.NoError(t, e.Close())
	e, err = durable.Open(path, &durable.Options{Retention: -1, Sealer: newGCM(t, 7)})
	require.NoError(t, err)
	b.engine = e
	_, err = e.RestartFrom(ctx, "old", operationID(b, "old", "b"), durable.WithExecutionID("restarted"))
	require.NoError(t, err)
	_, err = e.Retry(ctx, "old", durable.WithExecutionID("retried"))
	require.NoError(t, err)
	_, err = e.Import(ctx, recording(b, "old"), durable.WithExecutionID("ended"))
	require.NoError(t, err)
	_, err = e.Import(ctx, running, durable.WithExecutionID("goes-on"))
	require.NoError(t, err)
	if strings.HasPrefix(os.Getenv(begunMakeEnv+"_KILL"), "2-killed") {
		self, err := os.FindProcess(os.Getpid())
		require.NoError(t, err)
		require.NoError(t, self.Kill())
		select {}
	}
	require.NoError(t, e.Close())
}

// keysOf are the recorded keys of the execution that another one began as.
func keysOf(t *testing.T, r *durable.Recording) any {
	data, err := json.Marshal(r)
	require.NoError(t, err)
	var head struct{ Keys any }
	require.NoError(t, json.Unmarshal(data, &head))
	return head.Keys
}

// operations is how many operations of an execution have an outcome or a callback is open.
func (b *bundle) operations(id string) (n int) {
	ops, err := b.engine.Operations(b.ctx, id)
	require.NoError(b, err)
	for _, o := range ops {
		if o.Status == durable.OperationSucceeded || o.CallbackID != "" {
			n++
		}
	}
	return n
}
