package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// requireInOrder checks that the batches are those above applied, without a gap but for
// the one number that is left out where the log was opened.
func requireInOrder(t *testing.T, batches []Batch, applied uint64) {
	t.Helper()
	last := applied
	for _, b := range batches {
		require.Contains(t, []uint64{last + 1, last + 2}, b.Seq)
		last = b.Seq
	}
}

// FuzzOpen puts anything anywhere into the segments of a log, and opens it: an error,
// or batches that were written.
func FuzzOpen(f *testing.F) {
	d := newPowerDisk()
	workload(d, 40)
	names, err := segmentNames(d, testDir)
	require.NoError(f, err)
	whole := make(map[string][]byte)
	for _, name := range names {
		b, err := d.Read(testDir+"/"+name, nil)
		require.NoError(f, err)
		whole[name] = bytes.Clone(b)
	}
	first := whole["1"]
	f.Add(uint8(0), uint16(0), []byte{}, uint64(testID), uint64(30), uint64(0))
	f.Add(uint8(0), uint16(blockSize), first[:3*blockSize], uint64(testID), uint64(38), uint64(38))
	f.Add(uint8(1), uint16(0), first[blockSize:2*blockSize], uint64(testID), uint64(0), uint64(0))
	f.Add(uint8(0), uint16(4), []byte{1, 2, 3}, uint64(0), uint64(1<<63), uint64(1))
	f.Fuzz(func(t *testing.T, segment uint8, at uint16, put []byte, id, applied, base uint64) {
		disk := newPowerDisk()
		require.NoError(t, disk.MakeFolder(testDir))
		for i, name := range names {
			b := bytes.Clone(whole[name])
			if i == int(segment)%len(names) && int(at) < len(b) {
				copy(b[at:], put)
			}
			file, err := disk.Create(testDir + "/" + name)
			require.NoError(t, err)
			_, err = file.WriteAt(b, 0)
			require.NoError(t, err)
			require.NoError(t, file.Close())
		}
		l, batches, err := Open(testDir, Position{ID: id, Applied: applied, Base: base}, small(disk))
		if err != nil {
			_, damage := errors.AsType[*DamageError](err)
			require.True(t, damage, err)
		} else {
			require.NoError(t, l.Close())
		}
		requireInOrder(t, batches, applied)
		for _, b := range batches {
			require.Equal(t, body(b.Seq), b.Body)
		}
		_ = Unneeded(testDir, Position{ID: id, Applied: applied}, small(disk))
	})
}

// FuzzHeaders recovers from segments whose headers have right checksums and say
// anything.
func FuzzHeaders(f *testing.F) {
	word := func(numbers ...uint32) (b []byte) {
		for _, n := range numbers {
			b = binary.BigEndian.AppendUint32(b, n)
		}
		return b
	}
	f.Add(word(0, testID, 0, 1, 10, 0, 0, 1, 8, 1), uint64(0))
	f.Add(append(word(0, testID, 0, 1, 1<<31, 0, 0, 1, 8, 1), word(0, testID, 0, 1, 10, 0, 0, 1, 8, 1)...), uint64(0))
	f.Add(append(word(0, testID, 0, 5, 8192, 0, 0, 1, 8, 9), word(0, testID, 0, 4, 0, 0, 0, 1, 8, 1)...), uint64(3))
	f.Fuzz(func(t *testing.T, data []byte, applied uint64) {
		b := make([]byte, testSegment)
		for at := 0; at < len(b) && len(data) >= 40; at, data = at+blockSize, data[40:] {
			h := header{id: binary.BigEndian.Uint64(data), seq: binary.BigEndian.Uint64(data[8:])}
			for i, n := range []*uint32{&h.length, &h.body, &h.link, &h.segment, &h.blocks, &h.segments} {
				*n = binary.BigEndian.Uint32(data[16+4*i:])
			}
			h.seal(b[at:])
		}
		s := &scan{dir: testDir, sizes: []int{len(b)}}
		if err := s.read("1", 1, b); err != nil {
			return
		}
		batches, err := s.needed(Position{ID: testID, Applied: applied})
		if err == nil {
			requireInOrder(t, batchesOf(batches), applied)
		}
	})
}
