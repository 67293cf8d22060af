package wal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	testID      = 7
	testSegment = 8 * blockSize
	testDir     = "store-wal"
)

func small(files Files) Options { return Options{Files: files, SegmentSize: testSegment} }

// body is what the batch with that number holds, of a size that depends on it.
func body(seq uint64) []byte {
	size := []int{0, 1, 100, blockSize - HeaderSize, blockSize, 3*blockSize + 7, 10 * blockSize}[seq%7]
	return bytes.Repeat([]byte{byte(seq), byte(seq >> 8), 0xa5}, size/3+1)
}

// put writes a batch, and waits for the segment that is made in the background.
func (l *Log) put(b []byte) (uint64, error) {
	seq, _, err := l.Write(append(l.Buffer(), b...))
	l.mu.Lock()
	making := l.making
	l.mu.Unlock()
	if making != nil {
		<-making
	}
	return seq, err
}

// workload writes batches until something fails, with bbolt's part played by
// applied. It returns the last batch that was acknowledged.
func workload(d *powerDisk, batches int) (acknowledged, applied uint64) {
	l, err := Create(testDir, testID, 0, small(d))
	if err != nil {
		return 0, 0
	}
	defer l.Close()
	for range batches {
		seq, err := l.put(body(l.Seq() + 1))
		if err != nil {
			return acknowledged, applied
		}
		acknowledged = seq
		if seq%5 == 0 {
			applied = seq - 2
			l.Release(applied)
		}
	}
	return acknowledged, applied
}

// requireBatches checks that exactly the batches from applied to acknowledged
// are there, and perhaps the one that was being written.
func requireBatches(t *testing.T, batches []Batch, applied, acknowledged uint64) {
	t.Helper()
	want := applied
	for _, b := range batches {
		want++
		require.Equal(t, want, b.Seq)
		require.Equal(t, body(b.Seq), b.Body, "batch %d", b.Seq)
	}
	require.GreaterOrEqual(t, want, acknowledged, "an acknowledged batch is lost")
	require.LessOrEqual(t, want, acknowledged+1)
}

func TestWhatWasWrittenIsFound(t *testing.T) {
	t.Parallel()
	for _, m := range append(Methods(), unsynced) {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), testDir)
			opts := small(Disk{Method: m})
			l, err := Create(dir, testID, 40, opts)
			require.NoError(t, err)
			for seq := uint64(41); seq < 80; seq++ {
				got, err := l.put(body(seq))
				require.NoError(t, err)
				require.Equal(t, seq, got)
			}
			require.NoError(t, l.Close())
			again, batches, err := Open(dir, Position{ID: testID, Applied: 50}, opts)
			require.NoError(t, err)
			requireBatches(t, batches, 50, 79)
			require.NoError(t, again.Close())
			require.NoError(t, Remove(opts.Files, dir))
			require.NoFileExists(t, dir)
		})
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), testDir)
	l, err := Create(dir, testID, 0, Options{Files: Disk{}})
	require.NoError(t, err)
	defer l.Close()
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	info, err = os.Stat(filepath.Join(dir, "1"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.EqualValues(t, MinSegment, info.Size())
}

func TestSegmentsAreUsedAgain(t *testing.T) {
	t.Parallel()
	d := newPowerDisk()
	_, applied := workload(d, 1000)
	names, err := segmentNames(d, testDir)
	require.NoError(t, err)
	require.LessOrEqual(t, len(names), 12)
	_, batches, err := Open(testDir, Position{ID: testID, Applied: applied}, small(d))
	require.NoError(t, err)
	requireBatches(t, batches, applied, 1000)
}

func TestNoSegmentIsUsedAgainTooEarly(t *testing.T) {
	t.Parallel()
	const lag = 20
	d := newPowerDisk()
	l, err := Create(testDir, testID, 0, small(d))
	require.NoError(t, err)
	for seq := uint64(1); seq <= 300; seq++ {
		_, err := l.put(body(seq))
		require.NoError(t, err)
		applied := max(seq, lag) - lag
		l.Release(applied)
		_, batches, err := Open(testDir, Position{ID: testID, Applied: applied}, small(d))
		require.NoError(t, err)
		requireBatches(t, batches, applied, seq)
	}
	require.Less(t, l.count(), uint32(25))
}

// The power is cut at every operation, several times with other remains; and
// again while the log goes on after it was recovered.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	const batches = 40
	random := rand.New(rand.NewPCG(1, 1))
	for cut := 0; ; cut++ {
		d := newPowerDisk()
		d.left = cut
		acknowledged, applied := workload(d, batches)
		for range 6 {
			after := d.crash(random)
			p := Position{ID: testID, Applied: applied}
			l, found, err := Open(testDir, p, small(after))
			require.NoError(t, err, "cut at %d", cut)
			requireBatches(t, found, applied, acknowledged)

			// What was found is taken elsewhere, and the log goes on.
			p.Applied = l.Seq()
			p.Base = p.Applied
			l.Release(p.Applied)
			after.left = random.IntN(30)
			last := p.Applied
			for range 10 {
				seq, err := l.put(body(last + 1))
				if err != nil {
					break
				}
				last = seq
			}
			_, found, err = Open(testDir, p, small(after.crash(random)))
			require.NoError(t, err, "cut at %d, then again", cut)
			requireBatches(t, found, p.Applied, last)
		}
		if acknowledged == batches {
			return
		}
	}
}

