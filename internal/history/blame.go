package history

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
)

// Blame is what a failure came from, from the outside in, and what came of that.
type Blame struct {
	ops    Operations
	inside map[*Operation][]*Operation

	removed  map[*Operation]bool   // failed, with all that is in it
	reopened map[*Operation]bool   // contexts that go on: their outcome is dropped
	cut      map[*Operation]uint64 // in a context: what its code did behind that record is dropped
	scope    map[*Operation]uint64 // in and below a context: everything from that record on is
}

// WithoutFailure returns the records without what made the execution fail, and what came
// of that.
func (j *Ended) WithoutFailure() (kept []checkpoint.Record, b *Blame) {
	root := j.Ops[""]
	b = &Blame{ops: j.Ops, inside: make(map[*Operation][]*Operation), cut: make(map[*Operation]uint64),
		scope: make(map[*Operation]uint64), removed: make(map[*Operation]bool), reopened: make(map[*Operation]bool)}
	for _, o := range j.Ops {
		if o.Up != nil && o.FirstSeq != 0 && !o.Refusal {
			b.inside[o.Up] = append(b.inside[o.Up], o)
		}
	}
	final := &j.Records[len(j.Records)-1]
	if root.CancelSeq != 0 {
		b.scope[root] = root.CancelSeq // what came then, came of the cancel
	} else if failure, err := fault.Decode(final.Failure); err == nil && failure != nil && final.Type == checkpoint.ExecutionFailed {
		b.find(root, failure)
	}
	return slices.DeleteFunc(slices.Clone(j.Records[1:]), func(rec checkpoint.Record) bool { return b.drops(&rec) }), b
}

// Forgets reports whether o has happened, or may have, and is dropped without being what
// is made again.
func (b *Blame) Forgets(o *Operation) bool {
	switch {
	case o.FirstSeq == 0 || o.Refusal || b.removed[o] || o.SubType == checkpoint.Now || o.SubType == checkpoint.UUID:
		return false
	case o.Type == Callback:
		if o.Status != Succeeded && o.Status != Failed {
			return false // nobody has answered
		}
	case o.Type != Step && o.Type != Invoke:
		return false
	}
	for up := o; up != nil; up = up.Up {
		from := b.scope[up]
		if from != 0 && o.FirstSeq >= from && !o.ReachedBy(up) || up.Up != nil && b.behind(up.Up, up.FirstSeq) {
			return true
		}
	}
	return false
}

// find blames what made the context c fail with a failure.
func (b *Blame) find(c *Operation, failure *fault.Failure) {
	if c.CancelSeq != 0 { // its timeout: what came then, came of that
		b.scope[c] = c.CancelSeq
		return
	}
	culprit := b.culprit(c, failure)
	if culprit == nil {
		return
	}
	b.cut[c] = culprit.EndSeq
	for _, o := range b.inside[c] {
		switch {
		case o.FirstSeq > culprit.EndSeq || o.EndSeq < culprit.EndSeq: // dropped anyway, or handled
		case b.failed(o):
			b.again(o)
		case isGathering(o.SubType) && o.EndSeq > culprit.EndSeq: // it may have chosen because of it
			b.reopened[o] = true
		}
	}
}

// again lets a failed operation run again.
func (b *Blame) again(o *Operation) {
	switch {
	case o.Type != Context:
		b.removed[o] = true
		return
	case o.Failure != nil:
		b.find(o, o.Failure)
	default: // a batch with failed items
		for _, item := range b.inside[o] {
			if item.Failure != nil {
				b.again(item)
			}
		}
	}
	b.reopened[o] = true
}

// culprit is the operation of the context c that made it fail with a failure, nil if
// none did.
func (b *Blame) culprit(c *Operation, failure *fault.Failure) (culprit *Operation) {
	var last *Operation
	for _, o := range b.inside[c] {
		if !o.Settled() || isGathering(o.SubType) || o.SubType == checkpoint.Now || o.SubType == checkpoint.UUID {
			continue
		}
		if last == nil || o.EndSeq > last.EndSeq {
			last = o
		}
		if b.caused(o, failure) && (culprit == nil || o.EndSeq > culprit.EndSeq) {
			culprit = o
		}
	}
	if culprit == nil && last != nil && b.failed(last) {
		return last
	}
	return culprit
}

// failed reports whether o failed, or is a batch some of whose items did.
func (b *Blame) failed(o *Operation) bool {
	var decision Batch
	return o.Failure != nil || o.Batch != nil && json.Unmarshal(o.Batch, &decision) == nil && strings.Contains(decision.Items, "F")
}

// caused reports whether a failure is that of o, as it was or with more text around it.
func (b *Blame) caused(o *Operation, failure *fault.Failure) bool {
	if f := o.Failure; f != nil {
		return f.Message == "" && f.Type == failure.Type && bytes.Equal(f.Data, failure.Data) || f.Message != "" && strings.Contains(failure.Message, f.Message)
	}
	return b.failed(o) && slices.ContainsFunc(b.inside[o], func(item *Operation) bool { return item.Failure != nil && b.caused(item, failure) })
}

// drops reports whether a record is not kept.
func (b *Blame) drops(rec *checkpoint.Record) bool {
	o := b.ops[rec.OperationID]
	if o == nil {
		return false
	}
	switch {
	case b.reopened[o] && rec.Seq == o.EndSeq:
		return true
	case (rec.Type == checkpoint.VersionChosen || rec.Type == checkpoint.ContextLooked) && b.behind(o, rec.Seq), rec.Type == checkpoint.AwaitableChosen && b.behind(o.Up, rec.Seq):
		return true
	}
	for up := o; up != nil; up = up.Up {
		if from := b.scope[up]; b.removed[up] || from != 0 && rec.Seq >= from && !o.outlasted(up, from) || up.Up != nil && b.behind(up.Up, up.FirstSeq) {
			return true
		}
	}
	return false
}

// outlasted reports whether o was under way when the context c was cancelled, and has
// succeeded all the same. What is reached by a cancel can't have begun behind it.
func (o *Operation) outlasted(c *Operation, cancelSeq uint64) bool {
	return o.Type != Context && o.Status == Succeeded && (o.FirstSeq < cancelSeq || o.ReachedBy(c))
}

// behind reports whether the code of a context did behind the cut what was recorded as seq.
func (b *Blame) behind(c *Operation, seq uint64) bool {
	cut, ok := b.cut[c]
	return ok && seq > cut
}
