package durable

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/history"
	"github.com/durable-go/durable/internal/jsonform"
)

// Replay runs the code of a function over the recording of one of its executions
// and reports the first place where they diverge, as a *NonDeterministicError;
// nil means that today's code goes the recorded way. Of an execution that had not
// ended, that is as far as the recording goes.
//
// Nothing begins: no body is called, no execution started, no time waited for, and
// nothing is recorded. Only code between operations runs, on this process's
// goroutines, so a debugger can step through it. What it logs with Context.Logger goes to
// Options.Logger, if there is one, as if it ran for the first time, and at Debug so does
// each operation that it comes through, without payloads. Of the options the functions, the
// codec, the sealer, the errors, the logger and the limits are used; the recorded
// function must be among the functions. Callback IDs are other ones than the
// recorded execution had.
//
// The result, or the failure, of an execution that ended by its handler is compared
// too. A plain function has nothing to replay.
func Replay(ctx context.Context, rec *Recording, opts *Options) error {
	switch {
	case ctx == nil:
		return errNoContext
	case rec == nil:
		return errNoRecording
	}
	if err := opts.check(); err != nil {
		return err
	}
	store := &recordedStore{rec: rec, now: time.Now()}
	if n := len(rec.records); n > 0 {
		store.now = timeOf(rec.records[n-1].Time)
	}
	e := prepareEngine(store, opts)
	e.opts.Observer, e.opts.FailOnMismatch = &Observer{}, false
	if opts == nil || opts.Logger == nil {
		e.opts.Logger = slog.New(slog.DiscardHandler)
		e.log = e.opts.Logger
	}
	defer e.teller.CatchUpWithAll(tellPatience, ctx.Done())
	defer e.endLife(ErrClosed)
	def := e.defs[rec.Function]
	if def == nil {
		return fmt.Errorf("durable: replay of execution %s: %w: %q is not in Options.Functions", rec.ID, ErrFunctionNotFound, rec.Function)
	}
	x := newResidency(e, def, &checkpoint.Claim{Summary: checkpoint.Summary{
		ID: rec.ID, Function: rec.Function, Incarnation: rec.incarnation, Tail: uint64(len(rec.records)), Status: checkpoint.Running}})
	x.replay = &replayRun{x: x, rec: rec}
	if err := x.replay.run(ctx); err != nil {
		return err
	}
	return x.replay.verdict()
}

// replayRun is a residency that replays a recording.
//
// It ends when the handler returns, when the code asks for something that is not
// what is recorded, or when every goroutine waits for something that the recording
// does not hold.
type replayRun struct {
	x     *residency
	rec   *Recording
	final *checkpoint.Record // the end of the execution; nil: it had not ended
	input checkpoint.Record

	first   *NonDeterministicError // what the code asked for beyond the recording, the outermost
	ended   bool                   // the handler returned
	problem error
	telling sync.WaitGroup // tells under way
}

func (r *replayRun) run(ctx context.Context) error {
	x := r.x
	x.mu.Lock()
	for i := range r.rec.records {
		rec := r.rec.records[i]
		failure, err := fault.Decode(rec.Failure)
		if err != nil {
			x.mu.Unlock()
			return fmt.Errorf("durable: replay of execution %s, record %d: %w", x.id, rec.Seq, err)
		}
		switch rec.Type {
		case checkpoint.ExecutionStarted:
			r.input = rec
			x.sum.StartedAt, x.sum.Deadline = rec.Time, rec.TimeoutAt
		case checkpoint.ScopeCancelled:
			x.cancels++
		case checkpoint.ExecutionSucceeded, checkpoint.ExecutionFailed, checkpoint.ExecutionTimedOut, checkpoint.ExecutionStopped:
			r.final = &r.rec.records[i]
		}
		x.ops.Apply(&rec, failure)
		x.lastInvocation = rec.Seq // all of it has been before
	}
	codec, err := x.e.codecFor(nil, r.input.Codec)
	if err != nil {
		x.mu.Unlock()
		return fmt.Errorf("durable: replay of execution %s: input: %w", x.id, err)
	}
	x.phase = phaseRunning
	f := x.newFrame(x.root, nil)
	f.replaying = true
	x.spawn(f, func() { x.runHandler(f, codec, r.input.Payload) })
	x.mu.Unlock()
	defer r.telling.Wait()
	select {
	case <-x.gone:
		return nil
	case <-ctx.Done():
		x.stopNow(context.Cause(ctx))
		return context.Cause(ctx)
	}
}