// One log through many lives. Each ends at any operation, opening included, with a
// kill or a power cut, and what it found may have been taken elsewhere by then, or not.
func TestManyLives(t *testing.T) {
	t.Parallel()
	lives, resumed, torn := 0, 0, 0
	seeds := uint64(150)
	if testing.Short() {
		seeds = 30
	}
	for seed := range seeds {
		random := rand.New(rand.NewPCG(seed, 2))
		d := newPowerDisk()
		l, err := Create(testDir, testID, 0, small(d))
		require.NoError(t, err)
		p := Position{ID: testID}
		var needed []uint64 // acknowledged, and not released
		for life := range 30 {
			lives++
			d.left = random.IntN(25)
			next := l.Seq() + 1
			for range random.IntN(12) {
				seq, err := l.put(body(next))
				if err != nil {
					break
				}
				needed = append(needed, seq)
				next = seq + 1
				if random.IntN(12) == 0 { // bbolt gets all, or leaves the last ones
					p.Applied, needed = seq, nil
					l.Release(seq)
				}
			}
			for opened := false; !opened; {
				if random.IntN(2) == 0 {
					d = d.crash(random)
				}
				d.left = -1
				if random.IntN(3) == 0 {
					d.left = random.IntN(6)
				}
				var found []Batch
				l, found, err = Open(testDir, p, small(d))
				if err != nil && errors.Is(err, errCut) {
					continue
				}
				require.NoError(t, err, "seed %d, life %d", seed, life)
				opened = true
				if n := len(needed); len(found) == n+1 { // one that nobody had heard of
					require.Equal(t, next, found[n].Seq)
					needed = append(needed, next)
				} else {
					torn++
				}
				require.Len(t, found, len(needed), "seed %d, life %d", seed, life)
				for i, b := range found {
					require.Equal(t, needed[i], b.Seq)
					require.Equal(t, body(b.Seq), b.Body)
				}
				if n := len(needed); n > 0 && needed[0]+uint64(n)-1 != needed[n-1] {
					resumed++
				}
				if random.IntN(4) == 0 {
					p.Applied, p.Base, needed = l.Seq(), l.Seq(), nil
					l.Release(l.Seq())
				}
			}
		}
	}
	require.NotZero(t, resumed)
	t.Logf("%d lives, %d without the last batch; %d found batches of several lives", lives, torn, resumed)
}

// The batch before a gap must be the one that the batch behind it was written
// after: otherwise something acknowledged is missing.
func TestAGapIsNoRestart(t *testing.T) {
	t.Parallel()
	for lost := uint64(1); lost < 6; lost++ {
		d := newPowerDisk()
		l, err := Create(testDir, testID, 0, small(d))
		require.NoError(t, err)
		for seq := uint64(1); seq <= 6; seq++ {
			_, err := l.put([]byte{byte(seq)})
			require.NoError(t, err)
		}
		clear(d.files[testDir+"/1"].now[(lost-1)*blockSize : lost*blockSize])
		_, _, err = Open(testDir, Position{ID: testID}, small(d))
		var e *DamageError
		require.ErrorAs(t, err, &e, "without batch %d", lost)
		_, _, err = Open(testDir, Position{ID: testID, Applied: lost - 1}, small(d))
		require.ErrorAs(t, err, &e, "without batch %d, the first that is needed", lost)
	}
}

