package durable_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/storetest"
)

// program is a random program and what is known about one run of it.
type program struct {
	*testing.T
	seed  uint64
	root  []*node
	nodes []*node
	defs  []durable.Definition
	main  *durable.Function[int, string]

	variant variant
	what    string // seed and variant, for messages
	ctx     context.Context

	mu       sync.Mutex
	engine   *durable.Engine
	names    map[string]string // of executions, by ID: their places in the program
	keys     map[string]string // idempotency keys by operation, and the other way round
	recorded map[string]bool   // execution and operation, by ID and by name, of the steps with a recorded outcome
	opNames  map[string]string // by execution and operation
	running  map[string]int    // bodies, by execution and operation
	calls    map[string]int    // of bodies, by execution, operation and attempt
	asked    map[string]bool   // what was asked of those outside
	struck   map[string]bool   // records that something happened to, or will not
	unnamed  map[string]int
	faults   int
	ended    bool // nothing happens to it any more
	dead     bool // the process has died
	stopLife context.CancelFunc
	log      []string
}

func newProgram(t *testing.T, seed uint64) *program {
	p := &program{
		T: t, seed: seed, names: map[string]string{"main": "main"}, keys: map[string]string{},
		recorded: map[string]bool{}, opNames: map[string]string{}, running: map[string]int{}, calls: map[string]int{}, asked: map[string]bool{}, struck: map[string]bool{}, unnamed: map[string]int{},
	}
	p.root, p.nodes = generate(seed)
	p.define()
	return p
}

// variant is how a program is run.
type variant struct {
	name     string
	file     bool // on a boltstore
	parkFor  time.Duration
	places   int
	rate     int  // percent of the records whose append fails
	crash    bool // and lets the process die
	kills    bool // the process dies at random times
	flaky    bool // all calls of the store fail now and then
	shuffled bool // what comes from outside, hints and appends come late, twice, in another order
}

// disturbed reports whether a body may run more than once.
func (v variant) disturbed() bool { return v.rate > 0 || v.kills || v.flaky }

// logf notes what was done to the program. p.mu is held.
func (p *program) logf(format string, args ...any) {
	p.log = append(p.log, fmt.Sprintf(format, args...))
}

// enter checks that a body of the node may run now, and counts it. What it
// returns is to be called at its end.
func (p *program) enter(info durable.StepInfo, n *node) (leave func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	execution, once := p.names[info.ExecutionID], n.kind == "once"
	key := execution + " " + info.OperationID
	p.checkKey(key, info.IdempotencyKey)
	if n.before != nil && n.before.isStep() && !p.recorded[execution+" "+n.before.name()] {
		p.Errorf("%s: the body of step %s runs before the outcome of %s is recorded", p.what, key, n.before.name())
	}
	if p.recorded[key] {
		p.Errorf("%s: the body of step %s runs although its outcome is recorded", p.what, key)
	}
	if p.running[key]++; p.running[key] > 1 {
		p.Errorf("%s: two bodies of step %s run at once", p.what, key)
	}
	call := fmt.Sprint(key, " attempt ", info.Attempt)
	if once {
		call = "once " + call
	}
	if p.calls[call]++; once && p.calls[call] > 1 {
		p.Errorf("%s: step %s runs an attempt twice", p.what, key)
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.running[key]--
	}
}

// checkKey checks that an operation has one idempotency key, and no other has it, however
// often its execution is restarted or retried, and those that it invokes with it.
// p.mu is held.
func (p *program) checkKey(operation, key string) {
	root, below, _ := strings.Cut(operation, "/")
	if i := strings.IndexByte(root, ' '); i >= 0 {
		root, below = root[:i], root[i:]
	}
	line := "main"
	if strings.HasPrefix(root, "stopped-") {
		line = root[:len("stopped-0")]
	}
	for k, v := range map[string]string{line + "/" + below: key, key: line + "/" + below} {
		if is, known := p.keys[k]; known && is != v {
			p.Errorf("%s: the idempotency key of %s: %s is %s, and was %s", p.what, operation, k, v, is)
		}
		p.keys[k] = v
	}
}

// counts returns how often each body was called. One may still run when the program has
// been cancelled.
func (p *program) counts() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.calls)
}

