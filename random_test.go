package durable_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/storetest"
)

var (
	randomPrograms = flag.Int("random.programs", 0, "how many random programs each test of them runs; 0: 200, or what can be done in 15 s")
	randomSeed     = flag.Uint64("random.seed", 0, "run only the random program with this seed")
)

// node is one step of a random program. Whatever a program computes depends only
// on its seed: not on time, and not on what happens to the process.
type node struct {
	id       int
	kind     string
	catch    bool // go on although it failed
	fails    int  // attempts that fail, of a step or a check
	attempts int  // allowed
	panics   bool // instead of returning an error
	delay    time.Duration
	opts     int
	kids     []*node
	branches [][]*node
}

// never is a time that is not reached.
const never = 10000 * time.Hour

type generator struct {
	*rand.Rand
	nodes []*node
}

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

func (g *generator) delay() time.Duration {
	return []time.Duration{0, time.Millisecond, 700 * time.Millisecond, 3 * time.Second, time.Minute, 20 * time.Minute}[g.IntN(6)]
}

func (g *generator) sequence(depth int) []*node {
	seq := make([]*node, 1+g.IntN(4))
	for i := range seq {
		seq[i] = g.node(depth)
	}
	return seq
}

func (g *generator) node(depth int) *node {
	kinds := []string{"step", "step", "wait", "poll", "callback", "early callback", "note", "plain"}
	if depth > 0 {
		kinds = append(kinds, "child", "map", "parallel", "futures", "settled", "invoke", "min", "fail fast", "race", "select", "timeout", "step timeout", "large")
	}
	n := &node{id: len(g.nodes), kind: kinds[g.IntN(len(kinds))], catch: g.chance(70), delay: g.delay(), attempts: 1 + g.IntN(3), opts: g.IntN(8)}
	g.nodes = append(g.nodes, n)
	if g.chance(40) {
		n.fails = g.IntN(4)
		n.panics = g.chance(20)
	}
	switch n.kind {
	case "child", "invoke", "min", "fail fast", "race", "select", "large":
		n.kids = g.sequence(depth - 1)
	case "map", "parallel", "futures", "settled":
		for range 1 + g.IntN(4) {
			n.branches = append(n.branches, g.sequence(depth-1))
		}
	}
	return n
}

// program is a random program and what is known about one run of it.
type program struct {
	*testing.T
	seed  uint64
	what  string // seed and variant, for messages
	root  []*node
	nodes []*node
	defs  []durable.Definition
	main  *durable.Function[int, string]

	mu        sync.Mutex
	engine    *durable.Engine
	ctx       context.Context
	recorded  map[string]bool // execution and operation of the steps with a recorded outcome
	completed map[string]bool // callbacks that somebody completes
	appends   map[string]int
	running   map[string]int
	faults    int
}

func newProgram(t *testing.T, seed uint64) *program {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1))}
	p := &program{T: t, seed: seed, recorded: map[string]bool{}, completed: map[string]bool{}, appends: map[string]int{}, running: map[string]int{}}
	for range 1 + g.IntN(3) {
		p.root = append(p.root, g.sequence(3)...)
	}
	if g.chance(25) {
		n := &node{id: len(g.nodes), kind: "cancel"}
		g.nodes = append(g.nodes, n)
		p.root = append(p.root, n)
	}
	p.nodes = g.nodes
	p.main = durable.Define("main", func(ctx *durable.Context, _ int) (string, error) {
		out, err := p.run(ctx, p.root)
		if errors.Is(err, durable.ErrCanceled) {
			undone, err := durable.Step(ctx.WithoutCancel(), "undo", func(context.Context) (string, error) { return "undone", nil })
			return out + undone, err
		}
		return out, err
	})
	sub := durable.Define("sub", func(ctx *durable.Context, id int) (string, error) { return p.run(ctx, p.nodes[id].kids) })
	plain := durable.DefinePlain("plain", func(_ context.Context, id int) (string, error) {
		if p.nodes[id].fails > 2 {
			return "", errors.New("plain fails")
		}
		return fmt.Sprint("plain ", id), nil
	})
	p.defs = []durable.Definition{p.main, sub, plain}
	return p
}

// run runs a sequence and says what came of it.
func (p *program) run(ctx *durable.Context, seq []*node) (string, error) {
	var out strings.Builder
	for _, n := range seq {
		s, err := p.node(ctx, n)
		if err != nil {
			if !n.catch || n.kind == "cancel" {
				return out.String(), err
			}
			s = "!" + kindOf(err)
		}
		fmt.Fprintf(&out, "%d:%s ", n.id, s)
	}
	return out.String(), nil
}

