package pgstore

import (
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMarks are taken back by whatever comes before them, also between a look and its end.
func TestMarks(t *testing.T) {
	key := []byte("q")
	hour := int64(time.Hour)
	m := &marks{at: make(map[string]int64)}
	at := func() int64 { return m.of([][]byte{key})[0] }
	require.Equal(t, int64(math.MinInt64), at())
	m.back(key, 5)
	require.Equal(t, int64(math.MinInt64), at())
	m.set(key, at(), hour)
	require.Equal(t, hour-straggle, at())
	m.back(key, hour)
	require.Equal(t, hour-straggle, at(), "it is behind the mark")
	from := at()
	m.back(key, 7)
	m.set(key, from, 2*hour)
	require.Equal(t, int64(7), at(), "whoever has looked from the mark may not have seen it")
	m.set(key, at(), 2*hour)
	m.set(key, at(), hour)
	require.Equal(t, hour-straggle, at(), "the clock was set back")
}

// TestPace: what takes long is done rarely, and what has failed soon again.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		for took, most := range map[time.Duration]int{0: 3600, 20 * time.Millisecond: 3600, time.Second: 73, 2 * time.Second: 62, 10 * time.Second: 62} {
			p, n := &p, 0
			p.next = time.Time{}
			for began := time.Now(); time.Since(began) < time.Hour; time.Sleep(time.Second) {
				require.NoError(t, p.keep(func() error { n++; time.Sleep(took); return nil }))
			}
			require.LessOrEqual(t, n, most, took)
			require.Greater(t, n, 50, took)
		}
		p.next = time.Time{}
		n := 0
		for range 10 {
			require.Error(t, p.keep(func() error { n++; time.Sleep(time.Minute); return errors.New("no answer") }))
		}
		require.Equal(t, 10, n)
	})
}