// Whatever bit is flipped: everything is there, or it is an error that names the
// file, or it was the last batch.
func TestBitFlips(t *testing.T) {
	t.Parallel()
	d := newPowerDisk()
	acknowledged, applied := workload(d, 59)
	p := Position{ID: testID, Applied: applied}
	_, whole, err := Open(testDir, p, small(d.clone()))
	require.NoError(t, err)
	require.Greater(t, len(whole), 2)
	damaged := 0
	for name, f := range d.files {
		for at := 0; at < len(f.now); at++ {
			if at%blockSize >= 64 && at%97 != 0 {
				continue
			}
			f.now[at] ^= 1 << (at % 8)
			_, batches, err := Open(testDir, p, small(d))
			if err != nil {
				damaged++
				var e *DamageError
				require.ErrorAs(t, err, &e)
				require.ErrorContains(t, err, testDir)
				if strings.Contains(err.Error(), "is damaged") { // its header is there
					require.ErrorContains(t, err, fmt.Sprintf("%s: offset", name))
				}
			} else if uint64(len(batches)) != acknowledged-applied {
				requireBatches(t, batches, applied, acknowledged-1)
			} else {
				requireBatches(t, batches, applied, acknowledged)
			}
			f.now[at] ^= 1 << (at % 8)
		}
	}
	require.NotZero(t, damaged)
}

func TestDamageIsNotTakenForTheEnd(t *testing.T) {
	t.Parallel()
	d := newPowerDisk()
	l, err := Create(testDir, testID, 0, small(d))
	require.NoError(t, err)
	for seq := uint64(1); seq <= 20; seq++ {
		_, err := l.put(body(2 + 7*seq)) // one block each
		require.NoError(t, err)
	}
	first := testDir + "/1"
	for name, damage := range map[string]func(d *powerDisk){
		"header in the middle": func(d *powerDisk) { d.files[first].now[3*blockSize+20] ^= 1 },
		"body in the middle":   func(d *powerDisk) { d.files[first].now[3*blockSize+60] ^= 1 },
		"a block is lost":      func(d *powerDisk) { clear(d.files[first].now[3*blockSize : 4*blockSize]) },
		"end of a segment":     func(d *powerDisk) { clear(d.files[first].now[7*blockSize:]) },
		"truncated":            func(d *powerDisk) { d.files[first].now = d.files[first].now[:4*blockSize] },
		"first segment":        func(d *powerDisk) { delete(d.files, first) },
		"last segment":         func(d *powerDisk) { delete(d.files, testDir+"/4"); delete(d.files, testDir+"/3") },
		"renamed": func(d *powerDisk) {
			d.files[first], d.files[testDir+"/2"] = d.files[testDir+"/2"], d.files[first]
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := d.clone()
			damage(c)
			_, _, err := Open(testDir, Position{ID: testID}, small(c))
			var e *DamageError
			require.ErrorAs(t, err, &e)
			require.Contains(t, e.Where, testDir)
		})
	}
	t.Run("a batch of another run", func(t *testing.T) {
		c, other := d.clone(), newPowerDisk()
		l, err := Create(testDir, testID, 0, small(other))
		require.NoError(t, err)
		for range 5 {
			_, err := l.put([]byte("other"))
			require.NoError(t, err)
		}
		at := 3 * blockSize
		copy(c.files[first].now[at:at+blockSize], other.files[first].now[at:])
		_, _, err = Open(testDir, Position{ID: testID}, small(c))
		var e *DamageError
		require.ErrorAs(t, err, &e)
		require.Contains(t, e.What, "does not follow")
	})
	for name, p := range map[string]Position{
		"another store":            {ID: testID + 1},
		"a log older than bbolt":   {ID: testID, Applied: 21},
		"a log newer than bbolt":   {ID: testID, Applied: 0, Base: 0},
		"damage before applied":    {ID: testID, Applied: 4},
		"restarted at that number": {ID: testID, Applied: 21, Base: 21},
	} {
		t.Run(name, func(t *testing.T) {
			c := d.clone()
			clear(c.files[first].now[:blockSize]) // batch 1, as if it had been recycled
			_, batches, err := Open(testDir, p, small(c))
			if p.Applied == 4 || p.Base == 21 {
				require.NoError(t, err)
				require.Len(t, batches, max(20-int(p.Applied), 0))
				return
			}
			var e *DamageError
			require.ErrorAs(t, err, &e)
		})
	}
}

