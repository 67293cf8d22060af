package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

// backup writes a backup to a new file.
func (s *Store) backup(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "backup")
	f, err := os.Create(path)
	require.NoError(t, err)
	n, err := s.Backup(t.Context(), f)
	require.NoError(t, err)
	info, err := f.Stat()
	require.NoError(t, err)
	require.Equal(t, info.Size(), n)
	require.NoError(t, f.Close())
	return path
}

func TestBackup(t *testing.T) {
	s := openTemp(t)
	empty := s.backup(t) // before anything was written
	found, _ := problems(t, empty)
	require.Empty(t, found)

	s.mix(t, 3)
	s.mixMore(t)
	path := s.backup(t)
	found, _ = problems(t, path)
	require.Empty(t, found)
	require.Equal(t, []byte{0, 0, 0, formatWhole}, metaValue(t, path, metaFormat))
	mark, ok := parseLogMark(metaValue(t, path, metaLog))
	require.True(t, ok)
	require.NotEqual(t, s.logID, mark.id, "it does not take the log of the store for its own")

	restored, err := Open(path, nil)
	require.NoError(t, err)
	require.Equal(t, s.Secret(), restored.Secret())
	owned := 0
	for want, err := range s.List(t.Context(), checkpoint.Query{}) {
		require.NoError(t, err)
		got, err := restored.Get(t.Context(), want.ID)
		require.NoError(t, err)
		if want.Owned {
			owned++
			require.False(t, got.Owned)
			got.Owned, got.WakeAt = true, want.WakeAt
		}
		require.Equal(t, want, got)
		require.Equal(t, s.journal(t, want.ID), restored.journal(t, want.ID))
	}
	claims, err := restored.Claim(t.Context(), checkpoint.ClaimRequest{Functions: []string{"f"}, Max: 1000})
	require.NoError(t, err)
	lost := 0
	for _, c := range claims {
		if c.Lost {
			lost++
		}
		(&journalOf{t, restored, c.ID, c.Epoch, c.Tail, c.LastEvent}).steps(2, 10)
	}
	require.Equal(t, owned, lost, "what had an owner is claimable, and lost")
	require.NoError(t, restored.Close())
	found, _ = problems(t, path)
	require.Empty(t, found)
}

func metaValue(t *testing.T, path string, key []byte) (value []byte) {
	t.Helper()
	db, err := bolt.Open(path, 0, &bolt.Options{ReadOnly: true})
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.View(func(tx *bolt.Tx) error {
		value = bytes.Clone(tx.Bucket([]byte("meta")).Get(key))
		return nil
	}))
	return value
}

// A copy that was cut off is refused, wherever that was.
func TestABackupThatWasCutOffIsNoStore(t *testing.T) {
	s := openTemp(t)
	s.mix(t, 2)
	var whole bytes.Buffer
	_, err := s.Backup(t.Context(), &whole)
	require.NoError(t, err)
	cuts := 0
	path := filepath.Join(t.TempDir(), "cut")
	for size := 0; size < whole.Len(); size += 4096 + 37 {
		require.NoError(t, os.WriteFile(path, whole.Bytes()[:size], 0o600))
		_, err := Open(path, quiet)
		require.ErrorIs(t, err, checkpoint.ErrCorrupt)
		found, _ := problems(t, path)
		require.NotEmpty(t, found)
		cuts++
	}
	t.Logf("%d backups that were cut off: none was opened", cuts)
}

// A backup in the place of a file that was not closed is not mixed with its log.
func TestABackupBesideAnOldLogIsRefused(t *testing.T) {
	s := openTemp(t)
	s.mix(t, 1)
	path := s.backup(t)
	s.mixMore(t)
	killed := filepath.Join(t.TempDir(), "killed")
	s.CopyAsKilled(t, killed)
	copyFile(t, path, killed)
	_, err := Open(killed, quiet)
	require.ErrorIs(t, err, checkpoint.ErrCorrupt)
	require.ErrorContains(t, err, "remove the log")
	require.NoError(t, os.RemoveAll(killed+logSuffix))
	restored, err := Open(killed, quiet)
	require.NoError(t, err)
	require.NoError(t, restored.Close())
}

// failing takes some bytes and then fails.
type failing struct{ left int }

func (f *failing) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}

