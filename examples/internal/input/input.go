// Package input reads the JSON that the example programs are given, and says
// in which line and column it is wrong.
package input

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

// Read returns what the file at path holds, or what stdin holds if path is "-",
// and the name to use for it in messages.
func Read(path string, stdin io.Reader) (data []byte, name string, err error) {
	if path == "-" {
		data, err = io.ReadAll(stdin)
		if err != nil {
			err = fmt.Errorf("read standard input: %w", err)
		}
		return data, "standard input", err
	}
	data, err = os.ReadFile(path) // the error names the path
	return data, path, err
}

// Decode decodes JSON into the value that v points to. Its error says in which
// line and column of name the trouble is.
func Decode(name string, data []byte, v any) error {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // editors on Windows write it
	err := json.Unmarshal(data, v)
	if err == nil {
		return nil
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		line, column := position(data, syntax.Offset)
		return fmt.Errorf("%s: line %d, column %d: not JSON: %w", name, line, column, syntax)
	}
	if typed, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		line, column := position(data, typed.Offset)
		field := typed.Field
		if field == "" {
			field = "the value"
		}
		return fmt.Errorf("%s: line %d, column %d: %s must be %s, it is %s",
			name, line, column, field, kindName(typed.Type.Kind().String()), kindName(typed.Value))
	}
	return fmt.Errorf("%s: %w", name, err)
}

// position is the line and the column, both from 1, of the last of the first
// offset bytes of data.
func position(data []byte, offset int64) (line, column int) {
	before := data[:min(max(offset-1, 0), int64(len(data)))]
	line = 1 + bytes.Count(before, []byte("\n"))
	column = 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return line, column
}

// kindName is how people call a kind of Go value, or of JSON value.
func kindName(kind string) string {
	switch {
	case strings.HasPrefix(kind, "int"):
		return "a whole number"
	case strings.HasPrefix(kind, "number"), strings.HasPrefix(kind, "float"):
		return "a number"
	case kind == "struct", kind == "map", kind == "object":
		return "an object"
	case kind == "slice", kind == "array":
		return "a list"
	case kind == "bool":
		return "true or false"
	}
	return "a " + kind
}