// kindOf is the type of a failure.
func kindOf(err error) string {
	if f, ok := errors.AsType[*durable.Failure](err); ok {
		return f.Type
	}
	return fmt.Sprintf("%T", err)
}

// body is the body of a step or a check: it checks that it may run, fails as
// often as it should, and takes its time.
func (p *program) body(n *node) func(ctx context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		info, ok := durable.StepInfoFrom(ctx)
		require.True(p, ok)
		key := info.ExecutionID + " " + info.OperationID
		p.mu.Lock()
		if p.recorded[key] {
			p.Errorf("%s: the body of step %s runs although its outcome is recorded", p.what, key)
		}
		if p.running[key]++; p.running[key] > 1 {
			p.Errorf("%s: two bodies of step %s run at once", p.what, key)
		}
		p.mu.Unlock()
		defer func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.running[key]--
		}()
		if n.delay <= time.Minute {
			if err := rest(ctx, n.delay); err != nil {
				return "", err
			}
		}
		if info.Attempt <= n.fails {
			if n.panics {
				panic("panics")
			}
			return "", fmt.Errorf("attempt %d fails", info.Attempt)
		}
		return fmt.Sprint("v", n.id), nil
	}
}

func (p *program) retry(n *node) durable.RetryOption {
	return durable.WithRetry(durable.RetryPolicy{MaxAttempts: n.attempts, Initial: max(n.delay, 1), Multiplier: 1, Max: max(n.delay, 1), Jitter: durable.NoJitter})
}

