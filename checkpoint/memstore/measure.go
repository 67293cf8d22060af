package memstore

import (
	"context"
	"math"

	"github.com/durable-go/durable/checkpoint"
)

var (
	_ checkpoint.CommitWatcher = (*Store)(nil)
	_ checkpoint.Backlogger    = (*Store)(nil)
)

// WatchCommits sets who is told how many changes were made together, and how long it
// took. Nothing is written anywhere; changes that found nobody before them are not told.
func (s *Store) WatchCommits(fn func(checkpoint.Commit)) { s.committed.Store(&fn) }

// Backlog looks at each execution, under the lock of the tables.
func (s *Store) Backlog(ctx context.Context) (b checkpoint.Backlog, err error) {
	if err := ctx.Err(); err != nil {
		return b, err
	}
	s.lock()
	defer s.unlock()
	if s.closed {
		return b, checkpoint.ErrClosed
	}
	for _, x := range s.tables.ordered {
		if !x.deleted && x.row.Status == checkpoint.Running && !x.row.Owned {
			b.Waiting++
		}
	}
	for _, queue := range s.tables.queues {
		for _, x := range *queue {
			if x.at != math.MaxInt64 { // that is one which is held without a time
				b.Timed++
			}
		}
	}
	return b, nil
}
