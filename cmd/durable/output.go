package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/durable-go/durable"
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

// jsonLine prints JSON on one line.
func jsonLine(w io.Writer, raw json.RawMessage) error {
	return (&flags{output: "jsonl"}).printJSON(w, raw)
}

// oneLine is an error as one line.
func oneLine(text string) string {
	text = strings.ReplaceAll(strings.TrimPrefix(text, "durable: "), ": durable: ", ": ")
	return printable(strings.ReplaceAll(text, "\n", "; "))
}

// paint colours text for a terminal; without one, and with NO_COLOR, it does nothing.
type paint bool

func paintFor(w io.Writer) paint {
	return paint(os.Getenv("NO_COLOR") == "" && isTerminal(w))
}

func isTerminal(w io.Writer) bool {
	g, ok := w.(*guard)
	return ok && g.terminal
}

const (
	reset  = "0"
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	blue   = "34"
)

// sequence is what turns a colour on, or all off.
func sequence(code string) string { return "\x1b[" + code + "m" }

// as is text in a colour, and printable.
func (p paint) as(code, text string) string {
	text = printable(text)
	if !p || text == "" {
		return text
	}
	return sequence(code) + text + sequence(reset)
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

// failed is a failure on one line, and printable. The messages of some repeat their type.
func failed(f *durable.Failure) string {
	message := f.Message
	if n := len(f.Type); len(message) >= n && strings.EqualFold(message[:n], f.Type) {
		if rest := message[n:]; rest == "" || strings.HasPrefix(rest, ": ") {
			message = strings.TrimPrefix(rest, ": ")
		}
	}
	if message == "" {
		return printable(f.Type)
	}
	return printable(f.Type + ": " + message)
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
