package main

import (
	"os"
	"path/filepath"
	"strings"
)

// commandLine is the command that goes on with what these options began, or a
// subcommand for the same file.
func (o runOptions) commandLine(subcommand ...string) string {
	words := []string{invocation()}
	if o.db != defaultDB {
		words = append(words, "-db", quoted(o.db))
	}
	if len(subcommand) > 0 {
		// The flag stands before the subcommand as well as behind it.
		return strings.Join(append(words, subcommand...), " ")
	}
	if o.id != "" {
		words = append(words, "-id", o.id)
	}
	if o.callback != callbackAuto {
		words = append(words, "-callback", o.callback)
	}
	if o.ui {
		words = append(words, "-ui")
	}
	return strings.Join(words, " ")
}

// invocation is how this program is run. That of `go run` lies in a folder that
// is removed when it ends.
func invocation() string {
	if !strings.Contains(filepath.ToSlash(os.Args[0]), "/go-build") {
		return quoted(os.Args[0])
	}
	if info, err := os.Stat("examples/fullworkflow"); err == nil && info.IsDir() {
		return "go run ./examples/fullworkflow"
	}
	if _, err := os.Stat("workflow/workflow.go"); err == nil {
		return "go run ."
	}
	return "go run github.com/durable-go/durable/examples/fullworkflow"
}

// quoted is s as a shell takes it as one word.
func quoted(s string) string {
	special := func(r rune) bool { return r != filepath.Separator && !strings.ContainsRune(plainRunes, r) }
	if s != "" && !strings.ContainsFunc(s, special) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

const plainRunes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=+,@%"
