// Package cases runs tests that are written as text, in pages that can be read as
// documentation.
//
// A page is a file testdata/*.txt. It begins with a line or more of prose, and has cases, each
// of which begins with a line "case ..." and is a test of its own. In a case a line is said to
// the test; what is indented below it is what the test answers. Lines that begin with # are
// prose.
//
// With the flag -update the answers are written into the pages as they are. Look at the
// difference: it is what has changed.
package cases

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the answers into testdata/*.txt as they are")

const (
	word   = "case "
	indent = "    "
)

// Say is called with the lines of a case, one after another. It returns the line as it is to
// be written, and what the answer is.
type Say func(line string) (as string, answer []string, err error)

// Run runs the pages of a package. begin is called at the beginning of each case, with the
// whole page.
func Run(t *testing.T, begin func(t *testing.T, page string) Say) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no pages in testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			run(t, file, begin)
		})
	}
}

func run(t *testing.T, file string, begin func(t *testing.T, page string) Say) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	page := strings.ReplaceAll(string(data), "\r\n", "\n")
	head, rest, _ := strings.Cut(page, "\n"+word)
	anew := head + "\n"
	for text := range strings.SplitSeq(strings.TrimSuffix(rest, "\n"), "\n"+word) {
		text = word + text
		title, _, _ := strings.Cut(text, "\n")
		t.Run(strings.TrimPrefix(title, word), func(t *testing.T) {
			is := played(t, text, begin(t, page))
			anew += is
			if is != text+"\n" && !*update {
				t.Errorf("it is, with -update:\n%s\nit is to be:\n%s", is, text)
			}
		})
	}
	if *update && !t.Failed() {
		if err := os.WriteFile(file, []byte(anew), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// played is the text of a case with the answers as they are.
func played(t *testing.T, text string, say Say) string {
	var out strings.Builder
	for i, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, indent):
			continue
		case i == 0, line == "", strings.HasPrefix(line, "#"):
			fmt.Fprintln(&out, line)
			continue
		}
		as, answer, err := say(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		fmt.Fprintln(&out, as)
		for _, line := range answer {
			fmt.Fprintln(&out, indent+line)
		}
	}
	return out.String()
}
