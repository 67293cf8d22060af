package pgstore_test

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/pgstore"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// silence is a network that swallows what is sent, and says nothing.
type silence struct {
	mu    sync.Mutex
	lines []*line
	all   atomic.Bool

	swallowed atomic.Int64 // messages
}

// line is a connection that may become silent.
type line struct {
	net.Conn
	s      *silence
	pooled atomic.Bool // it is one of the pool that reads
	silent atomic.Bool
}

func (l *line) Write(b []byte) (int, error) {
	if l.silent.Load() || l.s.all.Load() {
		l.s.swallowed.Add(1)
		return len(b), nil
	}
	return l.Conn.Write(b)
}

// pool is one whose lines can be silenced.
func (s *silence) pool(t *testing.T, url string, change func(*pgxpool.Config)) *pgxpool.Pool {
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		l := &line{Conn: conn, s: s}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lines = append(s.lines, l)
		return l, nil
	}
	config.PrepareConn = func(_ context.Context, conn *pgx.Conn) (bool, error) {
		conn.PgConn().Conn().(*line).pooled.Store(true)
		return true, nil
	}
	if change != nil {
		change(config)
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { go pool.Close() })
	return pool
}

// silencePool silences the connections that the pool has now, and returns how many.
func (s *silence) silencePool() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lines {
		if l.pooled.Load() {
			l.silent.Store(true)
			n++
		}
	}
	return n
}

func newAt(t *testing.T, pool *pgxpool.Pool, schema string, opts pgstore.Options) *pgstore.Store {
	opts.Schema, opts.Logger = schema, slog.New(slog.DiscardHandler)
	opts.NoListen = opts.NoListen || *throughBouncer
	s, err := pgstore.New(t.Context(), pool, &opts)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// TestSilentReads silences the connections that read, as a firewall does with those that
// it has forgotten: the lease is renewed nevertheless, and reads go on over others.
func TestSilentReads(t *testing.T) {
	c := need(t)
	t.Parallel()
	const lease = time.Second
	var network silence
	pool := network.pool(t, c.url, nil)
	s := newAt(t, pool, c.Schema(), pgstore.Options{Lease: lease, Poll: time.Hour, NoListen: true})
	create(t, s, "x", true)
	var all []*pgxpool.Conn
	for range 4 {
		conn, err := pool.Acquire(t.Context())
		require.NoError(t, err)
		all = append(all, conn)
	}
	for _, conn := range all {
		conn.Release()
	}
	number, _ := s.Lease()
	require.GreaterOrEqual(t, network.silencePool(), 4)
	got := make(chan error, 1)
	go func() {
		_, err := s.Get(context.Background(), "x")
		got <- err
	}()
	for until := time.Now().Add(3 * lease); time.Now().Before(until); time.Sleep(lease / 20) {
		now, until := s.Lease()
		require.Equal(t, number, now)
		require.True(t, time.Now().Before(until), "the lease is not renewed")
	}
	select {
	case err := <-got:
		require.NoError(t, err)
	case <-time.After(patience):
		t.Fatal("a read waits for a connection that is silent")
	}
}

// TestCloseInSilence closes stores whose network has gone silent.
func TestCloseInSilence(t *testing.T) {
	c := need(t)
	t.Parallel()
	closes := func(t *testing.T, s *pgstore.Store) {
		since := time.Now()
		closed := make(chan error)
		go func() { closed <- s.Close() }()
		select {
		case err := <-closed:
			require.NoError(t, err)
			t.Logf("closed after %s", time.Since(since).Round(time.Millisecond))
		case <-time.After(8 * time.Second): // it is patient for 3 s
			t.Fatal("Close hangs")
		}
	}
	t.Run("Writing", func(t *testing.T) {
		t.Parallel()
		var network silence
		s := newAt(t, network.pool(t, c.url, nil), c.Schema(), pgstore.Options{Lease: time.Minute})
		sum := create(t, s, "x", true)
		network.all.Store(true)
		answer := make(chan error, 1)
		s.Append(step(sum, 1), func(err error) { answer <- err })
		closes(t, s)
		require.ErrorIs(t, <-answer, checkpoint.ErrFenced)
	})
	t.Run("BeginningATransaction", func(t *testing.T) {
		t.Parallel()
		var network silence
		s := newAt(t, network.pool(t, c.url, nil), c.Schema(), pgstore.Options{Lease: time.Minute, NoListen: true, Poll: time.Hour})
		begin(t, s).Rollback()
		network.all.Store(true)
		begun := make(chan error, 1)
		go func() {
			_, err := s.Begin(context.Background(), nil)
			begun <- err
		}()
		require.Eventually(t, func() bool { return network.swallowed.Load() > 0 }, patience, time.Millisecond)
		closes(t, s)
		require.Error(t, <-begun)
	})
}

// TestHooksOfThePool: passwords that expire are renewed by them, and roles are set.
func TestHooksOfThePool(t *testing.T) {
	c := need(t)
	t.Parallel()
	var network silence
	var before, after atomic.Int64
	pool := network.pool(t, c.url, func(config *pgxpool.Config) {
		config.ConnConfig.User = "expired"
		config.BeforeConnect = func(_ context.Context, config *pgx.ConnConfig) error {
			before.Add(1)
			config.User = "tests"
			return nil
		}
		config.AfterConnect = func(context.Context, *pgx.Conn) error {
			after.Add(1)
			return nil
		}
	})
	s := newAt(t, pool, c.Schema(), pgstore.Options{NoListen: true})
	create(t, s, "x", true)
	require.GreaterOrEqual(t, before.Load(), int64(1))
	require.Eventually(t, func() bool { return before.Load() == after.Load() }, patience, time.Millisecond) // one may be on its way
}
