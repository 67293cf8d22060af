package durabletest

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// tap is what one life of an engine has of the store. It counts the writes, the
// checkpoints, and dies at one: from then on nothing is written, and nothing of what
// happens in the engine matters.
type tap struct {
	*memstore.Store

	mu       sync.Mutex
	writes   int
	dieAt    int  // at this write, from 1; 0: never
	after    bool // it is made durable, and nobody is told
	dead     bool
	crash    bool            // it died at dieAt, or of Engine.Crash
	most     int             // writes; 0: any number
	tooMany  bool            // it died of more
	died     chan struct{}   // closed when it does
	last     string          // what it died at
	finished map[string]bool // execution and operation of what has a durable outcome
	opened   func(id string) // told of executions that may have opened callbacks
	ids      *identities
	drawn    map[string]bool    // by ExecutionID
	idle     bool               // nothing is claimed
	written  func(write string) // told of each write, t.mu held
}

// SteadyClock is true: nobody sets the clock of a bubble.
func (t *tap) SteadyClock() bool { return true }

// Secret is the same in each run.
func (t *tap) Secret() []byte { return []byte("durabletest: 32 bytes of secrecy") }

// ExecutionID and Incarnation are the same in each run.
func (t *tap) ExecutionID(by string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ids.executionID(by, t.drawn)
}

func (t *tap) Incarnation(id string) checkpoint.Incarnation { return t.ids.incarnation(id) }

// newTap returns the tap of a new life, which knows what is finished.
func newTap(store *memstore.Store) *tap {
	t := &tap{Store: store, died: make(chan struct{}), finished: make(map[string]bool), drawn: make(map[string]bool)}
	for s := range store.List(context.Background(), checkpoint.Query{}) {
		for rec := range store.Records(context.Background(), s.ID, 0) {
			t.finish(s.ID, &rec)
		}
	}
	return t
}

// finish takes note of a durable record.
func (t *tap) finish(id string, rec *checkpoint.Record) {
	if rec.WakeAt == 0 && (rec.Type == checkpoint.StepSucceeded || rec.Type == checkpoint.StepFailed) {
		t.finished[id+" "+rec.OperationID] = true
	}
}

// die ends the life. t.mu is held.
func (t *tap) die(write string) {
	if !t.dead {
		t.dead, t.last = true, write
		close(t.died)
	}
}

// crashed reports whether the life ended by a crash that the test made.
func (t *tap) crashed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.crash
}

// kill ends the life from outside.
func (t *tap) kill() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.die("")
}

// write makes a write if the life goes on; lost tells that nobody hears of it.
func (t *tap) write(what string, make func()) (lost bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dead {
		return true
	}
	t.writes++
	if t.most != 0 && t.writes > t.most {
		t.tooMany = true
		t.die(what)
		return true
	}
	dies := t.writes == t.dieAt
	t.crash = t.crash || dies
	if dies && !t.after {
		t.die(what)
		return true
	}
	make()
	if t.written != nil {
		t.written(what)
	}
	if dies {
		t.die(what)
	}
	return t.dead
}

// Append is a write. The order of the answers is the store's, also of what is lost.
func (t *tap) Append(a checkpoint.Append, done func(error)) {
	made := false
	t.write(describeAppend(&a), func() {
		made = true
		t.Store.Append(a, func(err error) {
			t.mu.Lock()
			dead := t.dead
			if err == nil {
				t.note(a.ID, a.Records)
			}
			t.mu.Unlock()
			if dead {
				err = checkpoint.ErrClosed
			}
			done(err)
		})
	})
	if !made {
		t.Store.Append(checkpoint.Append{ID: a.ID, Epoch: math.MaxUint64}, func(error) { done(checkpoint.ErrClosed) })
	}
}

// note takes note of records of an execution that became durable. t.mu is held.
func (t *tap) note(id string, records []checkpoint.Record) {
	opens := false
	for i := range records {
		rec := &records[i]
		t.finish(id, rec)
		opens = opens || rec.Type == checkpoint.CallbackStarted
	}
	if opens && t.opened != nil && !t.dead {
		go t.opened(id)
	}
}

// describeAppend says what a write is, for the message of a failed test.
func describeAppend(a *checkpoint.Append) string {
	var parts []string
	for i := range a.Records {
		rec := &a.Records[i]
		part := rec.Type.String()
		if rec.OperationID != "" {
			part += " " + rec.OperationID
		}
		if rec.Name != "" {
			part += fmt.Sprintf(" %q", rec.Name)
		}
		if !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ", ")
}

func (t *tap) Create(ctx context.Context, c checkpoint.Creation) (s checkpoint.Summary, created bool, err error) {
	if t.write("ExecutionStarted of "+c.Started.Function, func() {
		s, created, err = t.Store.Create(ctx, c)
		if created {
			t.ids.note(c.ID)
			t.note(c.ID, c.Records) // of a restart, or an import
		}
	}) {
		return checkpoint.Summary{}, false, checkpoint.ErrClosed
	}
	return s, created, err
}

func (t *tap) Deliver(ctx context.Context, d checkpoint.Delivery) (err error) {
	if t.write(d.Record.Type.String()+" "+d.Record.OperationID+" from outside", func() { err = t.Store.Deliver(ctx, d) }) {
		return checkpoint.ErrClosed
	}
	return err
}

func (t *tap) End(ctx context.Context, e checkpoint.Ending) (ended bool, err error) {
	if t.write(e.Record.Type.String(), func() { ended, err = t.Store.End(ctx, e) }) {
		return false, checkpoint.ErrClosed
	}
	return ended, err
}

// What follows is no checkpoint, and is not done by the dead.

func (t *tap) alive() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dead {
		return checkpoint.ErrClosed
	}
	return nil
}

func (t *tap) Claim(ctx context.Context, r checkpoint.ClaimRequest) ([]checkpoint.Claim, error) {
	if err := t.alive(); err != nil || t.idle {
		return nil, err
	}
	return t.Store.Claim(ctx, r)
}

func (t *tap) NextDue(ctx context.Context, r checkpoint.ClaimRequest) (time.Time, error) {
	if err := t.alive(); err != nil || t.idle {
		return time.Time{}, err
	}
	return t.Store.NextDue(ctx, r)
}

func (t *tap) Disown(ctx context.Context, id string, epoch uint64) error {
	if err := t.alive(); err != nil {
		return err
	}
	return t.Store.Disown(ctx, id, epoch)
}

func (t *tap) Heartbeat(ctx context.Context, c checkpoint.CallbackRef) error {
	if err := t.alive(); err != nil {
		return err
	}
	return t.Store.Heartbeat(ctx, c)
}

// Close leaves the memory to the next life.
func (t *tap) Close() error {
	t.kill()
	return nil
}
