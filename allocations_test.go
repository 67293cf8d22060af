package durable_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable"
	"github.com/durable-go/durable/checkpoint/memstore"
)

// TestAllocationsOfAStep bounds what a step allocates, from its call until its result is
// durable, in memory. It counts what the whole process allocates, so it runs alone.
func TestAllocationsOfAStep(t *testing.T) {
	const budget = 13
	e, err := durable.New(memstore.New(), &durable.Options{Functions: []durable.Definition{stepped}})
	require.NoError(t, err)
	defer e.Close()
	mallocs := func(steps int) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := stepped.Run(t.Context(), e, steps)
		runtime.ReadMemStats(&after)
		require.NoError(t, err)
		return after.Mallocs - before.Mallocs
	}
	mallocs(100) // what is made once
	few, many := mallocs(1000), mallocs(11_000)
	made := float64(many-few) / 10_000
	t.Logf("%.2f allocations", made)
	require.Less(t, made, budget+0.5)
}
