package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRun(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		``:                                    `"Hello, World!"`,
		`{}`:                                  `"Hello, World!"`,
		`{"name": "Ada <3", "message": "Hi"}`: `"Hi, Ada <3!"`,
	} {
		var out bytes.Buffer
		require.NoError(t, run(strings.NewReader(in), &out))
		var fields map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(out.Bytes(), &fields))
		require.Equal(t, want, string(fields["greeting"]))
		require.Len(t, fields, 5)
	}
}

func TestRunErrors(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"{":                "standard input: line 1, column 1: not JSON: unexpected end of JSON input",
		"{\n\"name\": 17}": "standard input: line 2, column 10: name must be a string, it is a number",
	} {
		var out bytes.Buffer
		require.EqualError(t, run(strings.NewReader(in), &out), want)
		require.Empty(t, out.String())
	}
}
