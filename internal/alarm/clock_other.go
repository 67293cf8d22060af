//go:build !linux

package alarm

import "time"

// Early is how long before it is due something is to be left to a Clock.
const Early = 0

// Clock calls functions. The zero value is ready.
type Clock struct{}

// After calls f on a goroutine of its own after d.
func (*Clock) After(d time.Duration, f func()) { time.AfterFunc(d, f) }

// Close ends the clock.
func (*Clock) Close() {}
