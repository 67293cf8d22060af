package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

// Bounds of what is in the log and not in bbolt, in bytes of the log.
const (
	feedBytes = 16 << 20    // bbolt gets it when there is so much,
	feedThin  = 4 << 20     // or so much that is mostly empty blocks,
	feedAfter = time.Second // or after that time, or later, see pace
	feedLast  = time.Minute // but not later than that
	maxLag    = 64 << 20    // with more, the writer waits
)

// pace is when bbolt gets the next generation, however little there is in it, if the last
// one has cost so many bytes beside what is in it. Where much was deleted the list of free
// pages is long, and written with each one: a store that is nearly idle would write
// nothing else.
func pace(written int64) time.Duration {
	const each = 128 << 10 // bytes a second
	return min(max(time.Duration(written/each)*time.Second, feedAfter), feedLast)
}

// enough reports whether bbolt is to get a generation now. What lone writers leave is a
// block of the log for each record, little to bring into bbolt, and much to read when
// the store is opened after a crash.
func (g *generation) enough() bool {
	return g.bytes >= feedBytes || g.bytes >= feedThin && g.body < g.bytes/4
}

// retryAfter is when the feeder tries again on a full disk.
const retryAfter = time.Second

// feeder is what stands between the writer and the goroutine that brings into
// bbolt what the log has. All is under Store.mu.
type feeder struct {
	active   *generation
	frozen   *generation // what is being brought into bbolt; nil: nothing
	applied  uint64      // number of the last batch that is there
	wanted   uint64      // somebody waits for that batch to be there
	stuck    error       // why it can't be done now: the disk is full
	progress chan struct{}
	trash    bool // journals of deleted executions wait for their removal; the feeder's alone
	draining bool
	after    time.Duration // how old a generation gets, see pace; 0: feedAfter
}

func (s *Store) wakeFeeder() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// feed brings generations into bbolt until the store is closed.
func (s *Store) feed() {
	defer close(s.fed)
	debug.SetPanicOnFault(true)
	for {
		g, wait, end := s.freeze()
		switch {
		case end:
			return
		case g != nil:
			wait = s.bring(g)
		case s.trash && s.failed() == nil:
			wait = s.sweepTrash()
		default:
			s.sleep(wait)
			if wait > 0 {
				s.look()
			}
			continue
		}
		if wait > 0 {
			s.sleep(wait)
		}
	}
}

// look sees to it that a file that is gone is noticed soon, however late bbolt gets what
// was written.
func (s *Store) look() {
	if s.failed() == nil {
		if err := s.present(); err != nil {
			s.fail(err)
		}
	}
}

// sleep waits until the feeder is woken, or for a time; 0: only the former.
func (s *Store) sleep(d time.Duration) {
	if d == 0 {
		<-s.wake
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-s.wake:
	case <-t.C:
	}
}

// freeze returns the generation to bring into bbolt. If there is none, wait says
// when there will be one, 0: somebody will say so; end that there will be none.
func (s *Store) freeze() (g *generation, wait time.Duration, end bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed() != nil {
		return nil, 0, s.draining
	}
	if s.frozen != nil {
		if s.draining && s.stuck != nil {
			return nil, 0, true
		}
		return s.frozen, 0, false
	}
	if s.active.empty() {
		return nil, 0, s.draining
	}
	age, after := time.Since(s.active.since), max(s.after, feedAfter)
	if !s.draining && !s.active.enough() && s.wanted <= s.applied && age < after {
		return nil, min(after-age, feedAfter), false // meanwhile the files are looked after
	}
	s.frozen, s.active = s.active, newGeneration()
	return s.frozen, 0, false
}

// bring brings the frozen generation into bbolt. wait is when to try again.
func (s *Store) bring(g *generation) (wait time.Duration) {
	a, err := s.apply(g, formatLog, s.base)
	if err == nil {
		err = s.present()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.advance()
	switch {
	case err == nil:
		s.frozen, s.applied, s.stuck = nil, g.last, nil
		s.trash, s.after = a.trash, pace(a.written-2*int64(g.body))
		s.wal.Release(g.last)
	case isFull(err):
		s.stuck = fmt.Errorf("durable: %s: %d bytes of the log wait for room in the file: %w", s.path, g.bytes, err)
		if !s.draining {
			return retryAfter
		}
	default:
		s.fail(err)
	}
	return 0
}

// present returns an error if the file or its log have been removed or replaced: the
// system writes into them on, and all of it is gone when they are closed.
func (s *Store) present() error {
	const lost = "what was written since then is in no folder any more: put a copy in its place and open it again"
	mine, err := s.file.Stat()
	if err != nil {
		return err
	}
	if now, err := os.Stat(s.real); errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(mine, now) {
		return fmt.Errorf("the file was removed or replaced while it was open: %s", lost)
	}
	if s.wal != nil {
		if err := s.wal.Present(); err != nil {
			return fmt.Errorf("%w: %s", err, lost)
		}
	}
	return nil
}

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// advance tells those who wait that something has changed. It is called with the lock.
func (s *Store) advance() {
	close(s.progress)
	s.progress = make(chan struct{})
}

// await waits for a condition, which it looks at under the lock.
func (s *Store) await(ctx context.Context, met func() bool) error {
	for {
		s.mu.Lock()
		ok, stuck, progress := met(), s.stuck, s.progress
		s.mu.Unlock()
		switch {
		case ok:
			return nil
		case s.failed() != nil:
			return s.failed()
		case s.closed.Load():
			return checkpoint.ErrClosed
		case stuck != nil:
			return stuck
		}
		s.wakeFeeder()
		select {
		case <-progress:
		case <-s.failing:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// awaitApplied waits until all that is durable now is in bbolt.
func (s *Store) awaitApplied(ctx context.Context) error {
	s.mu.Lock()
	last := s.active.last
	if last == 0 && s.frozen != nil {
		last = s.frozen.last
	}
	s.wanted = max(s.wanted, last)
	s.mu.Unlock()
	return s.await(ctx, func() bool { return s.applied >= last })
}

// drain has all that is durable brought into bbolt, and ends the feeder.
func (s *Store) drain() error {
	s.mu.Lock()
	s.draining, s.stuck = true, nil
	s.mu.Unlock()
	s.wakeFeeder()
	<-s.fed
	return s.stuck
}

// awaitRoom waits until not too much waits for bbolt: so whatever is made, and deleted, is
// made no quicker than bbolt gets it. If that takes long, people are told.
func (s *Store) awaitRoom() error {
	begun := time.Now()
	defer func() {
		const long = 2 * time.Second
		if waited := time.Since(begun); waited >= long && time.Since(s.writer.slowed) > time.Minute {
			s.writer.slowed = time.Now()
			s.log.Warn("durable: the disk does not keep up: what is written waits until the file has what the log has", "path", s.path, "waited", waited.Round(time.Millisecond).String())
		}
	}()
	return s.await(context.Background(), func() bool {
		lag := s.active.bytes
		if s.frozen != nil {
			lag += s.frozen.bytes
		}
		return lag < s.maxLag
	})
}
