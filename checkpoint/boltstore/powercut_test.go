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
	fullPowerCut = flag.Bool("powercut.full", false, "cut the power in all the ways that are known, for many minutes")
	powerCutSeed = flag.Uint64("powercut.seed", 0, "the seed of the choice among the states; 0: any")
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
					failed.CompareAndSwap(nil, &err)
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
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		return err
	}
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
			again, enough := 3, map[string]int{"store": 3000, "engine": 400}[w.name]
			if testing.Short() {
				again, enough = 1, enough/10
			}
			if *fullPowerCut {
				again, enough = 40, 0
			}
			n, err := w.explore(t, w.record(t, noBug, nil), nil, powerCutBounds(24), enough, seed, again)
			require.NoError(t, err)
			t.Logf("%s: %d calls recorded, %d cuts, %d states made, %d different ones tried", w.name, n.calls, n.cuts, n.made, n.tried)

			var sum tally
			for i, f := range n.kept {
				trace := w.record(t, noBug, f.state)
				n, err := w.explore(t, trace, f.notes, powerCutBounds(24), enough/3, seed+uint64(i)+1, 0)
				require.NoError(t, err)
				sum.calls, sum.cuts, sum.made, sum.tried = sum.calls+n.calls, sum.cuts+n.cuts, sum.made+n.made, sum.tried+n.tried
			}
			t.Logf("%s, cut again in %d recoveries: %d calls recorded, %d cuts, %d states made, %d different ones tried", w.name, len(n.kept), sum.calls, sum.cuts, sum.made, sum.tried)
		})
	}
}

// TestPowerCutFindsBugs plants one, in the program or, where it has no seam for
// that, in its record, and sees it found.
func TestPowerCutFindsBugs(t *testing.T) {
	t.Parallel()
	seed := seedOfPowerCut(t)
	ofBolt := func(op *powercut.Op) bool {
		return strings.Contains(op.Path, ".db") && !strings.Contains(op.Path, "-wal")
	}
	ofLog := func(op *powercut.Op) bool { return strings.Contains(op.Path, "-wal/") }
	flush := func(op *powercut.Op) bool { return op.Kind == powercut.Flush }
	count := 0
	for name, change := range map[string]func(*powercut.Trace) *powercut.Trace{
		"bbolt's file is never flushed": func(trace *powercut.Trace) *powercut.Trace {
			return trace.Change(func(op *powercut.Op) bool { return !flush(op) || !ofBolt(op) })
		},
		"bbolt's pages are not flushed before its root": func(trace *powercut.Trace) *powercut.Trace {
			afterRoot := false // of the last write
			return trace.Change(func(op *powercut.Op) bool {
				if ofBolt(op) && op.Kind == powercut.Write {
					afterRoot = op.Offset < 8192 && len(op.Data) == 4096
				}
				return !flush(op) || !ofBolt(op) || afterRoot
			})
		},
		"bbolt's root is not flushed before log space is used again": func(trace *powercut.Trace) *powercut.Trace {
			afterRoot := false
			return trace.Change(func(op *powercut.Op) bool {
				if ofBolt(op) && op.Kind == powercut.Write {
					afterRoot = op.Offset < 8192 && len(op.Data) == 4096
				}
				return !flush(op) || !ofBolt(op) || !afterRoot
			})
		},
		"writes to the log are not flushed": func(trace *powercut.Trace) *powercut.Trace {
			return trace.Change(func(op *powercut.Op) bool {
				op.Flushed = false
				return !flush(op) || !ofLog(op) || op.Kind != powercut.Flush
			})
		},
		"the zeros of a new segment are not flushed": func(trace *powercut.Trace) *powercut.Trace {
			return trace.Change(func(op *powercut.Op) bool { return !flush(op) || !strings.HasSuffix(op.Path, ".new") || !ofLog(op) })
		},
		"names in folders are not flushed": func(trace *powercut.Trace) *powercut.Trace {
			return trace.Change(func(op *powercut.Op) bool { return !flush(op) || ofBolt(op) || ofLog(op) })
		},
		"what is said is not waited for": (*powercut.Trace).Hasten,
	} {
		count++
		t.Run(name, func(t *testing.T) {
			trace := storeWorkload.record(t, noBug, nil)
			n, err := storeWorkload.explore(t, change(trace), nil, powerCutBounds(24), 20_000, seed, 0)
			require.Error(t, err, "it was not found")
			t.Logf("found in at most %d states: %.300s", n.tried, err)
		})
	}
	for _, bug := range []planted{noSync, noLogSync} {
		for _, w := range workloads {
			count++
			t.Run(w.name+": "+string(bug), func(t *testing.T) {
				n, err := w.explore(t, w.record(t, bug, nil), nil, powerCutBounds(24), 20_000, seed, 0)
				require.Error(t, err, "it was not found")
				t.Logf("found in at most %d states: %.300s", n.tried, err)
			})
		}
	}
	t.Logf("%d bugs planted and found", count)
}
