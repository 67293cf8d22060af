package boltstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/wal"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

// killed makes a store with some executions, which is not closed, nothing of
// which bbolt has. It returns a copy of its files, and what was written by execution.
func killed(t *testing.T) (path string, w written) {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "store"), quiet)
	require.NoError(t, err)
	defer s.Close()
	s.own(t, "before")
	require.NoError(t, s.Close())
	s, err = Open(s.path, quiet)
	require.NoError(t, err)
	defer s.Close()
	for i := range 6 {
		id := fmt.Sprint("execution-", i)
		s.own(t, id)
		for n := range 6 {
			a := step(id, uint64(n+1))
			a.Records[0].Payload = bytes.Repeat([]byte{byte(i), byte(n)}, 20*n)
			if n == 2 {
				a.Records[0].Type = checkpoint.CallbackStarted
				a.Records[0].HeartbeatTimeout, a.Records[0].Time = int64(time.Hour), s.Now().UnixNano()
			}
			require.NoError(t, <-s.start(a))
		}
		require.NoError(t, s.Deliver(t.Context(), checkpoint.Delivery{ID: id, Record: checkpoint.Record{Type: checkpoint.CancelRequested}}))
	}
	w = make(written)
	for i := range 6 {
		id := fmt.Sprint("execution-", i)
		for _, r := range s.journal(t, id) {
			w[id] = append(w[id], string(checkpoint.AppendRecord(nil, &r)))
		}
	}
	for _, r := range s.journal(t, "before") {
		w["before"] = append(w["before"], string(checkpoint.AppendRecord(nil, &r)))
	}
	path = filepath.Join(t.TempDir(), "killed")
	s.CopyAsKilled(t, path)
	return path, w
}

func firstSegment(path string) string { return filepath.Join(path+logSuffix, "1") }

// logged is where the used part of the first segment ends.
func logged(t *testing.T, path string) (b []byte, end int) {
	t.Helper()
	b, err := os.ReadFile(firstSegment(path))
	require.NoError(t, err)
	return b, len(bytes.TrimRight(b, "\x00"))
}

func TestWhatIsOnlyInTheLogIsThereAfterAKill(t *testing.T) {
	path, w := killed(t)
	s, err := Open(path, quiet)
	require.NoError(t, err)
	for id, want := range w {
		require.Len(t, s.journal(t, id), len(want))
	}
	claims, err := s.Claim(t.Context(), checkpoint.ClaimRequest{Functions: []string{"f"}, Max: 100})
	require.NoError(t, err)
	require.Len(t, claims, len(w))
	require.NoError(t, s.Close())
	require.NoDirExists(t, path+logSuffix, "a closed store is one file")
	require.False(t, w.use(t, path))
}

// Every bit of the log that is flipped leaves everything as it was, is an error,
// or takes the last batch away, which can't be told from one that was torn.
func TestBitFlipsInTheLog(t *testing.T) {
	path, w := killed(t)
	good, end := logged(t, path)
	random := rand.New(rand.NewPCG(3, 4))
	flips := 150
	if testing.Short() {
		flips = 30
	}
	found := 0
	for i := range flips {
		at := random.IntN(end)
		if i%2 == 0 {
			at = at/4096*4096 + random.IntN(48) // a header
		}
		if at >= (end-1)/4096*4096 {
			continue // the last batch
		}
		bad := bytes.Clone(good)
		bad[at] ^= 1 << random.IntN(8)
		damaged := copyOf(t, path)
		require.NoError(t, os.WriteFile(firstSegment(damaged), bad, 0o600))
		s, err := Open(damaged, quiet)
		if err != nil {
			found++
			require.ErrorIs(t, err, checkpoint.ErrCorrupt)
			require.ErrorContains(t, err, damaged+logSuffix)
			_, err := Open(damaged, quiet)
			require.ErrorIs(t, err, checkpoint.ErrCorrupt, "it stays so")
			continue
		}
		require.NoError(t, s.Close())
		require.False(t, w.use(t, damaged))
	}
	require.NotZero(t, found)
}

func TestTruncatedLogs(t *testing.T) {
	path, _ := killed(t)
	_, end := logged(t, path)
	for size := 0; size < end; size += 4096 - 7 {
		truncated := copyOf(t, path)
		require.NoError(t, os.Truncate(firstSegment(truncated), int64(size)))
		_, err := Open(truncated, quiet)
		require.ErrorIs(t, err, checkpoint.ErrCorrupt)
	}
}

