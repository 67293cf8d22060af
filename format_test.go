package durable_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/boltstore"
)

// A store of each format that a release ever wrote lies in testdata/formats, with what
// is in it. They are made with -update, and never made anew: what is on users' disks
// must stay readable.
var updateFormats = flag.Bool("update", false, "write the stores of formats that are missing in testdata/formats")

const (
	formatFolder  = "testdata/formats"
	formatMakeEnv = "DURABLE_TEST_MAKE_FORMAT"
	formatLate    = 20 * time.Second // what waits in the stores is due after that
)

// formatInput says what an execution of formatFunction comes to.
type formatInput struct {
	Stop string // where it stands when the store is left
}

// formatMaking is set in the process that makes a store: there bodies fail that must
// fail once, and those never end that are cut off.
var formatMaking, formatRelease = false, 1

var formatChild = durable.Define("format.child", func(ctx *durable.Context, in string) (string, error) {
	answer, err := formatAsk(ctx, "inner")
	return in + answer, err
})

func formatAsk(ctx *durable.Context, name string) (string, error) {
	c, err := durable.CreateCallback[string](ctx, name, durable.WithHeartbeatTimeout(100*365*24*time.Hour))
	if err != nil {
		return "", err
	}
	return c.Await(ctx)
}

var errFormat = errors.New("it was told to fail")

var formatFunction = durable.Define("format.all", func(ctx *durable.Context, in formatInput) (string, error) {
	said := []string{in.Stop}
	say := func(s string, err error) error {
		said = append(said, s)
		return err
	}
	text := func(s string) func(context.Context) (string, error) {
		return func(context.Context) (string, error) { return s, nil }
	}
	if err := say(durable.Step(ctx, "small", text("small"))); err != nil {
		return "", err
	}
	size := 500
	if in.Stop == "none" {
		size = 20_000 // pages that others continue
	}
	large, err := durable.Step(ctx, "large", text(strings.Repeat("large ", size)))
	if err != nil {
		return "", err
	}
	said = append(said, fmt.Sprint(len(large), durable.Version(ctx, "change", 1), durable.Now(ctx).IsZero(), len(durable.NewUUID(ctx))))
	both, err := durable.Parallel(ctx, "both", []durable.Branch[string]{
		{Name: "left", Run: func(ctx *durable.Context) (string, error) { return durable.Step(ctx, "l", text("left")) }},
		{Name: "right", Run: func(ctx *durable.Context) (string, error) { return durable.Step(ctx, "r", text("right")) }},
	})
	if err != nil {
		return "", err
	}
	some, err := durable.Map(ctx, "some", []int{1, 2, 3}, func(ctx *durable.Context, n, _ int) (int, error) {
		return durable.Step(ctx, "double", func(context.Context) (int, error) {
			if n == 2 {
				return 0, durable.Permanent(errFormat)
			}
			return 2 * n, nil
		})
	}, durable.WithToleratedFailures(1))
	if err != nil {
		return "", err
	}
	rebuilt, err := durable.RunInChildContext(ctx, "rebuilt", func(ctx *durable.Context) (string, error) {
		s, err := durable.Step(ctx, "seed", text("seed"))
		return strings.Repeat(s, 80_000), err
	})
	if err != nil {
		return "", err
	}
	said = append(said, fmt.Sprintln(both.Values(), some.Values(), some.Reason(), len(rebuilt)))
	if err := say(formatStop(ctx, in.Stop)); err != nil {
		return "", err
	}
	err = say(durable.Step(ctx, "last", text("end")))
	return strings.Join(said, " | "), err
})

// formatStop stands where the input says.
func formatStop(ctx *durable.Context, where string) (string, error) {
	switch where {
	case "wait", "stopped", "timed-out", "cancelled":
		d := formatLate
		if where != "wait" {
			d = 1000 * time.Hour
		}
		return "waited", durable.Wait(ctx, "nap", d)
	case "callback":
		return formatAsk(ctx, "approval")
	case "invoke":
		return durable.Invoke(ctx, "call", formatChild, "child: ")
	case "retry":
		return durable.Step(ctx, "again", func(context.Context) (string, error) {
			if formatMaking {
				return "", durable.RetryAfter(formatLate, errFormat)
			}
			return "second attempt", nil
		})
	case "condition":
		n, err := durable.WaitForCondition(ctx, "poll", 1, func(_ context.Context, n int) (int, error) { return n + 1, nil },
			func(n, _ int) durable.Poll {
				if n < 3 {
					return durable.PollAfter(formatLate / 2)
				}
				return durable.PollDone()
			})
		return fmt.Sprint("polled ", n), err
	case "running":
		return durable.Step(ctx, "body", func(ctx context.Context) (string, error) {
			if formatMaking {
				<-ctx.Done()
				return "", ctx.Err()
			}
			return "ran again", nil
		})
	case "at-most-once":
		_, err := durable.Step(ctx, "charge", func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		}, durable.AtMostOnce())
		if !errors.Is(err, durable.ErrInterrupted) {
			return "", fmt.Errorf("interrupted: %w", err)
		}
		return "interrupted", nil
	case "held":
		name := "old"
		if formatRelease == 2 {
			name = "new"
		}
		if err := durable.Wait(ctx, name, 10*time.Millisecond); err != nil {
			return "", err
		}
		return "resumed", durable.Wait(ctx, "doze", 2*time.Second)
	case "failed":
		return "", errFormat
	}
	return "nothing", nil
}

