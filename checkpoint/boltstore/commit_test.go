package boltstore

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
	"github.com/durable-go/durable/checkpoint/internal/wal"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

func openTemp(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "store"), nil)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func (s *Store) own(t *testing.T, id string) {
	t.Helper()
	_, created, err := s.Create(t.Context(), checkpoint.Creation{ID: id, Claim: true, Started: checkpoint.Record{Type: checkpoint.ExecutionStarted, Function: "f"}})
	require.NoError(t, err)
	require.True(t, created)
}

// step is an append of one record behind tail.
func step(id string, tail uint64) checkpoint.Append {
	return checkpoint.Append{ID: id, Epoch: 1, Tail: tail, Records: []checkpoint.Record{{
		Seq: tail + 1, EventID: tail + 1, Events: 1, Type: checkpoint.StepSucceeded, OperationID: "1", Payload: []byte("payload"),
	}}}
}

func (s *Store) start(a checkpoint.Append) chan error {
	done := make(chan error, 1)
	s.Append(a, func(err error) { done <- err })
	return done
}

func (s *Store) journal(t *testing.T, id string) (records []checkpoint.Record) {
	t.Helper()
	for r, err := range s.Records(t.Context(), id, 0) {
		require.NoError(t, err)
		records = append(records, r)
	}
	return records
}

// stall keeps the writer busy until the function it returns is called: what is
// queued meanwhile is one round.
func (s *Store) stall(t *testing.T) (resume func()) {
	t.Helper()
	begun, wait, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- s.do(context.Background(), 0, func(*view, *ledger.Round) error {
			close(begun)
			<-wait
			return nil
		})
	}()
	<-begun
	return func() {
		close(wait)
		require.NoError(t, <-done)
	}
}

// What the writer uses again keeps neither payloads nor what a large round needed.
func TestTheWriterKeepsLittle(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "store"), quiet)
	require.NoError(t, err)
	defer s.Close()
	const executions = 2 * keptWorks
	var done []chan error
	create := s.stall(t)
	for i := range executions {
		created := make(chan error, 1)
		go func() {
			_, _, err := s.Create(t.Context(), checkpoint.Creation{ID: fmt.Sprint(i), Claim: true, Started: checkpoint.Record{Type: checkpoint.ExecutionStarted, Function: "f"}})
			created <- err
		}()
		done = append(done, created)
	}
	create()
	for _, d := range done {
		require.NoError(t, <-d)
	}
	resume := s.stall(t)
	done = nil
	for i := range executions {
		a := step(fmt.Sprint(i), 1)
		a.Records[0].Payload = make([]byte, 4<<10)
		done = append(done, s.start(a))
	}
	resume()
	for _, d := range done {
		require.NoError(t, <-d)
	}
	for i := range 20 {
		require.NoError(t, <-s.start(step("0", uint64(2+i))))
	}
	require.NoError(t, s.Close())
	kept := 0
	for _, x := range s.writer.spareWorks {
		kept += cap(x.chunk.data)
	}
	t.Logf("%d works and %d rows keep %d bytes of payloads, after a round of %d executions", len(s.writer.spareWorks), len(s.writer.spare), kept, executions)
	require.Zero(t, kept)
	require.LessOrEqual(t, len(s.writer.spareWorks), keptWorks)
	require.LessOrEqual(t, len(s.writer.spare), keptWorks)
}

func TestWhatIsQueuedIsOneCommit(t *testing.T) {
	s := openTemp(t)
	const executions, appends = 10, 20
	for i := range executions {
		s.own(t, fmt.Sprint(i))
	}
	resume := s.stall(t)
	before := s.batches.Load()
	var done []chan error
	for n := range appends {
		for i := range executions {
			done = append(done, s.start(step(fmt.Sprint(i), uint64(n+1))))
		}
	}
	resume()
	for _, d := range done {
		require.NoError(t, <-d)
	}
	require.EqualValues(t, 1, s.batches.Load()-before)
	for i := range executions {
		require.Len(t, s.journal(t, fmt.Sprint(i)), appends+1)
	}
	require.NoError(t, s.awaitApplied(t.Context()))
	require.NoError(t, s.readFile(t.Context(), func(p *snapshot) error {
		require.LessOrEqual(t, p.bucket(journalTable).Stats().KeyN, 2*executions, "values of the records of many appends")
		return nil
	}))
	for i := range executions {
		require.Len(t, s.journal(t, fmt.Sprint(i)), appends+1)
	}
}

func TestAFailedConditionSpoilsNobody(t *testing.T) {
	s := openTemp(t)
	s.own(t, "a")
	s.own(t, "b")
	resume := s.stall(t)
	before := s.batches.Load()
	good := s.start(step("a", 1))
	fenced := step("b", 1)
	fenced.Epoch = 7
	bad := s.start(fenced)
	conflict := s.start(step("b", 5))
	next := s.start(step("a", 2))
	other := s.start(step("b", 1))
	resume()
	require.NoError(t, <-good)
	require.ErrorIs(t, <-bad, checkpoint.ErrFenced)
	require.ErrorIs(t, <-conflict, checkpoint.ErrConflict)
	require.NoError(t, <-next)
	require.NoError(t, <-other)
	require.EqualValues(t, 1, s.batches.Load()-before)
	require.Len(t, s.journal(t, "a"), 3)
	require.Len(t, s.journal(t, "b"), 2)
}