// A batch that is not whole and the last one was never acknowledged.
func TestATornBatchIsForgotten(t *testing.T) {
	path, w := killed(t)
	good, end := logged(t, path)
	start := (end - 1) / 4096 * 4096
	for keep := start; keep < end; keep += 16 {
		torn := copyOf(t, path)
		b := bytes.Clone(good)
		clear(b[keep:])
		require.NoError(t, os.WriteFile(firstSegment(torn), b, 0o600))
		s, err := Open(torn, quiet)
		require.NoError(t, err)
		require.GreaterOrEqual(t, s.applied, binary.BigEndian.Uint64(good[start+16:]), "its number is not given again")
		entries, err := s.Inbox(t.Context(), "execution-5", 0) // that was the last batch
		require.NoError(t, err)
		require.Empty(t, entries)
		for id, want := range w {
			require.Len(t, s.journal(t, id), len(want))
		}
		require.NoError(t, s.Close())
	}
}

func TestTheFileAndItsLogBelongTogether(t *testing.T) {
	path, _ := killed(t)
	other, _ := killed(t)
	for name, c := range map[string]struct {
		damage func(path string) error
		says   string
	}{
		"no log":  {func(path string) error { return os.RemoveAll(path + logSuffix) }, "its log"},
		"no file": {os.Remove, "the file is missing"},
		"another's log": {func(path string) error {
			b, err := os.ReadFile(firstSegment(other))
			if err != nil {
				return err
			}
			return os.WriteFile(firstSegment(path), b, 0o600)
		}, "log of another store"},
		"an older file": {func(path string) error {
			older, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			s, err := Open(path, quiet)
			if err != nil {
				return err
			}
			s.own(t, "later")
			later := filepath.Join(t.TempDir(), "later")
			s.CopyAsKilled(t, later)
			if err := s.Close(); err != nil {
				return err
			}
			if err := os.WriteFile(path, older, 0o600); err != nil {
				return err
			}
			return os.Rename(later+logSuffix, path+logSuffix)
		}, "not of the same moment"},
	} {
		t.Run(name, func(t *testing.T) {
			path := copyOf(t, path)
			require.NoError(t, c.damage(path))
			before := list(t, filepath.Dir(path))
			for range 2 {
				_, err := Open(path, quiet)
				require.ErrorIs(t, err, checkpoint.ErrCorrupt)
				require.ErrorContains(t, err, path)
				require.ErrorContains(t, err, c.says)
			}
			require.Equal(t, before, list(t, filepath.Dir(path)), "nothing is made or removed")
		})
	}
}

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		names = append(names, path)
		return err
	}))
	return names
}

func TestReadsSeeWhatBboltDoesNotHave(t *testing.T) {
	s := openTemp(t)
	for i := range 3 {
		s.own(t, fmt.Sprint(i))
		for n := range 3 {
			require.NoError(t, <-s.start(step(fmt.Sprint(i), uint64(n+1))))
		}
		if i < 2 { // in bbolt, and behind it
			require.NoError(t, s.awaitApplied(t.Context()))
			require.NoError(t, <-s.start(step(fmt.Sprint(i), 4)))
		}
	}
	require.NoError(t, s.readFile(t.Context(), func(p *snapshot) error {
		row, err := p.find("2")
		require.Nil(t, row, "bbolt does not have it")
		return err
	}))
	for i, want := range []int{5, 5, 4} {
		id := fmt.Sprint(i)
		sum, err := s.Get(t.Context(), id)
		require.NoError(t, err)
		require.EqualValues(t, want, sum.Tail)
		sum, err = s.Find(t.Context(), sum.Number)
		require.NoError(t, err)
		require.Equal(t, id, sum.ID)
		for after := range want {
			n := after
			for r, err := range s.Records(t.Context(), id, uint64(after)) {
				n++
				require.NoError(t, err)
				require.EqualValues(t, n, r.Seq)
			}
			require.Equal(t, want, n)
		}
	}
	var ids []string
	for sum, err := range s.List(t.Context(), checkpoint.Query{}) {
		require.NoError(t, err)
		ids = append(ids, sum.ID)
	}
	require.Equal(t, []string{"2", "1", "0"}, ids)
}