// formatEnds is how the executions end, by where they stood.
var formatEnds = map[string]struct {
	status durable.ExecutionStatus
	says   string // of the result, or the failure
}{
	"none":         {durable.ExecutionSucceeded, "nothing"},
	"wait":         {durable.ExecutionSucceeded, "waited"},
	"callback":     {durable.ExecutionSucceeded, "answer"},
	"invoke":       {durable.ExecutionSucceeded, "child: answer"},
	"retry":        {durable.ExecutionSucceeded, "second attempt"},
	"condition":    {durable.ExecutionSucceeded, "polled 3"},
	"running":      {durable.ExecutionSucceeded, "ran again"},
	"at-most-once": {durable.ExecutionSucceeded, "interrupted"},
	"held":         {durable.ExecutionSucceeded, "resumed"},
	"failed":       {durable.ExecutionFailed, "it was told to fail"},
	"stopped":      {durable.ExecutionStopped, "by hand"},
	"timed-out":    {durable.ExecutionTimedOut, ""},
	"cancelled":    {durable.ExecutionFailed, "cancel"},
}

func formatOptions(sealer durable.Sealer) *durable.Options {
	return &durable.Options{
		Functions: []durable.Definition{formatFunction, formatChild}, Sealer: sealer, ParkFor: -1, Retention: -1, Build: fmt.Sprint(formatMaking, formatRelease),
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

// TestFormats opens the stores of all formats, looks at everything in them, and runs
// what is in them to its end.
func TestFormats(t *testing.T) {
	if path := os.Getenv(formatMakeEnv); path != "" {
		makeFormat(t, path)
		return
	}
	for name, kill := range map[string]bool{"2-killed": true, "3-closed": false} {
		packed := filepath.Join(formatFolder, name+".tar.gz")
		if _, err := os.Stat(packed); errors.Is(err, fs.ErrNotExist) && *updateFormats {
			packFormat(t, packed, kill)
		}
	}
	all, err := filepath.Glob(filepath.Join(formatFolder, "*.tar.gz"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(all), 2, "a store is missing: what was written once must stay readable")
	for _, packed := range all {
		t.Run(filepath.Base(packed), func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(unpack(t, packed), "store")
			done, err := boltstore.Verify(t.Context(), path, &boltstore.VerifyOptions{Problem: func(p boltstore.Problem) { t.Error(p) }})
			require.NoError(t, err)
			if strings.Contains(packed, "killed") {
				require.NotZero(t, done.Batches, "the log has what the file has not")
			}
			requireAsWritten(t, path, strings.TrimSuffix(packed, ".tar.gz")+".json.gz")
			recordings := runToTheEnd(t, path)
			_, err = boltstore.Verify(t.Context(), path, nil)
			require.NoError(t, err)
			requireRecordings(t, strings.TrimSuffix(packed, ".tar.gz")+".recordings1.json.gz", recordings)
			t.Logf("%d executions with %d records, %d batches only in the log: read as they were written, %d run to their end", done.Executions, done.Records, done.Batches, len(recordings))
		})
	}
}

// requireAsWritten compares what is in a store with what was put into it.
func requireAsWritten(t *testing.T, path, golden string) {
	s, err := boltstore.Open(path, nil)
	require.NoError(t, err)
	defer s.Close()
	got := contents(t, s)
	require.Equal(t, string(goldenOf(t, golden, func() []byte { return got })), string(got))
}

// goldenOf reads a file that was made with -update, and never anew.
func goldenOf(t *testing.T, name string, content func() []byte) []byte {
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) && *updateFormats {
		require.NoError(t, os.WriteFile(name, packed(t, func(w io.Writer) error {
			_, err := w.Write(content())
			return err
		}), 0o644))
	}
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	r, err := gzip.NewReader(f)
	require.NoError(t, err)
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	return b
}

func packed(t *testing.T, write func(io.Writer) error) []byte {
	var b bytes.Buffer
	zip, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	require.NoError(t, err)
	require.NoError(t, write(zip))
	require.NoError(t, zip.Close())
	return b.Bytes()
}

// requireRecordings replays the recordings in a file, which a release with that version
// of them made.
func requireRecordings(t *testing.T, name string, made []*durable.Recording) {
	b := goldenOf(t, name, func() []byte {
		b, err := json.Marshal(made)
		require.NoError(t, err)
		return b
	})
	var all []*durable.Recording
	require.NoError(t, json.Unmarshal(b, &all))
	require.Len(t, all, len(made))
	for _, r := range all {
		require.NoError(t, durable.Replay(t.Context(), r, formatOptions(nil)), r.ID)
	}
	again, err := json.Marshal(all)
	require.NoError(t, err)
	require.JSONEq(t, string(b), string(again))
}

// contents is all that a store tells, except what opening it changes. Large payloads
// are cut.
func contents(t *testing.T, s checkpoint.Store) []byte {
	type execution struct {
		Summary checkpoint.Summary
		Journal []checkpoint.Record
		Inbox   []checkpoint.Record
	}
	cut := func(r checkpoint.Record) checkpoint.Record {
		for _, b := range []*[]byte{&r.Payload, &r.Failure, &r.Batch} {
			if len(*b) > 200 {
				*b = fmt.Appendf(bytes.Clone((*b)[:40]), " and %d more", len(*b)-40)
			}
		}
		return r
	}
	var all []execution
	for sum, err := range s.List(t.Context(), checkpoint.Query{}) {
		require.NoError(t, err)
		if sum.Status == checkpoint.Running { // an owner that is lost makes it due now
			sum.WakeAt = 0
		}
		sum.Started, sum.Ended = cut(sum.Started), cut(sum.Ended)
		x := execution{Summary: sum}
		for r, err := range s.Records(t.Context(), sum.ID, 0) {
			require.NoError(t, err)
			x.Journal = append(x.Journal, cut(r))
		}
		x.Inbox, err = s.Inbox(t.Context(), sum.ID, 0)
		require.NoError(t, err)
		all = append(all, x)
	}
	b, err := json.Marshal(all)
	require.NoError(t, err)
	var pruned any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	require.NoError(t, d.Decode(&pruned))
	b, err = json.MarshalIndent(prune(pruned), "", " ")
	require.NoError(t, err)
	return append(b, '\n')
}

// prune removes fields that are zero, so that there may be new ones.
func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, field := range v {
			if v[key] = prune(field); v[key] == nil {
				delete(v, key)
			}
		}
		if len(v) == 0 {
			return nil
		}
	case []any:
		zero := true
		for i := range v {
			v[i] = prune(v[i])
			zero = zero && v[i] == nil
		}
		if zero {
			return nil
		}
	case json.Number:
		if v == "0" {
			return nil
		}
	case string:
		if v == "" {
			return nil
		}
	case bool:
		if !v {
			return nil
		}
	}
	return v
}

