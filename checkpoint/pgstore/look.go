package pgstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/jackc/pgx/v5"
)

// renew renews the lease, when nothing else is written, and when a connection has ended:
// behind it there may be another server, which has gone back in time. It reads nothing:
// what happens to connections that read must not cost the lease.
func (s *Store) renew() {
	renew := time.NewTicker(s.opts.Lease / 4)
	defer renew.Stop()
	for {
		select {
		case <-s.life.Done():
			return
		case <-renew.C:
		case <-s.parted:
		}
		if err := s.do(s.life, &command{}); err != nil && s.life.Err() == nil {
			s.log.Warn("durable: the lease was not renewed", "schema", s.opts.Schema, "error", err.Error())
		}
	}
}

// look does, each Options.Poll, what no notification is needed for.
func (s *Store) look() {
	poll := time.NewTicker(s.opts.Poll)
	defer poll.Stop()
	lost := time.NewTimer(s.opts.Lease / 4)
	defer lost.Stop()
	polls, blind := 0, false
	saw := func(err error) {
		if err != nil && !blind && s.life.Err() == nil { // once, not each time
			s.log.Warn("durable: the store could not look for work", "schema", s.opts.Schema, "error", err.Error())
		}
		blind = err != nil
	}
	for {
		select {
		case <-s.life.Done():
			return
		case <-lost.C: // whatever Poll is, what is lost shall not wait
			_, next, err := s.takeOver(s.life)
			saw(err)
			lost.Reset(next)
		case <-poll.C:
			ctx, cancel := context.WithTimeout(s.life, s.opts.Lease)
			paced := s.behindPace.keep(func() error { return s.lookBehind(ctx) })
			ends := noEnds
			switch {
			case polls%10 == 0: // a connection that is silent may be dead
				ends = allEnds
			case !s.listening.Load():
				ends = newEnds
			}
			polls++
			err := s.lookOnce(ctx, ends)
			if err == nil && polls%10 == 1 {
				err = s.watchQueue(ctx)
			}
			saw(errors.Join(paced, err))
			cancel()
		case <-s.missed:
			s.newsPace.forget()
			ctx, cancel := context.WithTimeout(s.life, s.opts.Lease)
			saw(s.lookOnce(ctx, allEnds))
			cancel()
		}
	}
}

// takeOver makes due what processes own that are gone. It returns how many others there
// are, and when to look next: when the first of their leases runs out if that is not
// renewed, so that half a lease is left of what is promised; not all at once. What could
// not be asked is asked again soon.
func (s *Store) takeOver(ctx context.Context) (others int, next time.Duration, err error) {
	soon := max(s.opts.Lease/16, 10*time.Millisecond)
	var gone, ahead int
	var older bool
	var expires *int64
	heard := s.company.asks()
	err = s.readOnce(ctx, s.opts.Lease/4, s.question(s.sql.processes, into(&gone, &others, &expires, &ahead, &older), s.process.Load()))
	if err == nil && ahead > 0 {
		err = s.shorten(ctx)
	}
	if err != nil {
		return 0, soon, err
	}
	next = s.opts.Lease / 4
	if expires != nil {
		next = min(next, max(0, time.Duration(*expires))+time.Millisecond+rand.N(s.opts.Lease/32+1))
	}
	s.older.Store(older)
	if s.company.answered(heard, others > 0) {
		s.notifier.tellToLook()
	}
	if others > 0 {
		s.notifier.ready()
	}
	if gone > 0 {
		if err = s.sweep(ctx); err != nil {
			next = min(next, soon)
		} else {
			s.endListeners(ctx)
		}
	}
	return others, next, err
}

// shorten has leases that are ahead end a lease from now. No process relies on more: its
// last message was sent before.
func (s *Store) shorten(ctx context.Context) error {
	return s.readOnce(ctx, s.opts.Lease/4, s.question(s.sql.shorten, into()))
}

// search is what lookOnce looks for among what has ended since it did so before.
type search int

const (
	noEnds  search = iota
	newEnds        // all but what took long to be written after its time
	allEnds        // no change takes longer than a lease
)

// lookOnce gives hints of all that may have happened, and of what has ended, as far as that
// is asked for. An end is written a little after its time, by a clock that may have been set
// back.
func (s *Store) lookOnce(ctx context.Context, ends search) error {
	at := time.Now()
	others, _, err := s.takeOver(ctx)
	if err != nil {
		return err
	}
	s.calls.Hint(checkpoint.Hint{Kind: checkpoint.HintDue})
	last := false
	if others == 0 {
		// What is done here gives its hints itself, and what others did last they may not
		// have told.
		if last = s.company.met.Swap(false); !last {
			s.hasLooked(allEnds, at)
			return nil
		}
		ends = allEnds
	}
	err = s.newsPace.keep(func() error {
		return s.hintAt(ctx, checkpoint.HintInbox, s.sql.news, s.process.Load())
	})
	if err == nil && ends != noEnds {
		back := at.Sub(*s.looked[ends].Load()) + 3*s.opts.Poll
		if ends == allEnds {
			back += s.opts.Lease
		}
		if err = s.hintAt(ctx, checkpoint.HintEnded, s.sql.ended, s.Now().Add(-back).UnixNano()); err == nil {
			s.hasLooked(ends, at)
		}
	}
	if err != nil && last {
		s.company.met.Store(true)
	}
	return err
}

// hasLooked takes note that what had ended at a time has been looked for, or was all made here.
func (s *Store) hasLooked(ends search, at time.Time) {
	for ; ends != noEnds; ends-- {
		s.looked[ends].Store(&at)
	}
}

// hintAt gives hints of all that a statement finds.
func (s *Store) hintAt(ctx context.Context, kind checkpoint.HintKind, sql string, arg int64) error {
	var ids [][]byte
	err := s.readOnce(ctx, 0, s.question(sql, func(rows pgx.Rows) (err error) {
		ids, err = pgx.CollectRows(rows, pgx.RowTo[[]byte])
		return err
	}, arg))
	if err != nil {
		return err
	}
	for _, id := range ids {
		if kind == checkpoint.HintInbox {
			s.delivered.forget(string(id))
		}
		s.calls.Hint(checkpoint.Hint{Kind: kind, ID: string(id)})
	}
	return nil
}
