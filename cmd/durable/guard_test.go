package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/durable-go/durable"
)

// hostile is text that does things to a terminal: C0, C1, DEL, a colour, marks that turn
// the line, tags that can't be seen, a byte that is not UTF-8.
const hostile = "a\x1b[2J\x1b]0;x\x07\x1b[31m\u009b2J\u009d\x7f\u202e\u2066\u200f\u2028\U000e0041\r\b\n\tz"

// hostileAPI answers to everything with hostile text in every string, and calls statuses
// by their names only in executions that follow.
func hostileAPI(t *testing.T) *httptest.Server {
	text, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	// Not as Go's encoder escapes: as another server may send it.
	raw := strings.NewReplacer(`\u007f`, "\x7f", `\u2028`, "\u2028").Replace(string(text)) // the rest is raw already
	payload := raw[:len(raw)-1] + "\x9b\""                                                 // not UTF-8
	failure := `{"type":` + raw + `,"message":` + raw + `,"data":` + payload + `,"stack":` + raw + `}`
	times := `"startedAt":"2026-01-02T03:04:05Z"`
	execution := `{"id":` + raw + `,"function":` + raw + `,"status":` + raw + `,"parent":` + raw + `,` + times + `,"endedAt":"2026-01-02T03:04:06Z","input":` + payload + `,"result":` + payload + `,"failure":` + failure + `}`
	running := `{"id":` + raw + `,"function":` + raw + `,"status":"RUNNING",` + times + `,"held":` + failure + `}`
	operation := `{"id":` + raw + `,"name":` + raw + `,"type":` + raw + `,"subType":` + raw + `,"status":` + raw + `,"attempt":2,` + times + `,"result":` + payload + `,"failure":` + failure + `}`
	event := func(typ string) string {
		return `{"eventId":1,"time":"2026-01-02T03:04:05Z","type":` + typ + `,"operationId":` + raw + `,"name":` + raw + `,"function":` + raw + `,"attempt":2,"failure":` + failure + `}`
	}
	mux := http.NewServeMux()
	serve := func(path, body string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) })
	}
	serve("GET /executions", `{"executions":[`+execution+`,`+running+`]}`)
	serve("POST /executions", `{"id":`+raw+`}`)
	serve("GET /executions/{id}", execution)
	serve("GET /executions/{id}/operations", `{"operations":[`+operation+`]}`)
	serve("GET /executions/{id}/operations/{op}", operation)
	serve("GET /executions/{id}/history", `{"events":[`+event(raw)+`]}`)
	serve("GET /executions/{id}/recording", `{"id":`+raw+`,"records":[`+payload+`]}`)
	serve("GET /executions/{id}/result", payload)
	serve("GET /executions/{id}/events", "event: event\ndata: "+event(raw)+"\n\nevent: end\ndata: {}\n\n")
	serve("POST /executions/{id}/retry", `{"id":`+raw+`}`)
	serve("POST /executions/{id}/restart", `{"id":`+raw+`}`)
	serve("POST /import", `{"id":`+raw+`}`)
	serve("GET /functions", `{"functions":[{"name":`+raw+`,"sample":`+payload+`}]}`)
	serve("GET /counts", `{"RUNNING":1}`)
	serve("GET /stats", `{"resident":1}`)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusConflict)
		io.WriteString(w, `{"error":`+raw+`,"code":`+raw+`}`)
	})
	mux.HandleFunc("GET /executions/failed/result", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusConflict)
		io.WriteString(w, `{"error":`+raw+`,"code":"execution_failed","failure":`+failure+`}`)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// hostileCommands are all commands that print something of what an API answers.
var hostileCommands = []string{
	"run list", "run show x", "run show x --all", "run show x --operation 1", "run show x --history", "run show x --follow",
	"run start f", "run start f --wait", "run result x", "run result failed", "run retry x", "run restart x", "run cancel x", "run cancel x y", "run stop x",
	"run resume x", "run delete x -y", "run export x", "run import @file", "callback succeed x cb 1", "callback fail x cb",
	"callback heartbeat x cb", "store stats", "store backup @new", "store backup -",
	"__complete run show ", "__complete run start ", "__complete callback succeed x ", "__complete run restart x --from ",
}