// play runs the program and returns what it came to.
func (p *program) play(v variant) outcome {
	p.variant = v
	p.what = fmt.Sprintf("seed %d, %s", p.seed, v.name)
	var stop context.CancelFunc
	p.ctx, stop = context.WithCancel(context.Background())
	defer stop()
	m := newMachine(p.T)
	if v.file {
		m = newFileMachine(p.T, true)
	}
	p.tapAppends(m)
	var flaky *storetest.FlakyStore
	switch {
	case v.flaky:
		m.wrap = func(s checkpoint.Store) checkpoint.Store {
			flaky = storetest.Flaky(s, p.seed, 0.08)
			return flaky
		}
	case v.shuffled:
		p.shuffle(m)
	}
	open := func() *bundle {
		b := m.open(durable.Options{ParkFor: v.parkFor, MaxResident: v.places, InlineResult: 1000}, p.defs...)
		p.mu.Lock()
		p.engine = b.engine
		p.mu.Unlock()
		return b
	}
	b := open()
	lives := p.draw("lives")
	began := time.Now()
	for {
		life := 1000 * time.Hour
		if v.kills && time.Since(began) < 10*time.Hour {
			life = time.Duration(lives.Int64N(int64([]time.Duration{10 * time.Millisecond, 5 * time.Second, 10 * time.Minute}[lives.IntN(3)])))
		}
		result, err, died := p.live(b, life)
		switch {
		case died || v.kills && errors.Is(err, context.DeadlineExceeded):
			m.kill(b)
			b = open()
		case p.ended:
			if err != nil {
				result = "failed: " + kindOf(err)
			}
			if flaky != nil {
				flaky.SetRate(0)
			}
			o := p.outcome(b, result)
			p.replay(b)
			require.NoError(p, b.engine.Close())
			return o
		case time.Since(began) > 1000*time.Hour:
			info, err := b.engine.Describe(context.Background(), "main")
			p.Fatalf("%s: it does not end: %+v, %v\n%s", p.what, info, err, strings.Join(b.history("main"), "\n"))
		default:
			time.Sleep(10 * time.Millisecond)
		}
		if flaky != nil && time.Since(began) > 10*time.Hour {
			flaky.SetRate(0)
		}
	}
}

// replay runs the program over what was recorded of it, and over its beginning.
func (p *program) replay(b *bundle) {
	recording, err := b.engine.Recording(context.Background(), "main")
	require.NoError(p, err)
	before := p.counts()
	opts := durable.Options{Functions: p.defs, InlineResult: 1000}
	require.NoError(p, durable.Replay(p.ctx, recording, &opts), p.what)
	if n := records(p.T, recording); n > 1 {
		cut := 1 + p.draw("cut").IntN(n-1)
		require.NoError(p, durable.Replay(p.ctx, replayed(p.T, recording, cut), &opts), "%s: the first %d records", p.what, cut)
	}
	require.Equal(p, before, p.counts(), "%s: a replay calls no body", p.what)
}

// live runs the program as long as the process lives. A program that ends
// before its process dies suffers nothing any more.
func (p *program) live(b *bundle, life time.Duration) (result string, err error, died bool) {
	ctx, done := context.WithTimeout(p.ctx, life)
	defer done()
	p.mu.Lock()
	p.stopLife = done
	p.mu.Unlock()
	result, err = p.main.Run(ctx, b.engine, 0, durable.WithExecutionID("main"))
	p.mu.Lock()
	defer p.mu.Unlock()
	died, p.dead = p.dead, false
	opErr, ok := errors.AsType[*durable.OpError](err)
	p.ended = !died && (err == nil || ok && opErr.Type == "EXECUTION")
	return result, err, died
}

// shuffle lets changes and hints come late and in another order.
func (p *program) shuffle(m *machine) {
	var mu sync.Mutex
	draws := p.draw("delays")
	delay := func(bounds ...time.Duration) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return time.Duration(draws.Int64N(int64(bounds[draws.IntN(len(bounds))])))
	}
	m.lateHints = func() []time.Duration { return []time.Duration{delay(2 * time.Second), delay(time.Minute)} }
	m.wrap = func(s checkpoint.Store) checkpoint.Store {
		return newSlowStore(s, func() time.Duration { return delay(1, time.Millisecond, 100*time.Millisecond, 3*time.Second) })
	}
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
