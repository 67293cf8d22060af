package durable

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/durable-go/durable/checkpoint"
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

// behindError says that what was read of an execution is not all that is there.
type behindError struct {
	id, what     string
	shown, known uint64
}

func (e *behindError) Error() string {
	return fmt.Sprintf("the %s of execution %s was read up to entry %d, and is known to go up to %d: the store shows what it held before, does it read from a replica?", e.what, e.id, e.shown, e.known)
}

// readAgain is how often a journal is read again that was behind: for 0.6 s.
const readAgain = 6

// journalOf yields the journal of an execution from the record after a sequence number,
// at least up to the Tail of its summary: what is missing of that is asked for again, for a
// while, and is a *behindError then.
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
				yield(checkpoint.Record{}, &behindError{s.ID, "journal", after, s.Tail})
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

// inboxFrom returns what is in the execution's inbox after a sequence number. x.mu is not held.
func (x *residency) inboxFrom(ctx context.Context, after uint64) ([]checkpoint.Record, error) {
	x.mu.Lock()
	known := x.inboxTail
	x.mu.Unlock()
	var entries []checkpoint.Record
	if x.e.deliverer != nil {
		entries = x.e.deliverer.Delivered(x.id, after)
	}
	if len(entries) == 0 || entries[len(entries)-1].Seq < known {
		var err error
		if entries, err = x.e.store.Inbox(ctx, x.id, after); err != nil {
			return nil, err
		}
	}
	shown := after
	if len(entries) > 0 {
		shown = entries[len(entries)-1].Seq
	}
	if shown < known {
		return nil, &unreadError{&behindError{x.id, "inbox", shown, known}}
	}
	return entries, nil
}

// isOver reports whether it is of a time when somebody else has the execution, or it has
// ended, or another one has its ID.
func (w writtenOff) isOver(s *checkpoint.Summary) bool {
	return s.Number > w.number || s.Number == w.number && (s.Epoch > w.epoch || s.Status != checkpoint.Running)
}
