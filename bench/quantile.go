package main

import (
	"math"
	"slices"
	"time"
)

// quantile is the smallest of the values that at least the share q of them does
// not exceed (nearest rank). The values are sorted; there is at least one.
func quantile[T any](sorted []T, q float64) T {
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

// distribution has no P99 for fewer than a hundred samples: it would be the
// maximum.
func distribution(all []time.Duration) figure {
	if len(all) == 0 {
		return figure{}
	}
	slices.Sort(all)
	f := figure{P50: float64(quantile(all, 0.5)), Samples: len(all)}
	if len(all) >= 100 {
		f.P99 = float64(quantile(all, 0.99))
	}
	return f
}

// median of at least one value; of an even number, the mean of the middle two.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// medians of what the rounds found.
func medians(rounds []figure) figure {
	var p50, p99 []float64
	var f figure
	for _, r := range rounds {
		p50 = append(p50, r.P50)
		if r.P99 > 0 {
			p99 = append(p99, r.P99)
		}
		f.Samples += r.Samples
	}
	if len(p50) > 0 {
		f.P50 = median(p50)
	}
	if len(p99) > 0 {
		f.P99 = median(p99)
	}
	return f
}
