package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

// patience is how long a test waits for what must happen. It is never used up
// by a store that works.
const patience = 30 * time.Second

// probe is what a subtest works with.
type probe struct {
	*testing.T
	h     Harness
	s     checkpoint.Store
	ctx   context.Context
	hints chan checkpoint.Hint
}

func newProbe(t *testing.T, h Harness) *probe {
	p := &probe{T: t, h: h, s: h.Open(t), ctx: t.Context()}
	p.watch()
	t.Cleanup(func() { p.s.Close() })
	return p
}

func (p *probe) watch() {
	hints := make(chan checkpoint.Hint, 100_000)
	p.hints = hints
	p.s.Watch(func(h checkpoint.Hint) {
		select {
		case hints <- h:
		default:
		}
	})
}

// reopen opens the store again, as another process would.
func (p *probe) reopen() {
	p.Helper()
	p.s = p.h.Reopen(p.T, p.s)
	p.watch()
}

func (p *probe) ok(err error) {
	p.Helper()
	if err != nil {
		p.Fatalf("error: %v", err)
	}
}

func (p *probe) is(err, want error) {
	p.Helper()
	if !errors.Is(err, want) {
		p.Fatalf("error is %v, not %q", err, want)
	}
}

func (p *probe) fails(err error) {
	p.Helper()
	if err == nil {
		p.Fatal("no error")
	}
}

func same[T any](p *probe, what string, got, want T) {
	p.Helper()
	if !reflect.DeepEqual(got, want) {
		p.Fatalf("%s: got %+v, want %+v", what, got, want)
	}
}

func (p *probe) now() int64 { return p.s.Now().UnixNano() }

// in is a time by the store's clock, d from now.
func (p *probe) in(d time.Duration) int64 { return p.now() + int64(d) }

func incarnation(id string) (i checkpoint.Incarnation) {
	copy(i[:], "incarnation of "+id)
	copy(i[12:], id)
	return i
}

func creation(id, function string) checkpoint.Creation {
	return checkpoint.Creation{
		ID: id, Incarnation: incarnation(id), Digest: []byte("digest"),
		Started: checkpoint.Record{
			Seq: 1, EventID: 1, Events: 1, Type: checkpoint.ExecutionStarted,
			Time: time.Now().UnixNano(), Function: function, Codec: "json",
			Payload: []byte(`"` + id + `"`), Flags: checkpoint.FlagPayload,
		},
	}
}

// create makes an execution of the function "f" that nobody owns.
func (p *probe) create(id string) checkpoint.Summary {
	p.Helper()
	return p.make(creation(id, "f"))
}

func (p *probe) make(c checkpoint.Creation) checkpoint.Summary {
	p.Helper()
	s, created, err := p.s.Create(p.ctx, c)
	p.ok(err)
	if !created {
		p.Fatalf("%s exists", c.ID)
	}
	return s
}

func (p *probe) get(id string) checkpoint.Summary {
	p.Helper()
	s, err := p.s.Get(p.ctx, id)
	p.ok(err)
	return s
}

func request(functions ...string) checkpoint.ClaimRequest {
	return checkpoint.ClaimRequest{Functions: functions, Build: "build", Max: 1000}
}

// claim returns everything that is due for a request, by ID.
func (p *probe) claim(r checkpoint.ClaimRequest) map[string]checkpoint.Claim {
	p.Helper()
	claims, err := p.s.Claim(p.ctx, r)
	p.ok(err)
	m := make(map[string]checkpoint.Claim)
	for _, c := range claims {
		if _, twice := m[c.ID]; twice {
			p.Fatalf("%s was claimed twice", c.ID)
		}
		m[c.ID] = c
	}
	return m
}

// claims checks which executions are due for a request.
func (p *probe) claims(r checkpoint.ClaimRequest, ids ...string) map[string]checkpoint.Claim {
	p.Helper()
	m := p.claim(r)
	for _, id := range ids {
		if _, ok := m[id]; !ok {
			p.Fatalf("%s was not claimed", id)
		}
	}
	if len(m) != len(ids) {
		p.Fatalf("claimed %d executions, not %d", len(m), len(ids))
	}
	return m
}

func (p *probe) nextDue(r checkpoint.ClaimRequest) time.Time {
	p.Helper()
	t, err := p.s.NextDue(p.ctx, r)
	p.ok(err)
	return t
}

// append makes an append and waits until it is done.
func (p *probe) append(a checkpoint.Append) error {
	p.Helper()
	return p.await(p.start(a))
}

// start makes an append without waiting.
func (p *probe) start(a checkpoint.Append) chan error {
	done := make(chan error, 1)
	p.s.Append(a, func(err error) { done <- err })
	return done
}

func (p *probe) await(done chan error) error {
	p.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		p.Fatal("done was not called")
		return nil
	}
}

// awaitHint waits for a hint, passing over others.
func (p *probe) awaitHint(kind checkpoint.HintKind, id string) {
	p.Helper()
	timeout := time.After(patience)
	for {
		select {
		case h := <-p.hints:
			if h.Kind == kind && (h.ID == id || h.ID == "") {
				return
			}
		case <-timeout:
			p.Fatalf("no hint of kind %d for %q", kind, id)
		}
	}
}

