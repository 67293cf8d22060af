package boltstore

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLayers makes random changes in rounds, merges rounds into generations, and
// brings those into what lies below, as the store does, beside a map that knows
// what should be there.
func TestLayers(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(9, 10))
	below, model := map[string]bool{}, map[string]bool{}
	active := newGeneration()
	for range 3000 {
		var own generation
		o := &own.tables[0]
		for range random.IntN(30) {
			key := fmt.Sprint(random.IntN(400))
			if model[key] {
				o.set(change{key: key, deleted: true})
				delete(model, key)
			} else {
				o.set(change{key: key, fresh: true})
				model[key] = true
			}
		}
		active.merge(&own.tables)
		sees := maps.Clone(below)
		last := ""
		for p := active.tables[0].seek(""); p.change() != nil; p.next() {
			c := p.change()
			require.Less(t, last, c.key)
			last = c.key
			require.Equal(t, c, active.tables[0].get(c.key))
			if c.deleted {
				require.True(t, below[c.key], "nothing is deleted that is not there")
				delete(sees, c.key)
			} else {
				sees[c.key] = true
			}
		}
		require.Equal(t, model, sees)
		if random.IntN(10) == 0 {
			below, active = sees, newGeneration()
		}
	}
}

func TestSeek(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(11, 12))
	var o ordered
	var keys []string
	for range 1000 {
		key := fmt.Sprint(random.IntN(5000))
		o.set(change{key: key})
		if i, found := slices.BinarySearch(keys, key); !found {
			keys = slices.Insert(keys, i, key)
		}
		from := fmt.Sprint(random.IntN(5000))
		i, found := slices.BinarySearch(keys, from)
		require.Equal(t, found, o.get(from) != nil)
		p := o.seek(from)
		for _, want := range keys[i:min(i+5, len(keys))] {
			require.Equal(t, want, p.change().key)
			p.next()
		}
	}
}
