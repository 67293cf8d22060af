package pgstore

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestClock(t *testing.T) {
	// ask takes the database's time, which is apart from ours, by a message.
	ask := func(c *clock, apart, there, back time.Duration) {
		sent := time.Now()
		time.Sleep(there)
		at := time.Now().Add(apart).UnixNano()
		time.Sleep(back)
		c.seen(sent, at)
	}
	lag := func(c *clock, apart time.Duration) time.Duration { return time.Now().Add(apart).Sub(c.now()) }

	t.Run("IsNeverAheadNorBackForASlowAnswer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			const apart = -3 * time.Hour
			var c clock
			ask(&c, apart, time.Millisecond, 4*time.Millisecond)
			best := lag(&c, apart)
			require.Equal(t, 4*time.Millisecond, best)
			for range 1000 {
				ask(&c, apart, rand.N(time.Second), rand.N(time.Second))
				require.GreaterOrEqual(t, lag(&c, apart), time.Duration(0))
				require.LessOrEqual(t, lag(&c, apart), best, "it has gone back")
				best = lag(&c, apart)
			}
		})
	})

	t.Run("GoesBackWithTheDatabase", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var c clock
			ask(&c, 0, 0, 0)
			sent := time.Now()
			time.Sleep(time.Millisecond)
			require.InDelta(t, time.Minute, c.seen(sent, time.Now().Add(-time.Minute).UnixNano()), float64(time.Second))
			require.GreaterOrEqual(t, lag(&c, -time.Minute), -2*time.Millisecond)
			require.LessOrEqual(t, lag(&c, -time.Minute), time.Duration(0))
		})
	})
}
