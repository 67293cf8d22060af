package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A unit is what a figure counts.
type unit string

const (
	nanoseconds unit = "ns"
	perSecond   unit = "/s"
	inBytes     unit = "B"
	rowCount    unit = "rows"
)

// better reports whether a is the better figure.
func (u unit) better(a, b float64) bool {
	if u == perSecond {
		return a > b
	}
	return a < b
}

// format writes a figure with three digits.
func (u unit) format(f float64) string {
	switch u {
	case nanoseconds:
		for _, s := range []struct {
			name string
			size float64
		}{{"s", 1e9}, {"ms", 1e6}, {"µs", 1e3}} {
			if math.Abs(f) >= s.size*0.9995 {
				return digits(f/s.size) + " " + s.name
			}
		}
		return digits(f) + " ns"
	case perSecond, rowCount:
		return thousands(f)
	}
	for _, s := range []struct {
		name string
		size float64
	}{{"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}} {
		if f >= s.size*0.9995 {
			return digits(f/s.size) + " " + s.name
		}
	}
	return digits(f) + " B"
}

// digits writes three significant ones, and all before the point.
func digits(f float64) string {
	switch a := math.Abs(f); {
	case a >= 99.95 || a == 0:
		return strconv.FormatFloat(f, 'f', 0, 64)
	case a >= 9.995:
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return strconv.FormatFloat(f, 'f', 2, 64)
}

// thousands writes whole numbers, with commas, and small fractions as digits does.
func thousands(f float64) string {
	if f < 1000 && f != math.Trunc(f) {
		return digits(f)
	}
	s := fmt.Sprintf("%.0f", f)
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}
