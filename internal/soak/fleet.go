package soak

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/pause"
)

// Fleet is some processes that share a store, and what can be done to them.
type Fleet struct {
	Workers int
	Lease   time.Duration
	Builds  [2]string // the programs of the processes: before a change, and after it

	Store     func(worker int) string // Orders.Store
	Open      func() (checkpoint.Store, error)
	Cut, Heal func(worker int) // from the network
	Drop      func(worker int) // the answer that comes next
	Terminate func() error     // all connections
	Restart   func() error     // of the server, at once

	Start func(worker int, cmd *exec.Cmd) error // a process; nil: here
	Harms []Harm                                // more kinds of faults
}

// Harm is a kind of fault.
type Harm struct {
	Name string
	Do   func(*Case) error // makes one and undoes it
}

// Case is one fault, as it is chosen.
type Case struct {
	Place int // of a process
	*rand.Rand
	w *World
}

// Leases is between so many leases.
func (c *Case) Leases(low, high float64) time.Duration {
	return time.Duration((low + (high-low)*c.Float64()) * float64(c.w.fleet.Lease))
}

// InDoubt has what is acknowledged while do runs be such that it may be lost.
func (c *Case) InDoubt(do func() error) error { return c.w.inDoubt(do) }

// Behind has answers that something does not exist be asked for again while do runs.
func (c *Case) Behind(do func() error) error { return c.w.whileBehind(do) }

// Jump says that the store's clock is set.
func (c *Case) Jump() { c.w.jump() }

// The kinds of faults.
const (
	faultKill      = "kill -9"
	faultStop      = "SIGSTOP past the lease"
	faultCut       = "cut off"
	faultDrop      = "answers dropped"
	faultTerminate = "connections terminated"
	faultRestart   = "server stopped at once"
	faultRoll      = "rolling restart"
)

// Faults are all kinds.
var Faults = []string{faultKill, faultStop, faultCut, faultDrop, faultTerminate, faultRestart, faultRoll}

// BuildNames are those of Fleet.Builds, as Options.Build has them.
var BuildNames = [2]string{"before", "after"}

