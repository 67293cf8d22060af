package durable

import (
	"context"
	"iter"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/internal/invocation"
)

// What a store shows may be behind what the engine knows of an execution: connections lead
// to a replica, or after a failover to the server that was the primary. Nothing is decided
// on what lacks something that is known to be there:
//
//	what is read        what must be there          else
//	journal of a claim  up to the claim's Tail      loaded again, under a new epoch
//	inbox of a claim    up to the claim's InboxTail the same
//	inbox, news to come more than was taken over    the same
//	journal for others  up to the summary's Tail    an error
//	summary, to give    not older than the one that it is given up all the same: the
//	an execution up     was written off             store compares the epoch
//
// A journal that goes on behind its Tail is somebody else's by now.

// readAgain is how often a journal is read again that was behind: for 0.6 s.
const readAgain = 6

// journalOf yields the journal of an execution from the record after a sequence number,
// at least up to the Tail of its summary: what is missing of that is asked for again, for a
// while, and is a *invocation.BehindError then.
func (e *Engine) journalOf(ctx context.Context, s *checkpoint.Summary, after uint64) iter.Seq2[checkpoint.Record, error] {
	return func(yield func(checkpoint.Record, error) bool) {
		for try := 0; ; try++ {
			for rec, err := range e.store.Records(ctx, s.ID, after) {
				if err == nil && rec.Seq == 1 && rec.Time != s.StartedAt {
					break // that of another execution with the ID
				}
				if !yield(rec, err) || err != nil {
					return
				}
				after = rec.Seq
			}
			if after >= s.Tail {
				return
			}
			if try == readAgain {
				yield(checkpoint.Record{}, &invocation.BehindError{ID: s.ID, What: "journal", Shown: after, Known: s.Tail})
				return
			}
			pause := time.NewTimer(10 * time.Millisecond << try)
			select {
			case <-pause.C:
			case <-ctx.Done():
				pause.Stop()
				yield(checkpoint.Record{}, context.Cause(ctx))
				return
			}
		}
	}
}

// isOver reports whether it is of a time when somebody else has the execution, or it has
// ended, or another one has its ID.
func (w writtenOff) isOver(s *checkpoint.Summary) bool {
	return s.Number > w.number || s.Number == w.number && (s.Epoch > w.epoch || s.Status != checkpoint.Running)
}
