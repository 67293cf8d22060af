package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/durable-go/durable"
	"golang.org/x/term"
)

// table writes columns that line up; the last one may be long.
func table(w io.Writer, header []string, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(header, "\t"))
	for _, r := range rows {
		for i := range r {
			r[i] = printable(r[i])
		}
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	t.Flush()
}

// printJSON prints a value for people and programs: indented, or on one line.
func (f *flags) printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if f.output != "jsonl" {
		e.SetIndent("", "  ")
	}
	return e.Encode(v)
}

// oneLine is an error as one line.
func oneLine(text string) string {
	text = strings.ReplaceAll(strings.TrimPrefix(text, "durable: "), ": durable: ", ": ")
	return printable(strings.ReplaceAll(text, "\n", "; "))
}

// printable is text from outside without what would steer a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}

// paint colours text for a terminal; without one, and with NO_COLOR, it does nothing.
type paint bool

func paintFor(w io.Writer) paint {
	return paint(os.Getenv("NO_COLOR") == "" && isTerminal(w))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	blue   = "34"
)

func (p paint) as(code, text string) string {
	if !p || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// status is a status of an execution or an operation in its colour.
func (p paint) status(s string) string {
	switch s {
	case "SUCCEEDED":
		return p.as(green, s)
	case "FAILED", "TIMED_OUT", "STOPPED", "HELD":
		return p.as(red, s)
	case "PENDING", "READY", "CANCELLED":
		return p.as(yellow, s)
	}
	return p.as(blue, s)
}

// statusOf is the status of an execution, or that it is held.
func statusOf(x *durable.ExecutionInfo) string {
	switch {
	case x.Held != nil:
		return "HELD"
	case x.Status == "":
		return "UNKNOWN"
	}
	return string(x.Status)
}

// duration is d as people say it.
func duration(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < 48*time.Hour:
		return strings.TrimSuffix(strings.TrimSuffix(d.Round(time.Second).String(), "0s"), "0m")
	}
	return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// stamp is a time as tables show it.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}
