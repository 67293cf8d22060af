package boltstore

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/stretchr/testify/require"
)

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

// Lone appends leave much log that holds little. bbolt gets it long before there is as
// much of it as of full batches.
func TestThinBatchesAreBroughtIntoBboltSooner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(filepath.Join(t.TempDir(), "store"), quiet)
		require.NoError(t, err)
		defer s.Close()
		s.own(t, "a")
		require.NoError(t, s.awaitApplied(t.Context()))
		begun := time.Now()
		tail := uint64(1)
		// write appends so many bytes of log and returns how many bbolt has not.
		write := func(payload, bytes int) int {
			for size := 0; size < bytes; size += (payload + 4095) / 4096 * 4096 {
				a := step("a", tail)
				a.Records[0].Payload = make([]byte, payload)
				require.NoError(t, <-s.start(a))
				tail++
			}
			synctest.Wait() // for the feeder
			return s.lag()
		}
		require.NotZero(t, write(100, feedThin-64<<10), "not yet")
		require.Zero(t, write(100, 64<<10))
		for range 16 {
			write(100, 1<<20)
		}
		segments, err := os.ReadDir(s.walDir)
		require.NoError(t, err)
		t.Logf("%d segments of 256 KiB after %d lone appends", len(segments), tail)
		require.LessOrEqual(t, len(segments)*quiet.segmentSize, 2*feedThin)
		require.NoError(t, s.awaitApplied(t.Context()))
		require.GreaterOrEqual(t, write(3500, 2*feedThin), 2*feedThin, "batches that are mostly full wait")
		require.Equal(t, begun, time.Now(), "no time has passed")
	})
}

func TestBackPressure(t *testing.T) {
	s := openTemp(t)
	s.own(t, "a")
	require.NoError(t, s.awaitApplied(t.Context()))
	s.mu.Lock()
	s.maxLag = 8 * 4096
	s.mu.Unlock()
	s.writing.Lock() // the feeder waits
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
	s.writing.Unlock()
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

func TestAnAdvanceHoldsAllThatChanged(t *testing.T) {
	base := &checkpoint.Row{}
	held := map[string]bool{"Tail": true, "LastEvent": true, "InboxSeen": true, "Started": true, "Ended": true}
	check := func(path string, get func(*checkpoint.Row) reflect.Value) {
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
