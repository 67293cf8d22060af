package pgstore

import (
	"bytes"
	"testing"
	"unsafe"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"
)

// sink keeps what was written last, as it was when it was written, and where it was.
type sink struct {
	last []byte
	at   *byte
}

func (s *sink) Write(b []byte) (int, error) {
	s.last, s.at = bytes.Clone(b), unsafe.SliceData(b)
	return len(b), nil
}

// TestRoom: what is sent is the same with it, and one buffer serves many messages.
func TestRoom(t *testing.T) {
	var with, without sink
	f, g := pgproto3.NewFrontend(nil, &with), pgproto3.NewFrontend(nil, &without)
	var r room
	for i, size := range []int{100_000, 10, 99_000, 2000, 100_000, 1, 60_000} {
		value := bytes.Repeat([]byte{byte(i)}, size)
		for part := range 3 {
			r.make(f, size+200)
			for _, to := range []*pgproto3.Frontend{f, g} {
				to.SendBind(&pgproto3.Bind{PreparedStatement: "x", Parameters: [][]byte{value}})
				if part == 1 {
					to.SendExecute(&pgproto3.Execute{})
				}
			}
		}
		f.SendSync(&pgproto3.Sync{})
		g.SendSync(&pgproto3.Sync{})
		require.NoError(t, f.Flush())
		require.NoError(t, g.Flush())
		require.True(t, bytes.Equal(without.last, with.last))
	}
	r.make(f, 90_000)
	f.SendBind(&pgproto3.Bind{Parameters: [][]byte{make([]byte, 80_000)}})
	require.NoError(t, f.Flush())
	first := with.at
	r.make(f, 90_000)
	f.SendBind(&pgproto3.Bind{Parameters: [][]byte{make([]byte, 80_000)}})
	require.NoError(t, f.Flush())
	require.Same(t, first, with.at)
}
