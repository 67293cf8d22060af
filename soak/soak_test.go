// Package soak kills a process that works on a file, again and again, and compares
// what it did, what it promised, and what the file holds in the end.
//
// A round is one file and many lives of a process on it. The workload has one of
// every operation. The outside, which is the test, starts executions, completes
// callbacks, cancels, stops and asks for results; it counts only what it was told.
// What bodies do stands in the witness.
package soak

import (
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	kills    = flag.Int("soak.kills", 200, "how many processes TestSoak kills")
	perRound = flag.Int("soak.round", 25, "how many of them on one file")
	seed     = flag.Uint64("soak.seed", 0, "what all choices are made from; 0: one is drawn")
)

func TestMain(m *testing.M) {
	if settings := os.Getenv(childVariable); settings != "" {
		if err := serve(settings); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestSoak takes -soak.kills and, to make the choices of a run again, its -soak.seed.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes for some seconds")
	}
	from := *seed
	if from == 0 {
		from = uint64(time.Now().UnixNano())
	}
	t.Logf("-soak.seed %d", from)
	began := time.Now()
	var mu sync.Mutex
	var total figures
	t.Run("Rounds", func(t *testing.T) {
		for n := 0; n**perRound < *kills; n++ {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel()
				c := config{seed: from + uint64(n), kills: min(*perRound, *kills-n**perRound), width: 16, functions: everything, points: points, patience: 3 * time.Minute}
				w, err := c.soak(t)
				require.NoError(t, err)
				require.Zero(t, len(w.violations), "again with -soak.seed %d -soak.kills %d -soak.round %d:\n%s", c.seed, c.kills, c.kills, w.report())
				mu.Lock()
				defer mu.Unlock()
				total.add(w.figures)
			})
		}
	})
	t.Logf("%s; %s", total, time.Since(began).Round(time.Second))
	if *kills >= 50 && !t.Failed() {
		for what, n := range map[string]int{"recoveries": total.recoveries, "attempts cut off": total.again, "invocations cut off": total.invocations,
			"acknowledged callbacks": total.callbacks, "acknowledged cancels and stops": total.steers, "kills in a recovery": total.kills["opening"]} {
			require.NotZero(t, n, "a soak without %s shows nothing", what)
		}
	}
}

// soak is one round.
func (c config) soak(t *testing.T) (*world, error) {
	w := &world{config: c, executions: make(map[string]*asked), shutDown: make(map[int]bool), figures: figures{kills: make(map[string]int)}}
	dir := t.TempDir()
	for n := range c.kills {
		w.live(t, dir, n, false)
	}
	w.live(t, dir, c.kills, true)
	return w, w.check(dir)
}
