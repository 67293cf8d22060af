package boltstore_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint/boltstore"
	"github.com/durable-go/durable/checkpoint/internal/powercut"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

// A process works on a store while all its calls of the system are recorded, those
// of bbolt included. Then the power is cut at each of these calls: what may be on
// the disk is made, many times, and the store is opened, looked at and worked with
// to the end. With the notes of the process one knows what it had been told.

var (
	powerCutStates = flag.Int("powercut.states", 400, "how many states of the disk to try in each part of TestPowerCut")
	fullPowerCut   = flag.Bool("powercut.full", false, "cut the power in all the ways that are known, for hours: raise -timeout")
	powerCutSeed   = flag.Uint64("powercut.seed", 0, "the seed of the choice among the states; 0: any")
)

// workload is what the process does, and what must be true after a cut.
type workload struct {
	name string
	// run works on a store which may be new, or one that an earlier run left. It
	// says what it is going to do, and what it has been told that is done.
	run func(path string, how planted, say func(format string, args ...any)) error
	// check opens what was left after those notes, and brings it to its end.
	check func(ctx context.Context, path string, notes []string) error
}

var workloads = []workload{storeWorkload, engineWorkload}

// planted is a bug of the process.
type planted string

const (
	noBug     planted = ""
	noSync    planted = "nothing is flushed"
	noLogSync planted = "the log is not flushed"
)

func (p planted) options() *boltstore.Options {
	return boltstore.SmallSegments(p == noSync, p == noLogSync)
}

// The store lies in folders that have to be made first.
const storePath = "new/folder/store.db"

const powerCutRun = "BOLTSTORE_TEST_POWERCUT" // set in the process: workload, bug and folder

func TestPowerCutProcess(t *testing.T) {
	run := strings.SplitN(os.Getenv(powerCutRun), ";", 3)
	if len(run) != 3 {
		t.Skip("only for TestPowerCut")
	}
	notes, err := os.OpenFile(filepath.Join(run[2], "notes"), os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		_, err := fmt.Fprintf(notes, format, args...)
		require.NoError(t, err)
	}
	for _, w := range workloads {
		if w.name == run[0] {
			require.NoError(t, w.run(filepath.Join(run[2], "root", storePath), planted(run[1]), say))
		}
	}
}

// record runs a workload on what an earlier cut left.
func (w workload) record(t *testing.T, bug planted, before powercut.State) *powercut.Trace {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	require.NoError(t, os.Mkdir(root, 0o700))
	require.NoError(t, before.Write(root))
	cmd := exec.Command(os.Args[0], "-test.run=^TestPowerCutProcess$")
	cmd.Env = append(os.Environ(), powerCutRun+"="+strings.Join([]string{w.name, string(bug), dir}, ";"), "GODEBUG=asyncpreemptoff=1")
	trace, err := powercut.Record(cmd, root, filepath.Join(dir, "notes"))
	if errors.Is(err, powercut.ErrNoTracer) {
		t.Skip(err)
	}
	require.NoError(t, err)
	require.NotEmpty(t, trace.Notes)
	return trace
}

// found is a state after a cut, and what had been said before.
type found struct {
	state powercut.State
	notes []string
}

// keep leaves the state to whoever runs the test with -artifacts: another run of
// the process makes other calls, whatever the seed is.
func (f found) keep(t *testing.T) {
	dir := filepath.Join(t.ArtifactDir(), "state")
	err := errors.Join(os.Mkdir(dir, 0o700), f.state.Write(dir), os.WriteFile(dir+".notes", []byte(strings.Join(f.notes, "\n")), 0o600))
	if err != nil {
		t.Log(err)
	}
}

// tally is what was tried.
type tally struct {
	calls, cuts, made, tried int
	kept                     []found // some of the states, to go on from
}

// explore cuts the power everywhere. said is what was said before the trace
// began. It returns what the first state is that a check complains about.
func (w workload) explore(t *testing.T, trace *powercut.Trace, said []string, b powercut.Bounds, enough int, seed uint64, keep int) (n tally, err error) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1))
	type job struct {
		found
		how string
	}
	jobs, failed := make(chan job), atomic.Pointer[error]{}
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for j := range jobs {
				if failed.Load() != nil {
					continue
				}
				if err := w.try(t, j.found); err != nil {
					err = fmt.Errorf("%w\n%s: %s\nlast notes: %q", err, w.name, j.how, j.notes[max(0, len(j.notes)-5):])
					if failed.CompareAndSwap(nil, &err) {
						j.keep(t)
					}
				}
			}
		})
	}
	n.calls = len(trace.Ops)
	type key struct {
		state [sha256.Size]byte
		notes int
	}
	seen := map[key]bool{}
	cuts := len(trace.Cuts())
	for cut, states := range trace.States(b, random) {
		n.cuts++
		notes := append(said[:len(said):len(said)], trace.Said(cut)...)
		for state, describe := range states {
			n.made++
			k := key{state.Sum(), len(notes)}
			if seen[k] {
				continue
			}
			seen[k] = true
			// As many as may be tried are spread over the cuts.
			if enough > 0 && n.tried*cuts > enough*n.cuts {
				continue
			}
			n.tried++
			f := found{state, notes}
			if i := random.IntN(n.tried); len(n.kept) < keep {
				n.kept = append(n.kept, f)
			} else if i < keep {
				n.kept[i] = f
			}
			jobs <- job{f, describe()}
		}
		if failed.Load() != nil {
			break
		}
	}
	close(jobs)
	workers.Wait()
	if err := failed.Load(); err != nil {
		return n, *err
	}
	return n, nil
}

