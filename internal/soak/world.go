package soak

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

// World is the outside of a round: what it asked the processes for, and what they
// acknowledged. It outlives them all.
type World struct {
	Config

	mu         sync.Mutex
	executions map[string]*asked
	order      []*asked      // as they were asked for
	shutDown   map[int]bool  // lives that ended so
	ending     bool          // nothing new is begun
	ended      chan struct{} // closed when all is finished, under ending
	fleet      *Fleet        // nil: a file
	lives      []*life       // of a fleet, by place
	born       int           // lives of a fleet so far
	witness    *witness      // as the outside writes it
	doubtful   bool          // what is acknowledged may be lost
	behind     bool          // what is not there may be there
	jumps      jumps         // of the store's clock
	Violations []Violation
	Figures    Figures
}

// Config is what a round is.
type Config struct {
	Seed      uint64
	Kills     int      // or faults
	Width     int      // executions at once
	Functions []string // that are started, each as often as it is named
	Plant     string
	Points    []string      // where processes end themselves
	Patience  time.Duration // with the end of everything, in the last life
	Faults    []string      // kinds, of a fleet; none: all of them
}

// asked is an execution that the outside asked for.
type asked struct {
	id, function string
	input        int
	first        time.Time // when it was asked for first
	acknowledged bool      // the start
	steered      bool      // the cancel or the stop was acknowledged
	result       string    // as first given, "" before
	life         int       // that gave it
	callback     string    // its ID; "" before it is known
	tried        []string  // outcomes that were sent to the callback
	delivered    string    // the one that was acknowledged
	refused      bool      // it was told to be completed already
	mayGo        bool      // the start was in doubt
	shaky        bool      // something was heard of it in doubt
	doubts       doubts    // that is to be asked for again
	gone         bool      // with what was in doubt
	finished     bool      // nothing is expected any more
}

// Everything has the functions of the workload, those of which there shall be more more often.
var Everything = strings.Fields("order order order order race race race chain pay large sleeper endless late")

// random is the source of all choices for one thing of the round.
func (w *World) random(what string, n int) *rand.Rand {
	h := w.Seed
	for _, b := range []byte(what) {
		h = h*1099511628211 + uint64(b)
	}
	return rand.New(rand.NewPCG(h, uint64(n)))
}

func (c Config) world(dir string) (*World, error) {
	witness, err := openWitness(dir, -1)
	return &World{Config: c, executions: make(map[string]*asked), shutDown: make(map[int]bool), ended: make(chan struct{}), witness: witness,
		Figures: Figures{kills: make(map[string]int), faults: make(map[string]int), takeovers: make(map[string]*takeover)}}, err
}

// add chooses the next execution to start.
func (w *World) add() *asked {
	n := len(w.order)
	rng := w.random("execution", n)
	function := w.Functions[rng.IntN(len(w.Functions))]
	x := &asked{id: fmt.Sprintf("%s-%d", function, n), function: function, input: rng.IntN(1000), first: time.Now()}
	w.executions[x.id] = x
	w.order = append(w.order, x)
	return x
}

func (w *World) running() (list []*asked) {
	for _, x := range w.order {
		if !x.finished {
			list = append(list, x)
		}
	}
	return list
}

// steering is what the outside does to executions of a function to end them.
var steering = map[string]string{"sleeper": "cancel", "endless": "stop"}

// expected is how the executions of a function end, as Result tells.
var expected = map[string]string{"sleeper": "canceled", "endless": "stopped", "late": "timeout"}

// next chooses the outcome that is sent to a callback: each try another one.
func (x *asked) next(rng *rand.Rand) request {
	r := request{Do: "succeed", Execution: x.id, Callback: x.callback, Payload: fmt.Sprintf("%s:%d", x.id, len(x.tried))}
	if x.function == "race" && rng.IntN(4) == 0 {
		r.Do = "fail"
	}
	x.tried = append(x.tried, r.Payload)
	return r
}

// moment is when a process ends.
type moment struct {
	phase string // starting, making, opening, running, ending: killed in it; point: ends itself
	after time.Duration
	then  time.Duration // after it was asked to shut down, unless it is 0
	point *point
	burst bool // all that is known is asked for in the moment of the kill
}