func TestNothingIsWrittenForNothing(t *testing.T) {
	s := openTemp(t)
	before := s.batches.Load()
	claims, err := s.Claim(t.Context(), checkpoint.ClaimRequest{Functions: []string{"f"}, Max: 1})
	require.NoError(t, err)
	require.Empty(t, claims)
	require.ErrorIs(t, s.Resume(t.Context(), "nobody"), checkpoint.ErrNotFound)
	require.Equal(t, before, s.batches.Load())
}

func TestACallThatIsGivenUpInTheQueueIsNotMade(t *testing.T) {
	s := openTemp(t)
	resume := s.stall(t)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() {
		_, _, err := s.Create(ctx, checkpoint.Creation{ID: "a", Started: checkpoint.Record{Function: "f"}})
		result <- err
	}()
	cancel()
	require.ErrorIs(t, <-result, context.Canceled)
	resume()
	_, err := s.Get(t.Context(), "a")
	require.ErrorIs(t, err, checkpoint.ErrNotFound)
}

// A command that meets damage half-way has written something already. The round
// is made again without it.
func TestATornCommandIsTakenOutOfItsRound(t *testing.T) {
	for name, tear := range map[string]func(){
		"error": nil,
		"panic": func() { panic("page 7: damaged") },
	} {
		t.Run(name, func(t *testing.T) {
			s := openTemp(t)
			s.own(t, "a")
			resume := s.stall(t)
			first := s.start(step("a", 1))
			runs := 0
			torn := make(chan error)
			go func() {
				torn <- s.do(t.Context(), 0, func(v *view, r *ledger.Round) error {
					runs++
					_, _, err := r.Create(&checkpoint.Creation{ID: "torn", Started: checkpoint.Record{Function: "f"}})
					require.NoError(t, err)
					if tear != nil {
						tear()
					}
					return checkpoint.ErrCorrupt
				})
			}()
			for s.queue.Len() < 2 {
				runtime.Gosched()
			}
			second := s.start(step("a", 2))
			resume()
			require.ErrorIs(t, <-torn, checkpoint.ErrCorrupt)
			require.NoError(t, <-first)
			require.NoError(t, <-second)
			require.Equal(t, 1, runs)
			require.Len(t, s.journal(t, "a"), 3)
			_, err := s.Get(t.Context(), "torn")
			require.ErrorIs(t, err, checkpoint.ErrNotFound)
		})
	}
}

func TestAFailedWriteEndsAllUse(t *testing.T) {
	faults := new(faultyFiles)
	s, err := Open(filepath.Join(t.TempDir(), "store"), &Options{files: faults})
	require.NoError(t, err)
	s.own(t, "a")
	require.NoError(t, <-s.start(step("a", 1)))
	resume := s.stall(t)
	waiting := s.start(step("a", 2))
	behind := s.start(step("a", 3))
	faults.set(func(string, string) error { return wal.ErrFlush }) // the disk is gone
	resume()
	err = <-waiting
	require.ErrorIs(t, err, checkpoint.ErrFailed)
	require.ErrorContains(t, err, s.path)
	require.ErrorIs(t, <-behind, checkpoint.ErrFailed)

	ctx := t.Context()
	require.ErrorIs(t, <-s.start(step("a", 2)), checkpoint.ErrFailed)
	_, _, err = s.Create(ctx, checkpoint.Creation{ID: "b", Started: checkpoint.Record{Function: "f"}})
	require.ErrorIs(t, err, checkpoint.ErrFailed)
	_, err = s.Get(ctx, "a")
	require.ErrorIs(t, err, checkpoint.ErrFailed)
	_, err = s.Expire(ctx, s.Now(), 1)
	require.ErrorIs(t, err, checkpoint.ErrFailed)
	s.Close()

	again, err := Open(s.path, nil)
	require.NoError(t, err)
	defer again.Close()
	require.Len(t, again.journal(t, "a"), 2)
}

func TestLongJournalsAreSweptAway(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "store"), &Options{UnsafeNoSync: true})
	require.NoError(t, err)
	s.own(t, "a")
	const appends = 3 * bite / 2
	for n := range appends { // a value each
		require.NoError(t, <-s.start(step("a", uint64(n+1))))
		require.NoError(t, s.awaitApplied(t.Context()))
	}
	_, err = s.End(t.Context(), checkpoint.Ending{ID: "a", Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
	require.NoError(t, err)
	values := func(s *Store) (journal, trash int) {
		require.NoError(t, s.readFile(t.Context(), func(p *snapshot) error {
			journal, trash = p.bucket(journalTable).Stats().KeyN, p.bucket(trashTable).Stats().KeyN
			return nil
		}))
		return journal, trash
	}
	n, _ := values(s)
	require.Greater(t, n, bite)
	require.NoError(t, s.Delete(t.Context(), "a"))
	_, err = s.Get(t.Context(), "a")
	require.ErrorIs(t, err, checkpoint.ErrNotFound)
	require.NoError(t, s.Close())

	s, err = Open(s.path, nil) // goes on where the last one stopped
	require.NoError(t, err)
	defer s.Close()
	for {
		journal, trash := values(s)
		if journal+trash == 0 {
			return
		}
		runtime.Gosched()
	}
}

// edit changes tables behind the store's back.
func edit(t *testing.T, path string, f func(tx *bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Update(f))
	require.NoError(t, db.Close())
}
