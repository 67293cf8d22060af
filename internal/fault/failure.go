package fault

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/durable-go/durable/internal/jsonform"
)

// Failure is a failure as it is recorded; users see it as a durable.Failure.
type Failure struct {
	Type     string          `json:"type"`
	Message  string          `json:"message"`
	Data     json.RawMessage `json:"data,omitempty"`
	Stack    string          `json:"stack,omitempty"`
	Is       []string        `json:"is,omitempty"`       // names of the engine's sentinels
	Sentinel string          `json:"sentinel,omitempty"` // the first of Options.Errors, by its text
	Also     []string        `json:"also,omitempty"`     // the others
	Typed    []Typed         `json:"typed,omitempty"`    // errors of the types of Options.Errors
	Itself   bool            `json:"itself,omitempty"`   // of a cause: it is the one error that it matches
}

// Typed is the stored form of an error of a registered type.
type Typed struct {
	Type   string                `json:"type"`
	Of     string                `json:"of,omitempty"` // the path of its package; "" in old records
	JSON   json.RawMessage       `json:"json"`
	Causes map[string][]*Failure `json:"causes,omitempty"` // what is in its fields that are errors
}

func (t *Typed) size() int {
	size := len(t.JSON)
	for _, causes := range t.Causes {
		for _, cause := range causes {
			size += cause.size()
		}
	}
	return size
}

func (f *Failure) size() int {
	if f == nil {
		return 0
	}
	size := len(f.Message) + len(f.Data) + len(f.Stack)
	for i := range f.Typed {
		size += f.Typed[i].size()
	}
	return size
}

// AddSentinel takes note of one of Options.Errors that it matches, by its name.
func (f *Failure) AddSentinel(name string) {
	switch {
	case f.HasSentinel(name):
	case f.Sentinel == "" && name != "":
		f.Sentinel = name
	default:
		f.Also = append(f.Also, name)
	}
}

// HasSentinel reports whether it matches the one of Options.Errors with a name.
func (f *Failure) HasSentinel(name string) bool {
	return name != "" && f.Sentinel == name || slices.Contains(f.Also, name)
}

// Shorten keeps the failure within limit bytes: an error that wraps a whole
// response must not become a record of that size.
func (f *Failure) Shorten(limit int) {
	if f.size() <= limit {
		return
	}
	f.Message, f.Stack = cut(f.Message, limit/2), cut(f.Stack, limit/8)
	if len(f.Data) > limit/8 {
		f.Data = nil
	}
	room := limit / 4 // for all of them
	f.Typed = slices.DeleteFunc(slices.Clone(f.Typed), func(t Typed) bool {
		size := t.size()
		if size > limit/8 || size > room {
			return true
		}
		room -= size
		return false
	})
}

// cut shortens s to about n bytes.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:max(n-3, 0)], "") + "…"
}

// Own is a failure of the engine's making.
func Own(name, message string) *Failure {
	return &Failure{Type: name, Message: message, Is: []string{name}}
}

// LoggedType is the type for a log. A Type may come from outside, with a callback's
// failure, and be any text: only what reads like the name of a type is logged.
func (f *Failure) LoggedType() string {
	odd := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.*[]", r))
	}
	if len(f.Type) > 64 || strings.ContainsFunc(f.Type, odd) {
		return "error"
	}
	return f.Type
}

// Encode is what is recorded of f; nil if f is nil.
func Encode(f *Failure) []byte {
	if f == nil {
		return nil
	}
	g := *f
	g.Data = jsonform.Embedded(f.Data)
	data, _ := json.Marshal(&g)
	return data
}

// Decode reads what Encode has made; nil if there is nothing.
func Decode(data []byte) (*Failure, error) {
	if len(data) == 0 {
		return nil, nil
	}
	f := new(Failure)
	if err := json.Unmarshal(data, f); err != nil {
		return nil, fmt.Errorf("durable: recorded failure: %w", err)
	}
	f.Data = jsonform.Embedded(f.Data)
	return f, nil
}

// EndedByCancel reports whether it is that of a cancel or of a timeout around it.
func (f *Failure) EndedByCancel() bool {
	return slices.Contains(f.Is, "Canceled") || slices.Contains(f.Is, "Timeout")
}
