package maprange

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/durable-go/durable"
)

func charge(ctx *durable.Context, name string) error {
	return durable.Do(ctx, name, func(context.Context) error { return nil })
}

func bad(ctx *durable.Context, prices map[string]int, seen *sync.Map) {
	for name := range prices { // want `durable.Wait in a loop over prices: the order of a map .*; sort the keys: for _, k := range slices.Sorted\(maps.Keys\(m\)\) \(maprange\)`
		_ = durable.Wait(ctx, name, time.Second)
	}
	for name := range prices { // want `charge in a loop over prices`
		if name != "" {
			_ = charge(ctx, name)
		}
	}
	for name := range maps.Keys(prices) { // want `charge in a loop over maps.Keys\(prices\)`
		_ = charge(ctx, name)
	}
	for name := range seen.Range { // want `charge in a loop over seen.Range`
		_ = charge(ctx, name.(string))
	}
	seen.Range(func(name, _ any) bool { // want `charge in a loop over seen.Range`
		return charge(ctx, name.(string)) == nil
	})
	var branches []durable.Branch[int]
	for name, price := range prices { // want `a durable.Branch made in a loop over prices`
		branches = append(branches, durable.Branch[int]{Name: name, Run: func(ctx *durable.Context) (int, error) {
			return price, charge(ctx, name)
		}})
	}
	_, _ = durable.Parallel(ctx, "all", branches)
}

func good(ctx *durable.Context, prices map[string]int) {
	for _, name := range slices.Sorted(maps.Keys(prices)) {
		_ = charge(ctx, name)
	}
	var names []string
	sum := 0
	for name, price := range prices {
		names = append(names, name)
		sum += price
	}
	handlers := map[string]func(*durable.Context) error{}
	for name := range prices {
		handlers[name] = func(ctx *durable.Context) error { return charge(ctx, name) }
	}
	slices.Sort(names)
	for _, name := range names {
		_ = charge(ctx, name)
	}
	_ = durable.Do(ctx, "all", func(context.Context) error {
		for range prices {
		}
		return nil
	})
}
