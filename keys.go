package durable

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/durable-go/durable/checkpoint"
)

// keys are what an execution that began as another one has of that one: the incarnations
// that its idempotency keys derive from, and the executions that it had invoked. They are
// recorded with its start.
//
// An operation has the key of the execution that reached its position first, however
// often it is made again. But a position is one operation's: another one that the code
// asks for there now has a key of its own.
type keys struct {
	base  checkpoint.Incarnation // zero: the execution's own
	known map[positionKey]*knownOperation
	taken map[string]bool // positions that belong to a known operation
}

// baseOf is the base for an execution with an incarnation.
func (k *keys) baseOf(own checkpoint.Incarnation) checkpoint.Incarnation {
	if k == nil || k.base.IsZero() {
		return own
	}
	return k.base
}

// positionKey is an operation as its code asks for it.
type positionKey struct {
	id   string
	sub  checkpoint.SubType
	name string
}

func (o *operation) positionKey() positionKey { return positionKey{o.id, o.sub, o.name} }

// knownOperation is one that the journal does not show, or that has another key than
// its position.
type knownOperation struct {
	ID   string             `json:"id"`
	Kind checkpoint.SubType `json:"kind"`
	Name string             `json:"name,omitempty"`
	Of   incarnationJSON    `json:"of,omitzero"` // what its key derives from; zero: the base

	// Of an invoke: what it has started, which the next one begins as.
	Invoked string          `json:"invoked,omitempty"`
	Base    incarnationJSON `json:"base,omitzero"`   // of the keys of what it has started
	Retry   bool            `json:"retry,omitempty"` // with what that had finished
	Fresh   bool            `json:"fresh,omitempty"` // and new keys
}

func (k *knownOperation) positionKey() positionKey { return positionKey{k.ID, k.Kind, k.Name} }

// freshened is k, with new keys if fresh says so.
func (k *knownOperation) freshened(fresh bool) *knownOperation {
	if fresh == k.Fresh || !fresh {
		return k
	}
	copied := *k
	copied.Fresh = true
	return &copied
}

// keysJSON is the recorded form of keys. Fields may be added.
type keysJSON struct {
	Base  incarnationJSON   `json:"base,omitzero"`
	Known []*knownOperation `json:"known,omitempty"`
}

type incarnationJSON checkpoint.Incarnation

func (i incarnationJSON) IsZero() bool { return checkpoint.Incarnation(i).IsZero() }

func (i incarnationJSON) MarshalText() ([]byte, error) {
	return []byte(checkpoint.Incarnation(i).String()), nil
}

func (i *incarnationJSON) UnmarshalText(text []byte) error {
	if n, err := hex.Decode(i[:], text[:min(len(text), 2*len(i))]); err != nil || n != len(i) || len(text) != 2*len(i) {
		return fmt.Errorf("%q is not an incarnation", truncated(string(text)))
	}
	return nil
}

// decodeKeys reads what a start has recorded; nil if there is nothing.
func decodeKeys(data string) (*keys, error) {
	if len(data) == 0 {
		return nil, nil
	}
	var in keysJSON
	if err := json.Unmarshal([]byte(data), &in); err != nil {
		return nil, fmt.Errorf("the idempotency keys that it keeps: %w", err)
	}
	k := newKeys(checkpoint.Incarnation(in.Base))
	for _, o := range in.Known {
		if o != nil {
			k.add(o)
		}
	}
	return k, nil
}

func newKeys(base checkpoint.Incarnation) *keys {
	return &keys{base: base, known: make(map[positionKey]*knownOperation), taken: make(map[string]bool)}
}

func (k *keys) add(o *knownOperation) {
	k.known[o.positionKey()] = o
	if o.Kind != checkpoint.ChainedInvoke {
		k.taken[o.ID] = true
	}
}

// encode is the recorded form; "" if there is nothing to record.
func (k *keys) encode() string {
	if k == nil || k.base.IsZero() && len(k.known) == 0 {
		return ""
	}
	out := keysJSON{Base: incarnationJSON(k.base)}
	for _, o := range k.known {
		out.Known = append(out.Known, o)
	}
	slices.SortFunc(out.Known, func(a, b *knownOperation) int { return a.positionKey().compare(b.positionKey()) })
	data, _ := json.Marshal(out) // strings and numbers
	return string(data)
}

func (p positionKey) compare(other positionKey) int {
	return cmp.Or(compareIDs(p.id, other.id), cmp.Compare(p.sub, other.sub), cmp.Compare(p.name, other.name))
}

// origin is the incarnation that the key of o derives from, in an execution whose own
// incarnation is given.
func (k *keys) origin(o *operation, own checkpoint.Incarnation) checkpoint.Incarnation {
	if k == nil {
		return own
	}
	known := k.known[o.positionKey()]
	switch {
	case known != nil && !known.Of.IsZero():
		return checkpoint.Incarnation(known.Of)
	case known == nil && k.taken[o.id]:
		return own
	}
	return k.baseOf(own)
}

// invoked is what an invoke had started in the execution that this one began as; nil if
// it had started nothing.
func (k *keys) invoked(o *operation) *knownOperation {
	if k == nil {
		return nil
	}
	return k.known[o.positionKey()]
}

// keyed reports whether a body of o has an idempotency key.
func (o *operation) keyed() bool {
	return o.typ == typeStep && o.sub != checkpoint.Now && o.sub != checkpoint.UUID && o.firstSeq != 0 && !o.refusal
}

// keysOfNext are the recorded keys of an execution that a recording is imported as.
func (r *Recording) keysOfNext(fresh bool) (string, error) {
	k, err := decodeKeys(r.records[0].Keys)
	if err != nil || fresh {
		return "", err
	}
	if k == nil {
		k = newKeys(checkpoint.Incarnation{})
	}
	k.base = k.baseOf(r.incarnation)
	for _, o := range k.known {
		o.Invoked, o.Retry = "", false // that is where it was recorded
	}
	return k.encode(), nil
}

// keysOfNext are the keys of an execution that begins with those of j's operations that
// stay. again are invokes that are made again; fresh gives all that is made again new keys.
func (j *endedJournal) keysOfNext(stays map[string]bool, again map[*operation]*knownOperation, fresh bool) *keys {
	next := newKeys(checkpoint.Incarnation{})
	if !fresh {
		next.base = j.keys.baseOf(j.sum.Incarnation)
	}
	if j.keys != nil {
		for _, known := range j.keys.known {
			if known.Kind != checkpoint.ChainedInvoke && fresh {
				continue
			}
			if o := j.ops[known.ID]; known.Kind == checkpoint.ChainedInvoke && o != nil && o.target != "" && o.positionKey() == known.positionKey() {
				continue // it has been made since
			}
			next.add(known.freshened(fresh))
		}
	}
	for _, o := range j.ops {
		switch {
		case again[o] != nil:
			next.add(again[o].freshened(fresh))
		case fresh || !o.keyed() || next.known[o.positionKey()] != nil:
		default:
			of := j.keys.origin(o, j.sum.Incarnation)
			if of == next.base {
				of = checkpoint.Incarnation{}
			}
			if !of.IsZero() || !stays[o.id] { // else the journal shows it
				next.add(&knownOperation{ID: o.id, Kind: o.sub, Name: o.name, Of: incarnationJSON(of)})
			}
		}
	}
	return next
}
