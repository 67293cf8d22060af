package alarm_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/internal/alarm"
)

func TestCallsComeInTheirOrderAndNotEarly(t *testing.T) {
	t.Parallel()
	var clock alarm.Clock
	defer clock.Close()
	const calls = 200
	began := time.Now()
	var all sync.WaitGroup
	all.Add(calls)
	for i := range calls {
		d := time.Duration((i*37)%calls) * 10 * time.Microsecond
		clock.After(d, func() {
			defer all.Done()
			if late := time.Since(began); late < d {
				t.Errorf("called after %s, before %s had passed", late, d)
			}
		})
	}
	all.Wait()
}

func TestAnEarlierCallOvertakes(t *testing.T) {
	t.Parallel()
	var clock alarm.Clock
	defer clock.Close()
	order := make(chan int, 2)
	clock.After(time.Minute, func() { order <- 2 })
	clock.After(time.Microsecond, func() { order <- 1 })
	require.Equal(t, 1, <-order)
	require.Empty(t, order)
}

func TestNothingIsCalledOnceItIsClosed(t *testing.T) {
	t.Parallel()
	var clock alarm.Clock
	clock.After(time.Minute, func() { t.Error("called") })
	clock.Close()
	clock.After(0, func() { t.Error("called") })
}

func TestInABubble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var clock alarm.Clock
		defer clock.Close()
		for range 1000 {
			began := time.Now()
			called := make(chan struct{})
			clock.After(time.Millisecond, func() { close(called) })
			<-called
			require.Equal(t, time.Millisecond, time.Since(began))
		}
	})
}
