package pgstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/durable-go/durable/checkpoint/internal/ledger"
	"github.com/jackc/pgx/v5"
)

// until is when a lease that was renewed by a message sent at a time must not be
// used any more: earlier than the database's clock says it, whose time began later.
func (s *Store) until(sent time.Time) time.Time { return sent.Add(s.opts.Lease - s.opts.Lease/10) }

// lease is what a process may rely on.
type lease struct {
	process int64
	until   time.Time
}

// Lease is this process's number in the database, and when its lease runs out at the
// latest if it isn't renewed: a tenth of it before the database finds it so.
func (s *Store) Lease() (number int64, until time.Time) {
	l := s.lease.Load()
	return l.process, l.until
}

// leased notes until when the lease is good; the zero time: it is over.
func (s *Store) leased(until time.Time) {
	s.writer.until = until
	s.lease.Store(&lease{s.process.Load(), until})
}

// idle is how long a transaction may wait for its process: one that is stopped, or cut
// off, in the middle must not hold others up at the executions that it has locked.
func (s *Store) idle() time.Duration { return max(s.opts.Lease/4, 100*time.Millisecond) }

// register begins a lease. What was owned under another one is not owned any more.
func (s *Store) register(ctx context.Context) error {
	w := &s.writer
	w.drop()
	sent := time.Now()
	var id, now int64
	err := w.conn.QueryRow(ctx, sqlFor(s.opts.Schema, `INSERT INTO $S.process (lease_until, round) VALUES (`+nanoseconds+` + $1::bigint, 0)
		RETURNING id, `+nanoseconds), int64(s.opts.Lease)).Scan(&id, &now)
	if err != nil {
		return fmt.Errorf("durable: schema %s of the database: %w", s.opts.Schema, err)
	}
	s.clock.seen(sent, now)
	w.round = 0
	s.process.Store(id)
	s.leased(s.until(sent))
	return nil
}

// lapse begins a new lease because the old one has run out, or could not be renewed.
// Nobody renews the old one any more: what it owned is taken over when the database
// finds it run out.
func (s *Store) lapse() error {
	if id := s.process.Load(); id != s.writer.over { // it may take more than one attempt to get another one
		s.writer.over = id
		s.log.Warn("durable: the lease has run out: its executions are given up", "schema", s.opts.Schema, "process", id)
	}
	s.lose()
	s.writer.drop()
	s.leased(time.Time{})
	ctx, cancel := s.patience(time.Now().Add(min(s.opts.Lease/3, 5*time.Second)))
	defer cancel()
	if err := s.connect(ctx); err != nil {
		return err
	}
	return s.register(ctx)
}

// outcome finds out whether the round whose answer did not arrive was made, and sees
// to it that it can't be made later. It tries until the lease has run out.
func (s *Store) outcome() (made, settled bool) {
	w := &s.writer
	ctx, cancel := s.patience(w.until)
	defer cancel()
	tried := w.round + 1
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := s.connect(ctx)
		if err == nil {
			var round int64
			err = pgx.BeginFunc(ctx, w.conn, func(tx pgx.Tx) error {
				sql := func(q string) string { return sqlFor(s.opts.Schema, q) }
				if err := tx.QueryRow(ctx, sql(`SELECT round FROM $S.process WHERE id = $1 FOR UPDATE`), s.process.Load()).Scan(&round); err != nil || round >= tried {
					return err
				}
				// Its statement expects the round before, which is past then.
				_, err := tx.Exec(ctx, sql(`UPDATE $S.process SET round = $2 WHERE id = $1`), s.process.Load(), tried+1)
				return err
			})
			switch {
			case errors.Is(err, pgx.ErrNoRows): // others have found the lease run out
				s.leased(time.Time{})
				return false, false
			case err == nil && round == tried:
				w.round = tried
				return true, true
			case err == nil:
				w.round = tried + 1
				return false, true
			}
		}
		select {
		case <-ctx.Done():
			return false, false
		case <-time.After(wait):
		}
	}
}

// resign ends the lease, so that others need not wait until it runs out.
func (s *Store) resign() {
	conn := s.writer.conn
	if conn == nil || conn.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn.PgConn().Conn().SetDeadline(time.Time{}) // of the last round
	conn.Exec(ctx, sqlFor(s.opts.Schema, `UPDATE $S.process SET lease_until = 0 WHERE id = $1`), s.process.Load())
}

// wantsLease reports whether a round is made although it changes nothing.
func wantsLease(round []*command) bool {
	for _, c := range round {
		if c.Done == nil && c.change == nil {
			return true
		}
	}
	return false
}

// sweep takes over what processes own that are gone.
func (s *Store) sweep(ctx context.Context) error {
	for {
		var more bool
		err := s.do(ctx, &command{change: func(v *view, r *ledger.Round) (err error) {
			more, err = v.recover(r)
			return err
		}})
		if err != nil || !more {
			return err
		}
	}
}
