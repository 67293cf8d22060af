package jsonform

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// Compact is the form of an input that tells whether two are the same.
func Compact(data []byte) []byte {
	var b bytes.Buffer
	if json.Compact(&b, data) != nil {
		return data
	}
	return b.Bytes()
}

// Raw is a payload as a JSON value: itself, or a string behind "base64:".
func Raw(payload []byte) json.RawMessage {
	if json.Valid(payload) && !bytes.HasPrefix(payload, []byte(`"`+base64Prefix)) {
		return payload
	}
	if len(payload) == 0 {
		return json.RawMessage("null")
	}
	quoted, _ := json.Marshal(base64Prefix + encodeBase64(payload))
	return quoted
}

// Shown is a payload as people see it: itself if it is JSON that can be shown among
// other things, else a string. It is theirs to keep and to change.
func Shown(payload []byte) json.RawMessage {
	if len(payload) == 0 {
		return nil
	}
	if Embeddable(payload) {
		return bytes.Clone(payload)
	}
	text := string(payload)
	if !isText(text) {
		text = base64Prefix + encodeBase64(payload)
	}
	quoted, _ := json.Marshal(text)
	return quoted
}

// isText reports whether s can be shown to people.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && !strings.ContainsRune("\n\t\r", r) })
}

const base64Prefix = "base64:"

func encodeBase64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
