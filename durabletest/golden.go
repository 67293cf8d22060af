package durabletest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/durable-go/durable"
)

// updateVariable is the environment variable that makes Golden write its files.
const updateVariable = "DURABLETEST_UPDATE"

// Golden compares the history of an execution with a file, an event a line, and
// fails the test at the first difference. What differs from run to run is left out:
// times, delays of retries, stacks, callback IDs, and the IDs of executions.
//
// With DURABLETEST_UPDATE=1 in the environment it writes the file instead:
//
//	DURABLETEST_UPDATE=1 go test ./...
func (e *Engine) Golden(executionID, file string) {
	e.t.Helper()
	got, err := goldenForm(e.Events(executionID))
	if err != nil {
		e.t.Fatal(err)
	}
	if os.Getenv(updateVariable) != "" {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			e.t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			e.t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		e.t.Fatalf("durabletest: %v: write it with %s=1 in the environment", err, updateVariable)
	}
	if err != nil {
		e.t.Fatal(err)
	}
	wants, gots := lines(want), lines(got)
	for i := range max(len(wants), len(gots)) {
		if a, b := at(wants, i), at(gots, i); a != b {
			e.t.Errorf("durabletest: the history differs from %s in line %d (update it with %s=1 in the environment):\n  want %s\n  got  %s", file, i+1, updateVariable, a, b)
			return
		}
	}
}

func lines(b []byte) []string {
	return strings.Split(strings.TrimSuffix(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n"), "\n")
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(no more events)"
}

// goldenForm is a history without what differs from run to run.
func goldenForm(events []durable.Event) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for _, ev := range events {
		ev.Time, ev.NextAttemptDelay, ev.CallbackID, ev.InvokedID = time.Time{}, 0, "", ""
		if ev.Failure != nil {
			f := *ev.Failure
			f.Stack = ""
			ev.Failure = &f
		}
		line, err := json.Marshal(ev)
		if err != nil {
			return nil, err
		}
		var fields map[string]any // sorted, and without the zero time
		if err := json.Unmarshal(line, &fields); err != nil {
			return nil, err
		}
		delete(fields, "time")
		if err := enc.Encode(fields); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}
