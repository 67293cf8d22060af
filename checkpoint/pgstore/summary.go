package pgstore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
	"github.com/jackc/pgx/v5"
)

// found is a summary, or what of it can be read and why the rest can't.
type found struct {
	sum checkpoint.Summary
	err error
}

// summaries reads what a statement selects: of a list a part at least, as far as a page has
// the bytes for it; more says that there is a rest. err is of all of them.
func (s *Store) summaries(ctx context.Context, limit time.Duration, r reading, args ...any) (all []found, more bool, err error) {
	selected := 0
	err = s.read(ctx, limit, func() *pgx.Batch {
		b := &pgx.Batch{}
		b.Queue(r.summaries, args...).Query(func(rows pgx.Rows) (err error) {
			all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (found, error) { return s.summary(row, &selected) })
			return err
		})
		return b
	})
	if isDamage(err) { // of one page of the table, or of one value: the others can be read
		return s.oneByOne(ctx, limit, r, args...)
	}
	return all, len(all) < selected, err
}

func (s *Store) summary(row pgx.CollectableRow, selected *int) (l found, err error) {
	w := &work{row: new(checkpoint.Row)}
	c := newColumns(w)
	var first, last []byte
	var beat *int64
	if err := row.Scan(append(c.targets(), &first, &last, &beat, selected)...); err != nil {
		return l, err
	}
	c.done()
	l.sum = w.row.Summary
	l.sum.WakeAt, _ = ledger.WakeAt(w.row, beats{beat})
	l.decode(s, &l.sum.Started, 1, first)
	if l.sum.Status != checkpoint.Running {
		l.decode(s, &l.sum.Ended, l.sum.Tail, last)
	}
	return l, nil
}

// decode reads a record of the journal into its place.
func (l *found) decode(s *Store, r *checkpoint.Record, seq uint64, data []byte) {
	got, err := decodeLast(data, seq)
	if err != nil {
		l.fail(s.corrupt(l.sum.Number, seq, err))
		return
	}
	*r = got
}

// fail keeps the first error.
func (l *found) fail(err error) {
	if l.err == nil {
		l.err = err
	}
}

// isDamage reports whether the server has met damage in its files (class XX).
func isDamage(err error) bool {
	e := refusal(err)
	return e != nil && strings.HasPrefix(e.Code, "XX")
}

// oneByOne is summaries where the server can't read all of it: each execution, and each
// of its records, is asked for alone.
func (s *Store) oneByOne(ctx context.Context, limit time.Duration, r reading, args ...any) (all []found, more bool, err error) {
	var numbers []int64
	err = s.ask(ctx, limit, r.numbers, func(rows pgx.Rows) (err error) {
		numbers, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		return err
	}, args...)
	if err != nil {
		return nil, false, err
	}
	bytes := 0
	for _, number := range numbers {
		if bytes >= pageBytes {
			return all, true, nil
		}
		l, there, err := s.carefully(ctx, limit, number)
		if err != nil {
			return nil, false, err
		}
		if there {
			all = append(all, l)
			bytes += sizes(l.sum.Started, l.sum.Ended)
		}
	}
	return all, false, nil
}

// carefully reads what can be read of an execution.
func (s *Store) carefully(ctx context.Context, limit time.Duration, number int64) (l found, there bool, err error) {
	l.sum.Number = uint64(number)
	damaged := func(part string, err error) error { return s.unreadable(fmt.Sprint("number ", number), part, err) }
	w := &work{row: new(checkpoint.Row)}
	err = s.ask(ctx, limit, s.sql.row, func(rows pgx.Rows) error {
		c := newColumns(w)
		_, err := pgx.ForEachRow(rows, c.targets(), func() error {
			c.done()
			l.sum, there = w.row.Summary, true
			return nil
		})
		return err
	}, number)
	if isDamage(err) {
		l.fail(damaged("the row", err))
		return l, true, nil
	}
	if err != nil || !there {
		return l, false, err
	}
	record := func(r *checkpoint.Record, seq uint64) error {
		var data []byte
		err := s.ask(ctx, limit, s.sql.record, into(&data), number, int64(seq))
		switch {
		case isDamage(err):
			l.fail(damaged(fmt.Sprintf("record %d", seq), err))
		case err != nil:
			return err
		default:
			l.decode(s, r, seq, data)
		}
		return nil
	}
	if err := record(&l.sum.Started, 1); err != nil {
		return l, false, err
	}
	if l.sum.Status != checkpoint.Running {
		if err := record(&l.sum.Ended, l.sum.Tail); err != nil {
			return l, false, err
		}
	}
	var beat *int64
	err = s.ask(ctx, limit, s.sql.firstBeatOf, into(&beat), number)
	switch {
	case isDamage(err):
		l.fail(damaged("the callbacks", err))
	case err != nil:
		return l, false, err
	}
	l.sum.WakeAt, _ = ledger.WakeAt(w.row, beats{beat})
	return l, true, nil
}

// setAside takes out of what is due for a claim what the server can't read, so that the
// others can be claimed.
func (s *Store) setAside(ctx context.Context, req *checkpoint.ClaimRequest) (found bool, err error) {
	keys := s.sql.layout.queueKeys(req.Functions)
	var numbers []int64
	err = s.ask(ctx, s.opts.Lease, s.sql.broken, func(rows pgx.Rows) (err error) {
		numbers, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		return err
	}, keys, s.marks.of(keys), int64(max(req.Max, 1)))
	for _, number := range numbers {
		l, _, failed := s.carefully(ctx, s.opts.Lease, number)
		if failed != nil {
			return found, failed
		}
		if l.err == nil {
			continue
		}
		found = true
		err = s.do(ctx, &command{change: func(_ *view, r *ledger.Round) error { return r.SetAside(uint64(number), l.err) }})
		if err != nil {
			return found, err
		}
	}
	return found, err
}

// ask makes one query.
func (s *Store) ask(ctx context.Context, limit time.Duration, sql string, take func(pgx.Rows) error, args ...any) error {
	return s.read(ctx, limit, s.question(sql, take, args...))
}

func (s *Store) question(sql string, take func(pgx.Rows) error, args ...any) func() *pgx.Batch {
	return func() *pgx.Batch {
		b := &pgx.Batch{}
		b.Queue(sql, args...).Query(take)
		return b
	}
}

// into takes the last row of an answer.
func into(targets ...any) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, targets, func() error { return nil })
		return err
	}
}

// beats is the earliest heartbeat of one execution.
type beats struct{ first *int64 }

func (b beats) FirstBeat(uint64) (int64, error) {
	if b.first == nil {
		return 0, nil
	}
	return *b.first, nil
}
