package memstore

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
	"github.com/durable-go/durable/checkpoint/internal/ledger"
)

// A change that finds the tables in use is made by whoever uses them: the goroutine of
// the store may be in a callback, which waits for the lock that the caller holds.
func TestChangeDoesNotWaitForACallback(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		use  func(s *Store, during func())
	}{
		{"ChangesOfOthers", func(s *Store, during func()) {
			s.lock()
			defer s.unlock()
			during()
		}},
		{"Reads", func(s *Store, during func()) {
			s.read(t.Context(), func() error {
				during()
				return nil
			})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := New()
			defer s.Close()
			begun, release := make(chan struct{}), make(chan struct{})
			defer close(release)
			s.Append(checkpoint.Append{ID: "none"}, func(error) {
				close(begun)
				<-release
			})
			<-begun
			made := make(chan error, 1)
			test.use(s, func() {
				go func() {
					_, _, err := s.Create(t.Context(), checkpoint.Creation{ID: "a", Started: checkpoint.Record{Type: checkpoint.ExecutionStarted, Function: "f"}})
					made <- err
				}()
				for range 100 { // it comes to where it waits
					if s.queue.asked.Load() {
						break
					}
					runtime.Gosched()
				}
			})
			select {
			case err := <-made:
				require.NoError(t, err)
			case <-time.After(30 * time.Second):
				t.Fatal("it waits for the callback")
			}
		})
	}
}

// The store is closed while somebody else than its goroutine makes what was waiting: the
// answers are still given.
func TestCloseAnswersWhatOthersMake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		called, making := make(chan struct{}), make(chan struct{})
		s.Append(checkpoint.Append{ID: "none"}, func(error) { <-called }) // keeps the goroutine
		synctest.Wait()

		changed, appended := make(chan error, 1), make(chan error, 1)
		s.turn.Lock()
		go func() {
			changed <- s.change(t.Context(), func(*ledger.Round) error {
				<-making
				return nil
			})
		}()
		synctest.Wait()
		s.Append(checkpoint.Append{ID: "none"}, func(err error) { appended <- err })
		s.turn.Unlock()
		go s.help()
		synctest.Wait()
		go s.queue.close()
		synctest.Wait()

		close(called) // the goroutine sees that the store is to be closed
		synctest.Wait()
		close(making)
		synctest.Wait()
		require.Len(t, appended, 1)
		require.ErrorIs(t, <-appended, checkpoint.ErrFenced)
		require.NoError(t, <-changed)
		require.NoError(t, s.Close())
	})
}
