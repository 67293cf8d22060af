package soak

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

// checkOwners is about who wrote what the store holds: somebody who owned the execution
// then, and what an owner hands over stands once or nowhere.
func (w *World) checkOwners(lines []line, journals map[string]*journal, doubtful []bool) {
	type copyOf struct {
		recordOf
		sum uint64
	}
	type grant struct{ epoch, tail uint64 }
	writers := make(map[copyOf][]uint64) // epochs
	grants := make(map[string][]grant)
	for i, l := range lines {
		switch l.Kind {
		case handed:
			for k, sum := range l.Records {
				c := copyOf{recordOf{l.Execution, l.Seq + uint64(k)}, sum}
				writers[c] = append(writers[c], l.Epoch)
			}
		case claimed:
			if doubtful[i] {
				break // and may be made again under the same epoch
			}
			grants[l.Execution] = append(grants[l.Execution], grant{l.Epoch, l.Seq})
		}
	}
	for id, j := range journals {
		for i := 1; i < len(j.records); i++ {
			r := &j.records[i]
			epochs := writers[copyOf{recordOf{id, r.Seq}, checksum(r)}]
			if len(epochs) == 0 {
				if !w.byStore(j, i) {
					w.violate(ruleOwner, "%s: record %d, %d of operation %q, was written by nobody", id, r.Seq, r.Type, r.OperationID)
				}
				continue
			}
			w.Figures.owned++
			var least uint64 // its writer's epoch
			for _, g := range grants[id] {
				if r.Seq > g.tail {
					least = max(least, g.epoch)
				}
			}
			if slices.Max(epochs) < least {
				w.violate(ruleOwner, "%s: record %d was written under epoch %d, and epoch %d had begun", id, r.Seq, slices.Max(epochs), least)
			}
		}
	}
}

// byStore reports whether a record is one that the store writes itself: the end from
// outside, and the end of an invocation before it.
func (w *World) byStore(j *journal, i int) bool {
	outside := func(t checkpoint.EventType) bool {
		return t == checkpoint.ExecutionStopped || t == checkpoint.ExecutionTimedOut
	}
	r := &j.records[i]
	return outside(r.Type) || r.Type == checkpoint.InvocationCompleted && i+1 < len(j.records) && outside(j.records[i+1].Type)
}

// takeover is how long others waited for what a process owned to which something
// happened.
type takeover struct {
	times []time.Duration // the last one of each fault
	n     int             // executions
}

// checkFaults is about what others did when something happened to a process.
func (w *World) checkFaults(lines []line) {
	type wound struct {
		kind  string
		at    int64
		last  int64 // takeover
		heals int64
	}
	wounds := make(map[int][]*wound) // by life
	var all []*wound
	owners := make(map[string]line) // who claimed an execution last
	builds := make(map[string]bool)
	w.Figures.held = make(map[string]int)
	for _, l := range lines {
		switch l.Kind {
		case fault:
			h := &wound{kind: l.Name, at: l.At}
			wounds[l.Life] = append(wounds[l.Life], h)
			all = append(all, h)
		case mended:
			h := wounds[l.Life][len(wounds[l.Life])-1]
			h.heals = l.At
		case held:
			if key := l.Name + " " + l.Execution; !builds[key] {
				builds[key] = true
				w.Figures.held[l.Name]++
			}
		case recorded:
			if l.Left && owners[l.Execution].Epoch == l.Epoch {
				delete(owners, l.Execution) // an owner after that may have heard nothing of it
			}
		case claimed:
			from, ok := owners[l.Execution]
			owners[l.Execution] = l
			if !ok || !l.Lost || from.Life == l.Life {
				continue
			}
			for _, h := range wounds[from.Life] {
				// While it lasts: afterwards the process may have given up by itself.
				if from.At < h.at && h.at < l.At && (h.heals == 0 || l.At < h.heals) {
					h.last = max(h.last, l.At)
					w.taken(h.kind).n++
				}
			}
		}
	}
	for _, h := range all {
		if h.last == 0 {
			continue
		}
		took := time.Duration(h.last - h.at)
		t := w.taken(h.kind)
		t.times = append(t.times, took)
		limit := w.fleet.Lease * 3 / 2
		if len(w.fleet.Harms) > 0 {
			limit += w.fleet.Lease // others may not have their connections back yet
		}
		if took > limit {
			w.violate(ruleTakeover, "%s: after %s, the lease is %s", h.kind, took, w.fleet.Lease)
		}
	}
}

func (w *World) taken(kind string) *takeover {
	t := w.Figures.takeovers[kind]
	if t == nil {
		t = new(takeover)
		w.Figures.takeovers[kind] = t
	}
	return t
}

// Fleet is what a round on a fleet comes to.
func (f Figures) Fleet() string {
	list := func(m map[string]int) string {
		var parts []string
		for what, n := range m {
			parts = append(parts, fmt.Sprintf("%d %s", n, what))
		}
		slices.Sort(parts)
		return strings.Join(parts, ", ")
	}
	return fmt.Sprintf("faults: %s; %d executions; %d effects; %d attempts and %d invocations cut off; records compared: %d acknowledged, %d written; acknowledged: %d starts, %d callbacks, %d cancels and stops; %d results; %d requests made again; gone with a failover: %d executions, %d records; held: %s; %d bodies late, %d shutdowns that could not write all",
		list(f.faults), f.executions, f.effects, f.again, f.invocations, f.records, f.owned, f.starts, f.callbacks, f.steers, f.results, f.unanswered, f.gone, f.goneRecords, list(f.held), f.late, f.ended)
}

// AddFleet adds the figures of another round on a fleet.
func (f *Figures) AddFleet(g Figures) {
	for into, from := range map[*map[string]int]map[string]int{&f.faults: g.faults, &f.held: g.held} {
		if *into == nil {
			*into = make(map[string]int)
		}
		for what, n := range from {
			(*into)[what] += n
		}
	}
	if f.takeovers == nil {
		f.takeovers = make(map[string]*takeover)
	}
	for kind, t := range g.takeovers {
		if f.takeovers[kind] == nil {
			f.takeovers[kind] = new(takeover)
		}
		f.takeovers[kind].n += t.n
		f.takeovers[kind].times = append(f.takeovers[kind].times, t.times...)
	}
	if f.pauses == nil {
		f.pauses = make(map[string][]time.Duration)
	}
	for kind, times := range g.pauses {
		f.pauses[kind] = append(f.pauses[kind], times...)
	}
	f.Add(g)
	f.owned += g.owned
	f.unanswered += g.unanswered
	f.late += g.late
	f.gone += g.gone
	f.goneRecords += g.goneRecords
}

// Takeovers tells how long they took, of all that a process owned.
func (f Figures) Takeovers() string {
	var parts []string
	for kind, t := range f.takeovers {
		if len(t.times) > 0 {
			slices.Sort(t.times)
			round := func(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }
			parts = append(parts, fmt.Sprintf("%s: %d executions, the last of each fault after %s to %s", kind, t.n, round(t.times[0]), round(t.times[len(t.times)-1])))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, "; ")
}

// Held tells how many executions a build could not go on with.
func (f Figures) Held(build string) int { return f.held[build] }