func TestTheLogIsRemovedWhenTheFileIsWhole(t *testing.T) {
	faults := new(faultyFiles)
	s, err := Open(filepath.Join(t.TempDir(), "store"), &Options{files: faults})
	require.NoError(t, err)
	s.own(t, "a")
	format := func() (n uint32) {
		require.NoError(t, s.readFile(t.Context(), func(p *snapshot) error {
			n = binary.BigEndian.Uint32(p.bucket(metaTable).Get(metaFormat))
			return nil
		}))
		return n
	}
	require.EqualValues(t, formatLog, format())
	removed := 0
	faults.set(func(op, name string) error {
		if op == "remove" && !strings.HasSuffix(name, ".new") {
			removed++
			require.NoError(t, s.db.View(func(tx *bolt.Tx) error {
				require.EqualValues(t, formatWhole, binary.BigEndian.Uint32(tx.Bucket([]byte("meta")).Get(metaFormat)))
				require.NotNil(t, tx.Bucket([]byte("ids")).Get([]byte("a")))
				return nil
			}))
		}
		return nil
	})
	require.NoError(t, s.Close())
	require.NotZero(t, removed)
}

func TestNobodySeesWhatIsNotFlushed(t *testing.T) {
	faults := new(faultyFiles)
	s, err := Open(filepath.Join(t.TempDir(), "store"), &Options{files: faults})
	require.NoError(t, err)
	defer s.Close()
	s.own(t, "a")
	writing, flush := make(chan struct{}), make(chan struct{})
	faults.set(func(op, _ string) error {
		if op == "write" {
			close(writing)
			<-flush
		}
		return nil
	})
	a := step("a", 1)
	a.Status = checkpoint.Succeeded
	done := s.start(a)
	<-writing
	sum, err := s.Get(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, checkpoint.Running, sum.Status)
	require.Len(t, s.journal(t, "a"), 1)
	select {
	case <-done:
		require.Fail(t, "acknowledged before it was flushed")
	default:
	}
	close(flush)
	require.NoError(t, <-done)
	faults.set(nil)
	sum, err = s.Get(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, checkpoint.Succeeded, sum.Status)
}

// Whoever changes what was read must not change what is kept.
func TestRecordsAreTheReadersOwn(t *testing.T) {
	s := openTemp(t)
	s.own(t, "a")
	require.NoError(t, <-s.start(step("a", 1)))
	clear(s.journal(t, "a")[1].Payload)
	require.Equal(t, "payload", string(s.journal(t, "a")[1].Payload))
}

func TestSegmentsAreUsedAgainUnderLoad(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "store"), &Options{UnsafeNoSync: true, segmentSize: 16 * 4096})
	require.NoError(t, err)
	defer s.Close()
	for i := range 4 {
		s.own(t, fmt.Sprint(i))
	}
	const appends = 300
	for n := range appends {
		for i := range 4 {
			require.NoError(t, <-s.start(step(fmt.Sprint(i), uint64(n+1))))
		}
		if n%10 == 9 {
			require.NoError(t, s.awaitApplied(t.Context()))
		}
	}
	segments, err := os.ReadDir(s.walDir)
	require.NoError(t, err)
	require.Less(t, len(segments), 12, "%d batches of one block", 4*appends)
	copied := filepath.Join(t.TempDir(), "copy")
	s.CopyAsKilled(t, copied)
	again, err := Open(copied, &Options{segmentSize: 16 * 4096})
	require.NoError(t, err)
	defer again.Close()
	for i := range 4 {
		require.Len(t, again.journal(t, fmt.Sprint(i)), appends+1)
	}
}

// While bbolt can't take anything, the writer stops at a bound, and goes on
// when it can.
func TestBackPressure(t *testing.T) {
	s := openTemp(t)
	s.own(t, "a")
	require.NoError(t, s.awaitApplied(t.Context()))
	s.mu.Lock()
	s.maxLag = 8 * 4096
	s.mu.Unlock()
	tx, err := s.db.Begin(true) // the feeder waits
	require.NoError(t, err)
	const appends = 40
	var done []chan error
	for n := range appends {
		done = append(done, s.start(step("a", uint64(n+1))))
		if n < 8 {
			require.NoError(t, <-done[n])
		}
	}
	blocked := make(chan error)
	go func() {
		_, _, err := s.Create(t.Context(), checkpoint.Creation{ID: "b", Started: checkpoint.Record{Function: "f"}})
		blocked <- err
	}()
	for s.lag() < 8*4096 {
		runtime.Gosched()
	}
	select {
	case <-blocked:
		require.Fail(t, "the writer did not wait")
	case <-done[appends-1]:
		require.Fail(t, "the writer did not wait")
	default:
	}
	require.NoError(t, tx.Rollback())
	for _, d := range done[8:] {
		require.NoError(t, <-d)
	}
	require.NoError(t, <-blocked)
	require.Len(t, s.journal(t, "a"), appends+1)
}