func TestUnneededLogs(t *testing.T) {
	t.Parallel()
	d := newPowerDisk()
	acknowledged, _ := workload(d, 10)
	require.NoError(t, Unneeded(testDir, Position{ID: testID, Applied: acknowledged}, small(d)))
	require.Error(t, Unneeded(testDir, Position{ID: testID, Applied: acknowledged - 1}, small(d)))
	require.Error(t, Unneeded(testDir, Position{ID: testID + 1, Applied: acknowledged}, small(d)))
}

// A batch that was being written when the power was cut was never acknowledged. It is
// known by its place directly behind what the file has.
func TestATornBatchIsUnneeded(t *testing.T) {
	t.Parallel()
	d := newPowerDisk()
	l, err := Create(testDir, testID, 0, small(d))
	require.NoError(t, err)
	for range 2 {
		_, err = l.put(make([]byte, 100))
		require.NoError(t, err)
	}
	require.NoError(t, l.Close())
	unneeded := func(applied uint64) error {
		return Unneeded(testDir, Position{ID: testID, Applied: applied}, small(d))
	}
	require.Error(t, unneeded(1), "batch 2 is whole")
	d.files[testDir+"/1"].now[blockSize+HeaderSize] ^= 1
	require.NoError(t, unneeded(1))
	require.NoError(t, unneeded(2))
	require.Error(t, unneeded(0), "batch 1 is whole")
	d.files[testDir+"/1"].now[HeaderSize] ^= 1
	require.Error(t, unneeded(0), "the log goes on behind batch 1")
	require.Error(t, Unneeded(testDir, Position{ID: testID + 1, Applied: 1}, small(d)))
}

func TestAFullDiskSpoilsNothing(t *testing.T) {
	t.Parallel()
	d := newPowerDisk()
	l, err := Create(testDir, testID, 0, small(d))
	require.NoError(t, err)
	full := &os.PathError{Op: "write", Err: syscall.ENOSPC}
	d.mu.Lock()
	d.fail = func(op, name string) error {
		if op == "create" || op == "write" && name != testDir+"/1" {
			return full
		}
		return nil
	}
	d.mu.Unlock()
	n := uint64(0)
	for ; err == nil; n++ {
		_, err = l.put(body(l.Seq() + 1))
	}
	n--
	require.ErrorIs(t, err, ErrNotWritten)
	require.ErrorIs(t, err, syscall.ENOSPC)
	_, batches, err := Open(testDir, Position{ID: testID}, small(d.clone()))
	require.NoError(t, err)
	requireBatches(t, batches, 0, n)

	d.mu.Lock()
	d.fail = func(op, name string) error { // now only half a batch gets there
		if op == "write" && name == testDir+"/2" {
			return full
		}
		return nil
	}
	d.mu.Unlock()
	_, err = l.put(body(n + 1))
	require.ErrorIs(t, err, ErrNotWritten)
	_, batches, err = Open(testDir, Position{ID: testID}, small(d.clone()))
	require.NoError(t, err)
	requireBatches(t, batches, 0, n)

	d.mu.Lock()
	d.fail = nil
	d.mu.Unlock()
	for range 5 { // room again
		seq, err := l.put(body(l.Seq() + 1))
		require.NoError(t, err)
		n++
		require.Equal(t, n, seq)
	}
	_, batches, err = Open(testDir, Position{ID: testID}, small(d.clone()))
	require.NoError(t, err)
	requireBatches(t, batches, 0, n)
}

func TestAfterAFailedFlushNothingIsWritten(t *testing.T) {
	t.Parallel()
	lost := errors.New("lost")
	for name, fail := range map[string]func(op, name string) error{
		"flush": func(op, _ string) error {
			if op == "flush" {
				return lost
			}
			return nil
		},
		"write that flushes": func(op, _ string) error {
			if op == "write" {
				return fmt.Errorf("%w: %w: %w", ErrFlush, syscall.ENOSPC, lost)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newPowerDisk()
			l, err := Create(testDir, testID, 0, small(d))
			require.NoError(t, err)
			_, err = l.put(body(2))
			require.NoError(t, err)
			d.fail = fail
			_, err = l.put(body(2))
			require.ErrorIs(t, err, lost)
			require.NotErrorIs(t, err, ErrNotWritten)
			d.fail = nil
			before := len(d.files[testDir+"/1"].pending)
			_, err = l.put(body(2))
			require.ErrorIs(t, err, lost)
			require.Len(t, d.files[testDir+"/1"].pending, before)
		})
	}
}
