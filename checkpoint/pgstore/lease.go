package pgstore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/durable-go/durable/checkpoint"
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
	round   int64 // that was acknowledged
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
	s.lease.Store(&lease{s.process.Load(), until, s.writer.round})
}

// idle is how long a transaction may wait for its process: one that is stopped, or cut
// off, in the middle must not hold others up at the executions that it has locked.
func (s *Store) idle() time.Duration { return max(s.opts.Lease/4, 100*time.Millisecond) }

// A server may go back in time: after a failover to a standby that lacks the last commits,
// or when a backup is put in its place. What it has acknowledged is gone then, and a
// process must not go on as if it had been made: what it ended would run for ever, in
// nobody's memory. The round of a process's row tells, since commits are lost from the end
// only. tried is the round whose answer did not arrive, the one before it the last that
// was acknowledged:
//
//	row of this process   says                                          then
//	none                  the lease was over, or its beginning is lost  a new lease
//	round < tried-1       acknowledged rounds are lost                  a new lease; tried was not made
//	round = tried-1       tried was not made                            it never will: the round becomes tried+1
//	round = tried         tried was made                                go on
//	round = tried+1       tried was not made, and never will            go on
//	round > tried+1       it is not the row of this process             a new lease; tried was not made
//
// A round that nobody is in doubt about finds out by itself: its first statement takes the
// row only at the round before. Numbers of processes are drawn at random, since a sequence
// would go back, too: two processes with one number would pass for each other.

// register begins a lease. What was owned under another one is not owned any more.
func (s *Store) register(ctx context.Context) error {
	w := &s.writer
	w.drop()
	s.delivered.forgetAll()
	clear(w.next)
	w.numbers = nil // they might be drawn again
	sent := time.Now()
	id := drawProcess()
	var now int64
	var alone, older bool
	heard := s.company.asks()
	err := evade(ctx, func() error {
		return w.conn.QueryRow(ctx, s.sql.register, id, int64(s.opts.Lease)).Scan(&now, &alone, &older)
	})
	if err != nil {
		return fmt.Errorf("durable: schema %s of the database: %w", s.opts.Schema, err)
	}
	s.sawClock(sent, now)
	w.round = 0
	s.process.Store(id)
	if s.company.answered(heard, !alone) { // who comes later greets
		s.notifier.tellToLook()
	}
	s.older.Store(older)
	s.leased(s.until(sent))
	return nil
}

// drawProcess draws a number that no process has had, small enough for whoever reads it as
// a floating-point number.
func drawProcess() int64 {
	var b [8]byte
	rand.Read(b[:])
	return 1 + int64(binary.LittleEndian.Uint64(b[:])>>(64-52))
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
	s.catchUp() // what is news of the old lease is none of the new one
	s.marks.forget()
	back := s.wentBack(ctx)
	if err := s.register(ctx); err != nil {
		return err
	}
	if back > 0 {
		s.log.Error("durable: the database has gone back in time, as after a failover to a standby that lacked the last commits: what was acknowledged in between is lost, and this process starts over",
			"schema", s.opts.Schema, "process", s.writer.over, "transactions_lost", back)
	}
	// What is in memory under the old lease has to go, and what somebody waits for may be gone.
	s.calls.Hint(checkpoint.Hint{Kind: checkpoint.HintDue})
	s.calls.Hint(checkpoint.Hint{Kind: checkpoint.HintEnded})
	s.listenAnew()
	return nil
}

// wentBack is how many of this process's acknowledged transactions the database lacks.
func (s *Store) wentBack(ctx context.Context) int64 {
	var round int64
	err := s.writer.conn.QueryRow(ctx, s.sql.round, s.process.Load()).Scan(&round)
	if err != nil { // none: others found the lease run out, or all of it is lost
		return 0
	}
	return s.writer.round - round
}

// outcome finds out whether the round whose answer did not arrive was made, and sees
// to it that it can't be made later: see the table above register. It tries until the
// lease has run out.
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
				if err := tx.QueryRow(ctx, s.sql.lockRound, s.process.Load()).Scan(&round); err != nil || round != tried-1 {
					return err
				}
				// Its statement expects the round before, which is past then.
				_, err := tx.Exec(ctx, s.sql.settleRound, s.process.Load(), tried+1)
				return err
			})
			switch {
			case errors.Is(err, pgx.ErrNoRows): // others have found the lease run out
				s.leased(time.Time{})
				return false, false
			case err == nil && round == tried:
				w.round = tried
				return true, true
			case err == nil && (round == tried-1 || round == tried+1):
				w.round = tried + 1
				return false, true
			case err == nil: // the server has gone back in time
				s.leased(time.Time{})
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
	conn.PgConn().Conn().SetDeadline(time.Now().Add(time.Second)) // not that of the last round
	if s.writer.pipe.settle() != nil {
		return
	}
	conn.Exec(ctx, s.sql.resign, s.process.Load())
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
		err := s.do(ctx, &command{apart: true, change: func(v *view, r *ledger.Round) (err error) {
			more, err = v.recover(r)
			return err
		}})
		if err != nil || !more {
			return err
		}
	}
}
