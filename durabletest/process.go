package durabletest

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/durable-go/durable/checkpoint/memstore"
)

// resumeVariable names, in a process that was started to go on with an execution,
// the file that says from where.
const resumeVariable = "DURABLETEST_RESUME"

// resumption is what a fresh process gets.
type resumption struct {
	Call     int // which call of CrashEverywhere in the test
	At       time.Time
	Snapshot []byte
	Answer   string // the file for the outcome
}

// calls counts the calls of CrashEverywhere by test.
var calls struct {
	sync.Mutex
	of map[string]int
}

// nextCall counts a call, in this run of the test: it may be run more than once.
func nextCall(t *testing.T) int {
	calls.Lock()
	defer calls.Unlock()
	if calls.of == nil {
		calls.of = make(map[string]int)
	}
	test := t.Name()
	if calls.of[test]++; calls.of[test] == 1 {
		t.Cleanup(func() {
			calls.Lock()
			defer calls.Unlock()
			delete(calls.of, test)
		})
	}
	return calls.of[test]
}

// inFreshProcesses goes on from each state in a process of its own.
func (s *scenario) inFreshProcesses(t *testing.T, call int, states []state, report *report) {
	t.Helper()
	dir := t.TempDir()
	outcomes := make([]outcome, len(states))
	var group sync.WaitGroup
	free := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, st := range states {
		free <- struct{}{}
		group.Go(func() {
			defer func() { <-free }()
			file := filepath.Join(dir, fmt.Sprint(st.place))
			outcomes[i] = inFreshProcess(t, file, resumption{call, st.at, st.snapshot, file + ".outcome"})
		})
	}
	group.Wait()
	for i, st := range states {
		o := outcomes[i]
		o.outside = report.base.outside // the fakes of another process
		report.compare(fmt.Sprintf("gone on in a fresh process after checkpoint %d (%s) (does something live in a global, or in a variable that a step sets?)", st.place, st.write), o)
	}
}

// processLimit is how long, in real time, a fresh process may take.
const processLimit = 5 * time.Minute

func inFreshProcess(t *testing.T, file string, r resumption) (o outcome) {
	failed := func(err error) outcome { return outcome{Problem: err.Error()} }
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(r); err != nil {
		return failed(err)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		return failed(err)
	}
	self, err := os.Executable()
	if err != nil {
		return failed(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), processLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, append(ownFlags(os.Args[1:]), "-test.run="+exactly(t.Name()), "-test.count=1")...)
	cmd.Env = append(os.Environ(), resumeVariable+"="+file)
	output, err := cmd.CombinedOutput()
	data, missing := os.ReadFile(r.Answer)
	if missing != nil || err != nil {
		return failed(fmt.Errorf("the process did not come to the call of CrashEverywhere and to its end: %w", errors.Join(err, errors.New(string(output)))))
	}
	if err := json.Unmarshal(data, &o); err != nil {
		return failed(err)
	}
	return o
}

// ownFlags are the arguments of a test binary that are the package's own, and -short.
func ownFlags(args []string) (own []string) {
	apart := false // the value of a flag that is left out comes next
	for _, arg := range args {
		if apart {
			apart = false
			continue
		}
		name := strings.TrimLeft(arg, "-")
		if name == arg || !strings.HasPrefix(name, "test.") || strings.HasPrefix(name, "test.short") {
			own = append(own, arg)
		} else if f := flag.Lookup(name); f != nil { // there is no = in it
			b, ok := f.Value.(interface{ IsBoolFlag() bool })
			apart = !ok || !b.IsBoolFlag()
		}
	}
	return own
}

// exactly is the pattern that selects one test.
func exactly(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}

// resume goes on with an execution and ends the process.
func resume(t *testing.T, s *scenario, path string, call int) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r resumption
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&r); err != nil {
		t.Fatal(err)
	}
	if r.Call != call {
		return
	}
	if s.c.Before != nil {
		s.c.Before()
	}
	var o outcome
	synctest.Test(t, func(t *testing.T) {
		store, err := memstore.Restore(r.Snapshot)
		if err != nil {
			t.Fatal(err)
		}
		e := newEngine(t, s.c, store)
		e.foretell(r.At)
		time.Sleep(time.Until(r.At))
		s.live(e, newTap(store), &o)
	})
	answer, err := json.Marshal(o)
	if err == nil {
		err = os.WriteFile(r.Answer, answer, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.SkipNow() // its cleanups run, and nothing else
}
