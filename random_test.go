package durable_test

import (
	"flag"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/checkpoint"
)

var (
	randomPrograms = flag.Int("random.programs", 0, "how many random programs each test of them runs; 0: 100, or what can be done in 15 s")
	randomSeed     = flag.Uint64("random.seed", 0, "run only the random program with this seed, in all variants, and print it")
	randomFrom     = flag.Uint64("random.from", 1, "the first seed")
	randomVariant  = flag.String("random.variant", "", "run only this variant")
	randomTimes    = flag.Int("random.times", 1, "run each variant so often: the order in which goroutines run is no part of a seed")
)

// undisturbed is how a program is meant to run; all other variants are compared
// with it.
var undisturbed = variant{name: "undisturbed", parkFor: -1}

// variants are the ways to run a random program. A seed chooses one of those in
// memory and one of those on a file.
var variants = []variant{
	{name: "resident"},
	{name: "few places", places: 2},
	{name: "faults", parkFor: -1, rate: 15},
	{name: "faults, resident", rate: 15},
	{name: "many faults", parkFor: -1, rate: 60},
	{name: "crashes", parkFor: -1, rate: 5, crash: true},
	{name: "crashes, resident", rate: 5, crash: true},
	{name: "many crashes", rate: 50, crash: true},
	{name: "kills", parkFor: -1, kills: true},
	{name: "kills and faults", kills: true, rate: 10},
	{name: "shuffled", parkFor: -1, shuffled: true},
	{name: "shuffled, resident", shuffled: true},
	{name: "shuffled and crashes", shuffled: true, rate: 5, crash: true},
	{name: "shuffled, few places, faults", places: 2, shuffled: true, rate: 10},
	{name: "flaky", parkFor: -1, flaky: true},
	{name: "flaky, resident", flaky: true},

	{name: "file", file: true, parkFor: -1},
	{name: "file, faults", file: true, rate: 15},
	{name: "file, crashes", file: true, parkFor: -1, rate: 5, crash: true},
	{name: "file, crashes, resident", file: true, rate: 5, crash: true},
	{name: "file, kills", file: true, parkFor: -1, kills: true},
	{name: "file, shuffled and crashes", file: true, shuffled: true, rate: 5, crash: true},
	{name: "file, flaky", file: true, parkFor: -1, flaky: true},
}

// chosen are the variants that a seed runs in.
func chosen(seed uint64) (some []variant) {
	files := 0
	for _, v := range variants {
		if v.file {
			files++
		}
	}
	memory := uint64(len(variants) - files)
	for i, v := range variants {
		switch {
		case *randomVariant != "" && v.name != *randomVariant:
		case *randomVariant != "", *randomSeed != 0,
			!v.file && seed%memory == uint64(i), v.file && seed%uint64(files) == uint64(i)-memory:
			some = append(some, v)
		}
	}
	return some
}

// TestRandomPrograms runs random programs, each undisturbed and in variants: the
// results, the histories and the calls of bodies are the same.
func TestRandomPrograms(t *testing.T) {
	t.Parallel()
	first, count, enough := *randomFrom, uint64(100), time.Now().Add(15*time.Second)
	switch {
	case *randomSeed != 0:
		first, count = *randomSeed, 1
	case *randomPrograms != 0:
		count, enough = uint64(*randomPrograms), time.Now().Add(1000*time.Hour)
	case testing.Short():
		count = 20
	}
	seeds := make(chan uint64)
	var failed atomic.Bool
	for worker := range runtime.GOMAXPROCS(0) {
		t.Run(fmt.Sprint("Worker", worker), func(t *testing.T) {
			t.Parallel()
			for seed := range seeds {
				randomProgram(t, seed)
				if t.Failed() {
					failed.Store(true)
					return
				}
			}
		})
	}
	go func() {
		defer close(seeds)
		for seed := first; seed < first+count && time.Now().Before(enough); seed++ {
			for sent := false; !sent && !failed.Load(); {
				select {
				case seeds <- seed:
					sent = true
				case <-time.After(time.Second): // nobody may be left to take it
				}
			}
		}
	}()
}

// randomProgram runs the program of a seed in its variants.
func randomProgram(t *testing.T, seed uint64) {
	play := func(v variant) (o outcome) {
		synctest.Test(t, func(t *testing.T) {
			p := newProgram(t, seed)
			defer func() {
				if t.Failed() {
					for _, line := range p.log {
						t.Log(line)
					}
					t.Log(replay(seed, v))
				}
			}()
			o = p.play(v)
		})
		return o
	}
	want := play(undisturbed)
	if *randomSeed != 0 {
		root, _ := generate(seed)
		for _, n := range root {
			t.Logf("\n%s", n)
		}
		t.Logf("%s\n%s\n%s\n%s", want.result, want.ops, want.history, want.calls)
	}
	for _, v := range chosen(seed) {
		for range *randomTimes {
			got := play(v)
			if t.Failed() {
				return
			}
			trace := got.trace
			want.trace, got.trace = "", ""
			if want != got {
				t.Logf("seed %d, %s:\n%s\n%s", seed, v.name, trace, replay(seed, v))
			}
			require.Equal(t, want.result, got.result)
			require.Equal(t, want.ops, got.ops)
			require.Equal(t, want.history, got.history)
			require.Equal(t, want.calls, got.calls)
		}
	}
}

// replay says how to run a program again.
func replay(seed uint64, v variant) string {
	return fmt.Sprintf("to replay it: go test -run 'TestRandomPrograms$' -random.seed=%d -random.variant='%s' -random.times=20 .", seed, v.name)
}

// TestRandomProgramsAreTheirSeeds: a seed makes the same program, chooses the same
// variants, and lets the same happen to it.
func TestRandomProgramsAreTheirSeeds(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		first, _ := generate(seed)
		second, _ := generate(seed)
		require.Equal(t, fmt.Sprint(first), fmt.Sprint(second))
		require.Equal(t, chosen(seed), chosen(seed))
		for _, v := range chosen(seed) {
			p, q := &program{seed: seed, variant: v}, &program{seed: seed, variant: v}
			require.Equal(t, p.draw("1", checkpoint.StepSucceeded).Uint64(), q.draw("1", checkpoint.StepSucceeded).Uint64())
			require.Equal(t, p.late("callback 1"), q.late("callback 1"))
		}
	}
	different, _ := generate(1)
	other, _ := generate(2)
	require.NotEqual(t, fmt.Sprint(different), fmt.Sprint(other))
	// And one that nothing happens to is the same each time, to the call.
	for seed := uint64(1); seed <= 5; seed++ {
		var outcomes []outcome
		for range 2 {
			synctest.Test(t, func(t *testing.T) { outcomes = append(outcomes, newProgram(t, seed).play(undisturbed)) })
		}
		outcomes[0].trace, outcomes[1].trace = "", ""
		require.Equal(t, outcomes[0], outcomes[1])
	}
}
