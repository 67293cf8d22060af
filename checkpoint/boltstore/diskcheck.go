package boltstore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/durable-go/durable/checkpoint/internal/wal"
)

// DiskReport says what a checkpoint costs at least on a disk.
type DiskReport struct {
	// Floor is a write of 256 bytes and a flush (fdatasync on Linux, F_FULLFSYNC on
	// macOS), into a file that was filled before. Nothing that is durable on this
	// disk after each change is faster; use it to compare figures.
	Floor FlushLatency

	// Methods are the ways of the store to write a block that work on this disk. It
	// uses the first one.
	Methods []FlushLatency
}

// FlushLatency is how long writes took until they were on the disk.
type FlushLatency struct {
	Method   string
	P50, P99 time.Duration
	Writes   int // that were measured
}

// DiskCheck measures how long the disk under the folder dir takes to make a small
// write durable. It takes one to five seconds, writes some megabytes into a folder
// that it removes again, and wants an otherwise idle disk. If P50 is some
// microseconds, the disk is memory, or does not flush when it is asked to.
func DiskCheck(ctx context.Context, dir string) (DiskReport, error) {
	floor, methods, err := wal.Measure(ctx, dir)
	if err != nil {
		return DiskReport{}, fmt.Errorf("durable: check the disk under %s: %w", dir, err)
	}
	r := DiskReport{Floor: FlushLatency(floor)}
	for _, m := range methods {
		r.Methods = append(r.Methods, FlushLatency(m))
	}
	return r, nil
}

// String is a table of the report.
func (r DiskReport) String() string {
	var b strings.Builder
	line := func(name string, l FlushLatency) {
		fmt.Fprintf(&b, "%-30s p50 %8s  p99 %8s\n", name, l.P50.Round(time.Microsecond), l.P99.Round(time.Microsecond))
	}
	line("floor: "+r.Floor.Method, r.Floor)
	for i, m := range r.Methods {
		if i == 0 {
			m.Method += " (used)"
		}
		line(m.Method, m)
	}
	return b.String()
}
