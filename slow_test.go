package durable_test

import (
	"context"
	"sync"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

// slowStore takes its time for each change, so that changes of several executions
// are made in another order than they were asked for. Those of one execution keep
// theirs.
type slowStore struct {
	checkpoint.Store
	delay func() time.Duration

	mu   sync.Mutex
	last map[string]chan struct{} // by execution: closed when its last append was handed on
}

func newSlowStore(store checkpoint.Store, delay func() time.Duration) *slowStore {
	return &slowStore{Store: store, delay: delay, last: map[string]chan struct{}{}}
}

func (s *slowStore) Append(a checkpoint.Append, done func(error)) {
	s.mu.Lock()
	before, made := s.last[a.ID], make(chan struct{})
	s.last[a.ID] = made
	s.mu.Unlock()
	go func() {
		time.Sleep(s.delay())
		if before != nil {
			<-before
		}
		s.Store.Append(a, done)
		close(made)
	}()
}

func (s *slowStore) Create(ctx context.Context, c checkpoint.Creation) (checkpoint.Summary, bool, error) {
	time.Sleep(s.delay())
	sum, created, err := s.Store.Create(ctx, c)
	time.Sleep(s.delay())
	return sum, created, err
}

func (s *slowStore) Deliver(ctx context.Context, d checkpoint.Delivery) error {
	time.Sleep(s.delay())
	err := s.Store.Deliver(ctx, d)
	time.Sleep(s.delay())
	return err
}

func (s *slowStore) Claim(ctx context.Context, r checkpoint.ClaimRequest) ([]checkpoint.Claim, error) {
	time.Sleep(s.delay())
	return s.Store.Claim(ctx, r)
}

func (s *slowStore) Inbox(ctx context.Context, id string, after uint64) ([]checkpoint.Record, error) {
	time.Sleep(s.delay())
	entries, err := s.Store.Inbox(ctx, id, after)
	time.Sleep(s.delay())
	return entries, err
}
