package memstore

import (
	"bytes"
	"testing"

	"github.com/durable-go/durable/checkpoint"
	"github.com/stretchr/testify/require"
)

// FuzzRestore restores anything, and a snapshot with anything in it: an error, unless
// it is as it was taken.
func FuzzRestore(f *testing.F) {
	s := New()
	_, _, err := s.Create(f.Context(), checkpoint.Creation{ID: "a", Incarnation: checkpoint.Incarnation{1}, Claim: true,
		Started: checkpoint.Record{Seq: 1, EventID: 1, Events: 1, Type: checkpoint.ExecutionStarted, Function: "f", Payload: []byte("1")}})
	require.NoError(f, err)
	data, err := s.Snapshot()
	require.NoError(f, err)
	f.Add(data[:len(data)/2], uint16(3))
	f.Add([]byte{0}, uint16(40))
	f.Fuzz(func(t *testing.T, put []byte, at uint16) {
		_, err := Restore(put)
		require.ErrorIs(t, err, checkpoint.ErrCorrupt)
		changed := bytes.Clone(data)
		copy(changed[int(at)%len(data):], put)
		s, err := Restore(changed)
		if bytes.Equal(data, changed) {
			require.NoError(t, err)
			require.NoError(t, s.Close())
			return
		}
		require.ErrorIs(t, err, checkpoint.ErrCorrupt)
	})
}