// owner is an execution with what its owner knows of it.
type owner struct {
	p     *probe
	id    string
	inc   checkpoint.Incarnation
	epoch uint64
	tail  uint64
	event uint64
	seen  uint64
}

// own makes an execution of the function "f" with an owner.
func (p *probe) own(id string) *owner {
	p.Helper()
	c := creation(id, "f")
	c.Claim = true
	return p.ownerOf(p.make(c))
}

func (p *probe) ownerOf(s checkpoint.Summary) *owner {
	return &owner{p, s.ID, s.Incarnation, s.Epoch, s.Tail, s.LastEvent, s.InboxSeen}
}

// ownAgain claims an execution of the function "f", the only one that is due.
func (p *probe) ownAgain(id string) *owner {
	p.Helper()
	return p.ownerOf(p.claims(request("f"), id)[id].Summary)
}

// number gives records their numbers.
func (o *owner) number(records ...checkpoint.Record) []checkpoint.Record {
	for i := range records {
		r := &records[i]
		o.tail++
		r.Seq = o.tail
		if r.Type < checkpoint.ScopeCancelled {
			r.Events = max(r.Events, 1)
			r.EventID = o.event + 1
			o.event += uint64(r.Events)
		}
		if r.Time == 0 {
			r.Time = o.p.now()
		}
	}
	return records
}

// next is an append of records at the end of the journal.
func (o *owner) next(records ...checkpoint.Record) checkpoint.Append {
	a := checkpoint.Append{ID: o.id, Epoch: o.epoch, Tail: o.tail, InboxSeen: o.seen}
	a.Records = o.number(records...)
	return a
}

func (o *owner) append(records ...checkpoint.Record) {
	o.p.Helper()
	o.p.ok(o.p.append(o.next(records...)))
}

// release gives up ownership.
func (o *owner) release(wakeAt int64) {
	o.p.Helper()
	a := o.next(checkpoint.Record{Type: checkpoint.InvocationCompleted})
	a.Release = &checkpoint.Release{WakeAt: wakeAt}
	o.p.ok(o.p.append(a))
}

// hold gives up ownership and holds the execution.
func (o *owner) hold(build string, wakeAt int64) {
	o.p.Helper()
	a := o.next()
	a.Release = &checkpoint.Release{WakeAt: wakeAt, Hold: &checkpoint.Hold{Build: build, Failure: []byte("held by " + build)}}
	o.p.ok(o.p.append(a))
}

// final is an append that ends the execution as succeeded.
func (o *owner) final() checkpoint.Append {
	a := o.next(checkpoint.Record{Type: checkpoint.InvocationCompleted},
		checkpoint.Record{Type: checkpoint.ExecutionSucceeded, Payload: []byte(`"result"`), Codec: "json"})
	a.Status = checkpoint.Succeeded
	return a
}

func (o *owner) finish() {
	o.p.Helper()
	o.p.ok(o.p.append(o.final()))
}

// finished makes an execution that has ended.
func (p *probe) finished(id string) checkpoint.Summary {
	p.Helper()
	p.own(id).finish()
	return p.get(id)
}

// invoked is a creation by an owner's operation "1".
func (o *owner) invoked(id string) checkpoint.Creation {
	c := creation(id, "f")
	c.Caller = &checkpoint.Caller{ID: o.id, Incarnation: o.inc, OperationID: "1"}
	return c
}

// ended is the delivery that tells a caller of an execution's end.
func ended(caller *checkpoint.Caller) checkpoint.Delivery {
	return checkpoint.Delivery{ID: caller.ID, Incarnation: caller.Incarnation, Record: checkpoint.Record{
		Type: checkpoint.ChainedInvokeSucceeded, OperationID: caller.OperationID, Payload: []byte(`"result"`),
	}}
}

func cancel(id string) checkpoint.Delivery {
	return checkpoint.Delivery{ID: id, Record: checkpoint.Record{Type: checkpoint.CancelRequested, Key: "why"}}
}

// journal reads all records of an execution behind after.
func (p *probe) journal(id string, after uint64) []checkpoint.Record {
	p.Helper()
	var records []checkpoint.Record
	for r, err := range p.s.Records(p.ctx, id, after) {
		p.ok(err)
		records = append(records, r)
	}
	return records
}

// types are the types of the records of a journal.
func (p *probe) types(id string) []checkpoint.EventType {
	p.Helper()
	return typesOf(p.journal(id, 0))
}

func typesOf(records []checkpoint.Record) (types []checkpoint.EventType) {
	for _, r := range records {
		types = append(types, r.Type)
	}
	return types
}

func (p *probe) inbox(id string, after uint64) []checkpoint.Record {
	p.Helper()
	entries, err := p.s.Inbox(p.ctx, id, after)
	p.ok(err)
	return entries
}

func (p *probe) list(q checkpoint.Query) (ids []string) {
	p.Helper()
	for s, err := range p.s.List(p.ctx, q) {
		p.ok(err)
		ids = append(ids, s.ID)
	}
	return ids
}

// together runs f n times at once and waits for all.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}

func numbered(prefix string, n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("%s%03d", prefix, i))
	}
	return ids
}
