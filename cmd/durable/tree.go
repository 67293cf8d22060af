package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/durable-go/durable"
)

// tree draws an execution and its operations.
type tree struct {
	paint paint
	all   bool // everything: also items of large batches that succeeded, and large payloads
	width int  // of the terminal; 0: any
}

// shownItems is how many finished children of one operation are drawn.
const shownItems = 12

// lines is the drawing.
func (t *tree) lines(x *execution, ops []durable.Operation) []string {
	now := time.Now()
	lines := t.head(x, now)
	ended := x.Status != durable.ExecutionRunning
	below := make(map[string][]*durable.Operation)
	for i := range ops {
		below[ops[i].ParentID] = append(below[ops[i].ParentID], &ops[i])
	}
	var rows []row
	var draw func(parent string, depth int)
	draw = func(parent string, depth int) {
		drawn, passed := 0, 0
		for _, o := range below[parent] {
			if o.Status == durable.OperationSucceeded && parent != "" && !t.all {
				if drawn++; drawn > shownItems {
					passed++
					continue
				}
			}
			rows = append(rows, operationRow(o, depth, now, ended))
			draw(o.ID, depth+1)
		}
		if passed > 0 {
			rows = append(rows, row{name: fmt.Sprintf("%s… %d more succeeded (--all shows them)", strings.Repeat("  ", depth), passed)})
		}
	}
	draw("", 0)
	if len(rows) > 0 {
		lines = append(lines, "")
	}
	return append(lines, t.columns(rows)...)
}

// head says what the execution is.
func (t *tree) head(x *execution, now time.Time) []string {
	p := t.paint
	first := p.as(bold, x.ID) + "  " + printable(x.Function) + "  " + p.status(statusOf(&x.ExecutionInfo))
	if x.Status == durable.ExecutionRunning {
		first += "  started " + stamp(x.StartedAt) + ", " + duration(now.Sub(x.StartedAt)) + " ago"
	} else {
		first += "  started " + stamp(x.StartedAt) + ", took " + duration(x.EndedAt.Sub(x.StartedAt))
	}
	lines := []string{t.cut(first)}
	field := func(name, text string) {
		if text != "" {
			lines = append(lines, t.cut(p.as(dim, fmt.Sprintf("%-9s", name))+" "+printable(text)))
		}
	}
	field("parent", x.Parent)
	if x.Status == durable.ExecutionRunning {
		field("deadline", stamp(x.Deadline))
		if !x.Resident && x.Held == nil {
			field("waits", waits(x.WakeAt, now))
		}
	}
	if x.Held != nil {
		field("held", x.Held.Message)
	}
	if !x.StalledSince.IsZero() {
		why := "its code has been busy or blocked outside of operations since "
		if x.Status != durable.ExecutionRunning {
			why = "it has ended, but its code goes on since "
		}
		field("stalled", why+stamp(x.StalledSince))
	}
	field("input", t.payload(x.Input))
	field("result", t.payload(x.Result))
	if x.Failure != nil {
		field("failure", failed(x.Failure))
	}
	if x.Unreadable {
		field("payloads", unreadable)
	}
	return lines
}

// shownPayload is how much of an input or a result is drawn, in runes.
const shownPayload = 240

// payload is the beginning of a payload.
func (t *tree) payload(data []byte) string {
	text := []rune(string(data))
	if len(text) <= shownPayload || t.all {
		return string(text)
	}
	return fmt.Sprintf("%s… (%d bytes, --all or -o json shows them)", string(text[:shownPayload]), len(data))
}

// row is an operation on one line.
type row struct{ id, name, status, took, note string }

// operationRow is the row of an operation, of an execution that has ended or not.
func operationRow(o *durable.Operation, depth int, now time.Time, ended bool) row {
	r := row{id: printable(o.ID), status: printable(string(o.Status))}
	r.name = strings.Repeat("  ", depth) + cmpOr(printable(o.Name), "("+kindOf(o)+")")
	if o.Name != "" && o.SubType != "Step" {
		r.name += " (" + kindOf(o) + ")"
	}
	switch {
	case !o.EndedAt.IsZero():
		r.took = duration(o.EndedAt.Sub(o.StartedAt))
	case !o.StartedAt.IsZero() && !ended:
		r.took = duration(now.Sub(o.StartedAt)) + " …"
	}
	if o.Attempt > 1 {
		r.note = fmt.Sprintf("attempt %d  ", o.Attempt)
	}
	switch {
	case o.EndedAt.IsZero() && ended:
		r.note += "has no outcome"
	case o.EndedAt.IsZero() && !o.WakeAt.IsZero():
		r.note += until(o.WakeAt, now)
	case o.EndedAt.IsZero() && o.Type == "CALLBACK":
		r.note += "waits for its outcome from outside"
	}
	if o.Failure != nil {
		r.note += failed(o.Failure)
	}
	return r
}

// waits says what an execution waits for that is to wake at t; one that has something to
// do, like one that was cancelled while no program had it open, was to wake when that came.
func waits(t, now time.Time) string {
	switch {
	case t.IsZero():
		return "for something from outside"
	case t.After(now):
		return until(t, now)
	}
	return "for a program to run it, since " + stamp(t)
}

// until says when t is, and how long that is from now; the day only if it is far off.
func until(t, now time.Time) string {
	d := t.Sub(now)
	switch {
	case d <= 0:
		return "due since " + stamp(t)
	case d < 20*time.Hour:
		return "until " + t.Local().Format("15:04:05") + " (in " + duration(d) + ")"
	}
	return "until " + stamp(t) + " (in " + duration(d) + ")"
}

// kindOf is the sub-type of an operation, or its type, printable.
func kindOf(o *durable.Operation) string { return printable(cmpOr(o.SubType, o.Type)) }

// columns lines rows up.
func (t *tree) columns(rows []row) []string {
	idWidth, nameWidth, statusWidth, tookWidth := 0, 0, 0, 0
	for _, r := range rows {
		if r.id == "" {
			continue
		}
		idWidth = max(idWidth, len(r.id))
		nameWidth = max(nameWidth, utf8.RuneCountInString(r.name))
		statusWidth = max(statusWidth, len(r.status))
		tookWidth = max(tookWidth, utf8.RuneCountInString(r.took))
	}
	lines := make([]string, len(rows))
	for i, r := range rows {
		pad := func(s string, width int) string { return strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s))) }
		line := t.paint.as(dim, r.id) + pad(r.id, idWidth) + "  " + r.name
		if r.status != "" {
			line += pad(r.name, nameWidth) + "  " + t.paint.status(r.status) + pad(r.status, statusWidth) +
				"  " + pad(r.took, tookWidth) + r.took
		}
		if r.note != "" {
			line += "  " + r.note
		}
		lines[i] = t.cut(strings.TrimRight(line, " "))
	}
	return lines
}

// cut cuts a line to the terminal's width, past the codes of colours.
func (t *tree) cut(line string) string {
	if t.width <= 0 {
		return line
	}
	n, escape := 0, false
	for i, r := range line {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		default:
			if n++; n > t.width-1 {
				if t.paint {
					return line[:i] + "\x1b[0m…"
				}
				return line[:i] + "…"
			}
		}
	}
	return line
}