func TestABackupThatFailsLeavesTheStoreAlone(t *testing.T) {
	s := openTemp(t)
	s.mix(t, 4)
	_, err := s.Backup(t.Context(), &failing{left: 1 << 20})
	require.NoError(t, err, "it is smaller")
	n, err := s.Backup(t.Context(), &failing{left: 1 << 10})
	require.ErrorIs(t, err, io.ErrShortWrite)
	require.Zero(t, n, "it has taken nothing")
	require.ErrorContains(t, err, s.path)
	ctx, cancel := context.WithCancel(t.Context())
	_, err = s.Backup(ctx, writerFunc(func(b []byte) (int, error) { cancel(); return len(b), nil }))
	if err != nil { // it may have been its last write
		require.ErrorIs(t, err, context.Canceled)
	}
	s.begin(t, "after", nil).steps(2, 10)
	require.NoError(t, s.Close())
	_, err = s.Backup(t.Context(), io.Discard)
	require.ErrorIs(t, err, checkpoint.ErrClosed)
	found, _ := problems(t, s.path)
	require.Empty(t, found)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// stalling goes on when it is told to, from the second time that it is called.
type stalling struct {
	begun, goOn chan struct{}
	calls       int
}

func newStalling() *stalling { return &stalling{begun: make(chan struct{}), goOn: make(chan struct{})} }

func (s *stalling) call() {
	if s.calls++; s.calls == 2 {
		close(s.begun)
		<-s.goOn
	}
}

// grow makes the file of a store many times as large, and reads on.
func (s *Store) grow(t *testing.T, id string) {
	t.Helper()
	j := s.begin(t, id, nil)
	before, err := os.Stat(s.path)
	require.NoError(t, err)
	for range 20 {
		j.steps(2, 1<<20)
		require.NoError(t, s.awaitApplied(t.Context()))
		_, err := s.Get(t.Context(), id)
		require.NoError(t, err)
	}
	after, err := os.Stat(s.path)
	require.NoError(t, err)
	require.Greater(t, after.Size(), before.Size()+40<<20)
}

// Nobody waits for a backup that somebody takes slowly, nor for a verification of which
// somebody is slow to hear, even if the file grows meanwhile to many times its size:
// whether or not there are addresses for it to grow into.
func TestUpkeepStopsNobody(t *testing.T) {
	for name, crowded := range map[string]bool{"Room": false, "NoRoom": true} {
		open := func(t *testing.T) *Store {
			s, err := Open(filepath.Join(t.TempDir(), "store"), &Options{Logger: quiet.Logger, UnsafeNoSync: true, crowded: crowded})
			require.NoError(t, err)
			s.mix(t, 1)
			s.begin(t, "large", nil).steps(10, 1<<20) // more than is written at once
			require.NoError(t, s.awaitApplied(t.Context()))
			return s
		}
		leavesNothing := func(t *testing.T, s *Store) {
			require.NoError(t, s.Close())
			entries, err := os.ReadDir(filepath.Dir(s.path))
			require.NoError(t, err)
			require.Len(t, entries, 1)
			found, _ := problems(t, s.path)
			require.Empty(t, found)
		}
		t.Run("Backup/"+name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			before, err := s.Get(t.Context(), "large")
			require.NoError(t, err)
			w := newStalling()
			var copied bytes.Buffer
			done := make(chan error, 1)
			go func() {
				_, err := s.Backup(context.Background(), writerFunc(func(b []byte) (int, error) { w.call(); return copied.Write(b) }))
				done <- err
			}()
			<-w.begun
			require.NoError(t, within(t, func() error { s.grow(t, "grown"); return nil }))
			ended := s.begin(t, "ended", nil) // and space is set free
			ended.end(checkpoint.Succeeded, checkpoint.ExecutionSucceeded)
			require.NoError(t, s.Delete(t.Context(), "ended"))
			s.mixMore(t)
			require.NoError(t, s.awaitApplied(t.Context()))
			close(w.goOn)
			require.NoError(t, <-done)
			path := filepath.Join(t.TempDir(), "copy")
			require.NoError(t, os.WriteFile(path, copied.Bytes(), 0o600))
			found, _ := problems(t, path)
			require.Empty(t, found)
			restored, err := Open(path, quiet)
			require.NoError(t, err)
			defer restored.Close()
			after, err := restored.Get(t.Context(), "large")
			require.NoError(t, err)
			require.Equal(t, before.Tail, after.Tail)
			_, err = restored.Get(t.Context(), "grown")
			require.ErrorIs(t, err, checkpoint.ErrNotFound)
			leavesNothing(t, s)
		})
		t.Run("Verify/"+name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			for i := range 5000 { // progress is told each 4,096 entries
				_, _, err := s.Create(t.Context(), checkpoint.Creation{ID: fmt.Sprint("many-", i), Started: checkpoint.Record{Type: checkpoint.ExecutionStarted, Function: "f"}})
				require.NoError(t, err)
			}
			w := newStalling()
			done := make(chan error, 1)
			go func() {
				_, err := s.Verify(context.Background(), &VerifyOptions{Problem: func(p Problem) { t.Error(p) }, Progress: func(Verified) { w.call() }})
				done <- err
			}()
			<-w.begun
			require.NoError(t, within(t, func() error { s.grow(t, "grown"); return nil }))
			close(w.goOn)
			require.NoError(t, <-done)
			leavesNothing(t, s)
		})
		t.Run("Several/"+name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			var all sync.WaitGroup
			var stalled []*stalling
			for i := range 4 {
				w := newStalling()
				stalled = append(stalled, w)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				all.Go(func() {
					_, err := s.Backup(ctx, writerFunc(func(b []byte) (int, error) { w.call(); return len(b), nil }))
					if i%2 == 0 {
						require.NoError(t, err)
					} else {
						require.ErrorIs(t, err, context.Canceled)
					}
				})
				<-w.begun
				if i%2 == 1 {
					cancel()
				}
			}
			for i, w := range stalled { // some end while the file grows
				if i == 2 {
					require.NoError(t, within(t, func() error { s.grow(t, "grown"); return nil }))
				}
				close(w.goOn)
			}
			require.NoError(t, within(t, func() error { all.Wait(); return nil }))
			leavesNothing(t, s)
		})
	}
}

