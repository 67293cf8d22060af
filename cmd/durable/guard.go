package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"
)

// guard is what all output passes through, but copies of stores and recordings that go into
// a file: names, payloads, failures
// and errors come from outside, and a terminal obeys what it is shown. What it would obey
// is escaped as in JSON, so JSON stays the same JSON; only line ends, tabs, and the colours
// of paint on a terminal pass. Bytes that are not UTF-8 are replaced on a terminal.
type guard struct {
	out      io.Writer
	terminal bool
}

func newGuard(f *os.File) *guard { return &guard{out: f, terminal: term.IsTerminal(int(f.Fd()))} }

func (g *guard) Write(b []byte) (int, error) {
	if _, err := io.WriteString(g.out, g.safe(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// safe is text as the guard lets it through.
func (g *guard) safe(text string) string {
	return escaped(text, func(rest string) int {
		r, size := utf8.DecodeRuneInString(rest)
		switch {
		case r == '\n', r == '\t':
			return 1
		case g.terminal:
			return colour(rest)
		case r == utf8.RuneError && size == 1:
			return 1
		}
		return 0
	})
}

// colour is how long the code of paint is that text begins with.
func colour(text string) int {
	for _, code := range []string{reset, bold, dim, red, green, yellow, blue} {
		if s := sequence(code); strings.HasPrefix(text, s) {
			return len(s)
		}
	}
	return 0
}

// printable is text from outside as one line that does not steer a terminal.
func printable(text string) string { return escaped(text, func(string) int { return 0 }) }

// printableLines is printable for text of several lines.
func printableLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = printable(strings.ReplaceAll(lines[i], "\t", "    "))
	}
	return strings.Join(lines, "\n")
}

// escaped is text in which each character that can't be seen, or turns what is seen, is
// written as JSON writes it; keep says how many bytes at such a one stay as they are.
func escaped(text string, keep func(rest string) int) string {
	visible := func(r rune) bool { return unicode.IsGraphic(r) && r != utf8.RuneError }
	if strings.IndexFunc(text, func(r rune) bool { return !visible(r) }) < 0 {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		kept := 0
		if !visible(r) {
			kept = keep(text[i:])
		}
		switch {
		case kept > 0:
			size = kept
			b.WriteString(text[i : i+kept])
		case visible(r), r == utf8.RuneError:
			b.WriteRune(r)
		case strings.ContainsRune("\b\f\n\r\t", r):
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		default:
			for _, unit := range utf16.AppendRune(nil, r) {
				fmt.Fprintf(&b, `\u%04x`, unit)
			}
		}
		i += size
	}
	return b.String()
}
