package jsonform

import "encoding/json"

// maxNesting is how deep a value may be nested to be shown as JSON among other things:
// encoding/json reads 10,000 levels in all, with what is around the value.
const maxNesting = 9500

// Embeddable reports whether data is JSON that can be part of other JSON.
func Embeddable(data []byte) bool { return json.Valid(data) && !nestedDeeper(data, maxNesting) }

// nestedDeeper reports whether JSON is nested more than limit levels deep.
func nestedDeeper(data []byte, limit int) bool {
	if len(data) <= 2*limit { // each level opens and closes
		return false
	}
	depth := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '[', '{':
			if depth++; depth > limit {
				return true
			}
		case ']', '}':
			depth--
		case '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		}
	}
	return false
}

// Embedded is data, or, if it can't be part of other JSON, a JSON string of it.
func Embedded(data []byte) json.RawMessage {
	if len(data) == 0 || Embeddable(data) {
		return json.RawMessage(data)
	}
	quoted, _ := json.Marshal(string(data))
	return quoted
}
