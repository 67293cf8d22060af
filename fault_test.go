package durable_test

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

// fault is what happens to a checkpoint.
type fault int

const (
	noFault     fault = iota
	faultBefore       // it is not made
	faultAfter        // it is made, and its owner does not learn it
)

// draw is random, but depends only on the seed, the variant and what it is for,
// not on the order of things.
func (p *program) draw(what ...any) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprintln(h, p.seed, p.variant.name)
	fmt.Fprintln(h, what...)
	return rand.New(rand.NewPCG(h.Sum64(), 3))
}

// late is how late something from outside comes.
func (p *program) late(what string) time.Duration {
	if !p.variant.shuffled {
		return 0
	}
	return time.Duration(p.draw("late", what).Int64N(int64(30 * time.Minute)))
}

// maxFaults bounds what happens to a program, so that it ends.
const maxFaults = 60

// strike says what happens to an append: what is drawn for the first of its
// records that nothing happened to yet. A record is known by the place of its
// execution in the program, its operation and what it says of it.
func (p *program) strike(a *checkpoint.Append) fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.variant.rate == 0 || p.ended || p.faults >= maxFaults {
		return noFault
	}
	execution := p.names[a.ID]
	for i := range a.Records {
		r := &a.Records[i]
		key := fmt.Sprint(execution, " ", r.OperationID, " ", r.Type, " ", r.Attempt)
		if r.OperationID == "" {
			p.unnamed[key]++
			key += fmt.Sprint(" ", p.unnamed[key])
		}
		if p.struck[key] {
			continue
		}
		p.struck[key] = true
		drawn := p.draw(key)
		if drawn.IntN(100) >= p.variant.rate {
			continue
		}
		p.faults++
		what := faultBefore + fault(drawn.IntN(2))
		if p.variant.crash {
			p.logf("the process dies %s %s is recorded", []string{"", "before", "after"}[what], key)
		} else {
			p.logf("an append fails %s %s is recorded", []string{"", "before", "after"}[what], key)
		}
		return what
	}
	return noFault
}

var errFault = errors.New("injected")

// tapAppends lets the strikes fall on the appends of a machine.
func (p *program) tapAppends(m *machine) {
	after := map[*checkpoint.Record]bool{} // by the first record of the append
	m.onAppend = func(a *checkpoint.Append) error {
		switch p.strike(a) {
		case faultBefore:
			p.die(m)
			return errFault
		case faultAfter:
			p.mu.Lock()
			after[&a.Records[0]] = true
			p.mu.Unlock()
		}
		return nil
	}
	m.afterAppend = func(a *checkpoint.Append, err error) error {
		if err != nil || len(a.Records) == 0 {
			return err
		}
		p.mu.Lock()
		for i := range a.Records {
			r := &a.Records[i]
			key := p.names[a.ID] + " " + r.OperationID
			if r.Name != "" {
				p.opNames[key] = r.Name
			}
			if settlesStep(r) {
				p.recorded[key] = true
				p.recorded[p.names[a.ID]+" "+p.opNames[key]] = true
			}
		}
		strikes := after[&a.Records[0]]
		p.mu.Unlock()
		if !strikes {
			return nil
		}
		p.die(m)
		return errFault
	}
	m.onCreate = func(c *checkpoint.Creation) error {
		if c.Caller != nil {
			p.mu.Lock()
			p.names[c.ID] = p.names[c.Caller.ID] + "/" + c.Caller.OperationID
			p.mu.Unlock()
		}
		return nil
	}
}

// die lets the process die, if that is what the variant's faults are: nothing
// reaches the store any more.
func (p *program) die(m *machine) {
	if !p.variant.crash {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended { // since the strike
		return
	}
	hook(m, &m.tap).dead.Store(true)
	p.dead = true
	p.stopLife()
}

// settlesStep reports whether a record is the outcome of a step.
func settlesStep(r *checkpoint.Record) bool {
	return (r.Type == checkpoint.StepSucceeded || r.Type == checkpoint.StepFailed) && r.NextAttemptDelay == 0 && r.WakeAt == 0
}