// runToTheEnd runs what is in a store, answers callbacks and resumes what is held.
func runToTheEnd(t *testing.T, path string) (recordings []*durable.Recording) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	e, err := durable.Open(path, formatOptions(newGCM(t, 7)))
	require.NoError(t, err)
	defer e.Close()
	kinds := make(map[string]bool)
	var ids []string
	for info, err := range e.Executions(ctx, durable.Query{}) {
		require.NoError(t, err)
		if info.Function == formatChild.Name() {
			require.NoError(t, answer(ctx, e, info.ID, "inner"))
			continue
		}
		ids = append(ids, info.ID)
	}
	for _, id := range ids {
		_, kind, _ := strings.Cut(id, "-")
		kinds[kind] = true
		if kind == "callback" {
			require.NoError(t, answer(ctx, e, id, "approval"))
		}
		if kind == "held" {
			info, err := e.Describe(ctx, id)
			require.NoError(t, err)
			if info.Held != nil {
				require.NoError(t, e.Resume(ctx, id))
			}
		}
	}
	for _, id := range ids {
		_, kind, _ := strings.Cut(id, "-")
		result, err := e.ResultJSON(ctx, id)
		require.NoError(t, ctx.Err(), id)
		info, describeErr := e.Describe(ctx, id)
		require.NoError(t, describeErr)
		want := formatEnds[kind]
		require.Equal(t, want.status, info.Status, "%s: %v", id, err)
		if want.status == durable.ExecutionSucceeded {
			require.NoError(t, err, id)
			require.Contains(t, string(result), kind+" | small | ")
			require.Contains(t, string(result), `000 1 false 16 | [left right] [2 6] ALL_COMPLETED 320000\n | `+want.says)
		} else {
			require.ErrorContains(t, err, want.says, id)
		}
		recording, err := e.Recording(ctx, id)
		require.NoError(t, err)
		recordings = append(recordings, recording)
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(formatEnds)), slices.Collect(maps.Keys(kinds)))
	require.NoError(t, e.Close())
	return recordings
}

