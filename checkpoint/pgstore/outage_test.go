package pgstore_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
)

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(message string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), message)
}

// TestOutageIsToldOnce cuts a store off for many polls, twice: the log says what is wrong
// once for each time, not for each attempt.
func TestOutageIsToldOnce(t *testing.T) {
	c := need(t)
	t.Parallel()
	var log lines
	proxy := startProxy(t, c)
	s := openAt(t, proxy.url(), c.Schema(), pgstore.Options{Lease: 1600 * time.Millisecond, Poll: 20 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	var looks atomic.Int64
	s.Watch(func(h checkpoint.Hint) {
		if h.Kind == checkpoint.HintDue {
			looks.Add(1)
		}
	})
	soon := func(is func() bool, what string) {
		t.Helper()
		require.Eventually(t, is, time.Minute, 5*time.Millisecond, what)
	}
	for outage := 1; outage <= 2; outage++ {
		before := looks.Load()
		soon(func() bool { return looks.Load() > before+5 }, "it looks, and not only with a new lease or listener")
		tried := log.count("the lease was not renewed")
		proxy.cut()
		soon(func() bool { return log.count("the lease was not renewed") >= tried+8 }, "two leases pass")
		require.Equal(t, outage, log.count("could not look for work"))
		require.Equal(t, outage, log.count("the lease has run out"))
		if !*throughBouncer {
			require.Contains(t, []int{1, outage}, log.count("notifications have ended"), "the second only if they came in between")
		}
		proxy.mend()
	}
}

// stuckHandler is a log handler that hangs.
type stuckHandler struct {
	slog.Handler
	entered sync.Once
	hangs   chan struct{} // closed when it does
	release chan struct{}
}

func (h *stuckHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h *stuckHandler) Handle(context.Context, slog.Record) error {
	h.entered.Do(func() { close(h.hangs) })
	<-h.release
	return nil
}
func (h *stuckHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

// TestALogThatHangsKeepsNobodyWaiting has the log hang over an outage: when that is over,
// the lease is renewed all the same, and the store finds work.
func TestALogThatHangsKeepsNobodyWaiting(t *testing.T) {
	c := need(t)
	t.Parallel()
	h := &stuckHandler{hangs: make(chan struct{}), release: make(chan struct{})}
	proxy := startProxy(t, c)
	s := openAt(t, proxy.url(), c.Schema(), pgstore.Options{Lease: 1600 * time.Millisecond, Poll: 20 * time.Millisecond, Logger: slog.New(h)})
	defer close(h.release)
	var looks atomic.Int64
	s.Watch(func(hint checkpoint.Hint) {
		if hint.Kind == checkpoint.HintDue {
			looks.Add(1)
		}
	})
	proxy.cut()
	<-h.hangs
	_, until := s.Lease()
	require.Eventually(t, func() bool { return time.Now().After(until) }, time.Minute, 5*time.Millisecond, "all that has a line for it has tried")
	proxy.mend()
	before := looks.Load()
	require.Eventually(t, func() bool { return looks.Load() > before+2 }, time.Minute, 5*time.Millisecond, "it looks")
	require.Eventually(t, func() bool { _, now := s.Lease(); return now.After(until) }, time.Minute, 5*time.Millisecond, "the lease is renewed")
}