func (m moment) String() string {
	if m.point != nil {
		return fmt.Sprintf("%d times %s", m.point.N, m.point.Name)
	}
	return fmt.Sprintf("%s, after %s", m.phase, m.after)
}

// moment chooses when the process of a life ends.
func (w *World) moment(life int) moment {
	rng := w.random("moment", life)
	// skewed is between low and high, small ones as likely as large ones.
	skewed := func(low, high float64) float64 { return low * math.Pow(high/low, rng.Float64()) }
	after := func(low, high float64) time.Duration {
		return time.Duration(skewed(low, high) * float64(time.Millisecond))
	}
	m := moment{burst: rng.IntN(3) == 0}
	switch p := rng.IntN(100); {
	case life == 0 && len(w.Points) == len(Points):
		m.phase, m.after = "making", after(0.05, 20) // the file
	case len(w.Points) < len(Points) || p < 45:
		m.phase = "point"
		m.point = &point{Name: w.Points[rng.IntN(len(w.Points))], N: int64(skewed(1, 150))}
		m.after = after(30, 250) // if it does not come there
		if strings.HasPrefix(m.point.Name, "clos") {
			m.point.N, m.then = 1, time.Second
		}
	case p < 52:
		m.phase, m.after = "starting", after(0.2, 20)
	case p < 67:
		m.phase, m.after = "opening", after(0.05, 10)
	case p < 77:
		m.phase, m.after, m.then = "ending", after(5, 150), after(0.1, 2000)
	default:
		m.phase, m.after = "running", after(0.1, 400)
	}
	return m
}

// Figures are what a round comes to.
type Figures struct {
	kills          map[string]int // by phase
	faults         map[string]int // of a fleet, by kind
	takeovers      map[string]*takeover
	pauses         map[string][]time.Duration // the longest of any process, of each fault of a fleet
	held           map[string]int             // executions, by the build that can't go on with them
	owned          int                        // records whose writer was found
	late           int                        // bodies that a stopped process began late
	unanswered     int                        // requests that were made again
	ended          int                        // lives that had ended before the kill came
	recoveries     int                        // openings that found a log
	executions     int
	invocations    int // cut off
	effects        int
	again          int // attempts whose body ran again
	cut            int // lines of the witness
	records        int // that were seen to become durable
	starts, steers int // acknowledged
	callbacks      int // acknowledged
	results        int // given, repetitions included
	gone           int // executions and records that were in doubt
	goneRecords    int
}

func (f Figures) String() string {
	kills := 0
	var phases []string
	for phase, n := range f.kills {
		kills += n
		phases = append(phases, fmt.Sprintf("%d %s", n, phase))
	}
	slices.Sort(phases)
	return fmt.Sprintf("%d kills (%s); %d shut down before the kill; %d recoveries; %d executions; %d effects; %d attempts and %d invocations cut off; %d records; acknowledged: %d starts, %d callbacks, %d cancels and stops; %d results; %d torn lines",
		kills, strings.Join(phases, ", "), f.ended, f.recoveries, f.executions, f.effects, f.again, f.invocations, f.records, f.starts, f.callbacks, f.steers, f.results, f.cut)
}

func (f *Figures) Add(g Figures) {
	if f.kills == nil {
		f.kills = make(map[string]int)
	}
	for phase, n := range g.kills {
		f.kills[phase] += n
	}
	f.ended += g.ended
	f.recoveries += g.recoveries
	f.executions += g.executions
	f.invocations += g.invocations
	f.effects += g.effects
	f.again += g.again
	f.cut += g.cut
	f.records += g.records
	f.starts += g.starts
	f.steers += g.steers
	f.callbacks += g.callbacks
	f.results += g.results
}

// Needed are figures of a round on a file without which it shows nothing.
func (f *Figures) Needed() map[string]int {
	return map[string]int{"recoveries": f.recoveries, "attempts cut off": f.again, "invocations cut off": f.invocations,
		"acknowledged callbacks": f.callbacks, "acknowledged cancels and stops": f.steers, "kills in a recovery": f.kills["opening"]}
}
