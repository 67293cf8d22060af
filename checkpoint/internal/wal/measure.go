package wal

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// Latency is how long the writes of a method took.
type Latency struct {
	Method   string
	P50, P99 time.Duration
	Writes   int
}

// Bounds of Measure.
const (
	measureRounds = 40
	measureBurst  = 25 // writes of one method in a row
	measureTime   = 3 * time.Second
	measureBlocks = 256 // of each file
)

// Measure measures what a flush costs in a folder: floor is a write of 256 bytes and
// a plain flush, methods are those that work there, as a log uses them, in the
// order in which it prefers them. They take turns, so that they meet the same disk.
func Measure(ctx context.Context, dir string) (floor Latency, methods []Latency, err error) {
	dir, err = os.MkdirTemp(dir, "durable-disk-check-")
	if err != nil {
		return floor, nil, err
	}
	defer os.RemoveAll(dir)
	var probes []*probe
	defer func() {
		for _, p := range probes {
			p.file.Close()
		}
	}()
	for i, m := range append([]Method{fallback}, Methods()...) {
		size := blockSize
		if i == 0 {
			size = 256
		}
		p, err := newProbe(filepath.Join(dir, strconv.Itoa(i)), m, size)
		if err != nil {
			return floor, nil, err
		}
		probes = append(probes, p)
	}
	begun := time.Now()
	for round := 0; round < measureRounds && (round == 0 || time.Since(begun) < measureTime); round++ {
		for _, p := range probes {
			if err := p.burst(ctx); err != nil {
				return floor, nil, err
			}
		}
	}
	for _, p := range probes[1:] {
		if p.file.method.Name == p.method { // not the fallback in its place
			methods = append(methods, p.latency())
		}
	}
	return probes[0].latency(), methods, nil
}

// probe writes with one method.
type probe struct {
	method string
	file   *diskFile
	block  []byte
	next   int
	took   []time.Duration
}

func newProbe(name string, m Method, size int) (*probe, error) {
	if err := fillFile(Disk{}, name, measureBlocks*blockSize); err != nil {
		return nil, err
	}
	f, err := openWith(name, m)
	if err != nil {
		return nil, err
	}
	p := &probe{method: m.Name, file: f, block: aligned(blockSize)[:size]}
	for i := range p.block {
		p.block[i] = byte(i)
	}
	return p, nil
}

func (p *probe) burst(ctx context.Context) error {
	for range measureBurst {
		if err := ctx.Err(); err != nil {
			return err
		}
		begun := time.Now()
		if _, err := p.file.WriteAt(p.block, int64(p.next*blockSize)); err != nil {
			return err
		}
		if err := p.file.Flush(); err != nil {
			return err
		}
		p.took = append(p.took, time.Since(begun))
		p.next = (p.next + 1) % measureBlocks
	}
	return nil
}

func (p *probe) latency() Latency {
	slices.Sort(p.took)
	n := len(p.took)
	return Latency{Method: p.method, P50: p.took[n/2], P99: p.took[n*99/100], Writes: n}
}
