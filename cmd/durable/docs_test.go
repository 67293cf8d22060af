package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestGuide holds docs/command-line.md, and docs/debugging.md, against the commands: each
// command line in them parses, each session is named, and the exit codes are those of help.
func TestGuide(t *testing.T) {
	read := func(name string) string {
		data, err := os.ReadFile("../../docs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	guide := read("command-line.md")
	sessions, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(sessions) == 0 {
		t.Fatal("no sessions", err)
	}
	for _, s := range sessions {
		if !strings.Contains(guide, "../cmd/durable/"+filepath.ToSlash(s)) {
			t.Errorf("the guide leaves %s out", s)
		}
	}
	codes := regexp.MustCompile(`(?m)^\| (\d+) \|`).FindAllStringSubmatch(guide, -1)
	if len(codes) != 10 {
		t.Errorf("the guide has %d exit codes", len(codes))
	}
	for _, c := range codes {
		if !regexp.MustCompile(`\b` + c[1] + ` `).MatchString(newRoot().Long) {
			t.Errorf("durable --help does not tell exit code %s", c[1])
		}
	}
	lines := regexp.MustCompile(`(?m)(?:^|\(|-n 1 )durable ((?:run|callback|store|replay|ui|completion)\b[^|>)\n#]*)`).
		FindAllStringSubmatch(guide+read("debugging.md"), -1)
	if len(lines) < 15 {
		t.Errorf("only %d command lines were found", len(lines))
	}
	for _, l := range lines {
		if err := parses(l[1]); err != nil {
			t.Errorf("%s: %v", l[0], err)
		}
	}
}

func TestGuideWithMistakes(t *testing.T) {
	for _, line := range []string{"run lst", "run list --nothing", "run retry --form 3 x", "callback succed a b"} {
		if parses(line) == nil {
			t.Errorf("%s passes", line)
		}
	}
}

// parses tells whether a command line names a command that there is, with flags that it has.
func parses(line string) error {
	words := strings.Fields(regexp.MustCompile(`'[^']*'`).ReplaceAllString(line, "text"))
	root := newRoot()
	root.InitDefaultCompletionCmd()
	c, rest, err := root.Find(words)
	if err != nil {
		return err
	}
	if c.HasSubCommands() {
		return c.RunE(c, rest)
	}
	return c.ParseFlags(rest)
}
