package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Control sequences of terminals.
const (
	eraseBelow = "\x1b[J"
	wrapOff    = "\x1b[?7l"
	wrapOn     = "\x1b[?7h"
	plainText  = "\x1b[0m"
	dim        = "\x1b[2m"
	red        = "\x1b[31m"
	green      = "\x1b[32m"
	yellow     = "\x1b[33m"
	cyan       = "\x1b[36m"
)

// erased are the control sequences that remove the table.
func (d *display) erased() string {
	if d.painted == 0 {
		return ""
	}
	return fmt.Sprintf("\r\x1b[%dA%s", d.painted, eraseBelow)
}

// paint replaces the table, in one write, so that it does not flicker. Rows that
// are too long for the terminal are cut off by it: a wrapped one would be two.
func (d *display) paint(rows []row, now time.Time) {
	var b strings.Builder
	b.WriteString(d.erased() + wrapOff)
	for _, r := range rows {
		b.WriteString(d.line(r, now) + "\n")
	}
	b.WriteString(wrapOn)
	io.WriteString(d.out, b.String())
	d.painted = len(rows)
}

var marks = [...]struct{ mark, color string }{
	statePending: {"·", dim},
	stateRunning: {"●", cyan},
	stateWaiting: {"◌", yellow},
	stateDone:    {"✓", green},
	stateFailed:  {"✗", red},
}

// line is a row of the table.
func (d *display) line(r row, now time.Time) string {
	took := ""
	if r.state != statePending {
		took = short(r.took)
	}
	name := fmt.Sprintf("%-*s", nameWidth, r.name)
	if r.state == statePending || r.replayed {
		name = d.paintIn(dim, name)
	}
	m := marks[r.state]
	return strings.TrimRight(fmt.Sprintf(" %s %d  %s %9s  %s", d.paintIn(m.color, m.mark), r.number, name, took, d.paintIn(dim, r.text(now))), " ")
}

func (d *display) paintIn(color, text string) string {
	if !d.color || text == "" {
		return text
	}
	return color + text + plainText
}
