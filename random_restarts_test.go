package durable_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
)

// TestRandomRestarts runs random programs, restarts them from their operations, stops
// and retries them, and imports their recordings, whole and cut off: it always comes to
// what the program came to, what had an outcome does not run again, and all else does.
func TestRandomRestarts(t *testing.T) {
	t.Parallel()
	first, count, enough := *randomFrom, uint64(200), time.Now().Add(8*time.Second)
	switch {
	case *randomSeed != 0:
		first, count = *randomSeed, 1
	case *randomPrograms != 0:
		count, enough = uint64(*randomPrograms), time.Now().Add(1000*time.Hour)
	}
	var all restarts
	seed := first
	for ; seed < first+count && time.Now().Before(enough) && !t.Failed(); seed++ {
		var recording *durable.Recording
		var want string
		synctest.Test(t, func(t *testing.T) { recording, want = all.play(newProgram(t, seed)) })
		// Each where it is as early as it was then: what waited beside each other must not
		// all be over.
		for part := 0; part < 5 && !t.Failed(); part++ {
			synctest.Test(t, func(t *testing.T) { all.imports(newProgram(t, seed), recording, want, part) })
		}
	}
	t.Logf("%d programs: %d restarts from an operation (%d crashed), %d retries, %d imports; %d records begun with, %d bodies spared",
		seed-first, all.restarted, all.crashed, all.retried, all.imported, all.copied, all.spared)
}

// restarts counts what was tried.
type restarts struct{ restarted, crashed, retried, imported, copied, spared int }

// restarting is a program that has run, and runs again.
type restarting struct {
	*program
	*restarts
	m      *machine
	b      *bundle
	rng    *rand.Rand
	want   string          // what it came to
	calls  map[string]bool // of bodies of main, by operation and attempt
	cancel bool            // it is cancelled in the end
}

func (all *restarts) setup(p *program) *restarting {
	p.variant = variant{name: "restarts"}
	p.what = fmt.Sprintf("seed %d", p.seed)
	p.ctx = p.Context()
	r := &restarting{program: p, restarts: all, m: newMachine(p.T), rng: p.draw("restarts"), calls: map[string]bool{}}
	p.tapAppends(r.m)
	named := r.m.onCreate
	r.m.onCreate = func(c *checkpoint.Creation) error {
		r.begins(c)
		return named(c)
	}
	r.open()
	r.cancel = slices.ContainsFunc(p.nodes, func(n *node) bool { return n.kind == "cancel" })
	return r
}

// play runs a program in all those ways but the last, and returns what it came to.
func (all *restarts) play(p *program) (*durable.Recording, string) {
	r := all.setup(p)
	start(r.b, p.main, 0, durable.WithExecutionID("main"))
	r.want = r.result("main")
	for call := range p.counts() {
		if op, ok := strings.CutPrefix(call, "main "); ok {
			r.calls[op] = true
		}
	}
	ops, err := r.b.engine.Operations(p.ctx, "main")
	require.NoError(p, err)
	r.rng.Shuffle(len(ops), func(i, j int) { ops[i], ops[j] = ops[j], ops[i] })
	if *randomSeed == 0 {
		ops = ops[:min(len(ops), 8)]
	}
	for _, o := range append(ops, durable.Operation{}) {
		r.restart(o)
	}
	if r.b.describe("main").Status == durable.ExecutionFailed && !r.cancel {
		r.retry("main", "retried")
	}
	r.stop()
	recording, err := r.b.engine.Recording(p.ctx, "main")
	require.NoError(p, err)
	require.NoError(p, r.b.engine.Close())
	return recording, r.want
}