func (p *program) node(ctx *durable.Context, n *node) (string, error) {
	name := fmt.Sprint(n.kind, " ", n.id)
	branch := func(seq []*node) func(ctx *durable.Context) (string, error) {
		return func(ctx *durable.Context) (string, error) { return p.run(ctx, seq) }
	}
	loser := func(ctx *durable.Context) (string, error) { return "lost", durable.Wait(ctx, "loser", never) }
	switch n.kind {
	case "step":
		return durable.Step(ctx, name, p.body(n), p.retry(n))
	case "step timeout":
		err := durable.Do(ctx, name, func(ctx context.Context) error { return rest(ctx, never) }, durable.WithTimeout(time.Hour))
		return "", err
	case "wait":
		return "waited", durable.Wait(ctx, name, n.delay)
	case "poll":
		s, err := durable.WaitForCondition(ctx, name, 0, func(context.Context, int) (int, error) { return n.fails, nil },
			func(s, attempt int) durable.Poll {
				if attempt > s {
					return durable.PollDone()
				}
				return durable.PollAfter(n.delay)
			})
		return fmt.Sprint("polled ", s), err
	case "callback":
		return durable.WaitForCallback[string](ctx, name, func(ctx context.Context, id string) error {
			_, err := p.body(&node{id: n.id, fails: n.fails})(ctx)
			if err == nil {
				p.complete(n, id)
			}
			return err
		}, p.retry(n), durable.WithTimeout(2*time.Hour))
	case "early callback":
		cb, err := durable.CreateCallback[string](ctx, name, durable.WithTimeout(2*time.Hour))
		if err != nil {
			return "", err
		}
		p.complete(n, cb.ID())
		if err := durable.Wait(ctx, "meanwhile", n.delay); err != nil {
			return "", err
		}
		return cb.Await(ctx)
	case "note":
		// What is made up once stays.
		now, id := durable.Now(ctx), durable.NewUUID(ctx)
		version := durable.Version(ctx, name, n.opts)
		said := fmt.Sprint(now.UnixNano(), id, version)
		first, err := durable.Step(ctx, name, func(context.Context) (string, error) { return said, nil })
		if err == nil && first != said {
			p.Errorf("%s: %s: it was %s, a replay says %s", p.what, name, first, said)
		}
		return "noted", err
	case "plain":
		return durable.InvokeByName[string](ctx, name, "plain", n.id)
	case "invoke":
		return durable.InvokeByName[string](ctx, name, "sub", n.id)
	case "child":
		return durable.RunInChildContext(ctx, name, branch(n.kids))
	case "large":
		s, err := durable.RunInChildContext(ctx, name, func(ctx *durable.Context) (string, error) {
			s, err := p.run(ctx, n.kids)
			return s + strings.Repeat("x", 2000), err // larger than InlineResult
		})
		return strings.TrimRight(s, "x"), err
	case "map", "parallel":
		opts := []durable.BatchOption{durable.WithToleratedFailures(len(n.branches))}
		if n.opts&1 != 0 {
			opts = append(opts, durable.WithMaxConcurrency(1+n.opts/4))
		}
		if n.opts&2 != 0 {
			opts = append(opts, durable.Flat())
		}
		var batch *durable.Batch[string]
		var err error
		if n.kind == "map" {
			batch, err = durable.Map(ctx, name, n.branches, func(ctx *durable.Context, seq []*node, _ int) (string, error) { return p.run(ctx, seq) }, opts...)
		} else {
			var branches []durable.Branch[string]
			for i, seq := range n.branches {
				branches = append(branches, durable.Branch[string]{Name: fmt.Sprint("branch ", i), Run: branch(seq)})
			}
			batch, err = durable.Parallel(ctx, name, branches, opts...)
		}
		if err != nil {
			return "", err
		}
		s := string(batch.Reason())
		for item := range batch.All() {
			s += fmt.Sprintf(" [%s %s", item.Status, item.Value)
			if item.Err != nil {
				s += kindOf(item.Err)
			}
			s += "]"
		}
		return s, nil
	case "futures", "settled":
		var futures []*durable.Future[string]
		for i, seq := range n.branches {
			futures = append(futures, durable.Go(ctx, fmt.Sprint("future ", i), branch(seq)))
		}
		if n.kind == "settled" {
			count := 0
			for range durable.Settled(ctx, name, durable.Awaitables(futures)...) {
				count++
			}
			if count != len(futures) {
				return "", fmt.Errorf("%d settled of %d", count, len(futures))
			}
		} else if n.opts&1 != 0 {
			slices.Reverse(futures)
		}
		var s string
		for _, future := range futures {
			v, err := future.Await(ctx)
			if err != nil {
				v = "!" + kindOf(err)
			}
			s += "(" + v + ")"
		}
		return s, nil
	case "min":
		batch, err := durable.Parallel(ctx, name, []durable.Branch[string]{{Name: "loser", Run: loser}, {Name: "winner", Run: func(ctx *durable.Context) (string, error) {
			s, err := p.run(ctx, n.kids)
			if err != nil {
				s = "!" + kindOf(err)
			}
			return s, nil
		}}}, durable.WithMinSuccessful(1))
		if err != nil {
			return "", err
		}
		return fmt.Sprint(batch.Reason(), batch.Values()), nil
	case "fail fast":
		_, err := durable.Parallel(ctx, name, []durable.Branch[string]{{Name: "loser", Run: loser}, {Name: "winner", Run: func(ctx *durable.Context) (string, error) {
			_, err := p.run(ctx, n.kids)
			return "", errors.Join(errors.New("fails"), err)
		}}})
		return "", err
	case "race":
		return durable.Race(ctx, name, durable.Go(ctx, "loser", loser), durable.Go(ctx, "winner", branch(n.kids)))
	case "select":
		timer, future := durable.After(ctx, "loser", never), durable.Go(ctx, "winner", branch(n.kids))
		first, err := durable.Select(ctx, name, timer, future)
		if err != nil {
			return "", err
		}
		if first != durable.Awaitable(future) {
			return "", errors.New("the wrong one came first")
		}
		return future.Await(ctx)
	case "timeout":
		var seen string
		_, err := durable.RunInChildContext(ctx, name, func(ctx *durable.Context) (string, error) {
			err := durable.Wait(ctx, "sleep", never)
			undone, err2 := durable.Step(ctx.WithoutCancel(), "undo", p.body(&node{id: n.id, delay: time.Second}))
			seen = kindOf(err) + undone
			return "", err2
		}, durable.WithTimeout(time.Hour))
		return seen, err
	case "cancel":
		p.cancel(ctx.ExecutionID())
		return "", durable.Wait(ctx, name, never)
	}
	panic(n.kind)
}

// complete completes a callback from outside, as its node says, once and for all
// that may happen meanwhile.
func (p *program) complete(n *node, id string) {
	p.outside(id, func() {
		if n.opts == 0 {
			return // it times out
		}
		time.Sleep(n.delay)
		for {
			p.mu.Lock()
			e := p.engine
			p.mu.Unlock()
			var err error
			if n.opts == 1 {
				err = e.FailCallback(p.ctx, id, durable.Failure{Type: "Refused", Message: "no"})
			} else {
				err = e.SucceedCallback(p.ctx, id, fmt.Sprint("answer ", n.id))
			}
			if err == nil || errors.Is(err, durable.ErrCallbackCompleted) || errors.Is(err, durable.ErrCallbackNotFound) {
				return
			}
			if rest(p.ctx, time.Second) != nil {
				return
			}
		}
	})
}

