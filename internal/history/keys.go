package history

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/durable-go/durable/checkpoint"
)

// Keys are what an execution that began as another one has of that one: the incarnations
// that its idempotency keys derive from, and the executions that it had invoked. They are
// recorded with its start.
//
// An operation has the key of the execution that reached its position first, however
// often it is made again. But a position is one operation's: another one that the code
// asks for there now has a key of its own.
type Keys struct {
	Base  checkpoint.Incarnation // zero: the execution's own
	Known map[asked]*Known
	taken map[string]bool // IDs of known operations: who else is asked for there has a key of its own
}

// BaseOf is the base for an execution with an incarnation.
func (k *Keys) BaseOf(own checkpoint.Incarnation) checkpoint.Incarnation {
	if k == nil || k.Base.IsZero() {
		return own
	}
	return k.Base
}

// asked is an operation as code asks for it.
type asked struct {
	id   string
	sub  checkpoint.SubType
	name string
}

func (o *Operation) asked() asked { return asked{o.ID, o.SubType, o.Name} }

// Known is an operation that keys tell of: one that the journal does not show, or that has
// another key than its position.
type Known struct {
	ID   string             `json:"id"`
	Kind checkpoint.SubType `json:"kind"`
	Name string             `json:"name,omitempty"`
	Of   Incarnation        `json:"of,omitzero"` // what its key derives from; zero: the base

	// Of an invoke: what it has started, which the next one begins as.
	Invoked string      `json:"invoked,omitempty"`
	Base    Incarnation `json:"base,omitzero"`   // of the keys of what it has started
	Retry   bool        `json:"retry,omitempty"` // with what that had finished
	Fresh   bool        `json:"fresh,omitempty"` // and new keys
}

func (k *Known) asked() asked { return asked{k.ID, k.Kind, k.Name} }

// freshened is k, with new keys if fresh says so.
func (k *Known) freshened(fresh bool) *Known {
	if fresh == k.Fresh || !fresh {
		return k
	}
	copied := *k
	copied.Fresh = true
	return &copied
}

// keysJSON is the recorded form of keys. Fields may be added.
type keysJSON struct {
	Base  Incarnation `json:"base,omitzero"`
	Known []*Known    `json:"known,omitempty"`
}

// Incarnation is one as it is recorded in JSON, in hexadecimal digits.
type Incarnation checkpoint.Incarnation

// IsZero reports whether it is none.
func (i Incarnation) IsZero() bool { return checkpoint.Incarnation(i).IsZero() }

// MarshalText is its form in JSON.
func (i Incarnation) MarshalText() ([]byte, error) {
	return []byte(checkpoint.Incarnation(i).String()), nil
}

// UnmarshalText reads what MarshalText has made.
func (i *Incarnation) UnmarshalText(text []byte) error {
	if n, err := hex.Decode(i[:], text[:min(len(text), 2*len(i))]); err != nil || n != len(i) || len(text) != 2*len(i) {
		return fmt.Errorf("%q is not an incarnation", Truncated(string(text)))
	}
	return nil
}

// DecodeKeys reads what a start has recorded; nil if there is nothing.
func DecodeKeys(data string) (*Keys, error) {
	if len(data) == 0 {
		return nil, nil
	}
	var in keysJSON
	if err := json.Unmarshal([]byte(data), &in); err != nil {
		return nil, fmt.Errorf("the idempotency keys that it keeps: %w", err)
	}
	k := NewKeys(checkpoint.Incarnation(in.Base))
	for _, o := range in.Known {
		if o != nil {
			k.Add(o)
		}
	}
	return k, nil
}

// NewKeys are keys that derive from an incarnation; zero: from the execution's own.
func NewKeys(base checkpoint.Incarnation) *Keys {
	return &Keys{Base: base, Known: make(map[asked]*Known), taken: make(map[string]bool)}
}

// Add takes in an operation that has another key than its position, or is not shown.
func (k *Keys) Add(o *Known) {
	k.Known[o.asked()] = o
	if o.Kind != checkpoint.ChainedInvoke {
		k.taken[o.ID] = true
	}
}

// Encode is the recorded form; "" if there is nothing to record.
func (k *Keys) Encode() string {
	if k == nil || k.Base.IsZero() && len(k.Known) == 0 {
		return ""
	}
	out := keysJSON{Base: Incarnation(k.Base)}
	for _, o := range k.Known {
		out.Known = append(out.Known, o)
	}
	slices.SortFunc(out.Known, func(a, b *Known) int { return a.asked().compare(b.asked()) })
	data, _ := json.Marshal(out) // strings and numbers
	return string(data)
}

func (a asked) compare(other asked) int {
	return cmp.Or(CompareIDs(a.id, other.id), cmp.Compare(a.sub, other.sub), cmp.Compare(a.name, other.name))
}

// Origin is the incarnation that the key of o derives from, in an execution whose own
// incarnation is given.
func (k *Keys) Origin(o *Operation, own checkpoint.Incarnation) checkpoint.Incarnation {
	if k == nil {
		return own
	}
	known := k.Known[o.asked()]
	switch {
	case known != nil && !known.Of.IsZero():
		return checkpoint.Incarnation(known.Of)
	case known == nil && k.taken[o.ID]:
		return own
	}
	return k.BaseOf(own)
}

// Invoked is what an invoke had started in the execution that this one began as; nil if
// it had started nothing.
func (k *Keys) Invoked(o *Operation) *Known {
	if k == nil {
		return nil
	}
	return k.Known[o.asked()]
}
