package pgstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
	"github.com/jackc/pgx/v5"
)

// read makes queries of the pool. Connections end, or go silent, and so do servers: what
// only reads is tried again, with a batch that begins with empty results. limit is how
// long an answer may take; 0: for ever.
func (s *Store) read(ctx context.Context, limit time.Duration, ask func() *pgx.Batch) error {
	for try := 0; ; try++ {
		err := s.readOnce(ctx, limit, ask)
		if err == nil || try == readTries || ctx.Err() != nil || s.closed.Load() || refusal(err) != nil || errors.Is(err, checkpoint.ErrCorrupt) {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond << try):
		}
	}
}

// wholeTable is the limit of what may have to read all of a table: it may take for ever.
const wholeTable = time.Duration(-1)

// onward is the limit of what goes along a table by its keys until it has enough, which may
// be at the end of it.
const onward = time.Duration(-2)

// settingsOf are what has to be set for a read with a limit.
func settingsOf(limit time.Duration) string {
	switch limit {
	case wholeTable:
		return ""
	case onward:
		return byKeys + unsorted
	}
	return byKeys
}

// readTries is how often a read is tried again: for 0.6 s.
const readTries = 6

// readOnce is read for what may write, too: it is tried again only if nothing was made,
// because others were at work on the same rows.
func (s *Store) readOnce(ctx context.Context, limit time.Duration, ask func() *pgx.Batch) error {
	return evade(ctx, func() error { return s.askOnce(ctx, limit, ask) })
}

// evade makes again what has collided with others, a few times.
func evade(ctx context.Context, f func() error) error {
	for try := 0; ; try++ {
		err := f()
		if try == 8 || !collided(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(rand.N(time.Millisecond << try)):
		}
	}
}

// collided reports whether the server has given a transaction up in favour of others: all
// that it did is undone, and it may well succeed the next time.
func collided(err error) bool {
	e := refusal(err)
	return e != nil && (e.Code == serialization || e.Code == deadlock || e.Code == lockNotAvailable)
}

// renewPatience is how long a read waits for the round that finds out whether the server
// that it was sent to has gone back in time.
const renewPatience = 250 * time.Millisecond