func (p *program) cancel(id string) {
	p.outside("cancel "+id, func() {
		time.Sleep(time.Minute)
		for {
			p.mu.Lock()
			e := p.engine
			p.mu.Unlock()
			if e.Cancel(p.ctx, id, "enough") == nil || rest(p.ctx, time.Second) != nil {
				return
			}
		}
	})
}

func (p *program) outside(key string, f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.completed[key] {
		p.completed[key] = true
		go f()
	}
}

// outcome is what a run of a program came to.
type outcome struct {
	result string
	ops    []string
}

// variant is how a program is run.
type variant struct {
	name    string
	parkFor time.Duration
	places  int
	rate    int  // percent of the appends that fail
	kills   bool // the process dies now and then
	flaky   bool // all calls of the store fail now and then
	late    bool // hints come late, and twice
}

// play runs the program and returns what it came to.
func (p *program) play(v variant) outcome {
	m := newMachine(p.T)
	p.what = fmt.Sprintf("seed %d, %s", p.seed, v.name)
	var stop context.CancelFunc
	p.ctx, stop = context.WithCancel(context.Background())
	defer stop()
	m.onAppend = func(a *checkpoint.Append) error {
		if p.fault(v, a, 0) {
			return errors.New("injected: not written")
		}
		return nil
	}
	m.afterAppend = func(a *checkpoint.Append, err error) error {
		if err != nil {
			return err
		}
		p.mu.Lock()
		for i := range a.Records {
			r := &a.Records[i]
			if settlesStep(r) {
				p.recorded[a.ID+" "+r.OperationID] = true
			}
		}
		p.mu.Unlock()
		if p.fault(v, a, 1) {
			return errors.New("injected: fate unknown")
		}
		return nil
	}
	if v.late {
		hints := rand.New(rand.NewPCG(p.seed, 5))
		m.lateHints = func() []time.Duration {
			lots.Lock()
			defer lots.Unlock()
			return []time.Duration{time.Duration(hints.Int64N(int64(2 * time.Second))), time.Duration(hints.Int64N(int64(time.Minute)))}
		}
	}
	var wrapped *storetest.FlakyStore
	if v.flaky {
		m.wrap = func(s checkpoint.Store) checkpoint.Store {
			wrapped = storetest.Flaky(s, p.seed, 0.08)
			return wrapped
		}
	}
	opts := durable.Options{ParkFor: v.parkFor, MaxResident: v.places, InlineResult: 1000}
	open := func() *bundle {
		b := m.open(opts, p.defs...)
		p.mu.Lock()
		p.engine = b.engine
		p.mu.Unlock()
		return b
	}
	b := open()
	rng := rand.New(rand.NewPCG(p.seed, 2))
	deadline := time.Now().Add(1000 * time.Hour)
	for began := false; ; {
		life := 1000 * time.Hour
		if v.kills && time.Now().Before(deadline.Add(-990*time.Hour)) {
			life = time.Duration(rng.Int64N(int64([]time.Duration{10 * time.Millisecond, 5 * time.Second, 10 * time.Minute}[rng.IntN(3)])))
		}
		ctx, done := context.WithTimeout(p.ctx, life)
		result, err := p.main.Run(ctx, b.engine, 0, durable.WithExecutionID("main"))
		done()
		if opErr, ok := errors.AsType[*durable.OpError](err); err == nil || ok && opErr.Type == "EXECUTION" {
			if err != nil {
				result = "failed: " + kindOf(err)
			}
			if wrapped != nil {
				wrapped.SetRate(0)
			}
			p.mu.Lock()
			p.faults = -1 // no more
			p.mu.Unlock()
			ops := p.operations(b)
			require.NoError(p, b.engine.Close())
			return outcome{result, ops}
		}
		if time.Now().After(deadline) {
			info, err := b.engine.Describe(context.Background(), "main")
			p.Fatalf("%s: it does not end: %+v, %v\n%s", p.what, info, err, strings.Join(b.history("main"), "\n"))
		}
		switch {
		case v.kills && ctx.Err() != nil:
			m.kill(b)
			b = open()
		case wrapped != nil && began:
			time.Sleep(10 * time.Millisecond)
		}
		began = true
		if wrapped != nil && time.Now().After(deadline.Add(-990*time.Hour)) {
			wrapped.SetRate(0)
		}
	}
}