// Where what is left can't be put aside, the backup fails, and nobody else.
func TestABackupForWhichThereIsNoSpace(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "store"), &Options{Logger: quiet.Logger, UnsafeNoSync: true, crowded: true})
	require.NoError(t, err)
	defer s.Close()
	s.begin(t, "large", nil).steps(10, 1<<20)
	require.NoError(t, s.awaitApplied(t.Context()))
	s.makeAside = func() (*os.File, error) { return nil, syscall.ENOSPC }
	w := newStalling()
	done := make(chan error, 1)
	go func() {
		_, err := s.Backup(context.Background(), writerFunc(func(b []byte) (int, error) { w.call(); return len(b), nil }))
		done <- err
	}()
	<-w.begun
	require.NoError(t, within(t, func() error { s.grow(t, "grown"); return nil }))
	close(w.goOn)
	err = <-done
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, "could not be copied aside")
	s.backup(t) // another one is made
}

// upkeep is what reads the whole file of an open store.
var upkeep = map[string]func(*Store, context.Context) error{
	"Backup": func(s *Store, ctx context.Context) error { _, err := s.Backup(ctx, io.Discard); return err },
	"Verify": func(s *Store, ctx context.Context) error { _, err := s.Verify(ctx, nil); return err },
}

// within fails the test if f takes so long that it must hang.
func within(t *testing.T, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(2 * time.Minute):
		require.FailNow(t, "it hangs")
		return nil
	}
}

// ruinMeta damages both first pages, without which bbolt begins no transaction.
func (s *Store) ruinMeta() error {
	f, err := os.OpenFile(s.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for page := range 2 {
		if _, err := f.WriteAt(make([]byte, 64), int64(page*os.Getpagesize()+16)); err != nil {
			return err
		}
	}
	return nil
}

// Where bbolt keeps its locks over damage, everybody gets an error and nobody waits.
func TestUpkeepOfADamagedFileEnds(t *testing.T) {
	for kind, damage := range map[string]func(*Store) error{
		"first pages": (*Store).ruinMeta,
		"cut off":     func(s *Store) error { return os.Truncate(s.path, 0) },
	} {
		for name, run := range upkeep {
			t.Run(name+"/"+kind, func(t *testing.T) {
				s, err := Open(filepath.Join(t.TempDir(), "store"), quiet)
				require.NoError(t, err)
				s.own(t, "a")
				require.NoError(t, s.awaitApplied(t.Context()))
				require.NoError(t, damage(s))
				var all sync.WaitGroup
				for range 4 { // and with others beside it
					all.Go(func() { s.Get(t.Context(), "b") })
					all.Go(func() { run(s, t.Context()) })
				}
				require.ErrorIs(t, within(t, func() error { return run(s, t.Context()) }), checkpoint.ErrFailed)
				require.ErrorIs(t, within(t, func() error { all.Wait(); return s.Close() }), checkpoint.ErrFailed)
				_, err = Open(s.path, quiet)
				require.NotErrorIs(t, err, checkpoint.ErrLocked)
				require.ErrorIs(t, err, checkpoint.ErrCorrupt)
			})
		}
	}
}

// A backup that is under way when bbolt meets damage ends, too.
func TestABackupEndsWhenBboltBreaks(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "store"), quiet)
	require.NoError(t, err)
	s.own(t, "a")
	require.NoError(t, s.awaitApplied(t.Context()))
	var once sync.Once
	within(t, func() error { // it has read the first pages before, and may succeed
		_, err := s.Backup(t.Context(), writerFunc(func(b []byte) (int, error) {
			once.Do(func() {
				require.NoError(t, s.ruinMeta())
				_, err := s.Get(t.Context(), "b")
				require.ErrorIs(t, err, checkpoint.ErrFailed)
			})
			return len(b), nil
		}))
		return err
	})
	require.ErrorIs(t, within(t, s.Close), checkpoint.ErrFailed)
}

