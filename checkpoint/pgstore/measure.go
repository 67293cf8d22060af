package pgstore

import (
	"context"
	"fmt"

	"github.com/durable-go/durable/checkpoint"
)

var (
	_ checkpoint.CommitWatcher = (*Store)(nil)
	_ checkpoint.Sizer         = (*Store)(nil)
	_ checkpoint.Backlogger    = (*Store)(nil)
	_ checkpoint.Notifier      = (*Store)(nil)
)

// WatchCommits sets who is told of each transaction of this process, from its first
// message to the answer of its commit.
func (s *Store) WatchCommits(fn func(checkpoint.Commit)) { s.committed.Store(&fn) }

// Size is that of the tables and their indexes.
func (s *Store) Size(ctx context.Context) (n int64, err error) {
	err = s.ask(ctx, 0, s.sql.size, into(&n))
	if err != nil {
		return 0, fmt.Errorf("durable: size of schema %s: %w", s.opts.Schema, err)
	}
	return n, nil
}

// Backlog counts the executions of all processes: it reads the whole table, about
// 0.1 s for a million executions.
func (s *Store) Backlog(ctx context.Context) (b checkpoint.Backlog, err error) {
	err = s.ask(ctx, wholeTable, s.sql.backlog, into(&b.Waiting, &b.Timed))
	if err != nil {
		return b, fmt.Errorf("durable: backlog of schema %s: %w", s.opts.Schema, err)
	}
	return b, nil
}