// settlesStep reports whether a record is the outcome of a step.
func settlesStep(r *checkpoint.Record) bool {
	return (r.Type == checkpoint.StepSucceeded || r.Type == checkpoint.StepFailed) && r.NextAttemptDelay == 0 && r.WakeAt == 0
}

// fault reports whether the n-th append of an execution fails, before (0) or
// after (1) it was made. It depends on the seed, the execution's place in the
// program, and n.
func (p *program) fault(v variant, a *checkpoint.Append, when int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if when == 0 {
		p.appends[a.ID]++
	}
	if v.rate == 0 || p.faults < 0 || p.faults > 60 {
		return false
	}
	h := fnv.New64a()
	fmt.Fprintln(h, p.seed, v.name, len(a.ID), p.appends[a.ID], when)
	if rand.New(rand.NewPCG(h.Sum64(), 3)).IntN(200) >= v.rate {
		return false
	}
	p.faults++
	return true
}

// operations are the operations of all executions and what became of them,
// without what was abandoned: how far that came is a matter of time.
func (p *program) operations(b *bundle) (lines []string) {
	ctx := context.Background()
	synctest.Wait()
	time.Sleep(time.Minute)
	synctest.Wait()
	names := map[string]string{"main": "main"} // by execution
	var infos []durable.ExecutionInfo
	for info, err := range b.engine.Executions(ctx, durable.Query{}) {
		require.NoError(p, err, p.what)
		infos = append(infos, info)
	}
	slices.Reverse(infos) // callers first
	for _, info := range infos {
		name := names[info.ID]
		if name == "" {
			name = names[info.Parent] + "/" + info.Function + string(info.Input)
			names[info.ID] = name
		}
		if info.Status == durable.ExecutionRunning {
			p.Errorf("%s: execution %s is %+v", p.what, name, info)
		}
		result := string(info.Result)
		if info.Failure != nil {
			result = info.Failure.Type
		}
		lines = append(lines, fmt.Sprintf("%s %s %s", name, info.Status, result))
		ops, err := b.engine.Operations(ctx, info.ID)
		require.NoError(p, err, p.what)
		lost := map[string]bool{}
		for _, o := range ops {
			if o.Name == "loser" || lost[o.ParentID] {
				lost[o.ID] = true
				continue
			}
			line := fmt.Sprintf("%s %s %s %s %q %s", name, o.ID, o.Type, o.SubType, o.Name, o.Status)
			if o.Failure != nil {
				line += " " + o.Failure.Type
			}
			switch o.SubType {
			case "Now", "UUID", "Settled":
			case "Step":
				if !strings.HasPrefix(o.Name, "note") {
					line += fmt.Sprintf(" %d %s", o.Attempt, o.Result)
				}
			default:
				line += " " + string(o.Result)
			}
			lines = append(lines, line)
		}
		checkHistory(b, p.what, info.ID)
	}
	slices.Sort(lines)
	return lines
}

// checkHistory checks what holds for every history: numbers without gaps, one
// outcome an operation, behind its start, and the end at the end.
func checkHistory(b *bundle, what, id string) {
	b.Helper()
	last := int64(0)
	ended := map[string]string{}
	started := map[string]bool{}
	final := ""
	for ev := range b.events(id) {
		if ev.EventID != last+1 {
			b.Errorf("%s: %s: event %d follows %d", what, id, ev.EventID, last)
		}
		last = ev.EventID
		if final != "" {
			b.Errorf("%s: %s: %s behind %s", what, id, line(ev), final)
		}
		switch {
		case strings.HasPrefix(ev.Type, "Execution") && ev.Type != "ExecutionStarted":
			final = ev.Type
		case ev.OperationID == "":
		case strings.HasSuffix(ev.Type, "Started"):
			if ended[ev.OperationID] != "" {
				b.Errorf("%s: %s: %s behind %s", what, id, line(ev), ended[ev.OperationID])
			}
			started[ev.OperationID] = true
		case ev.NextAttemptDelay == 0 && !(ev.SubType == "WaitForCondition" && ev.Type == "StepSucceeded"):
			if ended[ev.OperationID] != "" || !started[ev.OperationID] {
				b.Errorf("%s: %s: %s, started %v, ended %q", what, id, line(ev), started[ev.OperationID], ended[ev.OperationID])
			}
			ended[ev.OperationID] = ev.Type
		}
	}
}