func answer(ctx context.Context, e *durable.Engine, id, name string) error {
	callback, err := e.CallbackID(ctx, id, name)
	if err != nil {
		return err
	}
	return e.SucceedCallback(ctx, callback, "answer")
}

// packFormat makes a store in a process of its own, which ends as kill says.
func packFormat(t *testing.T, name string, kill bool) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestFormats$")
	cmd.Env = append(os.Environ(), formatMakeEnv+"="+filepath.Join(dir, "store"), fmt.Sprintf("%s_KILL=%t", formatMakeEnv, kill))
	out, err := cmd.CombinedOutput()
	if !kill || cmd.ProcessState.Exited() {
		require.NoError(t, err, string(out))
	}
	require.NoError(t, os.MkdirAll(formatFolder, 0o755))
	require.NoError(t, os.WriteFile(name, archive(t, dir), 0o644))
}

// archive packs a folder.
func archive(t *testing.T, dir string) []byte {
	return packed(t, func(zip io.Writer) error {
		w := tar.NewWriter(zip)
		return errors.Join(w.AddFS(os.DirFS(dir)), w.Close())
	})
}

// unpack puts the files of an archive into a folder.
func unpack(t *testing.T, packed string) (dir string) {
	dir = t.TempDir()
	f, err := os.Open(packed)
	require.NoError(t, err)
	defer f.Close()
	zip, err := gzip.NewReader(f)
	require.NoError(t, err)
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if err == io.EOF {
			return dir
		}
		require.NoError(t, err)
		if h.Typeflag == tar.TypeDir {
			continue
		}
		name := filepath.Join(dir, filepath.FromSlash(h.Name))
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
		b, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(name, b, 0o600))
	}
}

// makeFormat makes a store with executions in every state, without and with a sealer.
func makeFormat(t *testing.T, path string) {
	formatMaking = true
	makePart(t, path, "plain", nil).Close()
	formatRelease = 1
	e := makePart(t, path, "sealed", newGCM(t, 7))
	if os.Getenv(formatMakeEnv+"_KILL") == "true" {
		_, err := formatFunction.Start(t.Context(), e, formatInput{"none"}, durable.WithExecutionID("late-none"))
		require.NoError(t, err)
		self, err := os.FindProcess(os.Getpid())
		require.NoError(t, err)
		require.NoError(t, self.Kill())
		select {}
	}
	require.NoError(t, e.Close())
}

func makePart(t *testing.T, path, part string, sealer durable.Sealer) *durable.Engine {
	ctx := t.Context()
	e, err := durable.Open(path, formatOptions(sealer))
	require.NoError(t, err)
	id := func(kind string) string { return part + "-" + kind }
	until := func(kind string, met func(durable.ExecutionInfo) bool) {
		for begun := time.Now(); ; time.Sleep(time.Millisecond) {
			info, err := e.Describe(ctx, id(kind))
			require.NoError(t, err)
			if met(info) {
				return
			}
			require.Less(t, time.Since(begun), time.Minute, kind)
		}
	}
	operation := func(kind, name string, status durable.OperationStatus) {
		until(kind, func(durable.ExecutionInfo) bool {
			all, err := e.Operations(ctx, id(kind))
			require.NoError(t, err)
			return slices.ContainsFunc(all, func(o durable.Operation) bool { return o.Name == name && o.Status == status })
		})
	}
	start := func(kind string) {
		opts := []durable.StartOption{durable.WithExecutionID(id(kind))}
		if kind == "timed-out" {
			opts = append(opts, durable.WithExecutionTimeout(2*time.Second))
		}
		_, err := formatFunction.Start(ctx, e, formatInput{kind}, opts...)
		require.NoError(t, err)
	}
	for kind := range formatEnds {
		if kind != "at-most-once" { // opening the store again would end it
			start(kind)
		}
	}
	for kind, name := range map[string]string{"wait": "nap", "callback": "approval", "invoke": "call", "running": "body", "stopped": "nap", "cancelled": "nap", "held": "doze"} {
		operation(kind, name, durable.OperationStarted)
	}
	operation("retry", "again", durable.OperationPending)
	operation("condition", "poll", durable.OperationPending)
	require.NoError(t, e.Stop(ctx, id("stopped"), "by hand"))
	require.NoError(t, e.Cancel(ctx, id("cancelled"), "by hand"))
	require.NoError(t, e.Close())
	formatRelease = 2 // the held one does not go on with it
	e, err = durable.Open(path, formatOptions(sealer))
	require.NoError(t, err)
	start("at-most-once")
	until("held", func(i durable.ExecutionInfo) bool { return i.Held != nil })
	for _, kind := range []string{"none", "failed", "cancelled", "timed-out"} {
		until(kind, func(i durable.ExecutionInfo) bool { return i.Status != durable.ExecutionRunning })
	}
	operation("at-most-once", "charge", durable.OperationStarted)
	return e
}
