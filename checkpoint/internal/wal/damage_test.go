package wal

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var fullDamage = flag.Bool("damage.full", false, "flip every bit of the log")

// opener is Open of the log on a disk.
type opener func(d *powerDisk) ([]Batch, error)

// judge opens a damaged log and says what is wrong with the outcome: all batches
// must be there, or the error must name the place. Where the damage is in the
// last batch, that one may be missing: it can't be told from one that was torn.
func judge(open opener, d *powerDisk, whole []Batch, last bool) (noticed bool, wrong error) {
	defer func() {
		if p := recover(); p != nil {
			wrong = fmt.Errorf("it panicked: %v", p)
		}
	}()
	batches, err := open(d)
	if err != nil {
		if e, ok := errors.AsType[*DamageError](err); !ok || !strings.Contains(e.Where, testDir) || e.What == "" {
			return true, fmt.Errorf("the error does not say where: %w", err)
		}
		return true, nil
	}
	same := slices.EqualFunc(batches, whole[:min(len(batches), len(whole))], func(a, b Batch) bool {
		return a.Seq == b.Seq && bytes.Equal(a.Body, b.Body)
	})
	switch missing := len(whole) - len(batches); {
	case !same:
		return false, errors.New("it returns batches that were never written")
	case missing > 1 || missing == 1 && !last:
		return false, fmt.Errorf("%d batches are missing, and nothing says so", missing)
	}
	return false, nil
}

// TestDamagedLogs damages a log of several segments at every place: bits flipped,
// blocks lost, blocks written to the place of other ones, segments truncated,
// removed, or exchanged.
func TestDamagedLogs(t *testing.T) {
	t.Parallel()
	d := newPowerDisk()
	acknowledged, applied := workload(d, 59)
	p := Position{ID: testID, Applied: applied}
	open := func(d *powerDisk) ([]Batch, error) {
		_, batches, err := Open(testDir, p, small(d))
		return batches, err
	}
	whole, err := open(d)
	require.NoError(t, err)
	require.Len(t, whole, int(acknowledged-applied))
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(d.files)), func(name string) bool { return len(d.files[name].now) == 0 })
	require.Greater(t, len(names), 2)
	inLast := lastPlace(t, d, acknowledged)

	tried, noticed := make(map[string]int), make(map[string]int)
	try := func(kind, what string, last bool) {
		tried[kind]++
		saw, wrong := judge(open, d, whole, last)
		require.NoError(t, wrong, "%s: %s", kind, what)
		if saw {
			noticed[kind]++
		}
	}
	for _, name := range names {
		b := d.files[name].now
		for at := range b {
			for bit := range 8 {
				if *fullDamage || bit == at%8 && (at%blockSize < HeaderSize || at%37 == 0) {
					b[at] ^= 1 << bit
					try("bit flips", fmt.Sprintf("%s: bit %d of byte %d", name, bit, at), inLast(name, at))
					b[at] ^= 1 << bit
				}
			}
		}
		good := bytes.Clone(b)
		for at := 0; at < len(b); at += blockSize {
			for _, with := range []byte{0, 0xff} {
				copy(b[at:at+blockSize], bytes.Repeat([]byte{with}, blockSize))
				try("blocks lost", fmt.Sprintf("%s: %d is all %x", name, at, with), inLast(name, at))
				copy(b, good)
			}
			for _, other := range names {
				for from := 0; from < len(d.files[other].now); from += blockSize {
					copy(b[at:at+blockSize], d.files[other].now[from:])
					try("blocks written to the wrong place", fmt.Sprintf("%s: %d has %d of %s", name, at, from, other), inLast(name, at))
					copy(b, good)
				}
			}
			for _, size := range []int{at, at + 1, at + 512} {
				d.files[name].now = good[:size:size]
				try("truncations", fmt.Sprintf("%s to %d", name, size), false)
				d.files[name].now = b
			}
		}
	}
	for _, name := range names {
		f := d.files[name]
		delete(d.files, name)
		try("segments removed", name, false)
		d.files[name] = f
		for _, other := range names {
			d.files[name], d.files[other] = d.files[other], d.files[name]
			try("segments exchanged", name+" and "+other, false)
			d.files[name], d.files[other] = d.files[other], d.files[name]
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(tried)) {
		t.Logf("%s: %d tried, %d were errors, the others hit what is not needed", kind, tried[kind], noticed[kind])
		require.NotZero(t, noticed[kind], kind)
	}

	// What judge must see.
	first := whole[0]
	for name, c := range map[string]struct {
		open opener
		says string
	}{
		"a panic": {func(*powerDisk) ([]Batch, error) { panic("index out of range") }, "panicked"},
		"an error without a place": {func(*powerDisk) ([]Batch, error) {
			return nil, errors.New("checksum")
		}, "where"},
		"damage taken for the end": {func(*powerDisk) ([]Batch, error) { return whole[:2], nil }, "missing"},
		"a gap":                    {func(*powerDisk) ([]Batch, error) { return slices.Delete(slices.Clone(whole), 1, 2), nil }, "never written"},
		"damaged bytes": {func(*powerDisk) ([]Batch, error) {
			return append([]Batch{{first.Seq, first.Size, append([]byte{1}, first.Body...)}}, whole[1:]...), nil
		}, "never written"},
		"the last one of a log that is not damaged there": {func(*powerDisk) ([]Batch, error) { return whole[:len(whole)-1], nil }, "missing"},
	} {
		_, wrong := judge(c.open, d, whole, false)
		require.ErrorContains(t, wrong, c.says, name)
	}
}

// lastPlace says of places whether they are in the last batch.
func lastPlace(t *testing.T, d *powerDisk, seq uint64) func(name string, at int) bool {
	for name, f := range d.files {
		for at := 0; at < len(f.now); at += blockSize {
			if h, ok := parseHeader(f.now[at:]); ok && h.seq == seq {
				end := at + roundUp(HeaderSize+int(h.length))
				return func(n string, i int) bool { return n == name && i >= at && i < end }
			}
		}
	}
	require.Fail(t, "there is no last batch")
	return nil
}
