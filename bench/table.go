package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// write prints the report: a Markdown document that can also be read in a
// terminal.
func (r *report) write(w io.Writer) {
	m := r.Machine
	fmt.Fprintf(w, "%s, %d cores, %s of memory; %s on %s; %s %s/%s; load average before %s\n", m.CPU, m.Cores, m.Memory, m.Filesystem, m.Device, m.Go, m.OS, m.Arch, m.Load)
	fmt.Fprintf(w, "rounds: %d, medians of them; p50 / p99 in a round", r.Rounds)
	if r.Stopped {
		fmt.Fprint(w, "; stopped early")
	}
	if r.Short {
		fmt.Fprint(w, "; -short: sizes are small, and the figures say nothing")
	}
	fmt.Fprint(w, "\n\n")

	floor := table{head: []string{"the floor", "p50", "p99", "a second"}}
	for _, f := range r.Floor {
		perSec := ""
		if f.Median.P50 > 0 {
			perSec = thousands(1e9 / f.Median.P50)
		}
		floor.rows = append(floor.rows, []string{f.Title, cellText(nanoseconds, f.Median.P50), cellText(nanoseconds, f.Median.P99), perSec})
	}
	floor.write(w)

	t := table{head: []string{""}}
	for _, s := range r.Systems {
		t.head = append(t.head, s.Name)
	}
	compared := r.ours()
	for i, s := range compared {
		if i == 0 {
			t.head = append(t.head, "÷ floor", "best peer")
		} else {
			t.head = append(t.head, s+" ÷ floor", "best peer")
		}
	}
	var notes []string
	for _, l := range r.Lines {
		row := []string{l.Title}
		for _, v := range l.Values {
			row = append(row, v.text(l, &notes))
		}
		for _, s := range compared {
			row = append(row, l.ratio(s, func(v *value) float64 { return v.ToFloor }), l.ratio(s, func(v *value) float64 { return v.ToPeer }))
		}
		t.rows = append(t.rows, row)
	}
	t.write(w)
	for _, s := range r.Systems {
		if s.Kind == ours {
			s.explain(w)
		}
	}
	for i, n := range notes {
		fmt.Fprintf(w, "[%d] %s\n", i+1, n)
	}
	fmt.Fprintln(w)
	for _, s := range r.Systems {
		fmt.Fprintf(w, "%s: %s.\n", s.Name, s.About)
		if s.Durability != "" {
			fmt.Fprintf(w, "  Flushes: %s.\n", s.Durability)
		}
	}
}

func (s about) explain(w io.Writer) {
	line, peers := "first line", ""
	if s.Server {
		line, peers = "last line", " on Postgres"
	}
	fmt.Fprintf(w, "÷ floor: %s against the floor's %s (a time: how many times as long; a rate: how many times as often).\n", s.Name, line)
	fmt.Fprintf(w, "best peer: how many times better %s is than the best peer%s that did the same.\n\n", s.Name, peers)
}

// ours are the systems that the ratios are of.
func (r *report) ours() (names []string) {
	for _, s := range r.Systems {
		if s.Kind == ours {
			names = append(names, s.Name)
		}
	}
	return names
}

func (l *line) ratio(system string, of func(*value) float64) string {
	for _, v := range l.Values {
		if v.System != system {
			continue
		}
		if f := of(v); f > 0 {
			return digits(f) + "×"
		}
		return ""
	}
	return ""
}

// text is a value in the table. What there is to say about it is a note.
func (v *value) text(l *line, notes *[]string) string {
	s := "–"
	if len(v.Rounds) > 0 {
		s = l.Unit.format(v.Median.P50)
		if v.Median.P50 == 0 {
			s = "0"
		}
		if v.Median.P99 > 0 {
			s += " / " + l.Unit.format(v.Median.P99)
		}
	}
	note := v.Note
	if v.Size > 0 && v.Size != l.Size {
		note = fmt.Sprintf("%s instead of %s: %s", thousands(float64(v.Size)), thousands(float64(l.Size)), v.Note)
	}
	if note == "" {
		return s
	}
	for i, n := range *notes {
		if n == note {
			return fmt.Sprintf("%s [%d]", s, i+1)
		}
	}
	*notes = append(*notes, note)
	return fmt.Sprintf("%s [%d]", s, len(*notes))
}

func cellText(u unit, f float64) string {
	if f <= 0 {
		return ""
	}
	return u.format(f)
}

// A table is written in Markdown with columns of equal width.
type table struct {
	head []string
	rows [][]string
}

func (t table) write(w io.Writer) {
	widths := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, s := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(s))
		}
	}
	line := func(row []string) {
		for i, s := range row {
			gap := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(s))
			if i == 0 {
				fmt.Fprint(w, "| ", s, gap)
			} else {
				fmt.Fprint(w, " | ", gap, s)
			}
		}
		fmt.Fprintln(w, " |")
	}
	line(t.head)
	rule := make([]string, len(t.head))
	for i := range rule {
		rule[i] = strings.Repeat("-", widths[i])
		if i > 0 {
			rule[i] = strings.Repeat("-", max(1, widths[i]-1)) + ":"
		}
	}
	line(rule)
	for _, row := range t.rows {
		line(row)
	}
	fmt.Fprintln(w)
}
