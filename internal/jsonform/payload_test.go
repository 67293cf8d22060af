package jsonform_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/internal/jsonform"
)

// nested is an array so many levels deep.
func nested(levels int) string { return strings.Repeat("[", levels) + strings.Repeat("]", levels) }

// TestPayloads checks what becomes of a payload where JSON is wanted of it.
func TestPayloads(t *testing.T) {
	t.Parallel()
	quoted := func(s string) string {
		data, err := json.Marshal(s)
		require.NoError(t, err)
		return string(data)
	}
	based := func(s string) string { return `"base64:` + base64.StdEncoding.EncodeToString([]byte(s)) + `"` }
	const atMost, tooDeep = 9500, 9501
	for name, c := range map[string]struct {
		payload    string
		embeddable bool
		embedded   string // "" : itself
		raw        string // the same
		shown      string // the same
	}{
		"Nothing":                 {``, false, "", "null", ""},
		"ANumber":                 {`42`, true, "", "", ""},
		"AnObject":                {`{"a": [1, 2]}`, true, "", "", ""},
		"AString":                 {`"a"`, true, "", "", ""},
		"AtMostSoDeep":            {nested(atMost), true, "", "", ""},
		"TooDeep":                 {nested(tooDeep), false, quoted(nested(tooDeep)), "", quoted(nested(tooDeep))},
		"DeepInTurns":             {strings.Repeat(`{"a":[`, 4751) + "1" + strings.Repeat(`]}`, 4751), false, quoted(strings.Repeat(`{"a":[`, 4751) + "1" + strings.Repeat(`]}`, 4751)), "", quoted(strings.Repeat(`{"a":[`, 4751) + "1" + strings.Repeat(`]}`, 4751))},
		"WideIsNotDeep":           {"[" + strings.Repeat("[],{},", 9000) + "1]", true, "", "", ""},
		"BracketsInAString":       {`"` + strings.Repeat("[", 20_000) + `"`, true, "", "", ""},
		"BracketsBehindAnEscape":  {`["\"` + strings.Repeat("[", 20_000) + `\\",1]`, true, "", "", ""},
		"Text":                    {`not JSON`, false, `"not JSON"`, based("not JSON"), `"not JSON"`},
		"TextOfLines":             {"a\n\tb\r", false, `"a\n\tb\r"`, based("a\n\tb\r"), `"a\n\tb\r"`},
		"HalfOfJSON":              {`{"a":`, false, quoted(`{"a":`), based(`{"a":`), quoted(`{"a":`)},
		"Bytes":                   {"\xff\xfe", false, quoted("\xff\xfe"), based("\xff\xfe"), based("\xff\xfe")},
		"ControlCharacters":       {"a\x1b[31m", false, `"a\u001b[31m"`, based("a\x1b[31m"), based("a\x1b[31m")},
		"AStringThatLooksEncoded": {`"base64:AAAA"`, true, "", based(`"base64:AAAA"`), ""},
	} {
		orItself := func(s string) string {
			if s == "" {
				return c.payload
			}
			return s
		}
		require.Equal(t, c.embeddable, jsonform.Embeddable([]byte(c.payload)), name)
		require.Equal(t, orItself(c.embedded), string(jsonform.Embedded([]byte(c.payload))), name)
		require.Equal(t, orItself(c.raw), string(jsonform.Raw([]byte(c.payload))), name)
		require.Equal(t, orItself(c.shown), string(jsonform.Shown([]byte(c.payload))), name)
	}

	// What is shown is for whoever looks.
	payload := []byte(`{"a":1}`)
	jsonform.Shown(payload)[2] = 'b'
	require.Equal(t, `{"a":1}`, string(payload))
}

// TestCompact: inputs are the same whatever the space in them, and only then.
func TestCompact(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		``:                         ``,
		` { "a" : [ 1 , "x y" ] }`: `{"a":[1,"x y"]}`,
		`{"b":1,"a":2}`:            `{"b":1,"a":2}`,
		`1.0`:                      `1.0`,
		` not JSON `:               ` not JSON `,
		`{"a": `:                   `{"a": `,
	} {
		require.Equal(t, want, string(jsonform.Compact([]byte(in))), in)
	}
}
