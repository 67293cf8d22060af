package lan_test

import (
	"errors"
	"io"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint/pgstore/internal/lan"
)

// two are hosts of a network, b with an echo.
func two(t *testing.T) (n *lan.Network, a *lan.Host, dial func() net.Conn, b *lan.Host) {
	n = lan.New()
	t.Cleanup(n.Close)
	a, err := n.Host("a")
	if errors.Is(err, lan.ErrNotPossible) {
		t.Skip(err)
	}
	require.NoError(t, err)
	b, err = n.Host("b")
	require.NoError(t, err)
	l, err := b.Listen("tcp", b.Address.String()+":7")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(conn, conn)
				conn.Close()
			}()
		}
	}()
	return n, a, func() net.Conn {
		conn, err := a.Dial(t.Context(), "tcp", b.Address.String()+":7")
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
		return conn
	}, b
}

// echo is whether what is sent comes back, in a while at most.
func echo(conn net.Conn, patience time.Duration) error {
	b := []byte("hello")
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write(b); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, b)
	return err
}

func TestLines(t *testing.T) {
	n, a, dial, b := two(t)
	conn := dial()
	require.NoError(t, echo(conn, time.Minute))

	const delay = 30 * time.Millisecond
	n.Set(a, b, lan.Line{Delay: delay})
	since := time.Now()
	require.NoError(t, echo(conn, time.Minute))
	require.GreaterOrEqual(t, time.Since(since), delay)

	n.Around(b, lan.Line{Loss: 0.3}, lan.Line{Loss: 0.3, Jitter: time.Millisecond})
	lost := n.Seen().Lost
	for range 20 {
		require.NoError(t, echo(conn, time.Minute))
	}
	n.Mend()
	require.NoError(t, echo(conn, time.Minute))
	require.Greater(t, n.Seen().Lost, lost)

	for _, cut := range []func(){
		func() { n.Set(a, b, lan.Cut) },
		func() { n.Set(b, a, lan.Cut) }, // it is sent, and nothing comes back
		func() { n.Around(a, lan.Cut, lan.Cut) },
	} {
		cut()
		require.Error(t, echo(conn, 50*time.Millisecond))
		n.Mend()
		conn = dial()
		require.NoError(t, echo(conn, time.Minute))
	}

	n.Around(b, lan.Cut, lan.Cut)
	require.Error(t, echo(conn, 50*time.Millisecond))
	n.Replace(b)
	n.Mend()
	require.Error(t, echo(conn, time.Second), "it is of before")
	conn = dial()
	require.NoError(t, echo(conn, time.Minute))

	n.Tear(b, a)
	require.ErrorContains(t, echo(conn, time.Minute), "reset")
	require.NoError(t, echo(dial(), time.Minute))
	require.Equal(t, 1, n.Seen().Torn)
}

func TestNothingOutlivesAHost(t *testing.T) {
	n, a, _, _ := two(t)
	program, err := exec.LookPath("sleep")
	require.NoError(t, err)
	cmd := exec.Command(program, "3600")
	require.NoError(t, a.Start(cmd))
	n.Close()
	require.ErrorContains(t, cmd.Wait(), "killed")
}
