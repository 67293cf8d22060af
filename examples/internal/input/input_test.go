package input_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/examples/internal/input"
)

type order struct {
	Name  string   `json:"name"`
	Count int      `json:"count"`
	Price float64  `json:"price"`
	Gift  bool     `json:"gift"`
	Items []string `json:"items"`
	To    struct {
		Street string `json:"street"`
	} `json:"to"`
}

func TestDecode(t *testing.T) {
	t.Parallel()
	var o order
	require.NoError(t, input.Decode("order.json", []byte("\xef\xbb\xbf {\"name\": \"Ada\", \"other\": 1}\n"), &o))
	require.Equal(t, order{Name: "Ada"}, o)
}

func TestDecodeErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                               "line 1, column 1: not JSON: unexpected end of JSON input",
		"{\n \"name\": \"x\",\n}":        "line 3, column 1: not JSON: invalid character '}' looking for beginning of object key string",
		"{\"name\": \"é\" \"count\": 1}": "line 1, column 14: not JSON: invalid character '\"' after object key:value pair",
		"{} {}":                          "line 1, column 4: not JSON: invalid character '{' after top-level value",
		"\"text\"":                       "line 1, column 6: the value must be an object, it is a string",
		"{\"count\": 1.5}":               "line 1, column 13: count must be a whole number, it is a number",
		"{\"price\": true}":              "line 1, column 14: price must be a number, it is true or false",
		"{\"gift\": \"yes\"}":            "line 1, column 14: gift must be true or false, it is a string",
		"{\"items\":\n {}}":              "line 2, column 2: items must be a list, it is an object",
		"{\"items\": [\"a\",\n  2]}":     "line 2, column 3: items must be a string, it is a number",
		"{\"to\": {\"street\": []}}":     "line 1, column 19: to.street must be a string, it is a list",
	} {
		var o order
		err := input.Decode("order.json", []byte(text), &o)
		require.Error(t, err)
		// From Go 1.27 on the JSON decoder says which item of a list it was.
		require.Equal(t, "order.json: "+want, strings.Replace(err.Error(), "items.1 ", "items ", 1), text)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "order.json")
	require.NoError(t, os.WriteFile(path, []byte("of a file"), 0o600))
	data, name, err := input.Read(path, nil)
	require.NoError(t, err)
	require.Equal(t, "of a file", string(data))
	require.Equal(t, path, name)

	data, name, err = input.Read("-", strings.NewReader("of stdin"))
	require.NoError(t, err)
	require.Equal(t, "of stdin", string(data))
	require.Equal(t, "standard input", name)

	_, _, err = input.Read("-", iotest.ErrReader(errors.New("broken")))
	require.EqualError(t, err, "read standard input: broken")
	_, _, err = input.Read(path+".absent", nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}
