package pgstore

import (
	"sync"
	"time"
)

// clock follows the database's clock. It is never ahead of it, as long as both run
// equally fast: an answer comes after its time was taken. It goes back only when an
// answer proves it to be ahead, never for an answer that was slow: what became due
// meanwhile would come early by that much.
type clock struct {
	mu     sync.Mutex
	base   time.Time // of this process; it has a monotonic reading
	at     int64     // of the database at base, or a little less
	synced bool
}

// seen says that the database's clock has shown a time, after a message was sent. It
// returns how much it has gone back.
func (c *clock) seen(sent time.Time, at int64) (back time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	guess := c.at + int64(now.Sub(c.base))
	latest := at + int64(now.Sub(sent)) // that it can be now
	if !c.synced || at > guess {
		c.base, c.at, c.synced = now, at, true
	} else if latest < guess {
		c.base, c.at = now, latest
		return time.Duration(guess - latest)
	}
	return 0
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Unix(0, c.at+int64(time.Since(c.base)))
}

// sawClock says so of the store's, and to people what they should know of.
func (s *Store) sawClock(sent time.Time, at int64) {
	const much = time.Second
	if back := s.clock.seen(sent, at); back >= much {
		s.log.Warn("durable: the database's clock was set back: what is due is late by that", "schema", s.opts.Schema, "by", back.Round(time.Millisecond).String())
	}
}
