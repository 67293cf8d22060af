package soak_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/durable-go/durable/internal/soak"
)

// TestPlants soaks processes that have a bug, each breaking another rule.
func TestPlants(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes for some seconds")
	}
	for name, bug := range soak.Plants {
		if name == "" || bug.Fleet {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := soak.Config{Kills: 6, Width: 8, Functions: strings.Fields(bug.Functions), Plant: name, Points: soak.Points, Patience: time.Second}
			if bug.Point != "" {
				c.Points = []string{bug.Point}
			}
			for c.Seed = 1; ; c.Seed++ { // the machine may be too slow for the kills to hit
				w, err := c.File(t.TempDir())
				require.NoError(t, err)
				caught := 0
				for _, v := range w.Violations {
					if v.Rule == bug.Breaks {
						caught++
					}
				}
				if caught > 0 {
					t.Logf("caught in %d kills: %d times that %s", uint64(c.Kills)*c.Seed, caught, bug.Breaks)
					return
				}
				require.Less(t, c.Seed, uint64(40), "not caught that %s is broken:\n%s", bug.Breaks, w.Report())
			}
		})
	}
}