// failed reports whether what is replayed, if anything is, had failed.
func (r *replayRun) failed() bool {
	return r != nil && r.final != nil && r.final.Type == checkpoint.ExecutionFailed
}

// beyond ends the goroutine's way, for now: the code asks for something that the
// recording does not hold. x.mu is held, and given up.
func (x *residency) beyond(f *frame, id, asked string) error {
	if r := x.replay; r.first == nil || compareDepth(id, r.first.OperationID) < 0 {
		recorded := "nothing"
		if o := x.ops[id]; o != nil && o.Status != "" && o.ID != "" {
			recorded = history.Describe(o.Type, o.SubType, o.Name) + " without an end"
		}
		r.first = &NonDeterministicError{ExecutionID: x.id, OperationID: id, Recorded: recorded, Asked: asked}
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

// compare tells whether the handler's end is the recorded one. x.mu is held.
func (r *replayRun) compare(status checkpoint.Status, payload []byte, failure *fault.Failure) error {
	r.ended = true
	now := "the result " + excerpt(payload)
	if failure != nil {
		now = fmt.Sprintf("the failure %s: %s", failure.Type, failure.Message)
	}
	different := func(recorded string) error {
		return &NonDeterministicError{ExecutionID: r.x.id, Recorded: recorded, Asked: now}
	}
	switch {
	case r.final == nil: // it ended, and the process died before that was recorded
	case r.final.Type == checkpoint.ExecutionSucceeded:
		if status != checkpoint.Succeeded || !bytes.Equal(jsonform.Compact(payload), jsonform.Compact(r.final.Payload)) {
			return different("the result " + excerpt(r.final.Payload))
		}
	case r.final.Type == checkpoint.ExecutionFailed:
		recorded, err := fault.Decode(r.final.Failure)
		if err != nil {
			return err
		}
		if failure == nil || failure.Type != recorded.Type || failure.Message != recorded.Message {
			return different(fmt.Sprintf("the failure %s: %s", recorded.Type, recorded.Message))
		}
	}
	return nil
}

// verdict is what the replay has found.
func (r *replayRun) verdict() error {
	r.x.mu.Lock()
	defer r.x.mu.Unlock()
	if why, ok := r.problem.(*reason); ok {
		return why.err
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
	return fmt.Errorf("durable: replay of execution %s: %w: the code waits for something else where the recorded execution had ended", r.x.id, ErrNonDeterministic)
}

// tell logs the operation that f's code has just come through. What is left behind
// tells nothing: the replay does not wait for it.
func (r *replayRun) tell(f *frame) {
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
	r.x.e.opts.Logger.Debug("replayed", "execution", r.x.id, "operation", id, "type", kind, "name", name, "status", status)
}

// excerpt is the beginning of a payload as people see it.
func excerpt(payload []byte) string {
	const most = 200
	text := string(jsonform.Shown(payload))
	if len(text) > most {
		return fmt.Sprintf("%s… (%d bytes)", text[:most], len(text))
	}
	return cmp.Or(text, "null")
}

// recordedStore is what a replay has for a store: a clock that stands still and a
// secret.
type recordedStore struct {
	checkpoint.Store
	rec *Recording
	now time.Time
}

func (s *recordedStore) Now() time.Time { return s.now }

func (s *recordedStore) Secret() []byte { return make([]byte, 32) }

func (s *recordedStore) Get(context.Context, string) (checkpoint.Summary, error) {
	return checkpoint.Summary{}, checkpoint.ErrNotFound
}