func (s *Store) askOnce(ctx context.Context, limit time.Duration, ask func() *pgx.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.closed.Load() {
		return checkpoint.ErrClosed
	}
	asking := ctx
	if limit > 0 {
		var cancel context.CancelFunc
		asking, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	drops := drops{pool: s.pool}
	err := s.batch(asking, ask(), settingsOf(limit))
	if errors.Is(err, errOnlyReads) {
		renewing, cancel := context.WithTimeout(asking, renewPatience)
		s.do(renewing, &command{})
		cancel()
	}
	for drops.another(err) {
		err = s.batch(asking, ask(), settingsOf(limit))
	}
	if err != nil {
		if s.closed.Load() {
			return checkpoint.ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		return fmt.Errorf("durable: schema %s of the database: %w", s.opts.Schema, inOwnTime(err, cmp.Or(max(limit, 0), s.opts.Lease)))
	}
	return nil
}

func notFound(what any) error {
	return fmt.Errorf("execution %v: %w", what, checkpoint.ErrNotFound)
}

func (s *Store) corrupt(number, seq uint64, err error) error {
	return &checkpoint.CorruptError{Where: fmt.Sprintf("schema %s: journal of execution number %d, record %d", s.opts.Schema, number, seq), What: "it can't be read", Err: err}
}

func (s *Store) one(ctx context.Context, what any, r reading, arg any) (checkpoint.Summary, error) {
	found, _, err := s.summaries(ctx, s.opts.Lease, r, arg)
	switch {
	case err != nil:
		return checkpoint.Summary{}, err
	case len(found) == 0:
		return checkpoint.Summary{}, notFound(what)
	}
	return found[0].sum, found[0].err
}

// Get returns the summary of an execution.
func (s *Store) Get(ctx context.Context, id string) (checkpoint.Summary, error) {
	return s.one(ctx, id, s.sql.get, s.sql.layout.idKey(id))
}

// Find is Get by number.
func (s *Store) Find(ctx context.Context, number uint64) (checkpoint.Summary, error) {
	return s.one(ctx, number, s.sql.find, int64(min(number, math.MaxInt64)))
}

// unreadable is damage that the server has met.
func (s *Store) unreadable(what any, part string, err error) error {
	return &checkpoint.CorruptError{Where: fmt.Sprintf("schema %s: %s of execution %v", s.opts.Schema, part, what), What: "the server can't read it", Err: err}
}

// What a list reads at once: so many summaries, until there are so many bytes, and the last
// one of them.
const (
	page      = 128
	pageBytes = 1 << 20
)

// List yields summaries, newest first.
func (s *Store) List(ctx context.Context, q checkpoint.Query) iter.Seq2[checkpoint.Summary, error] {
	return func(yield func(checkpoint.Summary, error) bool) {
		before := int64(math.MaxInt64)
		if q.Before != 0 && q.Before < math.MaxInt64 {
			before = int64(q.Before)
		}
		for n := 0; ; {
			limit := page
			if q.Limit > 0 {
				limit = min(limit, q.Limit-n)
			}
			found, more, err := s.summaries(ctx, onward, s.sql.list, append(selecting(&q), before, limit)...)
			if err != nil {
				yield(checkpoint.Summary{}, err)
				return
			}
			for _, f := range found {
				if !yield(f.sum, f.err) {
					return
				}
				before = int64(f.sum.Number)
				n++
			}
			if !more && len(found) < limit || n == q.Limit {
				return
			}
		}
	}
}

// selecting are the parameters of selected.
func selecting(q *checkpoint.Query) []any {
	return []any{orNull(q.Function), int16(q.Status), q.StartedAfter, q.StartedBefore, orNull(q.IDPrefix)}
}

// Count counts executions by status, in the database.
func (s *Store) Count(ctx context.Context, q checkpoint.Query) (counts map[checkpoint.Status]int, err error) {
	err = s.read(ctx, wholeTable, func() *pgx.Batch {
		counts = make(map[checkpoint.Status]int)
		b := &pgx.Batch{}
		b.Queue(s.sql.count, selecting(&q)...).Query(func(rows pgx.Rows) error {
			var status int16
			var n int
			_, err := pgx.ForEachRow(rows, []any{&status, &n}, func() error {
				counts[checkpoint.Status(status)] = n
				return nil
			})
			return err
		})
		return b
	})
	if err != nil {
		return nil, err
	}
	return counts, nil
}

func orNull(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

// Records yields a journal. A gap in it is a *checkpoint.CorruptError.
func (s *Store) Records(ctx context.Context, id string, after uint64) iter.Seq2[checkpoint.Record, error] {
	return func(yield func(checkpoint.Record, error) bool) {
		var number, tail int64
		for {
			var read int64
			var data [][]byte
			err := s.read(ctx, s.opts.Lease, func() *pgx.Batch {
				read, data = 0, nil
				b := &pgx.Batch{}
				b.Queue(s.sql.records, s.sql.layout.idKey(id), int64(min(after, math.MaxInt64))).Query(func(rows pgx.Rows) error {
					var seq *int64
					var d []byte
					_, err := pgx.ForEachRow(rows, []any{&read, &tail, &seq, &d}, func() error {
						if seq != nil {
							data = append(data, d)
							d = nil
						}
						return nil
					})
					return err
				})
				return b
			})
			if isDamage(err) {
				err = s.unreadable(id, "journal", err)
			}
			if err == nil && (read == 0 || number != 0 && read != number) {
				err = notFound(id)
			}
			number = read
			if err == nil {
				var all []checkpoint.Record
				all, err = decodeAll(data, after)
				for i := range all {
					if !yield(all[i], nil) {
						return
					}
					after = all[i].Seq
				}
				if err == nil && len(data) == 0 && after < uint64(tail) {
					err = errMissing
				}
				if err != nil {
					err = s.corrupt(uint64(number), after+1, err)
				}
			}
			if err != nil {
				yield(checkpoint.Record{}, err)
				return
			}
			if len(data) == 0 || after >= uint64(tail) {
				return
			}
		}
	}
}

// Inbox returns what is in an inbox.
func (s *Store) Inbox(ctx context.Context, id string, after uint64) (entries []checkpoint.Record, err error) {
	var number int64
	var mine []*work
	err = s.read(ctx, s.opts.Lease, func() *pgx.Batch {
		number, entries = 0, nil
		b := &pgx.Batch{}
		b.Queue(s.sql.inboxAfter, s.sql.layout.idKey(id), int64(min(after, math.MaxInt64))).Query(func(rows pgx.Rows) error {
			var d []byte
			_, err := pgx.ForEachRow(rows, []any{&number, &d}, func() error {
				if d == nil {
					return nil
				}
				r, _, err := checkpoint.DecodeRecord(d)
				if err != nil {
					return &checkpoint.CorruptError{Where: fmt.Sprintf("schema %s: inbox of execution number %d", s.opts.Schema, number), What: "an entry can't be read", Err: err}
				}
				entries = append(entries, r)
				d = nil
				return nil
			})
			return err
		})
		// Behind it, so that the row knows of all of them.
		b.Queue(s.sql.owned, s.sql.layout.idKey(id), s.process.Load()).Query(func(rows pgx.Rows) (err error) {
			mine, err = pgx.CollectRows(rows, rowOf)
			return err
		})
		return b
	})
	switch {
	case err == nil && len(mine) == 1 && len(entries) > 0:
		mine[0].learn(entries)
		s.seen.take(mine[0])
	case isDamage(err):
		err = s.unreadable(id, "inbox", err)
	case err == nil && number == 0:
		err = notFound(id)
	}
	return entries, err
}

// NextDue is when Claim may return something.
func (s *Store) NextDue(ctx context.Context, req checkpoint.ClaimRequest) (time.Time, error) {
	keys := s.sql.layout.queueKeys(req.Functions)
	next := int64(math.MaxInt64)
	err := s.read(ctx, s.opts.Lease, func() *pgx.Batch {
		next = math.MaxInt64
		now := s.Now().UnixNano()
		b := &pgx.Batch{}
		b.Queue(s.sql.due, keys, s.marks.of(keys)).Query(func(rows pgx.Rows) error {
			var turn int
			var builds []byte
			var at *int64
			_, err := pgx.ForEachRow(rows, []any{&turn, &builds, &at}, func() error {
				if at != nil {
					q := ledger.Queue{Function: req.Functions[turn-1], Builds: string(builds)}
					next = min(next, ledger.DueFor(q, *at, now, req.Build))
				}
				return nil
			})
			return err
		})
		return b
	})
	if err != nil || next == math.MaxInt64 {
		return time.Time{}, err
	}
	return time.Unix(0, next), nil
}

// Expire deletes executions that ended before t, some at a time. After an error some of
// them may be deleted. One that reaches its limit is gone on with by the next one: what
// must be kept as long as its caller runs is not looked at again by each.
func (s *Store) Expire(ctx context.Context, t time.Time, limit int) (n int, err error) {
	at := s.expiredTo.Swap(nil)
	whole := at == nil // nothing is left out so far
	for n < limit {
		deleted, next, err := s.expire(ctx, t, cmp.Or(at, &ending{at: math.MinInt64}), min(limit-n, 100))
		n += deleted
		switch {
		case err != nil:
			return n, err
		case next == nil && whole:
			return n, nil
		case next == nil: // what it began behind may be expirable by now
			whole = true
		}
		at = next
	}
	s.expiredTo.Store(at)
	return n, nil
}

// ending is the place of an execution in the order in which they ended.
type ending struct{ at, number int64 }

// expire deletes some that ended after one; next is where to go on, nil at the end.
func (s *Store) expire(ctx context.Context, t time.Time, after *ending, limit int) (n int, next *ending, err error) {
	var at, number *int64
	err = s.readOnce(ctx, s.opts.Lease, func() *pgx.Batch {
		b := &pgx.Batch{}
		b.Queue(s.sql.expire, t.UnixNano(), after.at, after.number, limit).Query(into(&n, &at, &number))
		return b
	})
	if at != nil {
		next = &ending{*at, *number}
	}
	return n, next, err
}
