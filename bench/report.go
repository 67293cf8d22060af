package main

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// A report is what the JSON file holds; the table and the chart show it.
type report struct {
	Machine  machine          `json:"machine"`
	At       time.Time        `json:"at"`
	Short    bool             `json:"short,omitempty"`
	Rounds   int              `json:"rounds"`
	Stopped  bool             `json:"stopped,omitempty"` // before the last round's end
	Systems  []about          `json:"systems"`
	Floor    []floorLine      `json:"floor"`
	Lines    []*line          `json:"lines"`
	cells    map[string]*cell // by workload and system
	floorErr string
}

// about one system.
type about struct {
	Name       string `json:"name"`
	Kind       kind   `json:"kind"`
	About      string `json:"about"`
	Durability string `json:"durability"`
	Server     bool   `json:"server,omitempty"` // its store is on the server
}

type floorLine struct {
	Title  string   `json:"title"`
	Median figure   `json:"median"`
	Rounds []figure `json:"rounds"`
	metric metric
}

// A line is one metric of all systems.
type line struct {
	Key      string   `json:"key"`
	Title    string   `json:"title"`
	Workload string   `json:"workload"`
	Unit     unit     `json:"unit"`
	Size     int      `json:"size"`
	Values   []*value `json:"values"`
	metric   metric
}

// A value is one system's median over the rounds.
type value struct {
	System string   `json:"system"`
	Median figure   `json:"median,omitzero"`
	Rounds []figure `json:"rounds,omitempty"`
	Size   int      `json:"size,omitempty"`
	Note   string   `json:"note,omitempty"` // why there is no figure, or why the size is another
	// Ratios: how many times the floor's; how many times better than the best
	// peer that did the same (below 1: worse). 0: none.
	ToFloor float64 `json:"toFloor,omitempty"`
	ToPeer  float64 `json:"toPeer,omitempty"`
	kind    kind
	server  bool
}

// A cell is one workload of one system.
type cell struct {
	Size   int
	Note   string
	Rounds []figures
	about  *about
}

func newReport(p plan, folder string, ss []system, ws []workload) *report {
	r := &report{Machine: thisMachine(folder), At: time.Now().UTC(), Short: p.short, Rounds: p.rounds, cells: make(map[string]*cell)}
	for _, s := range ss {
		_, server := s.(tabular)
		r.Systems = append(r.Systems, about{Name: s.name(), Kind: s.kind(), About: s.about(), Server: server})
	}
	for _, f := range floors {
		r.Floor = append(r.Floor, floorLine{Title: f.title, metric: f})
	}
	if p.postgres != "" {
		r.Floor = append(r.Floor, floorLine{Title: serverFloor.title, metric: serverFloor})
	}
	for _, w := range ws {
		size := p.sized(w.size, w.small)
		for i, s := range ss {
			l := s.limit(w.name)
			if w.tabular && !r.Systems[i].Server {
				l = cannot("it is not on a server")
			}
			c := &cell{Size: size, about: &r.Systems[i]}
			if l.size < 0 || (l.size > 0 && l.size < size) {
				c.Size, c.Note = l.size, l.why
			}
			r.cells[w.name+"/"+s.name()] = c
		}
		for _, m := range w.metrics {
			r.Lines = append(r.Lines, &line{Key: m.key, Title: strings.ReplaceAll(m.title, "{n}", thousands(float64(size))), Workload: w.name, Unit: m.unit, Size: size, metric: m})
		}
	}
	return r
}

func (r *report) cell(w workload, s system) *cell { return r.cells[w.name+"/"+s.name()] }

// add notes what a round found. An error is told in the table.
func (c *cell) add(found reply) {
	if found.Error != "" {
		c.Note = found.Error
		return
	}
	c.Rounds = append(c.Rounds, found.Figures)
	c.about.Durability = cmp.Or(found.Durability, c.about.Durability)
}

func (r *report) addFloor(found reply) {
	r.floorErr = cmp.Or(r.floorErr, found.Error)
	for i := range r.Floor {
		if f, ok := found.Figures[r.Floor[i].metric.key]; ok {
			r.Floor[i].Rounds = append(r.Floor[i].Rounds, f)
		}
	}
}

// sum makes the medians and the ratios.
func (r *report) sum() {
	for i := range r.Floor {
		r.Floor[i].Median = medians(r.Floor[i].Rounds)
	}
	for _, l := range r.Lines {
		for _, s := range r.Systems {
			c := r.cells[l.Workload+"/"+s.Name]
			v := &value{System: s.Name, Size: c.Size, Note: c.Note, kind: s.Kind, server: s.Server}
			for _, f := range c.Rounds {
				v.Rounds = append(v.Rounds, f[l.Key])
			}
			v.Median = medians(v.Rounds)
			l.Values = append(l.Values, v)
		}
		l.compare(r.Floor[0].Median.P50, l.Values)
		if last := r.Floor[len(r.Floor)-1]; last.metric.key == serverFloor.key {
			l.compare(last.Median.P50, slices.DeleteFunc(slices.Clone(l.Values), func(v *value) bool { return !v.server }))
		}
	}
}

// compare sets the ratios of systems among themselves.
func (l *line) compare(floor float64, values []*value) {
	best, free := 0.0, false
	for _, v := range values {
		free = free || v.kind == peer && len(v.Rounds) > 0 && v.Median.P50 <= 0 // nothing is as good as that
		if v.kind == peer && v.Median.P50 > 0 && (v.Size == l.Size || l.metric.each) && (best == 0 || l.Unit.better(v.Median.P50, best)) {
			best = v.Median.P50
		}
	}
	for _, v := range values {
		v.ToFloor, v.ToPeer = 0, 0
		if v.Median.P50 <= 0 {
			continue
		}
		if floor > 0 && l.metric.flushes {
			v.ToFloor = v.Median.P50 / floor
			if l.Unit == perSecond {
				v.ToFloor = v.Median.P50 * floor / float64(time.Second)
			}
		}
		if best > 0 && !free && (v.Size == l.Size || l.metric.each) {
			v.ToPeer = best / v.Median.P50
			if l.Unit == perSecond {
				v.ToPeer = v.Median.P50 / best
			}
		}
	}
}

// failed lists what went wrong: an error, not a workload that a system is not
// given.
func (r *report) failed() (list []string) {
	if r.floorErr != "" {
		list = append(list, "floor: "+r.floorErr)
	}
	for _, l := range r.Lines {
		for _, v := range l.Values {
			overTime := v.kind == peer && strings.HasPrefix(v.Note, "signal: killed")
			if v.Size >= 0 && len(v.Rounds) < r.Rounds && !overTime {
				list = append(list, l.Key+": "+v.System+": "+v.Note)
			}
		}
	}
	return list
}
