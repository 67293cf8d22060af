package main

import "testing"

func TestUnitFormat(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		unit unit
		f    float64
		want string
	}{
		{nanoseconds, 0, "0 ns"}, {nanoseconds, 850, "850 ns"}, {nanoseconds, 1_500, "1.50 µs"}, {nanoseconds, 999_700, "1.00 ms"},
		{nanoseconds, 151_234, "151 µs"}, {nanoseconds, 12_345_678, "12.3 ms"}, {nanoseconds, 2.5e9, "2.50 s"}, {nanoseconds, 99.96e6, "100 ms"},
		{nanoseconds, -2_000_000, "-2.00 ms"},
		{perSecond, 18.4, "18.4"}, {perSecond, 5, "5"}, {perSecond, 999.7, "1000"}, {perSecond, 999, "999"}, {perSecond, 1_000, "1,000"}, {perSecond, 1_234_567.8, "1,234,568"},
		{inBytes, 78, "78.0 B"}, {inBytes, 20_480, "20.5 kB"}, {inBytes, 3e6, "3.00 MB"},
	} {
		if got := c.unit.format(c.f); got != c.want {
			t.Errorf("%v %s: got %q, want %q", c.f, c.unit, got, c.want)
		}
	}
}

func TestUnitBetter(t *testing.T) {
	t.Parallel()
	if !perSecond.better(2, 1) || nanoseconds.better(2, 1) || inBytes.better(2, 1) {
		t.Error("more is better for a rate, and for nothing else")
	}
}
