package durable

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/fault"
	"github.com/durable-go/durable/internal/invocation"
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
	var quiet Options // nobody looks on, and a mismatch is what is asked for
	if opts != nil {
		quiet = *opts
	}
	quiet.Observer, quiet.FailOnMismatch = nil, false
	setDefault(&quiet.Logger, slog.New(slog.DiscardHandler))
	e := prepareEngine(store, &quiet)
	defer e.teller.CatchUpWithAll(tellPatience, ctx.Done())
	defer e.endLife(ErrClosed)
	def := e.defs[rec.Function]
	if def == nil {
		return fmt.Errorf("durable: replay of execution %s: %w: %q is not in Options.Functions", rec.ID, ErrFunctionNotFound, rec.Function)
	}
	for i := range rec.records {
		if r := &rec.records[i]; r.Type == checkpoint.ExecutionStarted {
			if err := e.accepts(r.Codec); err != nil {
				return fmt.Errorf("durable: replay of execution %s: input: %w", rec.ID, err)
			}
		}
	}
	replay := &invocation.Replay{Records: rec.records, Log: e.opts.Logger, Compare: func(final *checkpoint.Record, status checkpoint.Status, payload []byte, f *fault.Failure) error {
		return compareEnds(rec.ID, final, status, payload, f)
	}}
	e.newResident(&checkpoint.Claim{Summary: checkpoint.Summary{
		ID: rec.ID, Function: rec.Function, Incarnation: rec.incarnation, Tail: uint64(len(rec.records)), Status: checkpoint.Running}}, replay)
	if err := replay.Run(ctx); err != nil {
		return err
	}
	return e.v.public(replay.Verdict())
}

// compareEnds tells whether the handler's end is the recorded one; nil: it is, or there is
// none.
func compareEnds(id string, final *checkpoint.Record, status checkpoint.Status, payload []byte, failure *fault.Failure) error {
	now := "the result " + excerpt(payload)
	if failure != nil {
		now = fmt.Sprintf("the failure %s: %s", failure.Type, failure.Message)
	}
	different := func(recorded string) error {
		return &NonDeterministicError{ExecutionID: id, Recorded: recorded, Asked: now}
	}
	switch {
	case final == nil: // it ended, and the process died before that was recorded
	case final.Type == checkpoint.ExecutionSucceeded:
		if status != checkpoint.Succeeded || !bytes.Equal(jsonform.Compact(payload), jsonform.Compact(final.Payload)) {
			return different("the result " + excerpt(final.Payload))
		}
	case final.Type == checkpoint.ExecutionFailed:
		recorded, err := fault.Decode(final.Failure)
		if err != nil {
			return err
		}
		if failure == nil || failure.Type != recorded.Type || failure.Message != recorded.Message {
			return different(fmt.Sprintf("the failure %s: %s", recorded.Type, recorded.Message))
		}
	}
	return nil
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
