package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is longer than the terminal keeps its first line, which tells the state, and its
// end; what has not changed is not drawn again.
func TestScreenDraws(t *testing.T) {
	out, err := os.Create(filepath.Join(t.TempDir(), "screen"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var lines []string
	for i := range 30 {
		lines = append(lines, fmt.Sprint("line ", i))
	}
	s := screen{out: out}
	s.draw(lines, 5)
	s.draw(lines, 5)
	got, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	want := "\x1b[H" + strings.Join([]string{"line 0", "… 26 lines", "line 27", "line 28", "line 29"}, "\x1b[K\n") + "\x1b[J"
	if string(got) != want {
		t.Errorf("drew %q, want %q", got, want)
	}
}

func TestTreeCut(t *testing.T) {
	for _, c := range []struct {
		width      int
		line, want string
	}{
		{0, "as long as it likes", "as long as it likes"},
		{5, "1234", "1234"},
		{5, "12345", "1234…"},
		{5, "äöü€ß", "äöü€…"},
	} {
		if got := (&tree{width: c.width}).cut(c.line); got != c.want {
			t.Errorf("cut(%q) to %d is %q, want %q", c.line, c.width, got, c.want)
		}
	}
	coloured := tree{width: 4, paint: true}
	if got, want := coloured.cut("\x1b[31mabcdef\x1b[0m"), "\x1b[31mabc\x1b[0m…"; got != want {
		t.Errorf("cut is %q, want %q", got, want)
	}
}
