package history

import (
	"maps"
	"slices"

	"github.com/durable-go/durable/checkpoint"
)

// Ended is the journal of an execution that has ended, opened.
type Ended struct {
	Summary checkpoint.Summary
	Records []checkpoint.Record
	Ops     Operations
	Keys    *Keys
}

// Sorted are the operations in the order of their IDs.
func (j *Ended) Sorted() []*Operation {
	return slices.SortedFunc(maps.Values(j.Ops), func(a, b *Operation) int { return CompareIDs(a.ID, b.ID) })
}

// KeysOfNext are the keys of an execution that begins with those of j's operations that
// stay. again are invokes that are made again; fresh gives all that is made again new keys.
func (j *Ended) KeysOfNext(stays map[string]bool, again map[*Operation]*Known, fresh bool) *Keys {
	next := NewKeys(checkpoint.Incarnation{})
	if !fresh {
		next.Base = j.Keys.BaseOf(j.Summary.Incarnation)
	}
	if j.Keys != nil {
		for _, known := range j.Keys.Known {
			if known.Kind != checkpoint.ChainedInvoke && fresh {
				continue
			}
			if o := j.Ops[known.ID]; known.Kind == checkpoint.ChainedInvoke && o != nil && o.Target != "" && o.asked() == known.asked() {
				continue // it has been made since
			}
			next.Add(known.freshened(fresh))
		}
	}
	for _, o := range j.Ops {
		switch {
		case again[o] != nil:
			next.Add(again[o].freshened(fresh))
		case fresh || !o.keyed() || next.Known[o.asked()] != nil:
		default:
			of := j.Keys.Origin(o, j.Summary.Incarnation)
			if of == next.Base {
				of = checkpoint.Incarnation{}
			}
			if !of.IsZero() || !stays[o.ID] { // else the journal shows it
				next.Add(&Known{ID: o.ID, Kind: o.SubType, Name: o.Name, Of: Incarnation(of)})
			}
		}
	}
	return next
}

// keyed reports whether a body of o has an idempotency key.
func (o *Operation) keyed() bool {
	return o.Type == Step && o.SubType != checkpoint.Now && o.SubType != checkpoint.UUID && o.FirstSeq != 0 && !o.Refusal
}

// InvokedAgain reports whether o is an invoke that had started its execution and is made
// again, if those of its journal that have an outcome stay.
func (o *Operation) InvokedAgain(stays map[string]bool) bool {
	return o.Type == Invoke && o.FirstSeq != 0 && !o.Refusal && o.Target != "" && !stays[o.ID]
}
