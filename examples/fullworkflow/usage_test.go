package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
)

// outcome is what a command left behind.
type outcome struct {
	code           int
	stdout, stderr string
}

// do runs a command of the program in this process.
func do(t *testing.T, args ...string) outcome {
	t.Helper()
	var out, err bytes.Buffer
	code := program{strings.NewReader(""), &out, &err}.main(t.Context(), args)
	return outcome{code, out.String(), err.String()}
}

// requireOneLine checks that a command failed with one clear line.
func (o outcome) requireOneLine(t *testing.T, code int, about ...string) {
	t.Helper()
	require.Equal(t, code, o.code, o.stderr)
	require.Empty(t, o.stdout)
	require.True(t, strings.HasPrefix(o.stderr, "fullworkflow: "), o.stderr)
	require.Equal(t, 1, strings.Count(o.stderr, "\n"), o.stderr)
	for _, text := range about {
		require.Contains(t, o.stderr, text)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for name, wrong := range map[string]struct {
		args  []string
		about string
	}{
		"UnknownFlag":     {[]string{"-frobnicate"}, "-frobnicate"},
		"UnknownCommand":  {[]string{"frobnicate"}, "frobnicate"},
		"CallbackBy":      {[]string{"-callback", "later"}, "auto or manual"},
		"NoDB":            {[]string{"-db", ""}, "-db"},
		"ResumeNothing":   {[]string{"resume"}, "ID"},
		"ResumeOutcome":   {[]string{"resume", "abc", "maybe"}, "success or failure"},
		"ResumeTooMuch":   {[]string{"resume", "abc", "success", "1", "2"}, "quote"},
		"ResumeNotJSON":   {[]string{"resume", "abc", "success", `{"a":`}, "JSON"},
		"ResumeFailure":   {[]string{"resume", "abc", "failure", `{"message": 1}`}, "failure"},
		"ResumeFlag":      {[]string{"resume", "-x", "abc"}, "-x"},
		"HistoryArgument": {[]string{"history", "abc"}, "-id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			do(t, wrong.args...).requireOneLine(t, 2, wrong.about)
		})
	}
	help := do(t, "-h")
	require.Zero(t, help.code)
	require.Contains(t, help.stdout, "usage:")
	require.Empty(t, help.stderr)
}

// TestResumeTakesEveryID checks that an ID that begins with a hyphen is no flag.
func TestResumeTakesEveryID(t *testing.T) {
	t.Parallel()
	id := "-" + strings.Repeat("Ab1_", 12)
	for _, args := range [][]string{{id}, {"-db", "x.db", id, "success"}, {"--", id, "failure", "no"}} {
		_, err := parseResume(args, "y.db")
		require.NoError(t, err, args)
	}
}

func TestResumeValues(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{"": "null", " 12 ": "12", `{"a": [1]}`: `{"a": [1]}`, "fine by me": `"fine by me"`, `"quoted"`: `"quoted"`} {
		got, err := parsePayload(value)
		require.NoError(t, err)
		require.JSONEq(t, want, string(got))
	}
	for value, want := range map[string]durable.Failure{
		"":              {Type: "ExternalFailure", Message: "the external system reported a failure"},
		"too expensive": {Type: "ExternalFailure", Message: "too expensive"},
		`{"type": "Rejected", "message": "no", "data": 1}`: {Type: "Rejected", Message: "no", Data: json.RawMessage("1")},
	} {
		got, err := parseFailure(value)
		require.NoError(t, err)
		require.Equal(t, want, *got)
	}
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	o := runOptions{db: defaultDB, callback: callbackAuto, startNew: true, quiet: true}
	require.Equal(t, invocation(), o.commandLine())
	o = runOptions{db: "my files/x.db", id: "order-42", callback: callbackManual}
	require.Equal(t, invocation()+" -db 'my files/x.db' -id order-42 -callback manual", o.commandLine())
	require.Equal(t, invocation()+" -db 'my files/x.db' resume abc", o.commandLine("resume", "abc"))
	require.Equal(t, `'it'\''s'`, quoted("it's"))
}