// TestHostileText lets an API answer with what steers terminals, to every command in
// every form of output, on a terminal and into a pipe: nothing of it arrives, and JSON
// stays the same JSON.
func TestHostileText(t *testing.T) {
	api := hostileAPI(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "recording")
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for n, terminal := range []bool{false, true} {
		for _, output := range []string{"table", "json", "jsonl"} {
			for _, line := range hostileCommands {
				line = strings.NewReplacer("@file", file, "@new", fmt.Sprintf("%s/copy%d-%s", dir, n, output)).Replace(line)
				args := append(strings.Split(line, " "), "--addr", api.URL, "-o", output)
				if words := strings.Split(line, " "); words[0] == "__complete" {
					args = append([]string{words[0], "--addr", api.URL}, words[1:]...)
				}
				var out, errs bytes.Buffer
				root := newRoot()
				root.SetOut(&guard{out: &out, terminal: terminal})
				root.SetErr(&guard{out: &errs, terminal: terminal})
				root.SetArgs(args)
				run(t.Context(), root)
				if out.Len()+errs.Len() == 0 {
					t.Errorf("%s prints nothing", line)
				}
				if line == "run export x" && !terminal {
					if !strings.Contains(out.String(), "\u009b") {
						t.Errorf("a recording is not what it was: %q", out.String())
					}
					out.Reset()
				}
				for _, said := range []string{out.String(), errs.String()} {
					if bad := steering(said, terminal); bad != "" {
						t.Errorf("%s -o %s, terminal %v: %s is printed:\n%q", line, output, terminal, bad, said)
					}
				}
				if line == "run list" && output != "table" {
					var x durable.ExecutionInfo
					first := strings.TrimSuffix(strings.TrimPrefix(out.String(), "["), "]\n")
					if err := json.NewDecoder(strings.NewReader(first)).Decode(&x); err != nil {
						t.Fatal(err, out.String())
					}
					if x.ID != hostile || x.Failure.Message != hostile {
						t.Errorf("it is other JSON: %q", x.ID)
					}
				}
			}
		}
	}
}

// steering is what in a command's output would steer a terminal, or "". On a terminal
// there are colours, and the screens of --follow, which are ours.
func steering(said string, terminal bool) string {
	if terminal {
		said = regexp.MustCompile("\x1b\\[(?:0m|1m|2m|3[234]m|31m[A-Z])").ReplaceAllString(said, "")
		said = regexp.MustCompile("\x1b\\[(?:H|K|J|\\?1049[hl]|\\?25[hl]|\\?7[hl])|^\r").ReplaceAllString(said, "")
	}
	for i, r := range said {
		if r != '\n' && r != '\t' && !unicode.IsGraphic(r) {
			return fmt.Sprintf("%q at %d", r, i)
		}
	}
	return ""
}

// TestPrintable: what is escaped is so as in JSON, and what people write stays.
func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "",
		"Grüße, 東京　🎉 a\u00a0b":     "Grüße, 東京　🎉 a\u00a0b",
		"a\nb\tc\rd":               `a\nb\tc\rd`,
		"\x1b[31mred\x00\x7f":      `\u001b[31mred\u0000\u007f`,
		"\u009b\u202e\u2028\ufeff": `\u009b\u202e\u2028\ufeff`,
		"\U000e0041":               `\udb40\udc41`,
		"\x9b\xff":                 "\ufffd\ufffd",
		`back\slash`:               `back\slash`,
	} {
		if got := printable(text); got != want {
			t.Errorf("%q is printed as %q, not as %q", text, got, want)
		}
	}
}

// TestGuardKeepsBytes: what is no UTF-8 goes into a file as it is, not onto a terminal.
func TestGuardKeepsBytes(t *testing.T) {
	for terminal, want := range map[bool]string{false: "\"\x9b\"\n", true: "\"\ufffd\"\n"} {
		var b bytes.Buffer
		if n, err := (&guard{out: &b, terminal: terminal}).Write([]byte("\"\x9b\"\n")); n != 4 || err != nil {
			t.Error(n, err)
		}
		if b.String() != want {
			t.Errorf("%q, not %q", b.String(), want)
		}
	}
}

// TestFailureOnALine: no type is said twice.
func TestFailureOnALine(t *testing.T) {
	for want, f := range map[string]durable.Failure{
		"Canceled: enough":            {Type: "Canceled", Message: "canceled: enough"},
		"Canceled":                    {Type: "Canceled", Message: "canceled"},
		"Panic: boom":                 {Type: "Panic", Message: "panic: boom"},
		"Timeout: timed out after 1s": {Type: "Timeout", Message: "timed out after 1s"},
		"error: errors":               {Type: "error", Message: "errors"},
		"Rejected":                    {Type: "Rejected"},
	} {
		if got := failed(&f); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}
