package durable

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/durable-go/durable/checkpoint"
)

// withoutFailure returns the records without what made the execution fail, and what came
// of that.
func (j *endedJournal) withoutFailure() (kept []checkpoint.Record, b *blame) {
	root := j.ops[""]
	b = &blame{ops: j.ops, inside: make(map[*operation][]*operation), cut: make(map[*operation]uint64),
		scope: make(map[*operation]uint64), removed: make(map[*operation]bool), reopened: make(map[*operation]bool)}
	for _, o := range j.ops {
		if o.up != nil && o.firstSeq != 0 && !o.refusal {
			b.inside[o.up] = append(b.inside[o.up], o)
		}
	}
	final := &j.records[len(j.records)-1]
	if root.cancelSeq != 0 {
		b.scope[root] = root.cancelSeq // what came then, came of the cancel
	} else if failure, err := decodeFailure(final.Failure); err == nil && failure != nil && final.Type == checkpoint.ExecutionFailed {
		b.find(root, failure)
	}
	return slices.DeleteFunc(slices.Clone(j.records[1:]), func(rec checkpoint.Record) bool { return b.drops(&rec) }), b
}

// forgets reports whether o has happened, or may have, and is dropped without being what
// is made again.
func (b *blame) forgets(o *operation) bool {
	switch {
	case o.firstSeq == 0 || o.refusal || b.removed[o] || o.sub == checkpoint.Now || o.sub == checkpoint.UUID:
		return false
	case o.typ == typeCallback:
		if o.status != OperationSucceeded && o.status != OperationFailed {
			return false // nobody has answered
		}
	case o.typ != typeStep && o.typ != typeInvoke:
		return false
	}
	for up := o; up != nil; up = up.up {
		from := b.scope[up]
		if from != 0 && o.firstSeq >= from && !o.reachedBy(up) || up.up != nil && b.behind(up.up, up.firstSeq) {
			return true
		}
	}
	return false
}

// blame is what a failure came from, from the outside in, and what came of that.
type blame struct {
	ops    operations
	inside map[*operation][]*operation

	removed  map[*operation]bool   // failed, with all that is in it
	reopened map[*operation]bool   // contexts that go on: their outcome is dropped
	cut      map[*operation]uint64 // in a context: what its code did behind that record is dropped
	scope    map[*operation]uint64 // in and below a context: everything from that record on is
}

// find blames what made the context c fail with a failure.
func (b *blame) find(c *operation, failure *failureRecord) {
	if c.cancelSeq != 0 { // its timeout: what came then, came of that
		b.scope[c] = c.cancelSeq
		return
	}
	culprit := b.culprit(c, failure)
	if culprit == nil {
		return
	}
	b.cut[c] = culprit.endSeq
	for _, o := range b.inside[c] {
		switch {
		case o.firstSeq > culprit.endSeq || o.endSeq < culprit.endSeq: // dropped anyway, or handled
		case b.failed(o):
			b.again(o)
		case isGathering(o.sub) && o.endSeq > culprit.endSeq: // it may have chosen because of it
			b.reopened[o] = true
		}
	}
}

// again lets a failed operation run again.
func (b *blame) again(o *operation) {
	switch {
	case o.typ != typeContext:
		b.removed[o] = true
		return
	case o.failure != nil:
		b.find(o, o.failure)
	default: // a batch with failed items
		for _, item := range b.inside[o] {
			if item.failure != nil {
				b.again(item)
			}
		}
	}
	b.reopened[o] = true
}

// culprit is the operation of the context c that made it fail with a failure, nil if
// none did.
func (b *blame) culprit(c *operation, failure *failureRecord) (culprit *operation) {
	var last *operation
	for _, o := range b.inside[c] {
		if !o.settled() || isGathering(o.sub) || o.sub == checkpoint.Now || o.sub == checkpoint.UUID {
			continue
		}
		if last == nil || o.endSeq > last.endSeq {
			last = o
		}
		if b.caused(o, failure) && (culprit == nil || o.endSeq > culprit.endSeq) {
			culprit = o
		}
	}
	if culprit == nil && last != nil && b.failed(last) {
		return last
	}
	return culprit
}

// failed reports whether o failed, or is a batch some of whose items did.
func (b *blame) failed(o *operation) bool {
	var decision batchRecord
	return o.failure != nil || o.batch != nil && json.Unmarshal(o.batch, &decision) == nil && strings.Contains(decision.Items, "F")
}

// caused reports whether a failure is that of o, as it was or with more text around it.
func (b *blame) caused(o *operation, failure *failureRecord) bool {
	if f := o.failure; f != nil {
		return f.Message == "" && f.Type == failure.Type && bytes.Equal(f.Data, failure.Data) || f.Message != "" && strings.Contains(failure.Message, f.Message)
	}
	return b.failed(o) && slices.ContainsFunc(b.inside[o], func(item *operation) bool { return item.failure != nil && b.caused(item, failure) })
}

func isGathering(t checkpoint.SubType) bool {
	switch t {
	case checkpoint.All, checkpoint.Any, checkpoint.Race, checkpoint.Select, checkpoint.Settled:
		return true
	}
	return false
}

// drops reports whether a record is not kept.
func (b *blame) drops(rec *checkpoint.Record) bool {
	o := b.ops[rec.OperationID]
	if o == nil {
		return false
	}
	switch {
	case b.reopened[o] && rec.Seq == o.endSeq:
		return true
	case (rec.Type == checkpoint.VersionChosen || rec.Type == checkpoint.ContextLooked) && b.behind(o, rec.Seq), rec.Type == checkpoint.AwaitableChosen && b.behind(o.up, rec.Seq):
		return true
	}
	for up := o; up != nil; up = up.up {
		if from := b.scope[up]; b.removed[up] || from != 0 && rec.Seq >= from && !o.outlasted(up, from) || up.up != nil && b.behind(up.up, up.firstSeq) {
			return true
		}
	}
	return false
}

// outlasted reports whether o was under way when the context c was cancelled, and has
// succeeded all the same. What is reached by a cancel can't have begun behind it.
func (o *operation) outlasted(c *operation, cancelSeq uint64) bool {
	return o.typ != typeContext && o.status == OperationSucceeded && (o.firstSeq < cancelSeq || o.reachedBy(c))
}

// behind reports whether the code of a context did behind the cut what was recorded as seq.
func (b *blame) behind(c *operation, seq uint64) bool {
	cut, ok := b.cut[c]
	return ok && seq > cut
}
