package soak

import (
	"context"
	"time"

	"github.com/durable-go/durable/checkpoint"
)

// tap stands between the engine and the store of a process. It tells the witness
// what the store acknowledged, and is where the process may end.
type tap struct {
	checkpoint.Store
	*child
}

// Lease is that of the store, if it has one.
func (s *tap) Lease() (int64, time.Time) {
	if l, ok := s.Store.(checkpoint.Leased); ok {
		return l.Lease()
	}
	return 0, time.Now().Add(time.Hour)
}

// owns tells the witness, and the process, what the store gave it.
func (s *tap) owns(x *checkpoint.Summary, lost bool) {
	s.mu.Lock()
	s.epochs[x.ID] = x.Epoch
	if lost {
		s.lost[x.ID]++
	}
	s.mu.Unlock()
	s.witness.say(line{Kind: claimed, Execution: x.ID, Seq: x.Tail, Epoch: x.Epoch, Lost: lost})
}

func (s *tap) Append(a checkpoint.Append, done func(error)) {
	l := line{Kind: handed, Execution: a.ID, Epoch: a.Epoch}
	if len(a.Records) > 0 {
		l.Seq = a.Tail + 1
	}
	for i := range a.Records {
		l.Records = append(l.Records, checksum(&a.Records[i]))
	}
	if a.Release != nil && a.Release.Hold != nil {
		s.witness.say(line{Kind: held, Execution: a.ID, Name: a.Release.Hold.Build})
	}
	if len(l.Records) > 0 {
		s.witness.say(l)
	}
	l.Kind = recorded
	s.point.reached("append")
	s.Store.Append(a, func(err error) {
		s.point.reached("durable")
		if l.Left = a.Release != nil || a.Status != 0; err == nil && (len(l.Records) > 0 || l.Left) {
			s.witness.say(l)
		}
		s.point.reached("witnessed")
		done(err)
		s.point.reached("told")
	})
	s.point.reached("appended")
}

func (s *tap) Create(ctx context.Context, c checkpoint.Creation) (checkpoint.Summary, bool, error) {
	s.point.reached("create")
	defer s.point.reached("created")
	sum, created, err := s.Store.Create(ctx, c)
	if created && c.Claim {
		s.owns(&sum, false)
	}
	return sum, created, err
}

func (s *tap) Deliver(ctx context.Context, d checkpoint.Delivery) error {
	s.point.reached("deliver")
	defer s.point.reached("delivered")
	return s.Store.Deliver(ctx, d)
}

func (s *tap) Claim(ctx context.Context, r checkpoint.ClaimRequest) ([]checkpoint.Claim, error) {
	s.point.reached("claim")
	claims, err := s.Store.Claim(ctx, r)
	for i := range claims {
		s.owns(&claims[i].Summary, claims[i].Lost)
	}
	if len(claims) > 0 {
		s.point.reached("claimed")
	}
	return claims, err
}

func (s *tap) End(ctx context.Context, e checkpoint.Ending) (bool, error) {
	s.point.reached("end")
	defer s.point.reached("ended")
	return s.Store.End(ctx, e)
}

func (s *tap) Close() error {
	s.point.reached("closing")
	defer s.point.reached("closed")
	return s.Store.Close()
}