func (s *Store) lag() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	lag := s.active.bytes
	if s.frozen != nil {
		lag += s.frozen.bytes
	}
	return lag
}

func TestAFullDiskFailsAppendsAndNothingElse(t *testing.T) {
	faults := new(faultyFiles)
	s, err := Open(filepath.Join(t.TempDir(), "store"), &Options{files: faults, segmentSize: 4096})
	require.NoError(t, err)
	defer s.Close()
	full := func(op, _ string) error {
		if op == "create" {
			return &os.PathError{Op: "write", Err: syscall.ENOSPC}
		}
		return nil
	}
	faults.set(full)
	_, _, err = s.Create(t.Context(), checkpoint.Creation{ID: "a", Claim: true, Started: checkpoint.Record{Function: "f"}})
	require.ErrorIs(t, err, syscall.ENOSPC, "the log can't be made")
	require.NotErrorIs(t, err, checkpoint.ErrFailed)
	faults.set(nil)
	s.own(t, "a")
	faults.set(full)
	tail := uint64(1)
	for {
		if err = <-s.start(step("a", tail)); err != nil {
			break
		}
		tail++
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NotErrorIs(t, err, checkpoint.ErrFailed)
	require.ErrorContains(t, err, s.path)
	require.Len(t, s.journal(t, "a"), int(tail), "reading goes on")
	faults.set(nil)
	require.NoError(t, <-s.start(step("a", tail)))
	require.Len(t, s.journal(t, "a"), int(tail)+1)
	require.NoError(t, s.Close())
	again, err := Open(s.path, nil)
	require.NoError(t, err)
	defer again.Close()
	require.Len(t, again.journal(t, "a"), int(tail)+1)
}

// A row must be logged as a whole when anything changes that an advance does not hold.
func TestAnAdvanceHoldsAllThatChanged(t *testing.T) {
	base := &checkpoint.Row{}
	held := map[string]bool{"Tail": true, "LastEvent": true, "InboxSeen": true, "Started": true, "Ended": true}
	var check func(path string, get func(*checkpoint.Row) reflect.Value)
	check = func(path string, get func(*checkpoint.Row) reflect.Value) {
		row := *base
		switch v := get(&row); v.Kind() {
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Int64:
			v.SetInt(1)
		case reflect.Uint8, reflect.Uint64:
			v.SetUint(1)
		case reflect.String:
			v.SetString("x")
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
		case reflect.Array:
			v.Index(0).SetUint(1)
		default:
			require.Fail(t, "a kind of field that this test does not know", path)
		}
		require.Equal(t, held[path], advanced(base, &row), path)
	}
	n := 0
	for _, f := range reflect.VisibleFields(reflect.TypeFor[checkpoint.Row]()) {
		if f.Name == "Summary" || f.Name == "Started" || f.Name == "Ended" {
			continue
		}
		n++
		check(f.Name, func(r *checkpoint.Row) reflect.Value { return reflect.ValueOf(r).Elem().FieldByIndex(f.Index) })
	}
	require.Greater(t, n, 20)
	require.False(t, advanced(nil, base))
	require.True(t, advanced(base, &checkpoint.Row{}))
}

// Whatever is in a batch, reading it never panics.
func TestRedoOfGarbage(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "store"), quiet)
	require.NoError(t, err)
	defer s.Close()
	random := rand.New(rand.NewPCG(5, 6))
	good := appendChange(appendChunk(appendAdvance(nil, &checkpoint.Row{}), 300, chunk{1, 2, []byte("data")}), dueTable, &change{key: strings.Repeat("k", 20)})
	for range 2000 {
		b := bytes.Clone(good[:random.IntN(len(good)+1)])
		for range random.IntN(4) {
			if len(b) > 0 {
				b[random.IntN(len(b))] = byte(random.IntN(256))
			}
		}
		p := snapshot{s: s, layers: []*generation{newGeneration()}}
		p.redo(b)
		p.end()
	}
}

var _ wal.Files = (*faultyFiles)(nil)