// Fleet is a round on a fleet: Kills faults, one after the other, each kind once before
// any comes again, and then a time in which all has to end.
func (c Config) Fleet(dir string, f *Fleet) (*World, error) {
	w, err := c.world(dir)
	if err != nil {
		return nil, err
	}
	defer w.witness.f.Close()
	w.fleet, w.lives = f, make([]*life, f.Workers)
	defer func() {
		for _, l := range w.lives {
			if l != nil {
				pause.GoOn(l.cmd.Process)
				l.kill()
				<-l.gone
			}
		}
	}()
	for place := range w.lives {
		if err := w.launch(dir, place, 0); err != nil {
			return nil, err
		}
	}
	var deck []string
	for n := range c.Kills {
		rng := w.random("fault", n)
		if len(deck) == 0 {
			if deck = slices.Clone(w.Faults); len(deck) == 0 {
				deck = slices.Clone(Faults)
				for _, h := range f.Harms {
					deck = append(deck, h.Name)
				}
			}
			rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		time.Sleep(time.Duration(200+rng.IntN(400)) * time.Millisecond)
		kind := deck[0]
		deck = deck[1:]
		w.witness.say(line{Kind: begun, Name: kind})
		if err := w.inject(dir, kind, rng); err != nil {
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		w.witness.say(line{Kind: undone, Name: kind})
		w.Figures.faults[kind]++
	}
	w.mu.Lock()
	w.ending = true
	w.mu.Unlock()
	// Both builds are needed: what one began the other may not be able to end.
	for place := range w.lives {
		if build := min(place, 1); w.lives[place].build != build {
			if err := w.replace(dir, place, build); err != nil {
				return nil, err
			}
		}
	}
	w.mu.Lock()
	for _, l := range w.lives {
		l.goOn()
	}
	w.mu.Unlock()
	select {
	case <-w.ended:
		for _, l := range w.lives {
			l.shut()
		}
	case <-time.After(c.Patience):
		w.mu.Lock()
		for _, x := range w.running() {
			w.violate(ruleEnds, "%s: nothing was heard of its end in %s", x.id, w.Patience)
		}
		w.mu.Unlock()
		for _, l := range w.lives {
			l.kill()
			<-l.gone
		}
	}
	store, err := f.Open()
	if err != nil {
		return nil, err
	}
	return w, w.check(dir, store)
}

// launch starts a process at a place.
func (w *World) launch(dir string, place, build int) error {
	w.mu.Lock()
	n := w.born
	w.born++
	w.mu.Unlock()
	l := &life{World: w, n: n, build: build, requests: make(map[int]request), cmd: exec.Command(w.fleet.Builds[build])}
	if start := w.fleet.Start; start != nil {
		l.start = func(cmd *exec.Cmd) error { return start(place, cmd) }
	}
	o := Orders{Dir: dir, Life: n, Plant: w.Plant, Parked: time.Duration(1+n%4*30) * time.Millisecond, Build: BuildNames[build], Store: w.fleet.Store(place)}
	err := l.run(o, func(err error, said string) {
		switch {
		case err == nil && l.asked:
			w.shutDown[n] = true
		case l.wasKilled() && said == "":
		case l.asked && l.cmd.ProcessState.String() == "signal: interrupt": // before it had begun
		case l.asked && l.cmd.ProcessState.Exited(): // it could not write what it did last, and said so
			w.Figures.ended++
		default:
			w.violate(ruleProcess, "life %d: %v\n%s", n, err, said)
		}
		for _, r := range l.requests {
			l.again(r)
		}
	})
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.lives[place] = l
	w.mu.Unlock()
	return nil
}

// shut asks a process to shut down, and waits.
func (l *life) shut() {
	l.mu.Lock()
	l.asked = true
	l.mu.Unlock()
	l.interrupt()
	select {
	case <-l.gone:
	case <-time.After(20 * time.Second):
		l.kill()
		<-l.gone
	}
}

// replace shuts a process down and starts another one in its place.
func (w *World) replace(dir string, place, build int) error {
	w.lives[place].shut()
	return w.launch(dir, place, build)
}

// anyReady is a process that can be asked, or nil.
func (w *World) anyReady() *life {
	var ready []*life
	for _, l := range w.lives {
		if l != nil && l.ready {
			ready = append(ready, l)
		}
	}
	if len(ready) == 0 {
		return nil
	}
	return ready[rand.IntN(len(ready))]
}

// inject makes one fault and undoes it.
func (w *World) inject(dir, kind string, rng *rand.Rand) error {
	f := w.fleet
	place := rng.IntN(len(w.lives))
	l := w.lives[place]
	select {
	case <-l.gone: // by itself, which is noted
		return w.launch(dir, place, l.build)
	default:
	}
	tell := func(what string) { (&witness{w.witness.f, l.n}).say(line{Kind: what, Name: kind}) }
	c := &Case{Place: place, Rand: rng, w: w}
	leases := c.Leases
	if rng.IntN(3) == 0 && kind != faultDrop { // with a loss of answers on the way
		f.Drop(rng.IntN(len(w.lives)))
	}
	switch kind {
	case faultKill:
		tell(fault)
		l.kill()
		<-l.gone
		time.Sleep(leases(1.2, 1.6))
		return w.launch(dir, place, l.build)
	case faultStop:
		tell(fault)
		if err := pause.Stop(l.cmd.Process); err != nil {
			return err
		}
		time.Sleep(leases(1.55, 1.9))
		tell(mended)
		return pause.GoOn(l.cmd.Process)
	case faultCut:
		tell(fault)
		f.Cut(place)
		time.Sleep(leases(0.3, 1.6))
		f.Heal(place)
		tell(mended)
	case faultDrop:
		for range 20 {
			f.Drop(rng.IntN(len(w.lives)))
			time.Sleep(time.Duration(rng.IntN(50)) * time.Millisecond)
		}
	case faultTerminate:
		for range 3 {
			if err := f.Terminate(); err != nil {
				return err
			}
			time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
		}
	case faultRestart:
		return f.Restart()
	case faultRoll:
		build := rng.IntN(2)
		for place := range w.lives {
			if err := w.replace(dir, place, build); err != nil {
				return err
			}
			time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
			build = 1 - build
		}
	default:
		for _, h := range f.Harms {
			if h.Name == kind {
				return h.Do(c)
			}
		}
		return os.ErrInvalid
	}
	return nil
}
