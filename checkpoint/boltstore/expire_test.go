package boltstore

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durable-go/durable/checkpoint"
	"github.com/stretchr/testify/require"
)

// endMany has executions with journals of so many values each end.
func endMany(t testing.TB, s *Store, prefix string, executions, values int) {
	t.Helper()
	var all sync.WaitGroup
	for worker := range 64 {
		all.Go(func() {
			for i := worker; i < executions; i += 64 {
				id := fmt.Sprint(prefix, i)
				if _, _, err := s.Create(t.Context(), checkpoint.Creation{ID: id, Claim: true, Started: checkpoint.Record{Function: "f"}}); err != nil {
					t.Error(err)
					return
				}
				for v := range values {
					a := step(id, uint64(v+1))
					a.Records[0].Payload = []byte(strings.Repeat("x", valueBytes))
					if values == 1 {
						a.Records[0].Payload = []byte("x")
					}
					if err := <-s.start(a); err != nil {
						t.Error(err)
					}
				}
				if _, err := s.End(t.Context(), checkpoint.Ending{ID: id, Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// transactions is how many bbolt has made.
func (s *Store) transactions() int {
	tx, err := s.db.Begin(false)
	if err != nil {
		panic(err)
	}
	defer tx.Rollback()
	return tx.ID()
}

// The journals of many deleted executions are removed together, not one transaction each.
func TestTrashIsSweptTogether(t *testing.T) {
	s := openTemp(t)
	const executions = 3000
	_, err := s.update(func(t *transaction) error { // as a deletion leaves it
		for n := range uint64(executions) {
			t.put(trashTable, numberKey(n+1000), nil)
			for v := range n%3 + 1 {
				t.put(journalTable, pairKey(n+1000, v+1), []byte("records"))
			}
		}
		return nil
	})
	require.NoError(t, err)
	before := s.transactions()
	require.NoError(t, s.Close())
	s, err = Open(s.path, quiet)
	require.NoError(t, err)
	defer s.Close()
	s.own(t, "a") // the feeder has something to do
	require.Eventually(t, func() bool {
		left := 0
		require.NoError(t, s.readFile(t.Context(), func(p *snapshot) error {
			left = p.bucket(trashTable).Stats().KeyN
			return nil
		}))
		return left == 0
	}, time.Minute, time.Millisecond)
	require.NoError(t, s.awaitApplied(t.Context()))
	require.Less(t, s.transactions()-before, 10)
	require.NoError(t, s.readFile(t.Context(), func(p *snapshot) error {
		require.Equal(t, 1, p.bucket(journalTable).Stats().KeyN, "that of the one that is left")
		return nil
	}))
}

// Who deletes does not wait until bbolt has what was written, nor has it brought there.
func TestExpireSeesWhatOnlyTheLogHas(t *testing.T) {
	s := openTemp(t)
	defer s.Close()
	s.own(t, "caller")
	caller, err := s.Get(t.Context(), "caller")
	require.NoError(t, err)
	_, _, err = s.Create(t.Context(), checkpoint.Creation{ID: "invoked", Claim: true, Started: checkpoint.Record{Function: "f"},
		Caller: &checkpoint.Caller{ID: "caller", Incarnation: caller.Incarnation, OperationID: "1"}})
	require.NoError(t, err)
	require.NoError(t, s.awaitApplied(t.Context()))
	end := func(id string) {
		_, err := s.End(t.Context(), checkpoint.Ending{ID: id, Status: checkpoint.Stopped, Record: checkpoint.Record{Type: checkpoint.ExecutionStopped}})
		require.NoError(t, err)
	}
	expire := func(want int) {
		t.Helper()
		n, err := s.Expire(t.Context(), s.Now().Add(time.Hour), 10)
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	before, begun := s.transactions(), time.Now()
	end("invoked")
	expire(0)
	end("caller")
	expire(2)
	endMany(t, s, "x", 5, 1)
	expire(5)
	expire(0)
	byItself := 1 + int(time.Since(begun)/feedAfter) // the feeder may have come
	require.LessOrEqual(t, s.transactions()-before, byItself)
}

// After much was deleted a store that is nearly idle writes little more than its log, though
// bbolt's list of free pages is long.
func TestNearlyIdleAfterADeletion(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes much")
	}
	s, err := Open(filepath.Join(t.TempDir(), "store"), &Options{Logger: quiet.Logger, UnsafeNoSync: true})
	require.NoError(t, err)
	defer s.Close()
	endMany(t, s, "x", 256, 16) // a quarter of a GiB
	n, err := s.Expire(t.Context(), s.Now().Add(time.Hour), 1000)
	require.NoError(t, err)
	require.Equal(t, 256, n)
	require.NoError(t, s.awaitApplied(t.Context()))
	s.own(t, "a")
	require.NoError(t, s.awaitApplied(t.Context()))
	s.mu.RLock()
	after := s.after
	s.mu.RUnlock()
	require.Greater(t, after, 2*time.Second)
	require.LessOrEqual(t, after, feedLast)
	s.own(t, "b")
	require.NoError(t, s.awaitApplied(t.Context()), "who asks does not wait for it")
}

// A file that is removed is noticed within seconds, also when bbolt gets little, and late.
func TestARemovedFileIsNoticedByAnIdleStore(t *testing.T) {
	s := openTemp(t)
	s.own(t, "a")
	require.NoError(t, s.awaitApplied(t.Context()))
	s.mu.Lock()
	s.after = feedLast
	s.mu.Unlock()
	begun := time.Now()
	s.own(t, "b")
	require.NoError(t, os.Remove(s.path))
	require.Eventually(t, func() bool { return s.failed() != nil }, feedLast/2, 10*time.Millisecond)
	require.Less(t, time.Since(begun), feedLast)
	require.ErrorIs(t, s.Close(), checkpoint.ErrFailed)
}
