package pgstore

import (
	"sync"
	"sync/atomic"
)

// company is whether other processes are alive, who have to be told what happens here.
//
//	state        becomes       when
//	alone        accompanied   a notification of another one comes, a greeting at the latest; or the table of
//	                           processes has others: they are told to look, for what happened until then
//	accompanied  alone         the table has no others, and none was heard of since it was asked
type company struct {
	alone atomic.Bool // for each round
	met   atomic.Bool // there were others since what they have ended was last looked for

	mu    sync.Mutex
	heard uint64 // how often others were heard of
}

// asks is called before the table is asked.
func (c *company) asks() (heard uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heard
}

// answered takes what the table says; joined: this process was alone until now. What was
// heard since it was asked is newer.
func (c *company) answered(heard uint64, others bool) (joined bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !others && heard != c.heard {
		return false
	}
	if others {
		c.met.Store(true)
	}
	return c.alone.Swap(!others) && others
}

// hears is called when a notification of another process has come.
func (c *company) hears() (joined bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard++
	c.met.Store(true)
	return c.alone.Swap(false)
}
