package main

import (
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	t.Parallel()
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = i + 1
	}
	for _, c := range []struct {
		sorted []int
		q      float64
		want   int
	}{
		{[]int{7}, 0.5, 7}, {[]int{7}, 0.99, 7}, {[]int{7}, 0, 7},
		{[]int{1, 2}, 0.5, 1}, {[]int{1, 2, 3}, 0.5, 2},
		{hundred, 0.5, 50}, {hundred, 0.99, 99}, {hundred, 1, 100},
	} {
		if got := quantile(c.sorted, c.q); got != c.want {
			t.Errorf("quantile(%d values, %v) = %d, want %d", len(c.sorted), c.q, got, c.want)
		}
	}
}

func TestDistribution(t *testing.T) {
	t.Parallel()
	t.Run("SortsAndCounts", func(t *testing.T) {
		t.Parallel()
		if got, want := distribution([]time.Duration{30, 10, 20}), (figure{P50: 20, Samples: 3}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
	t.Run("HasNoP99OfFew", func(t *testing.T) {
		t.Parallel()
		few := make([]time.Duration, 99)
		many := make([]time.Duration, 200)
		for i := range many {
			many[i] = time.Duration(200 - i)
		}
		copy(few, many)
		if f := distribution(few); f.P99 != 0 {
			t.Errorf("p99 of 99 samples is %v", f.P99)
		}
		if f := distribution(many); f.P99 != 198 || f.P50 != 100 {
			t.Errorf("of 1 to 200: p50 %v, p99 %v", f.P50, f.P99)
		}
	})
	t.Run("OfNothing", func(t *testing.T) {
		t.Parallel()
		if f := distribution(nil); f != (figure{}) {
			t.Errorf("got %+v", f)
		}
	})
}

func TestMedians(t *testing.T) {
	t.Parallel()
	got := medians([]figure{{P50: 5, P99: 50, Samples: 1}, {P50: 1, Samples: 1}, {P50: 3, P99: 70, Samples: 1}})
	if want := (figure{P50: 3, P99: 60, Samples: 3}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := medians(nil); got != (figure{}) {
		t.Errorf("of nothing: %+v", got)
	}
}
