package memstore

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
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