// randomly runs random programs, each as it is meant to be and in some of the
// variants, and compares.
func randomly(t *testing.T, variants ...variant) {
	t.Parallel()
	first, last, enough := uint64(1), uint64(200), time.Now().Add(15*time.Second)
	switch {
	case *randomSeed != 0:
		first, last = *randomSeed, *randomSeed
	case *randomPrograms != 0:
		last, enough = uint64(*randomPrograms), time.Now().Add(1000*time.Hour)
	case testing.Short():
		last = 40
	}
	seeds := make(chan uint64)
	var failed atomic.Bool
	for worker := range runtime.GOMAXPROCS(0) {
		t.Run(fmt.Sprint("Worker", worker), func(t *testing.T) {
			t.Parallel()
			for seed := range seeds {
				randomProgram(t, seed, variants)
				if t.Failed() {
					failed.Store(true)
				}
			}
		})
	}
	go func() {
		defer close(seeds)
		for seed := first; seed <= last && !failed.Load() && time.Now().Before(enough); seed++ {
			seeds <- seed
		}
	}()
}

func randomProgram(t *testing.T, seed uint64, variants []variant) {
	synctest.Test(t, func(t *testing.T) {
		defer func() {
			if t.Failed() {
				name, _, _ := strings.Cut(t.Name(), "/")
				t.Logf("to repeat it: go test -run '%s$' -random.seed=%d", name, seed)
			}
		}()
		want := newProgram(t, seed).play(variant{name: "plain", parkFor: -1})
		if *randomSeed != 0 {
			t.Logf("%s\n%s", want.result, strings.Join(want.ops, "\n"))
		}
		for i, v := range variants {
			if *randomSeed == 0 && (uint64(i)+seed)%uint64((len(variants)+1)/2) != 0 {
				continue // one or two each; all of them when there is one program
			}
			got := newProgram(t, seed).play(v)
			require.Equal(t, want.result, got.result, "seed %d, %s", seed, v.name)
			require.Equal(t, strings.Join(want.ops, "\n"), strings.Join(got.ops, "\n"), "seed %d, %s", seed, v.name)
		}
	})
}

func TestRandomPrograms(t *testing.T) {
	randomly(t,
		variant{name: "resident", parkFor: 0},
		variant{name: "few places", parkFor: 0, places: 2},
		variant{name: "faults", parkFor: -1, rate: 30},
		variant{name: "faults, resident", parkFor: 0, rate: 30},
		variant{name: "many faults", parkFor: -1, rate: 90},
		variant{name: "kills", parkFor: -1, kills: true},
		variant{name: "kills and faults", parkFor: 0, kills: true, rate: 20},
		variant{name: "late hints", parkFor: -1, late: true, rate: 10},
	)
}

func TestRandomProgramsOnAFlakyStore(t *testing.T) {
	randomly(t, variant{name: "flaky", parkFor: -1, flaky: true})
}

var lots sync.Mutex

// lottery fails in so many percent of all cases.
func lottery(rng *rand.Rand, percent int) error {
	lots.Lock()
	defer lots.Unlock()
	if rng.IntN(100) < percent {
		return errors.New("injected")
	}
	return nil
}

