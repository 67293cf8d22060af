package main

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

func TestProbe(t *testing.T) {
	t.Parallel()
	newProbe := func() *probe { return &probe{expected: make(map[place]*arrival)} }
	t.Run("KeepsTheFirstArrival", func(t *testing.T) {
		t.Parallel()
		p := newProbe()
		a := p.expect("x", awake)
		p.mark("y", awake)
		p.mark("x", asleep)
		select {
		case <-a.done:
			t.Fatal("another place was taken for it")
		default:
		}
		p.mark("x", awake)
		at, err := a.wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p.mark("x", awake)
		if again, _ := a.wait(t.Context()); !again.Equal(at) || at.IsZero() {
			t.Errorf("first %v, then %v", at, again)
		}
		if n := p.reached[awake].Load(); n != 3 {
			t.Errorf("%d arrivals counted", n)
		}
	})
	t.Run("StopsWaiting", func(t *testing.T) {
		t.Parallel()
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		if _, err := newProbe().expect("x", ended).wait(ctx); !errors.Is(err, why) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("TracesOnlyWhenTold", func(t *testing.T) {
		t.Parallel()
		p := newProbe()
		p.body(1)
		p.trace(2)
		p.body(2)
		p.body(3)
		if n := len(p.traced()); n != 2 {
			t.Errorf("%d times", n)
		}
		p.body(4)
		if len(p.traced()) != 0 || p.bodies.Load() != 4 {
			t.Error("traced after the end, or did not count")
		}
	})
}

func TestGaps(t *testing.T) {
	t.Parallel()
	at := time.Unix(0, 0)
	if got := gaps([]time.Time{at, at.Add(3), at.Add(10)}); !slices.Equal(got, []time.Duration{3, 7}) {
		t.Errorf("got %v", got)
	}
	if got := gaps(nil); got != nil {
		t.Errorf("of nothing: %v", got)
	}
}