// try checks a state.
func (w workload) try(t *testing.T, f found) (err error) {
	dir := t.TempDir()
	defer os.RemoveAll(dir)
	if err := f.state.Write(dir); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	path := filepath.Join(dir, storePath)
	if err := w.check(ctx, path, f.notes); err != nil {
		return err
	}
	return checkPages(path)
}

// checkPages has bbolt look at all its pages. Of its two roots the one that was
// being written may be broken, which bbolt bears, but not its check: two
// transactions write both again.
func checkPages(path string) error {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second, NoSync: true, NoGrowSync: true})
	if err != nil {
		return err
	}
	defer db.Close()
	for range 2 {
		if err := db.Update(func(*bolt.Tx) error { return nil }); err != nil {
			return err
		}
	}
	return db.View(func(tx *bolt.Tx) (err error) {
		for e := range tx.Check() {
			err = errors.Join(err, e)
		}
		return err
	})
}

func powerCutBounds(most int) powercut.Bounds {
	if *fullPowerCut {
		return powercut.Bounds{Sectors: 10, Ops: 8, Samples: 50}
	}
	return powercut.Bounds{Sectors: 6, Ops: 5, Samples: 8, Most: most}
}

func seedOfPowerCut(t *testing.T) uint64 {
	seed := *powerCutSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	return seed
}

// TestPowerCut cuts the power at each call, from the making of the folders to the
// end of Close; and then, after some of these cuts, at each call of what follows:
// the recovery and more work.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	seed := seedOfPowerCut(t)
	for _, w := range workloads {
		t.Run(w.name, func(t *testing.T) {
			again, most, enough := 2, 24, map[string]int{"store": *powerCutStates, "engine": *powerCutStates / 4}[w.name]
			if testing.Short() {
				again, most, enough = 1, 2, enough/10
			}
			if *fullPowerCut {
				again, enough = 10, 0
			}
			n, err := w.explore(t, w.record(t, noBug, nil), nil, powerCutBounds(most), enough, seed, again)
			require.NoError(t, err)
			t.Logf("%s: %d calls recorded, %d cuts, %d states made, %d different ones tried", w.name, n.calls, n.cuts, n.made, n.tried)

			var sum tally
			for i, f := range n.kept {
				trace := w.record(t, noBug, f.state)
				n, err := w.explore(t, trace, f.notes, powerCutBounds(most), enough/2, seed+uint64(i)+1, 0)
				require.NoError(t, err)
				sum.calls, sum.cuts, sum.made, sum.tried = sum.calls+n.calls, sum.cuts+n.cuts, sum.made+n.made, sum.tried+n.tried
			}
			t.Logf("%s, cut again in %d recoveries: %d calls recorded, %d cuts, %d states made, %d different ones tried", w.name, len(n.kept), sum.calls, sum.cuts, sum.made, sum.tried)
		})
	}
}