func (r *restarting) open() {
	r.b = r.m.open(durable.Options{ParkFor: []time.Duration{-1, 0}[r.rng.IntN(2)], InlineResult: 1000, Retention: -1}, r.defs...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.engine = r.b.engine
}

// crash lets the process die and start again.
func (r *restarting) crash() {
	r.crashed++
	r.m.kill(r.b)
	r.open()
}

// result waits for the end of an execution and says what it came to.
func (r *restarting) result(id string) string {
	out, err := r.main.Attach(r.b.engine, id).Result(r.ctx)
	info := r.b.describe(id)
	require.Nil(r, info.Held, "%s: %s", r.what, id)
	if err != nil {
		out = "failed: " + kindOf(err)
	}
	return out
}

// begins takes note of what an execution begins with.
func (r *restarting) begins(c *checkpoint.Creation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := c.ID
	if c.Caller != nil { // by a retry, it begins with what the one before had finished
		name = r.names[c.Caller.ID] + "/" + c.Caller.OperationID
	}
	r.names[c.ID] = name
	r.copied += len(c.Records)
	for i := range c.Records {
		rec := &c.Records[i]
		require.EqualValues(r, i+2, rec.Seq)
		key := name + " " + rec.OperationID
		if rec.Name != "" {
			r.opNames[key] = rec.Name
		}
		if settlesStep(rec) {
			r.recorded[key] = true
			r.recorded[name+" "+r.opNames[key]] = true
		}
	}
}

// restart restarts the program from an operation.
func (r *restarting) restart(o durable.Operation) {
	what := fmt.Sprintf("%s: restart from %s %s %q", r.what, o.ID, o.SubType, o.Name)
	id := "from-" + o.ID
	if o.ID == "" {
		id = "again"
	}
	got, err := r.b.engine.RestartFrom(r.ctx, "main", o.ID, durable.WithExecutionID(id))
	require.NoError(r, err, what)
	require.Equal(r, id, got)
	r.restarted++
	if r.rng.IntN(3) == 0 {
		if r.rng.IntN(2) == 0 {
			time.Sleep(time.Duration(r.rng.Int64N(int64(time.Hour))))
		}
		if r.b.describe(id).Status == durable.ExecutionRunning {
			r.crash()
		}
	}
	require.Equal(r, r.want, r.result(id), "%s\n%s\nwas\n%s", what, strings.Join(r.b.history(id), "\n"), strings.Join(r.b.history("main"), "\n"))
	require.Equal(r, "main", r.b.describe(id).RestartOf)
	r.follows(what, id, o)
	again, err := r.b.engine.RestartFrom(r.ctx, "main", o.ID, durable.WithExecutionID(id))
	require.NoError(r, err, "it is idempotent")
	require.Equal(r, id, again)
}

// follows checks what ran in an execution that began with a part of another one, and its
// history.
func (r *restarting) follows(what, id string, o durable.Operation) {
	checkHistory(r.b, what, id)
	recording, err := r.b.engine.Recording(r.ctx, id)
	require.NoError(r, err, what)
	require.NoError(r, durable.Replay(r.ctx, recording, &durable.Options{Functions: r.defs, InlineResult: 1000}), what)
	if r.cancel { // what it reached may not begin at all then
		return
	}
	begun := parsed(r.T, recording).begunWith()
	r.mu.Lock()
	defer r.mu.Unlock()
	for call := range r.calls {
		op, _, _ := strings.Cut(call, " ")
		_, ran := r.program.calls[id+" "+call]
		settled := begun[op]
		switch {
		case settled && ran: // enter says so too
			r.Errorf("%s: the body of %s ran again", what, call)
		case settled:
			r.spared++
		case !ran:
			r.Errorf("%s: the body of %s did not run", what, call)
		}
	}
}

// parsedRecording is what a test reads in a recording.
type parsedRecording struct {
	Records []struct {
		Type        string `json:"type"`
		OperationID string `json:"operationId"`
		Number      int    `json:"number"`
		WakeAt      string `json:"wakeAt"`
	} `json:"records"`
}

func parsed(t *testing.T, r *durable.Recording) (out parsedRecording) {
	data, err := json.Marshal(r)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &out))
	return out
}