// TestRandomCancels cancels handlers that look at their context between
// operations, at random moments: whichever arm the first run took, the replays
// take, and exactly one compensation runs, once.
func TestRandomCancels(t *testing.T) {
	t.Parallel()
	for seed := uint64(1); seed <= uint64(max(300, *randomPrograms)); seed++ {
		if *randomSeed != 0 && seed != *randomSeed {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			var n notes
			rng := rand.New(rand.NewPCG(seed, 4))
			type place struct {
				kind         int
				delay, pause time.Duration
				undo         int
			}
			places := make([]place, 3+rng.IntN(5))
			ms := func() time.Duration { return time.Duration(rng.IntN(4)) * time.Millisecond }
			for i := range places {
				places[i] = place{rng.IntN(6), ms(), ms(), rng.IntN(3)}
			}
			scoped := rng.IntN(2) == 0 // cancelled by a timeout of a child instead of from outside
			after := time.Duration(rng.IntN(20000)) * time.Microsecond
			body := func(ctx *durable.Context) (string, error) {
				undo := func(i int, why string) (string, error) {
					for k := range places[i].undo {
						if err := durable.Wait(ctx.WithoutCancel(), fmt.Sprint("calm down ", k), 2*time.Millisecond); err != nil {
							return "", err
						}
					}
					return durable.Step(ctx.WithoutCancel(), fmt.Sprint("undo ", i, why), n.body(fmt.Sprint("undo ", i, why)))
				}
				for i, p := range places {
					name := fmt.Sprint(i)
					step := func(ctx *durable.Context) (int, error) {
						return 0, durable.Do(ctx, name, func(context.Context) error { time.Sleep(p.delay); return nil })
					}
					var err error
					switch p.kind {
					case 0, 1:
						_, err = step(ctx)
					case 2:
						err = durable.Wait(ctx, name, p.delay)
					case 3:
						_, err = durable.RunInChildContext(ctx, name, step)
					case 4:
						_, err = durable.Map(ctx, name, []int{1, 2}, func(ctx *durable.Context, _, _ int) (int, error) { return step(ctx) })
					case 5:
						_, err = durable.Go(ctx, name, step).Await(ctx)
					}
					if err != nil {
						return undo(i, " error")
					}
					time.Sleep(p.pause) // plain code
					if ctx.Context().Err() != nil {
						return undo(i, " seen")
					}
					time.Sleep(p.pause) // between a look and the next operation
				}
				return "finished", nil
			}
			f := durable.Define("f", func(ctx *durable.Context, _ int) (string, error) {
				if !scoped {
					return body(ctx)
				}
				var out string
				_, err := durable.RunInChildContext(ctx, "scope", func(ctx *durable.Context) (_ int, err error) {
					out, err = body(ctx)
					return 0, err
				}, durable.WithTimeout(after))
				if err != nil && out == "" && !errors.Is(err, durable.ErrTimeout) {
					return "", err
				}
				return "scope", durable.Wait(ctx, "sleep", time.Millisecond)
			})
			m := newMachine(t)
			b := m.open(durable.Options{ParkFor: []time.Duration{-1, time.Millisecond, 0}[rng.IntN(3)]}, f)
			x := start(b, f, 0)
			if rng.IntN(2) == 0 { // and it is lost now and then
				m.set(func() {
					m.onAppend = func(*checkpoint.Append) error { return lottery(rng, 20) }
					m.afterAppend = func(_ *checkpoint.Append, err error) error { return errors.Join(err, lottery(rng, 20)) }
				})
			}
			if !scoped {
				time.Sleep(after)
				b.cancel(x.ID())
			}
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			info := b.describe(x.ID())
			require.Nil(t, info.Held, "seed %d: %+v\n%s", seed, info.Held, strings.Join(b.history(x.ID()), "\n"))
			require.Equal(t, durable.ExecutionSucceeded, info.Status, "seed %d: %+v\n%s", seed, info.Failure, strings.Join(b.history(x.ID()), "\n"))
			undone := slices.Compact(n.all()) // a lost record makes a body run again
			require.LessOrEqual(t, len(undone), 1, "seed %d\n%s", seed, strings.Join(b.history(x.ID()), "\n"))
			checkHistory(b, fmt.Sprint("seed ", seed), x.ID())
		})
	}
}

