package invocation

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/durable-go/durable/internal/history"
)

// BatchResult is a settled batch before its values are decoded.
type BatchResult struct {
	ExecutionID, ID, Name string

	Record   history.Batch
	Names    []string
	Payloads [][]byte  // by index, of the succeeded
	Codecs   []string  // by index, of the payloads
	Failed   []*Failed // by index, of the failed
	Values   []byte    // encoded by the batch codec; nil: see Payloads
	Err      error     // why the batch itself failed; nil: see Record
}

// Collect makes one value of the values of a batch: its encoded form.
type Collect func(*BatchResult) Return

// collected is the result as it is in memory. x.mu is held.
func (b *batchRun) collected(decision history.Batch) *BatchResult {
	x := b.c.f.x
	n := len(decision.Items)
	res := &BatchResult{ExecutionID: x.id, ID: b.o.ID, Name: b.o.Name, Record: decision, Names: b.names, Payloads: make([][]byte, n), Codecs: make([]string, n), Failed: make([]*Failed, n)}
	for i := range n {
		o := x.ops[b.o.ID+"-"+strconv.Itoa(i+1)]
		switch decision.Items[i] {
		case 'S':
			res.Payloads[i], res.Codecs[i] = o.Payload, o.Codec
		case 'F':
			o.Noted = true
			res.Failed[i] = &Failed{Type: history.Context, ExecutionID: x.id, OperationID: o.ID, Name: b.names[i], Failure: o.Failure}
		}
	}
	return res
}

// result makes the result of a settled batch, running again what is not stored.
// x.mu is held, and given up.
func (b *batchRun) result(collect Collect) (*BatchResult, error) {
	c, x, o := b.c, b.c.f.x, b.o
	if o.Failure != nil && o.Batch == nil { // of a journal from before it was recorded, or it could not be encoded
		_, err := c.outcome(o)
		return nil, err
	}
	var decision history.Batch
	if err := json.Unmarshal(o.Batch, &decision); err != nil || len(decision.Items) > decision.Total || decision.Total != len(b.names) {
		of := func(n int) string {
			return fmt.Sprintf("%s of %d items", history.Describe(o.Type, o.SubType, o.Name), n)
		}
		return nil, x.diverged(c.f, o.ID, of(decision.Total), of(len(b.names)))
	}
	if err := b.restore(decision); err != nil {
		return nil, err
	}
	res := b.collected(decision)
	c.f.passed(o)
	o.Noted = true
	rebuilds := b.encodedWhole() && o.Rebuilds()
	if b.encodedWhole() {
		res.Values = o.Payload
	}
	x.mu.Unlock()
	if rebuilds {
		r := collect(res)
		x.mu.Lock()
		x.endRebuild(b.f, r)
		if !x.mayGoOn(c.f) {
			return nil, x.exit(c.f)
		}
		res.Values = r.Payload
		x.mu.Unlock()
	}
	if o.Failure != nil {
		res.Err = x.opError(o, o.Failure)
	}
	return res, nil
}

// encodedWhole reports whether the batch's own record is that of all its values, or of
// their digest: not if it was cancelled.
func (b *batchRun) encodedWhole() bool { return b.s.BatchCodec != "" && b.o.Failure == nil }

// restore checks that the items are as the decision says, and makes the values
// available that a replay has not at hand. x.mu is held.
func (b *batchRun) restore(decision history.Batch) error {
	c, x, o := b.c, b.c.f.x, b.o
	if b.f == nil {
		b.f = x.newFrame(o, c.f)
		b.f.counter = len(b.names)
	}
	for i, status := range []byte(decision.Items) {
		item := x.ops[b.f.id(i+1)]
		if item != nil && !item.Silent() && item.Name != b.names[i] {
			return x.mismatched(c.f, item, history.Describe(history.Context, b.sub, b.names[i]))
		}
		if status != 'S' && status != 'F' {
			continue
		}
		if item == nil || !item.Settled() || (item.Failure != nil) != (status == 'F') {
			return x.mismatched(c.f, o, "item "+strconv.Itoa(i)+", whose outcome is not recorded")
		}
		if status == 'F' || !item.Rebuilds() || b.encodedWhole() && !o.Rebuilds() {
			continue
		}
		f := x.newFrame(item, b.f)
		f.rebuild = true
		c.f.called = f
		x.mu.Unlock()
		x.runContext(f, &Settings{Codec: b.s.Codec}, func(c Context) Return { return b.fn(c, i) })
		x.mu.Lock()
		c.f.called = nil
		if !x.mayGoOn(c.f) {
			return x.exit(c.f)
		}
	}
	b.f.end()
	return nil
}