// TestPowerCutFindsBugs plants one, in the program or, where it has no seam for
// that, in its record, and sees it found, by the check that is there for it.
func TestPowerCutFindsBugs(t *testing.T) {
	if testing.Short() {
		t.Skip("records many processes")
	}
	t.Parallel()
	seed := seedOfPowerCut(t)
	ofBolt := func(op *powercut.Op) bool {
		return strings.Contains(op.Path, ".db") && !strings.Contains(op.Path, "-wal")
	}
	ofLog := func(op *powercut.Op) bool { return strings.Contains(op.Path, "-wal/") }
	// ofNew is of a segment that is being made, at whatever time that is.
	ofNew := func(op *powercut.Op) bool { return ofLog(op) && strings.HasSuffix(op.Path, ".new") }
	ofBatch := func(op *powercut.Op) bool { return ofLog(op) && !ofNew(op) }
	// unflushed forgets flushes after a note.
	unflushed := func(note string, which func(op *powercut.Op) bool) func(*powercut.Trace) *powercut.Trace {
		return func(trace *powercut.Trace) *powercut.Trace {
			from := 0
			for _, n := range trace.Notes {
				if from == 0 && strings.HasPrefix(n.Text, note) && note != "" {
					from = n.At
				}
			}
			forgotten := 0
			changed := trace.Change(func(op *powercut.Op) bool {
				if forget := which(op) && op.Begin >= from; forget && op.Kind == powercut.Flush {
					forgotten++
					return false
				} else if forget && op.Flushed {
					forgotten++
					op.Flushed = false
				}
				return true
			})
			require.NotZero(t, forgotten)
			return changed
		}
	}
	// flushOf is the flush of bbolt's root, or of its pages before.
	flushOf := func(root bool) func(op *powercut.Op) bool {
		last := false
		return func(op *powercut.Op) bool {
			if ofBolt(op) && op.Kind == powercut.Write {
				last = op.Offset < 2*4096 && len(op.Data) == 4096
			}
			return ofBolt(op) && last == root
		}
	}
	// hasten says something before it is durable.
	folder := func(op *powercut.Op) bool { return op.Kind == powercut.Flush && !ofBolt(op) && !ofLog(op) }
	batch := func(op *powercut.Op) bool { return op.Kind == powercut.Write && ofBatch(op) }
	hasten := func(note string, over func(*powercut.Op) bool) func(*powercut.Trace) *powercut.Trace {
		return func(trace *powercut.Trace) *powercut.Trace {
			return trace.Hasten(func(said string) bool { return strings.HasPrefix(said, note) || strings.Contains(said, " "+note+"-") }, over)
		}
	}
	bugs := []struct {
		w      workload
		name   string
		bug    planted
		change func(*powercut.Trace) *powercut.Trace
		says   string
	}{
		{storeWorkload, "nothing is flushed", noSync, nil, "open|is lost"},
		{storeWorkload, "the log is not flushed", noLogSync, nil, "open|is lost"},
		{engineWorkload, "nothing is flushed", noSync, nil, "open|is lost"},
		{engineWorkload, "the log is not flushed", noLogSync, nil, "open|is lost"},
		{storeWorkload, "a new file is not flushed", noBug, unflushed("", ofBolt), "open"},
		{storeWorkload, "names are not flushed", noBug, unflushed("", func(op *powercut.Op) bool { return !ofBolt(op) && !ofLog(op) }), "secret|lost|open"},
		{storeWorkload, "new segments are not flushed", noBug, unflushed("", ofNew), "truncated"},
		{storeWorkload, "bbolt is not flushed", noBug, unflushed("append ", ofBolt), "open|bbolt|log"},
		{storeWorkload, "bbolt's pages are not flushed before its root", noBug, unflushed("append ", flushOf(false)), "page|damaged"},
		{storeWorkload, "the log is used again before bbolt's root is flushed", noBug, unflushed("append ", flushOf(true)), "log|batch"},
		{storeWorkload, "the log is not flushed after its first batch", noBug, unflushed("append ", ofBatch), "journal ends|batch"},
		{storeWorkload, "Open returns too early", noBug, hasten("opened", folder), "secret"},
		{storeWorkload, "Create returns too early", noBug, hasten("created", batch), "is lost"},
		{storeWorkload, "Append returns too early", noBug, hasten("appended", batch), "journal ends"},
		{storeWorkload, "an end is acknowledged too early", noBug, hasten("ended", batch), "status is"},
		{storeWorkload, "Deliver returns too early", noBug, hasten("delivered", batch), "inbox ends"},
		{storeWorkload, "Delete returns too early", noBug, hasten("deleted", batch), "is there"},
		{engineWorkload, "Start returns too early", noBug, hasten("start", batch), "is lost"},
		{engineWorkload, "an effect does not wait for what it depends on", noBug, hasten("pick", batch), "is not recorded"},
		{engineWorkload, "an at-most-once body does not wait", noBug, hasten("once", batch), "twice|is lost"},
		{engineWorkload, "a callback is acknowledged too early", noBug, hasten("callback", batch), "the result is|cannot|approval"},
		{engineWorkload, "a result is reported too early", noBug, hasten("result", batch), "now it is"},
	}
	for _, b := range bugs {
		t.Run(b.w.name+": "+b.name, func(t *testing.T) {
			trace := b.w.record(t, b.bug, nil)
			if b.change != nil {
				trace = b.change(trace)
			}
			n, err := b.w.explore(t, trace, nil, powercut.Bounds{Samples: 4, Most: 6}, 0, seed, 0)
			require.Error(t, err, "it was not found")
			require.Regexp(t, b.says, err.Error())
			t.Logf("found in at most %d states: %.200s", n.tried, err)
		})
	}
	t.Logf("%d bugs planted and found", len(bugs))
}