// Close waits for a backup that is under way; what comes after is told.
func TestUpkeepBesideClose(t *testing.T) {
	for range 20 {
		s, err := Open(filepath.Join(t.TempDir(), "store"), quiet)
		require.NoError(t, err)
		s.own(t, "a")
		require.NoError(t, s.awaitApplied(t.Context()))
		failed := make(chan error, 64)
		var all sync.WaitGroup
		for range 2 {
			for _, run := range upkeep {
				all.Go(func() {
					var err error
					for err == nil {
						err = run(s, t.Context())
					}
					failed <- err
				})
			}
			all.Go(func() {
				var err error
				for err == nil {
					_, err = s.Get(t.Context(), "a")
				}
				failed <- err
			})
		}
		require.NoError(t, within(t, s.Close))
		require.NoError(t, within(t, func() error { all.Wait(); return nil }))
		close(failed)
		for err := range failed {
			require.ErrorIs(t, err, checkpoint.ErrClosed)
		}
	}
}

// TestUpkeepUnderLoad takes backups and verifies while others write and delete. Each
// backup must have all that was acknowledged before it, and be of one moment.
func TestUpkeepUnderLoad(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "store"), quiet)
	require.NoError(t, err)
	defer s.Close()
	const workers = 4
	var acknowledged [workers]atomic.Uint64 // the number of an execution that was ended
	stop := make(chan struct{})
	failed := make(chan error, workers)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for n := uint64(1); ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := s.liveAndDie(w, n); err != nil {
					failed <- err
					return
				}
				acknowledged[w].Store(n)
			}
		})
	}
	backups, records := 0, uint64(0)
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	for range rounds {
		var least [workers]uint64
		for w := range workers {
			least[w] = acknowledged[w].Load()
		}
		path := s.backup(t)
		done, err := Verify(t.Context(), path, &VerifyOptions{Problem: func(p Problem) { t.Error(p) }})
		require.NoError(t, err)
		restored, err := Open(path, quiet)
		require.NoError(t, err)
		var newest [workers]uint64
		for sum, err := range restored.List(t.Context(), checkpoint.Query{}) {
			require.NoError(t, err)
			var w int
			var n uint64
			_, err = fmt.Sscanf(sum.ID, "live-%d-%d", &w, &n)
			require.NoError(t, err)
			newest[w] = max(newest[w], n)
		}
		for w := range workers { // the newest one is never deleted
			require.GreaterOrEqual(t, newest[w], least[w])
		}
		require.NoError(t, restored.Close())
		_, err = s.Verify(t.Context(), &VerifyOptions{Problem: func(p Problem) { t.Error(p) }})
		require.NoError(t, err)
		backups, records = backups+1, records+done.Records
	}
	close(stop)
	all.Wait()
	close(failed)
	for err := range failed {
		require.NoError(t, err)
	}
	var lived uint64
	for w := range workers {
		lived += acknowledged[w].Load()
	}
	t.Logf("%d backups and as many verifications while %d executions lived and most were deleted: %d records in the backups, no problem", backups, lived, records)
}

func liveID(worker int, n uint64) string { return fmt.Sprintf("live-%d-%d", worker, n) }

// liveAndDie makes an execution, ends it, and deletes the one before it.
func (s *Store) liveAndDie(worker int, n uint64) error {
	ctx := context.Background()
	id := liveID(worker, n)
	now := s.Now().UnixNano()
	_, _, err := s.Create(ctx, checkpoint.Creation{ID: id, Claim: true, Started: checkpoint.Record{Type: checkpoint.ExecutionStarted, Function: "f", Time: now}})
	if err != nil {
		return err
	}
	for tail := uint64(1); tail < 6; tail++ {
		r := checkpoint.Record{Seq: tail + 1, EventID: tail + 1, Events: 1, Time: now, Type: checkpoint.StepSucceeded, OperationID: "1", Payload: binary.AppendUvarint(make([]byte, 300*worker), n)}
		a := checkpoint.Append{ID: id, Epoch: 1, Tail: tail}
		if tail == 5 {
			r.Type, a.Status = checkpoint.ExecutionSucceeded, checkpoint.Succeeded
		}
		a.Records = []checkpoint.Record{r}
		if err := <-s.start(a); err != nil {
			return err
		}
	}
	if n > 1 {
		return s.Delete(ctx, liveID(worker, n-1))
	}
	return nil
}
