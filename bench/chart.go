package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"
)

var colors = map[kind]string{ours: "#2563eb", reference: "#bfd3fb", peer: "#b8bec9"}

const (
	panelWidth  = 460
	barHeight   = 18
	nameWidth   = 150
	valueWidth  = 90
	panelHeader = 44
	margin      = 20
)

// draw writes the report as an SVG: a panel a line, a bar a system, on a
// logarithmic scale, because the figures lie a thousandfold apart. The dashed
// line is the floor.
func (r *report) draw(w io.Writer) error {
	var lines []*line
	for _, l := range r.Lines {
		if low, _ := l.span(0); low > 0 {
			lines = append(lines, l)
		}
	}
	const columns = 2
	height := panelHeader + barHeight*len(r.Systems) + margin
	rows := (len(lines) + columns - 1) / columns
	width, all := columns*panelWidth+3*margin, 60+rows*height+margin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="12">`+"\n", width, all, width, all)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, all)
	text(&b, margin, 26, "16", "#111", "start", "durable and its peers, on one machine, in one run")
	text(&b, margin, 44, "11", "#555", "start", fmt.Sprintf("%s, %d cores, %s, %s; rounds: %d, medians; bars on a logarithmic scale; dashed: the disk's floor, %s",
		r.Machine.CPU, r.Machine.Cores, r.Machine.Filesystem, r.Machine.Go, r.Rounds, cellText(nanoseconds, r.Floor[0].Median.P50)))
	for i, l := range lines {
		x, y := margin+(i%columns)*(panelWidth+margin), 60+(i/columns)*height
		l.draw(&b, x, y, r.Floor[0].Median.P50)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func (l *line) draw(b *strings.Builder, x, y int, floor float64) {
	direction := "less is better"
	if l.Unit == perSecond {
		direction = "more is better"
	}
	text(b, x, y+16, "13", "#111", "start", l.Title)
	text(b, x, y+31, "10", "#777", "start", direction)
	if !l.metric.flushes || l.Unit != nanoseconds {
		floor = 0
	}
	low, high := l.span(floor)
	scale := func(f float64) float64 {
		return barLength(f, low, high, panelWidth-nameWidth-valueWidth)
	}
	top := y + panelHeader - 6
	for i, v := range l.Values {
		at := top + i*barHeight
		text(b, x+nameWidth-6, at+13, "11", "#333", "end", v.System)
		if v.Median.P50 <= 0 {
			none := "–"
			if len(v.Rounds) > 0 {
				none = "0"
			}
			text(b, x+nameWidth, at+13, "11", "#999", "start", none)
			continue
		}
		color := colors[v.kind]
		label := l.Unit.format(v.Median.P50)
		if v.Size != l.Size {
			label += " (" + thousands(float64(v.Size)) + ")"
		}
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.1f" height="%d" rx="2" fill="%s"/>`+"\n", x+nameWidth, at+2, scale(v.Median.P50), barHeight-4, color)
		text(b, x+nameWidth+int(scale(v.Median.P50))+5, at+13, "11", "#333", "start", label)
	}
	if floor > 0 {
		fx := float64(x+nameWidth) + scale(floor)
		fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#dc2626" stroke-dasharray="3 3"/>`+"\n", fx, top, fx, top+barHeight*len(l.Values))
	}
}

// span of the values above zero, the floor included; 0, 0 if there is none.
func (l *line) span(floor float64) (low, high float64) {
	take := func(f float64) {
		if f <= 0 {
			return
		}
		if low == 0 || f < low {
			low = f
		}
		high = max(high, f)
	}
	take(floor)
	for _, v := range l.Values {
		take(v.Median.P50)
	}
	return low, high
}

// barLength lays low to high on a tenth of the room to all of it, by the
// logarithm.
func barLength(f, low, high, room float64) float64 {
	if high <= low {
		return room
	}
	return room * (0.1 + 0.9*math.Log(f/low)/math.Log(high/low))
}

func text(b *strings.Builder, x, y int, size, color, anchor, s string) {
	fmt.Fprintf(b, `<text x="%d" y="%d" font-size="%s" fill="%s" text-anchor="%s">`, x, y, size, color, anchor)
	xml.EscapeText(b, []byte(s)) // a strings.Builder takes everything
	b.WriteString("</text>\n")
}