// TestRandomOperators lets operators do what they like with many executions at
// once, on a store that fails and in a process that dies now and then: every
// execution ends, once, and nothing is left behind.
func TestRandomOperators(t *testing.T) {
	t.Parallel()
	seeds := max(30, *randomPrograms/10)
	if testing.Short() {
		seeds = 5
	}
	for seed := uint64(1); seed <= uint64(seeds); seed++ {
		if *randomSeed != 0 && seed != *randomSeed {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 6))
			child := durable.Define("child", func(ctx *durable.Context, i int) (int, error) {
				if err := durable.Do(ctx, "work", func(ctx context.Context) error { return rest(ctx, time.Duration(i)*time.Second) }); err != nil {
					return 0, err
				}
				return i, durable.Wait(ctx, "sleep", time.Duration(i)*time.Minute)
			}, durable.WithExecutionTimeout(4*time.Minute))
			f := durable.Define("f", func(ctx *durable.Context, i int) (out int, err error) {
				defer func() {
					if err != nil && errors.Is(err, durable.ErrCanceled) {
						_, err = durable.Step(ctx.WithoutCancel(), "undo", func(ctx context.Context) (int, error) { return -1, rest(ctx, time.Second) })
					}
				}()
				if err := durable.Do(ctx, "work", func(ctx context.Context) error { return rest(ctx, time.Second) }, durable.AtMostOnce(),
					durable.WithRetry(durable.RetryPolicy{MaxAttempts: 100, Initial: time.Second})); err != nil {
					return 0, err
				}
				batch, err := durable.Map(ctx, "map", []int{1, 2, 3}, func(ctx *durable.Context, k, _ int) (int, error) {
					switch k {
					case 1:
						return durable.Invoke(ctx, "invoke", child, i%7, durable.WithTimeout(5*time.Minute))
					case 2:
						return durable.WaitForCallback[int](ctx, "cb", func(context.Context, string) error { return nil }, durable.WithTimeout(6*time.Minute), durable.WithHeartbeatTimeout(2*time.Minute))
					}
					return 0, durable.Do(ctx, "slow", func(ctx context.Context) error { return rest(ctx, 3*time.Minute) }, durable.WithTimeout(2*time.Minute))
				}, durable.WithMinSuccessful(2))
				if err != nil && !errors.Is(err, durable.ErrMinSuccessfulNotReached) {
					return 0, err
				}
				return batch.Succeeded(), durable.Wait(ctx, "sleep", time.Minute)
			})
			m := newMachine(t)
			m.onAppend = func(*checkpoint.Append) error { return lottery(rng, 5) }
			m.afterAppend = func(_ *checkpoint.Append, err error) error { return errors.Join(err, lottery(rng, 5)) }
			draw := func(n int) int {
				lots.Lock()
				defer lots.Unlock()
				return rng.IntN(n)
			}
			opts := durable.Options{ParkFor: []time.Duration{-1, 0, time.Minute}[draw(3)], MaxResident: []int{0, 3}[draw(2)]}
			b := m.open(opts, f, child)
			ctx := context.Background()
			expected := func(err error, these ...error) {
				t.Helper()
				for _, e := range these {
					if errors.Is(err, e) {
						return
					}
				}
				require.NoError(t, err, "seed %d", seed)
			}
			for range 250 {
				id := fmt.Sprint("x", draw(15))
				switch draw(14) {
				case 0, 1, 2:
					_, err := f.Start(ctx, b.engine, 7, durable.WithExecutionID(id))
					expected(err)
				case 3:
					err := b.engine.Stop(ctx, id, "enough")
					expected(err, durable.ErrExecutionNotFound)
					if info, err := b.engine.Describe(ctx, id); err == nil {
						require.NotEqual(t, durable.ExecutionRunning, info.Status, "seed %d", seed)
					}
				case 4:
					expected(b.engine.Cancel(ctx, id, "enough"), durable.ErrExecutionNotFound)
				case 5:
					expected(b.engine.Resume(ctx, id), durable.ErrExecutionNotFound)
				case 6:
					expected(b.engine.Delete(ctx, id), durable.ErrExecutionNotFound, durable.ErrExecutionRunning)
				case 7, 8, 9:
					short, done := context.WithTimeout(ctx, time.Millisecond)
					cb, err := b.engine.CallbackID(short, id, "cb")
					done()
					expected(err, durable.ErrExecutionNotFound, durable.ErrCallbackNotFound, context.DeadlineExceeded)
					if err != nil {
						break
					}
					if draw(3) == 0 {
						expected(b.engine.HeartbeatCallback(ctx, cb), durable.ErrCallbackCompleted, durable.ErrCallbackNotFound)
					} else {
						expected(b.engine.SucceedCallback(ctx, cb, 1), durable.ErrCallbackCompleted, durable.ErrCallbackNotFound)
					}
				case 10:
					go f.Attach(b.engine, id).Result(ctx)
				case 11:
					for _, err := range b.engine.History(ctx, id) {
						expected(err, durable.ErrExecutionNotFound)
					}
				case 12:
					if draw(4) == 0 {
						m.kill(b)
						b = m.open(opts, f, child)
					}
				case 13:
					if draw(4) == 0 {
						short, done := context.WithTimeout(ctx, time.Duration(draw(3000))*time.Millisecond)
						_ = b.engine.Shutdown(short)
						done()
						m.kill(b)
						b = m.open(opts, f, child)
					}
				}
				time.Sleep(time.Duration(draw(3000)) * time.Millisecond)
			}
			time.Sleep(time.Hour)
			synctest.Wait()
			for info, err := range b.engine.Executions(ctx, durable.Query{}) {
				require.NoError(t, err)
				require.NotEqual(t, durable.ExecutionRunning, info.Status, "seed %d: %+v\n%s", seed, info, strings.Join(b.history(info.ID), "\n"))
				require.Empty(t, callbacksOf(b, info.ID))
				checkHistory(b, fmt.Sprint("seed ", seed), info.ID)
			}
			stats := b.engine.Stats()
			require.Zero(t, stats.Resident, "seed %d", seed)
			require.Zero(t, stats.Bodies, "seed %d", seed)
			require.NoError(t, b.engine.Shutdown(ctx))
		})
		if t.Failed() {
			t.Logf("to repeat it: go test -run '%s$' -random.seed=%d", t.Name(), seed)
			return
		}
	}
}
