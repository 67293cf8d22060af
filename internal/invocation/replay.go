package invocation

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
)

// Replay makes an invocation one that begins nothing and records nothing.
//
// It ends when the handler returns, when the code asks for something that is not
// what is recorded, or when every goroutine waits for something that the recording
// does not hold.
type Replay struct {
	Records []checkpoint.Record
	// Compare tells whether the handler's end is the recorded one; final is that, nil if there
	// is none.
	Compare func(final *checkpoint.Record, status checkpoint.Status, payload []byte, f *fault.Failure) error
	Log     *slog.Logger // each operation that the code comes through

	x     *Invocation
	final *checkpoint.Record // the end of the execution; nil: it had not ended
	input checkpoint.Record

	first   *Mismatch // what the code asked for beyond the recording, the outermost
	ended   bool      // the handler returned
	problem error
	over    chan struct{}  // closed when nothing of it runs any more
	telling sync.WaitGroup // tells under way
}

// Run replays, until it ends or ctx does.
func (r *Replay) Run(ctx context.Context) error {
	x := r.x
	x.mu.Lock()
	for i := range r.Records {
		rec := r.Records[i]
		failure, err := fault.Decode(rec.Failure)
		if err != nil {
			x.mu.Unlock()
			return fmt.Errorf("durable: replay of execution %s, record %d: %w", x.id, rec.Seq, err)
		}
		switch rec.Type {
		case checkpoint.ExecutionStarted:
			r.input = rec
			x.Execution.StartedAt, x.Execution.Deadline = rec.Time, rec.TimeoutAt
		case checkpoint.ScopeCancelled:
			x.cancels++
		case checkpoint.ExecutionSucceeded, checkpoint.ExecutionFailed, checkpoint.ExecutionTimedOut, checkpoint.ExecutionStopped:
			r.final = &r.Records[i]
		}
		x.ops.Apply(&rec, failure)
		x.lastInvocation = rec.Seq // all of it has been before
	}
	x.phase = phaseRunning
	f := x.newFrame(x.root, nil)
	f.replaying = true
	x.spawn(f, func() { x.runHandler(f, r.input.Codec, r.input.Payload) })
	x.mu.Unlock()
	defer r.telling.Wait()
	select {
	case <-r.over:
		return nil
	case <-ctx.Done():
		x.Close(context.Cause(ctx))
		return context.Cause(ctx)
	}
}

// failed reports whether what is replayed, if anything is, had failed.
func (r *Replay) failed() bool {
	return r != nil && r.final != nil && r.final.Type == checkpoint.ExecutionFailed
}

// beyond ends the goroutine's way, for now: the code asks for something that the
// recording does not hold. x.mu is held, and given up.
func (x *Invocation) beyond(f *frame, id, asked string) error {
	if r := x.replay; r.first == nil || compareDepth(id, r.first.OperationID) < 0 {
		recorded := "nothing"
		if o := x.ops[id]; o != nil && o.Status != "" && o.ID != "" {
			recorded = history.Describe(o.Type, o.SubType, o.Name) + " without an end"
		}
		r.first = &Mismatch{ExecutionID: x.id, OperationID: id, Recorded: recorded, Asked: asked}
	}
	// The recorded run got further here: what is waited for was recorded then.
	if problem := x.leftover(f); problem != nil {
		x.holdNow(problem)
	}
	return x.block(f, &waiter{r: f.r})
}

// compareDepth orders operations by how far inside they are, then by place: of all
// that waits, the outermost is what keeps the handler from its end.
func compareDepth(a, b string) int {
	return cmp.Or(cmp.Compare(strings.Count(a, "-"), strings.Count(b, "-")), history.CompareIDs(a, b))
}

// end takes note of the handler's end. x.mu is held.
func (r *Replay) end(status checkpoint.Status, payload []byte, failure *fault.Failure) {
	r.ended = true
	r.problem = r.Compare(r.final, status, payload, failure)
}

// Verdict is what the replay has found.
func (r *Replay) Verdict() error {
	r.x.mu.Lock()
	defer r.x.mu.Unlock()
	if why, ok := r.problem.(*Reason); ok {
		return why.Err
	}
	switch {
	case r.problem != nil:
		return r.problem
	case r.ended || r.final == nil:
		return nil
	case r.final.Type == checkpoint.ExecutionTimedOut, r.final.Type == checkpoint.ExecutionStopped:
		return nil // it was ended from outside, anywhere
	case r.first != nil:
		return r.first
	}
	return fmt.Errorf("durable: replay of execution %s: %w: the code waits for something else where the recorded execution had ended", r.x.id, fault.ErrNonDeterministic)
}

// tell logs the operation that f's code has just come through. What is left behind
// tells nothing: the replay does not wait for it.
func (r *Replay) tell(f *frame) {
	r.x.mu.Lock()
	if !r.x.mayGoOn(f) {
		r.x.mu.Unlock()
		return
	}
	r.telling.Add(1)
	defer r.telling.Done()
	id := f.id(f.counter)
	var kind, name, status string
	if o := r.x.ops[id]; o != nil {
		kind, name, status = cmp.Or(o.SubType.String(), o.Type.String()), o.Name, string(o.Status)
	}
	r.x.mu.Unlock()
	r.Log.Debug("replayed", "execution", r.x.id, "operation", id, "type", kind, "name", name, "status", status)
}