// begunWith are the operations whose outcome it began with.
func (r parsedRecording) begunWith() map[string]bool {
	settled := map[string]bool{}
	for _, rec := range r.Records[1 : 1+r.Records[0].Number] {
		if rec.WakeAt == "" && (rec.Type == "StepSucceeded" || rec.Type == "StepFailed") {
			settled[rec.OperationID] = true
		}
	}
	return settled
}

// retry retries an execution, which comes to what the program comes to.
func (r *restarting) retry(id, as string) {
	got, err := r.b.engine.Retry(r.ctx, id, durable.WithExecutionID(as))
	if errors.Is(err, durable.ErrWouldDrop) {
		got, err = r.b.engine.Retry(r.ctx, id, durable.WithExecutionID(as), durable.AllowDrop())
	}
	require.NoError(r, err, "%s: retry %s", r.what, id)
	r.retried++
	require.Equal(r, r.want, r.result(got), "%s: retry %s\n%s\nwas\n%s", r.what, id, strings.Join(r.b.history(got), "\n"), strings.Join(r.b.history(id), "\n"))
	checkHistory(r.b, r.what, got)
}

// stop stops the program at some moment and retries it.
func (r *restarting) stop() {
	for i := range 3 {
		id := fmt.Sprint("stopped-", i)
		start(r.b, r.main, 0, durable.WithExecutionID(id))
		time.Sleep(time.Duration(r.rng.Int64N(int64([]time.Duration{time.Millisecond, time.Minute, 3 * time.Hour}[i]))))
		require.NoError(r, r.b.engine.Stop(r.ctx, id, ""))
		if r.b.describe(id).Status == durable.ExecutionStopped {
			r.retry(id, id+"-retried")
		}
	}
}

// imports imports the recording of the program, whole (part 0) or cut off somewhere.
func (all *restarts) imports(p *program, recording *durable.Recording, want string, part int) {
	r := all.setup(p)
	defer func() { require.NoError(r, r.b.engine.Close()) }()
	if part > 0 {
		r.rng = r.draw(fmt.Sprint("import ", part))
		r.importsPart(recording, want)
		return
	}
	id, err := r.b.engine.Import(r.ctx, recording, durable.WithExecutionID("whole"))
	require.NoError(r, err, r.what)
	require.Equal(r, want, r.result(id), r.what)
	again, err := r.b.engine.Recording(r.ctx, id)
	require.NoError(r, err)
	require.Equal(r, withoutHead(r.T, recording), withoutHead(r.T, again))
	r.imported++
}

// importsPart imports the beginning of a recording: it goes on, to the same end.
func (r *restarting) importsPart(recording *durable.Recording, want string) {
	cut := 1 + r.rng.IntN(records(r.T, recording)-1)
	if r.cancel || parsed(r.T, recording).asksOutside(cut) { // nobody would say it again
		return
	}
	part := replayed(r.T, recording, cut)
	part.Status = durable.ExecutionRunning
	id, err := r.b.engine.Import(r.ctx, part, durable.WithExecutionID("imported"))
	require.NoError(r, err, "%s: the first %d records", r.what, cut)
	r.imported++
	if r.rng.IntN(3) == 0 {
		r.crash()
	}
	require.Equal(r, want, r.result(id), "%s: import of the first %d records\n%s", r.what, cut, strings.Join(r.b.history(id), "\n"))
	checkHistory(r.b, r.what, id)
}

// withoutHead is the JSON of a recording without what an import changes.
func withoutHead(t *testing.T, r *durable.Recording) string {
	data, err := json.Marshal(r)
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(data), `"records":`)
	require.True(t, found)
	return rest
}

// asksOutside reports whether a callback is open behind so many records.
func (r parsedRecording) asksOutside(cut int) bool {
	open := map[string]bool{}
	for _, rec := range r.Records[:cut] {
		if strings.HasPrefix(rec.Type, "Callback") {
			open[rec.OperationID] = rec.Type == "CallbackStarted"
		}
	}
	for _, is := range open {
		if is {
			return true
		}
	}
	return false
}
