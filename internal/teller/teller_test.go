package teller_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/internal/teller"
)

func TestTeller(t *testing.T) {
	bubble(t, "TellsInOrder", func(t *testing.T) {
		var tl teller.Teller
		var told []int
		for i := range 100 {
			tl.Tell("a", func() { told = append(told, i) })
			if i%10 == 0 {
				synctest.Wait() // and begins anew
			}
		}
		synctest.Wait()
		require.Len(t, told, 100)
		require.True(t, slices.IsSorted(told))
		require.Zero(t, tl.Untold())
	})
	bubble(t, "OneThatHangsKeepsNobodyElse", func(t *testing.T) {
		var tl teller.Teller
		hang, told := make(chan struct{}), false
		tl.Tell("a", func() { <-hang })
		tl.Tell("a", func() { told = true })
		other := false
		tl.Tell("b", func() { other = true })
		synctest.Wait()
		require.True(t, other)
		require.False(t, told)
		require.Equal(t, 2, tl.Untold())

		begun := time.Now()
		tl.CatchUp("b", time.Second, nil)
		require.Zero(t, time.Since(begun))
		tl.CatchUp("a", time.Second, nil)
		require.Equal(t, time.Second, time.Since(begun))
		tl.CatchUp("a", time.Second, nil)
		tl.CatchUpWithAll(time.Second, nil)
		require.Equal(t, time.Second, time.Since(begun), "who hangs that long is not waited for again")
		stop := make(chan struct{})
		time.AfterFunc(time.Minute, func() { close(stop) })
		tl.Wait("a", 1, stop)
		require.Equal(t, time.Second+time.Minute, time.Since(begun))
		close(hang)
		tl.Wait("a", 0, nil)
		require.True(t, told)
		tl.Wait("a", 0, nil)
	})
	bubble(t, "WhatIsSlowIsWaitedFor", func(t *testing.T) {
		var tl teller.Teller
		var n atomic.Int32
		for range 100 {
			tl.Tell("a", func() { time.Sleep(time.Second / 2); n.Add(1) })
		}
		tl.Wait("a", 90, nil)
		require.EqualValues(t, 10, n.Load())
		tl.CatchUpWithAll(time.Second, nil)
		require.EqualValues(t, 100, n.Load())
	})
	bubble(t, "WhatPanicsOrEndsItsGoroutineIsFollowedByTheRest", func(t *testing.T) {
		var tl teller.Teller
		told := false
		tl.Tell("a", func() { panic("no") })
		tl.Tell("a", func() { runtime.Goexit() })
		tl.Tell("a", func() { told = true })
		tl.CatchUp("a", time.Hour, nil)
		require.True(t, told)
	})
	bubble(t, "SoManyAtMost", func(t *testing.T) {
		var tl teller.Teller
		hang := make(chan struct{})
		for i := range 20 {
			require.Equal(t, i < 10, tl.TellAtMost("a", 10, func() { <-hang }))
		}
		close(hang)
	})
}

func TestLogger(t *testing.T) {
	bubble(t, "ALineIsAsIfItWereLoggedAtOnce", func(t *testing.T) {
		var tl teller.Teller
		var direct, told bytes.Buffer
		for _, l := range []*slog.Logger{slog.New(slog.NewTextHandler(&direct, nil)), tl.Logger(slog.NewTextHandler(&told, nil))} {
			l.Debug("not this one")
			l.Info("one", "a", 1)
			two := l.With("b", 2)
			two.WithGroup("g").Warn("three", "c", 3)
			two.With("d", 4).Error("four")
			two.Error("five")
		}
		tl.CatchUpWithAll(time.Second, nil)
		require.Equal(t, direct.String(), told.String())
		require.Equal(t, 4, strings.Count(told.String(), "\n"))
	})
	bubble(t, "WhatIsTooMuchIsCounted", func(t *testing.T) {
		var tl teller.Teller
		hang := make(chan struct{})
		var buf bytes.Buffer
		l := tl.Logger(&slowHandler{slog.NewTextHandler(&buf, nil), hang})
		for i := range 1500 {
			l.Info(fmt.Sprint("line ", i))
		}
		close(hang)
		tl.CatchUpWithAll(time.Second, nil)
		l.Info("last")
		tl.CatchUpWithAll(time.Second, nil)
		lines := strings.Split(strings.TrimSpace(buf.String()), "\n")
		require.Len(t, lines, 1001)
		require.Contains(t, lines[999], "line 999")
		require.Contains(t, lines[1000], "msg=last linesLeftOutBefore=500")
	})
}

type slowHandler struct {
	*slog.TextHandler
	hang chan struct{}
}

func (h *slowHandler) Handle(ctx context.Context, r slog.Record) error {
	<-h.hang
	return h.TextHandler.Handle(ctx, r)
}

func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { t.Parallel(); synctest.Test(t, f) })
}
