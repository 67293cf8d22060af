package pgstore

import (
	"sync"
	"time"
)

// clock follows the database's clock. It is never ahead of it, as long as both run
// equally fast: an answer comes after its time was taken.
type clock struct {
	mu     sync.Mutex
	base   time.Time // of this process; it has a monotonic reading
	at     int64     // of the database at base, by the quickest answer
	synced bool
}

// drift is by how much the database's clock may seem to go back before that is
// believed.
const drift = 5 * time.Millisecond

// seen says that the database's clock has just shown a time.
func (c *clock) seen(at int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if guess := c.at + int64(now.Sub(c.base)); !c.synced || at > guess || at < guess-int64(drift) {
		c.base, c.at, c.synced = now, at, true
	}
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Unix(0, c.at+int64(time.Since(c.base)))
}
