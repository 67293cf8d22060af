package durabletest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// CrashEverywhere runs an execution of f to its end, and then again and again,
// crashing at each of its checkpoints, and fails the test if that makes a
// difference: if the result or the error is another one, if a step runs again whose
// outcome was durable, if Config.Outside returns something else, or if the execution
// doesn't end. It returns the result. An execution that fails, fails the test too,
// unless Config.Fails says that it has to.
//
// It crashes in two ways:
//
//   - in this process: everything that the engine has in memory is lost, just before
//     a checkpoint becomes durable and just after, and the next life goes on from
//     what was durable. Fakes of the world outside survive, as the world does; so do
//     answers and stubs that are under way.
//   - into a fresh process: what was durable at a checkpoint is given to the test's
//     own binary, started for this test alone, and goes on there. This finds what a
//     handler or a step keeps in globals and captured variables. The code of the
//     test before the call runs in that process too.
//
// An execution with n checkpoints is run 3n times or so; Config.MaxCrashes bounds n.
// Callbacks must have answers or timeouts. It can't be called inside Test.
func CrashEverywhere[I, O any](t *testing.T, c Config, f *durable.Function[I, O], in I) (result O) {
	t.Helper()
	s := &scenario{c: &c,
		start: func(ctx context.Context, e *durable.Engine) error {
			_, err := f.Start(ctx, e, in, durable.WithExecutionID(crashedID))
			return err
		},
		read: func(ctx context.Context, e *durable.Engine) (err error) {
			result, err = f.Attach(e, crashedID).Result(ctx)
			return err
		},
	}
	call := nextCall(t)
	if path := os.Getenv(resumeVariable); path != "" {
		resume(t, s, path, call)
	} else {
		s.crashEverywhere(t, call)
	}
	return result
}

// crashedID is the ID of the execution that is crashed.
const crashedID = "crash-everywhere"

// scenario is what is run again and again.
type scenario struct {
	c     *Config
	start func(context.Context, *durable.Engine) error
	read  func(context.Context, *durable.Engine) error // of the result, once
}

// crash says where a run crashes.
type crash struct {
	at    int // at this write of its first life; 0: nowhere
	after bool
}

// outcome is how a run ended.
type outcome struct {
	Result  json.RawMessage  `json:",omitempty"`
	Failure *durable.Failure `json:",omitempty"`
	Problem string           // it did not end
	Again   []string         // steps that ran again although their outcome was durable

	outside string   // as JSON
	writes  []string // of the first life
	crashed string   // the write it crashed at
	delayed bool     // bodies went on after the crash, and time passed
	states  []state  // after the writes that were asked for
}

// state is what was durable at a moment.
type state struct {
	place    int
	write    string
	at       time.Time
	snapshot []byte
}

func (s *scenario) crashEverywhere(t *testing.T, call int) {
	t.Helper()
	base := s.run(t, crash{}, nil)
	s.read = nil
	if problem := cmp.Or(base.Problem, s.unexpected(&base)); problem != "" {
		t.Fatalf("durabletest: without a crash: %s", problem)
	}
	report := &report{t: t, base: base, normalize: s.c.Normalize}
	places := spread(len(base.writes), cmp.Or(s.c.MaxCrashes, 200))
	again := s.run(t, crash{}, places)
	report.compare("run once more, without a crash (is there something random in the result, or left of the first run? see Config.Normalize and Config.Before)", again)
	if len(places) < len(base.writes) {
		t.Logf("durabletest: %d of %d places to crash at: see Config.MaxCrashes", len(places), len(base.writes))
	}
	for _, at := range places {
		for _, after := range []bool{false, true} {
			o := s.run(t, crash{at, after}, nil)
			switch {
			case o.crashed == "":
				continue // this run came to its end with fewer writes
			case o.delayed:
				t.Logf("durabletest: not compared: at checkpoint %d (%s) a body was running that ignored the end of its context", at, o.crashed)
				continue
			}
			when := "before"
			if after {
				when = "after"
			}
			report.compare(fmt.Sprintf("crashed %s checkpoint %d (%s) became durable", when, at, o.crashed), o)
		}
	}
	if !report.full() {
		s.inFreshProcesses(t, call, again.states, report)
	}
}

// unexpected says how the run without a crash ended otherwise than the config says.
func (s *scenario) unexpected(base *outcome) string {
	fails := s.c.Fails
	switch {
	case base.Failure == nil && fails != "":
		return fmt.Sprintf("it succeeded with %s, and Config.Fails says that it fails with %q", base.text(), fails)
	case base.Failure != nil && fails == "":
		return fmt.Sprintf("it ended with %s: if that is what the test is about, say so with Config.Fails", base.text())
	case base.Failure != nil && !strings.Contains(base.text(), fails):
		return fmt.Sprintf("it ended with %s, and Config.Fails says %q", base.text(), fails)
	}
	return ""
}

// run is one run, over a crash or not. It keeps the states after some of its writes.
func (s *scenario) run(t *testing.T, at crash, keep []int) (o outcome) {
	t.Helper()
	if s.c.Before != nil {
		s.c.Before()
	}
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		first := newTap(store)
		first.dieAt, first.after = at.at, at.after
		first.written = func(write string) {
			o.writes = append(o.writes, write)
			if _, kept := slices.BinarySearch(keep, len(o.writes)); !kept {
				return
			}
			snapshot, err := store.Snapshot()
			if err != nil {
				t.Error(err)
			}
			o.states = append(o.states, state{len(o.writes), write, time.Now(), snapshot})
		}
		s.live(newEngine(t, s.c, store), first, &o)
		o.crashed = first.last
	})
	if s.c.Outside != nil {
		outside, err := json.Marshal(s.c.Outside()) // now: it may be what the next run changes
		if err != nil {
			t.Fatalf("durabletest: Config.Outside: %v", err)
		}
		o.outside = string(outside)
	}
	return o
}

// live runs the execution to its end, in as many lives as it takes.
func (s *scenario) live(e *Engine, first *tap, o *outcome) {
	e.again = func(info durable.StepInfo) {
		o.Again = append(o.Again, fmt.Sprintf("%q (operation %s)", info.Name, info.OperationID))
	}
	limit := cmp.Or(s.c.Limit, testLimit)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	e.open(first)
	defer e.close()
	for lives := 0; ; lives++ {
		e.tap.mu.Lock()
		e.tap.most = cmp.Or(s.c.MaxCheckpoints, 10_000)
		e.tap.mu.Unlock()
		err := s.end(ctx, e, o)
		if err == nil {
			return
		}
		if e.tap.tooMany {
			o.Problem = fmt.Sprintf("it made %d checkpoints and had not ended (see Config.MaxCheckpoints): %s", e.tap.most, e.waitsFor())
			return
		}
		if ctx.Err() != nil {
			o.Problem = fmt.Sprintf("it did not end in %s of virtual time: %s", limit, e.waitsFor())
			return
		}
		if lives > 0 {
			o.Problem = err.Error()
			return
		}
		o.delayed = e.kill() > 0
		e.open(newTap(e.store))
	}
}

// end waits for the end of the execution, or of the life.
func (s *scenario) end(ctx context.Context, e *Engine, o *outcome) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	died := e.tap.died
	go func() {
		select {
		case <-died:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := s.start(ctx, e.Engine); err != nil {
		return err
	}
	result, err := e.ResultJSON(ctx, crashedID)
	if e.tap.alive() != nil {
		return errCrashed
	}
	if failed, ok := errors.AsType[*durable.Failure](err); ok {
		o.Failure = &durable.Failure{Type: failed.Type, Message: failed.Message, Data: failed.Data}
	} else if err != nil {
		return err
	}
	o.Result = result
	if s.read != nil && o.Failure == nil {
		if err := s.read(ctx, e.Engine); err != nil {
			return err
		}
	}
	// What it started by other ways than Invoke ends, too.
	for wait := time.Second; len(e.running()) > 0; wait *= 2 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return errCrashed
		}
	}
	return nil
}

var errCrashed = errors.New("it crashed once more")

// waitsFor says what the executions that have not ended wait for.
func (e *Engine) waitsFor() string {
	var all []string
	for _, id := range e.running() {
		ops, err := e.Operations(context.Background(), id)
		if err != nil {
			all = append(all, err.Error())
			continue
		}
		var open []string
		for _, o := range ops {
			if o.Type != "CONTEXT" && (o.Status == durable.OperationStarted || o.Status == durable.OperationPending || o.Status == durable.OperationReady) {
				open = append(open, fmt.Sprintf("%s %q (operation %s)", o.SubType, o.Name, o.ID))
			}
		}
		info, err := e.Describe(context.Background(), id)
		if err == nil && info.Held != nil {
			open = append(open, "it is held: "+info.Held.Message)
		}
		all = append(all, fmt.Sprintf("execution %s waits for %s", id, cmp.Or(strings.Join(open, ", "), "nothing that is recorded")))
	}
	return strings.Join(all, "; ")
}

// report tells how runs differ from the one without a crash.
type report struct {
	t         *testing.T
	base      outcome
	normalize func(json.RawMessage, *durable.Failure) any
	failures  int
}

// full reports whether enough was said.
func (r *report) full() bool { return r.failures >= 3 }

// compare fails the test if a run ended otherwise.
func (r *report) compare(what string, o outcome) {
	r.t.Helper()
	problem := ""
	switch {
	case r.full():
		return
	case o.Problem != "":
		problem = o.Problem
	case len(o.Again) > 0:
		problem = fmt.Sprintf("step %s ran again although its outcome was durable", strings.Join(o.Again, ", "))
	case !reflect.DeepEqual(r.normal(&o), r.normal(&r.base)):
		problem = fmt.Sprintf("the result is %s, without a crash %s", o.text(), r.base.text())
	case o.outside != r.base.outside:
		problem = fmt.Sprintf("the world outside is %s, without a crash %s", o.outside, r.base.outside)
	default:
		return
	}
	r.failures++
	r.t.Errorf("durabletest: %s: %s", what, problem)
}

func (r *report) normal(o *outcome) any {
	if r.normalize != nil {
		return r.normalize(slices.Clone(o.Result), o.Failure)
	}
	return o.text()
}

func (o *outcome) text() string {
	if o.Failure != nil {
		return fmt.Sprintf("the failure %s: %s", o.Failure.Type, o.Failure.Message)
	}
	return cmp.Or(string(o.Result), "null")
}

// spread is up to most of the numbers 1 to n, evenly spread.
func spread(n, most int) []int {
	count := min(n, most)
	places := make([]int, count)
	for i := range places {
		places[i] = 1 + i*n/count
	}
	return places
}
